/*
 * Flushing and resizing: operations on a whole node
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "block/graph/graph_int.h"
#include "block/io/io_int.h"

/* A filter has its data in one child. Another may be slow, such as the target of a backup. */
static bool child_has_data(const BlockDriverState *bs, const BdrvChild *child)
{
    return !bs->drv->is_filter || child == bs->file;
}

/* Whether an edge before number @i leads to the same node, as with a header and a payload in one file. */
static bool child_is_repeated(GPtrArray *children, guint i)
{
    for (guint j = 0; j < i; j++) {
        if (((BdrvChild *)children->pdata[j])->bs == ((BdrvChild *)children->pdata[i])->bs) {
            return true;
        }
    }
    return false;
}

static int coroutine_fn flush_node(BlockDriverState *bs)
{
    int ret = bdrv_check_abandoned();

    bdrv_debug_event(bdrv_file_bs(bs), BLKDBG_FLUSH_TO_OS);
    if (ret == 0 && bs->drv->bdrv_co_flush && !bs->no_flush) {
        ret = bdrv_driver_flush(bs);
        if (ret < 0) {
            bdrv_set_flush_error(bs, ret);
        }
    }
    bdrv_debug_event(bdrv_file_bs(bs), BLKDBG_FLUSH_TO_DISK);
    for (guint i = 0; ret == 0 && i < bs->children->len; i++) {
        const BdrvChild *c = g_ptr_array_index(bs->children, i);

        if (child_has_data(bs, c) && !child_is_repeated(bs->children, i)) {
            ret = bdrv_co_flush(c->bs);
        }
    }
    return ret;
}

int coroutine_fn bdrv_co_flush(BlockDriverState *bs)
{
    if (bs->read_only) {
        return 0;
    }
    bdrv_inc_in_flight(bs);
    g_mutex_lock(&bs->reqs_lock);
    uint64_t gen = bs->write_gen;
    /* The children of a node may also have been written to through another parent. */
    bool clean = gen == bs->flushed_gen && bs->children->len == 0;
    int ret = bs->no_flush ? 0 : bs->flush_error;
    g_mutex_unlock(&bs->reqs_lock);

    if (ret == 0 && !clean) {
        ret = flush_node(bs);
    }
    if (ret == 0) {
        g_mutex_lock(&bs->reqs_lock);
        bs->flushed_gen = MAX(bs->flushed_gen, gen);
        g_mutex_unlock(&bs->reqs_lock);
    }
    bdrv_dec_in_flight(bs);
    return ret;
}

int coroutine_fn bdrv_flush_request(BlockDriverState *bs)
{
    g_mutex_lock(&bs->reqs_lock);
    bs->write_gen++;
    g_mutex_unlock(&bs->reqs_lock);
    return bdrv_co_flush(bs);
}

/*
 * Storage reports lost data only once: the kernel reports a failed write-back of the page cache to the first caller
 * that syncs. So the storage node remembers the error for all callers. Flushes of the nodes above fail with it.
 */
void bdrv_set_flush_error(BlockDriverState *bs, int ret)
{
    if (bs->drv->is_protocol && ret != -ECANCELED) {
        g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&bs->reqs_lock);

        bs->flush_error = bs->flush_error ?: ret;
    }
}

int bdrv_get_flush_error(BlockDriverState *bs)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&bs->reqs_lock);

    return bs->flush_error;
}

void bdrv_clear_flush_error(BlockDriverState *bs)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&bs->reqs_lock);

    bs->flush_error = 0;
}

bool coroutine_fn bdrv_co_truncate(BdrvChild *child, int64_t offset, bool exact, PreallocMode prealloc, Job *job,
                                   Error **errp)
{
    BlockDriverState *bs = child->bs;
    const BlockDriver *drv = bs->drv;
    BdrvTrackedRequest req;
    bool ok;

    bdrv_assert_perm(child, BLK_PERM_RESIZE);
    if (offset < 0) {
        error_setg(errp, "Image size cannot be negative");
        return false;
    }
    if (offset > BDRV_MAX_LENGTH) {
        error_setg(errp, "Required too big image size, it must be not greater than %" PRId64,
                   BDRV_MAX_LENGTH);
        return false;
    }
    int64_t start = MIN(offset, bs->length);

    bdrv_tracked_request_begin(&req, bs, start, INT64_MAX - start, BDRV_TRACKED_TRUNCATE, true);
    if (drv->bdrv_co_truncate) {
        ok = bdrv_driver_truncate(bs, offset, exact, prealloc, job, errp);
    } else if (drv->is_filter) {
        ok = bdrv_co_truncate(bs->file, offset, exact, prealloc, job, errp);
    } else {
        error_setg(errp, "Image format driver '%s' does not support resize", drv->format_name);
        ok = false;
    }
    ok = ok && bdrv_co_refresh(bs, errp);
    if (ok && prealloc == PREALLOC_MODE_FULL && drv->is_protocol) {
        int ret = bdrv_flush_request(bs);

        if (ret < 0) {
            error_setg_errno(errp, -ret, "Node '%s': could not flush the preallocated space",
                             bdrv_get_display_name(bs));
            ok = false;
        }
    }
    bdrv_tracked_request_end(&req);
    return ok;
}
