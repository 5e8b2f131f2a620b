/*
 * raw: the bytes of the child as they are, or a window of them
 *
 * A node whose format was guessed must stay raw. Otherwise anyone who can write to the volume (a guest) could make it
 * look like another format, and have the next guess open other files of the host. So a write that would give the first
 * sector the header of another format fails, and writes come in whole sectors, so that no header arrives in pieces.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "block/block_int.h"
#include "block/drivers.h"
#include "block/ops/signature.h"

typedef struct BDRVRawState {
    int64_t offset;
    int64_t size;       /* size of the window; -1: up to the end of the child */
    bool probed;        /* the format was guessed */
} BDRVRawState;

/* The current length of the window. */
static int64_t raw_window_length(BlockDriverState *bs)
{
    BDRVRawState *s = bs->opaque;
    int64_t rest = MAX(bdrv_getlength(bs->file->bs) - s->offset, 0);

    return s->size >= 0 ? MIN(s->size, rest) : rest;
}

static bool raw_check_window(BlockDriverState *bs, Error **errp)
{
    BDRVRawState *s = bs->opaque;
    int64_t length = bdrv_getlength(bs->file->bs);

    if (s->offset > length) {
        error_setg(errp, "Offset (%" PRId64 ") cannot be greater than size of the containing file (%" PRId64
                   ")", s->offset, length);
        return false;
    }
    if (s->size > length - s->offset) {
        error_setg(errp, "The sum of offset (%" PRId64 ") and size (%" PRId64 ") has to be smaller or equal "
                   "to the actual size of the containing file (%" PRId64 ")", s->offset, s->size, length);
        return false;
    }
    return true;
}

static bool coroutine_fn raw_co_open(BlockDriverState *bs, Error **errp)
{
    BDRVRawState *s = bs->opaque;
    const BlockdevOptionsRaw *o = &bs->options->u.raw;
    /* The whole child: users can share it as if the two were one node. A window has its content at other offsets. */
    uint32_t role = o->has_offset || o->has_size ? BDRV_CHILD_DATA : BDRV_CHILD_FILTERED;

    s->offset = o->has_offset ? (int64_t)o->offset : 0;
    s->size = o->has_size ? (int64_t)o->size : -1;
    if (s->offset < 0 || (o->has_size && s->size < 0)) {
        error_setg(errp, "%s is too large", s->offset < 0 ? "offset" : "size");
        return false;
    }
    if (o->has_size && !QEMU_IS_ALIGNED(s->size, BDRV_SECTOR_SIZE)) {
        error_setg(errp, "Specified size is not multiple of %d", BDRV_SECTOR_SIZE);
        return false;
    }
    s->probed = bs->open_flags & BDRV_O_PROBED;
    if (!bdrv_co_open_child(bs, "file", o->file, role, errp) || !raw_check_window(bs, errp)) {
        return false;
    }
    if (s->probed && !bs->read_only) {
        warn_report("The format of '%s' was not named and is guessed to be raw. Writes that would give its first "
                    "sector the header of another format are refused; name the format (-f raw) to allow them",
                    bs->file->bs->filename);
    }
    return true;
}

static void coroutine_fn raw_co_close(BlockDriverState *bs)
{
}

static int64_t coroutine_fn raw_co_getlength(BlockDriverState *bs)
{
    return raw_window_length(bs);
}

/*
 * The child aligns requests itself. If they were aligned here, they could leave the window. A probed node has no
 * window. Zeroes and discards can be as large as the child likes them.
 */
static void raw_refresh_limits(BlockDriverState *bs)
{
    BDRVRawState *s = bs->opaque;

    bs->bl.request_alignment = s->probed ? BDRV_SECTOR_SIZE : 1;
    bs->bl.max_pwrite_zeroes = bs->file->bs->bl.max_pwrite_zeroes;
    bs->bl.max_pdiscard = bs->file->bs->bl.max_pdiscard;
}

static int coroutine_fn raw_co_preadv(BlockDriverState *bs, int64_t offset, int64_t bytes, QEMUIOVector *qiov,
                                      BdrvRequestFlags flags)
{
    BDRVRawState *s = bs->opaque;

    return bdrv_co_preadv(bs->file, s->offset + offset, bytes, qiov, flags);
}

/*
 * Check that a probed node stays raw when @bytes at @offset become the contents of @qiov (NULL: zeroes): 0 or -EPERM.
 */
static int raw_check_first_sector(BlockDriverState *bs, int64_t offset, int64_t bytes, QEMUIOVector *qiov)
{
    BDRVRawState *s = bs->opaque;
    uint8_t sector[BDRV_SECTOR_SIZE];

    if (!s->probed || offset >= BDRV_SECTOR_SIZE) {
        return 0;
    }
    if (offset > 0 || bytes < BDRV_SECTOR_SIZE) {
        return -EPERM;
    }
    if (!qiov) {
        return 0;
    }
    qemu_iovec_to_buf(qiov, 0, sector, sizeof(sector));
    return block_is_image_start(sector, sizeof(sector)) ? -EPERM : 0;
}

static int coroutine_fn raw_co_pwritev(BlockDriverState *bs, int64_t offset, int64_t bytes,
                                       QEMUIOVector *qiov, BdrvRequestFlags flags)
{
    BDRVRawState *s = bs->opaque;
    int ret = raw_check_first_sector(bs, offset, bytes, qiov);

    if (ret < 0) {
        return ret;
    }
    return bdrv_co_pwritev(bs->file, s->offset + offset, bytes, qiov, flags);
}

static int coroutine_fn raw_co_pwrite_zeroes(BlockDriverState *bs, int64_t offset, int64_t bytes,
                                             BdrvRequestFlags flags)
{
    BDRVRawState *s = bs->opaque;
    int ret = raw_check_first_sector(bs, offset, bytes, NULL);

    if (ret < 0) {
        return ret;
    }
    return bdrv_co_pwrite_zeroes(bs->file, s->offset + offset, bytes, flags);
}

static int coroutine_fn raw_co_pdiscard(BlockDriverState *bs, int64_t offset, int64_t bytes)
{
    BDRVRawState *s = bs->opaque;
    int ret = raw_check_first_sector(bs, offset, bytes, NULL);

    if (ret < 0) {
        return ret;
    }
    return bdrv_co_pdiscard(bs->file, s->offset + offset, bytes);
}

static int coroutine_fn raw_co_secure_discard(BlockDriverState *bs, int64_t offset, int64_t bytes)
{
    BDRVRawState *s = bs->opaque;

    return bdrv_co_secure_discard(bs->file, s->offset + offset, bytes);
}

static int coroutine_fn raw_co_block_status(BlockDriverState *bs, int64_t offset, int64_t bytes,
                                            int64_t *pnum, int64_t *map, BlockDriverState **file)
{
    BDRVRawState *s = bs->opaque;

    *pnum = bytes;
    *map = s->offset + offset;
    *file = bs->file->bs;
    return BDRV_BLOCK_RECURSE | BDRV_BLOCK_OFFSET_VALID;
}

static bool coroutine_fn raw_co_truncate(BlockDriverState *bs, int64_t offset, bool exact,
                                         PreallocMode prealloc, Job *job, Error **errp)
{
    BDRVRawState *s = bs->opaque;

    if (s->size >= 0) {
        error_setg(errp, "Cannot resize fixed-size raw disks");
        return false;
    }
    if (offset > BDRV_MAX_LENGTH - s->offset) {
        error_setg(errp, "Disk size too large for the chosen offset");
        return false;
    }
    return bdrv_co_truncate(bs->file, s->offset + offset, exact, prealloc, job, errp);
}

/* Any image can be raw if nothing better is known. */
static int raw_probe(const uint8_t *buf, size_t len)
{
    return 0;
}

static BlockMeasureInfo *raw_measure(const BlockdevCreateOptions *options, int64_t size, Error **errp)
{
    BlockMeasureInfo *info = g_new0(BlockMeasureInfo, 1);

    info->required = ROUND_UP(size, BDRV_SECTOR_SIZE);
    info->fully_allocated = info->required;
    return info;
}

const BlockDriver bdrv_raw = {
    .format_name = "raw",
    .driver = BLOCKDEV_DRIVER_RAW,
    .strong_runtime_opts = (const char *const[]){ "offset", "size", NULL },
    .instance_size = sizeof(BDRVRawState),

    .bdrv_co_open = raw_co_open,
    .bdrv_co_close = raw_co_close,
    .bdrv_co_getlength = raw_co_getlength,
    .bdrv_refresh_limits = raw_refresh_limits,
    .bdrv_co_preadv = raw_co_preadv,
    .bdrv_co_pwritev = raw_co_pwritev,
    .supported_write_flags = BDRV_REQ_FUA | BDRV_REQ_OWN_BUFFER | BDRV_REQ_WRITE_UNCHANGED,
    .supported_zero_flags = BDRV_REQ_FUA | BDRV_REQ_MAY_UNMAP | BDRV_REQ_NO_FALLBACK | BDRV_REQ_WRITE_UNCHANGED,
    .bdrv_co_pwrite_zeroes = raw_co_pwrite_zeroes,
    .bdrv_co_pdiscard = raw_co_pdiscard,
    .bdrv_co_secure_discard = raw_co_secure_discard,
    .bdrv_co_block_status = raw_co_block_status,
    .bdrv_co_truncate = raw_co_truncate,
    .bdrv_probe = raw_probe,
    .bdrv_measure = raw_measure,
};
