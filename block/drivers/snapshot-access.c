/*
 * snapshot-access: the old state that the copy-before-write filter below preserves
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "block/copy-before-write.h"
#include "block/drivers.h"

typedef struct BDRVSnapshotAccessState {
    unsigned filter_id;         /* see bdrv_cbw_get_id() */
} BDRVSnapshotAccessState;

/*
 * The filter for which the node was opened; NULL if it is gone. A job may have inserted filters of its own in between,
 * and a job that ends removes its filter, whose parents then use the source.
 */
static BlockDriverState *snapshot_access_filter(BlockDriverState *bs)
{
    const BDRVSnapshotAccessState *s = bs->opaque;
    BlockDriverState *below = bs->file->bs;

    while (below->drv->is_filter) {
        if (below->drv == &bdrv_copy_before_write && bdrv_cbw_get_id(below) == s->filter_id) {
            return below;
        }
        below = below->file->bs;
    }
    return NULL;
}

static bool coroutine_fn snapshot_access_co_open(BlockDriverState *bs, Error **errp)
{
    BDRVSnapshotAccessState *s = bs->opaque;

    if (!bdrv_co_open_child(bs, "file", bs->options->u.snapshot_access.file, BDRV_CHILD_DATA, errp)) {
        return false;
    }
    if (bs->file->bs->drv != &bdrv_copy_before_write) {
        error_setg(errp, "Node '%s' is not a copy-before-write node, so it has no old state to access",
                   bdrv_get_display_name(bs->file->bs));
        return false;
    }
    s->filter_id = bdrv_cbw_get_id(bs->file->bs);
    bs->read_only = true;
    return true;
}

static void coroutine_fn snapshot_access_co_close(BlockDriverState *bs)
{
}

static int64_t coroutine_fn snapshot_access_co_getlength(BlockDriverState *bs)
{
    BlockDriverState *filter = snapshot_access_filter(bs);

    return filter ? bdrv_cbw_get_snapshot_length(filter) : bs->length;
}

static void snapshot_access_child_perm(BlockDriverState *bs, const char *name, uint32_t role, uint64_t perm,
                                       uint64_t shared, uint64_t *nperm, uint64_t *nshared)
{
    *nperm = BLK_PERM_CONSISTENT_READ;
    *nshared = BLK_PERM_ALL;
}

static int coroutine_fn snapshot_access_co_preadv(BlockDriverState *bs, int64_t offset, int64_t bytes,
                                                  QEMUIOVector *qiov, BdrvRequestFlags flags)
{
    BlockDriverState *filter = snapshot_access_filter(bs);

    return filter ? bdrv_cbw_co_preadv_snapshot(filter, offset, bytes, qiov) : -EACCES;
}

/* Never called, since the node is read-only. Without it, users would have to ask for that. */
static int coroutine_fn snapshot_access_co_pwritev(BlockDriverState *bs, int64_t offset, int64_t bytes,
                                                   QEMUIOVector *qiov, BdrvRequestFlags flags)
{
    return -EROFS;
}

static int coroutine_fn snapshot_access_co_block_status(BlockDriverState *bs, int64_t offset, int64_t bytes,
                                                        int64_t *pnum, int64_t *map, BlockDriverState **file)
{
    BlockDriverState *filter = snapshot_access_filter(bs);

    return filter ? bdrv_cbw_co_snapshot_block_status(filter, offset, bytes, pnum) : -EACCES;
}

const BlockDriver bdrv_snapshot_access = {
    .format_name = "snapshot-access",
    .driver = BLOCKDEV_DRIVER_SNAPSHOT_ACCESS,
    .instance_size = sizeof(BDRVSnapshotAccessState),

    .bdrv_co_open = snapshot_access_co_open,
    .bdrv_co_close = snapshot_access_co_close,
    .bdrv_co_getlength = snapshot_access_co_getlength,
    .bdrv_child_perm = snapshot_access_child_perm,

    .bdrv_co_preadv = snapshot_access_co_preadv,
    .bdrv_co_pwritev = snapshot_access_co_pwritev,
    .bdrv_co_block_status = snapshot_access_co_block_status,
};
