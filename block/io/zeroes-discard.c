/*
 * Writing zeroes and discarding
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "block/io/io_int.h"
#include "util/aio.h"

/* Maximum size of the buffer from which zeroes are written out. */
#define ZERO_BUFFER_BYTES (1 * MiB)

/*
 * Maximum size of the pieces in which zeroes and discards are passed to drivers without a limit of their own, so that a
 * request of gigabytes can end early.
 */
#define PIECE_MAX_BYTES (64 * MiB)

/* The maximum bytes to pass at once to a driver with the limit @max (0: none). */
static int64_t zeroes_max_piece(int64_t max, int64_t align)
{
    return bdrv_max_piece(max ?: PIECE_MAX_BYTES, align);
}

static int coroutine_fn write_zeroes_out(BlockDriverState *bs, int64_t offset, int64_t bytes, BdrvRequestFlags flags)
{
    int64_t size = MIN(bytes, ZERO_BUFFER_BYTES);
    void *buf = qemu_blockalign(bs, size);
    int ret = 0;

    memset(buf, 0, size);
    for (int64_t n; ret == 0 && bytes > 0; offset += n, bytes -= n) {
        QEMUIOVector qiov;

        n = MIN(bytes, size);
        qemu_iovec_init_buf(&qiov, buf, n);
        ret = bdrv_aligned_pwritev(bs, offset, n, &qiov, flags);
        if (bytes > n) {
            /* On fast storage, all writes would complete without yielding. */
            aio_co_yield();
        }
    }
    qemu_vfree(buf);
    return ret;
}

/* How many bytes from @offset on can be handled in the same way, and whether by the driver's own callback. */
static int64_t zeroes_piece(BlockDriverState *bs, int64_t offset, int64_t bytes, bool *aligned)
{
    int64_t align = MAX(bs->bl.pwrite_zeroes_alignment, bs->bl.request_alignment);
    int64_t start = ROUND_UP(offset, align);

    *aligned = start == offset && bytes >= align;
    if (start != offset) {
        return MIN(bytes, start - offset);
    }
    return *aligned ? MIN(ROUND_DOWN(bytes, align), zeroes_max_piece(bs->bl.max_pwrite_zeroes, align)) : bytes;
}

static int coroutine_fn zeroes_by_driver(BlockDriverState *bs, int64_t offset, int64_t bytes, BdrvRequestFlags flags)
{
    int ret = bdrv_driver_pwrite_zeroes(bs, offset, bytes, flags);

    if (ret != -ENOTSUP && bdrv_may_be_flush_error(bs, ret, flags) &&
        bdrv_driver_pwrite_zeroes(bs, offset, bytes, flags & ~BDRV_REQ_FUA) == 0) {
        bdrv_set_flush_error(bs, ret);
    }
    return ret;
}

static int coroutine_fn aligned_pwrite_zeroes(BlockDriverState *bs, int64_t offset, int64_t bytes,
                                              BdrvRequestFlags flags)
{
    const BlockDriver *drv = bs->drv;
    BdrvRequestFlags supported = drv->supported_zero_flags;
    bool flush = flags & BDRV_REQ_FUA & ~supported;
    int ret = 0;

    if (!bs->discard_unmap) {
        flags &= ~BDRV_REQ_MAY_UNMAP;
    }
    for (int64_t n; ret == 0 && bytes > 0; offset += n, bytes -= n) {
        bool aligned;

        n = zeroes_piece(bs, offset, bytes, &aligned);
        ret = bdrv_check_abandoned() ?: -ENOTSUP;
        if (ret == -ENOTSUP && drv->bdrv_co_pwrite_zeroes && aligned) {
            ret = zeroes_by_driver(bs, offset, n, flags & supported);
        }
        if (ret == -ENOTSUP && !(flags & BDRV_REQ_NO_FALLBACK)) {
            ret = write_zeroes_out(bs, offset, n, flags & BDRV_REQ_WRITE_UNCHANGED);
            flush |= flags & BDRV_REQ_FUA;
        }
    }
    return ret == 0 && flush ? bdrv_flush_request(bs) : ret;
}

/* Zero the part of a block before or after the whole blocks of a range. */
static int coroutine_fn zero_fragment(BlockDriverState *bs, int64_t offset, int64_t bytes,
                                      BdrvRequestFlags flags)
{
    g_autofree void *buf = g_malloc0(bytes);
    QEMUIOVector qiov;

    qemu_iovec_init_buf(&qiov, buf, bytes);
    return bdrv_tracked_pwritev(bs, offset, bytes, &qiov, flags & BDRV_REQ_ANY_WRITE);
}

int coroutine_fn bdrv_co_pwrite_zeroes(BdrvChild *child, int64_t offset, int64_t bytes,
                                       BdrvRequestFlags flags)
{
    BlockDriverState *bs = child->bs;
    int64_t align = bs->bl.request_alignment;
    BdrvTrackedRequest req;
    int ret = bdrv_check_write(child, offset, bytes, flags);

    if (ret < 0 || bytes == 0) {
        return ret;
    }
    int64_t start = ROUND_UP(offset, align);
    int64_t end = ROUND_DOWN(offset + bytes, align);
    bool fragments = start != offset || end != offset + bytes;

    if (fragments && flags & BDRV_REQ_NO_FALLBACK) {
        return -ENOTSUP;
    }
    if (start > end || (fragments && start == end)) {
        /* Within one block, or at the ends of two adjacent blocks. */
        return zero_fragment(bs, offset, bytes, flags);
    }
    if (start > offset) {
        ret = zero_fragment(bs, offset, start - offset, flags);
    }
    if (ret == 0 && end < offset + bytes) {
        ret = zero_fragment(bs, end, offset + bytes - end, flags);
    }
    if (ret == 0) {
        bdrv_tracked_request_begin(&req, bs, start, end - start, BDRV_TRACKED_WRITE, flags & BDRV_REQ_SERIALISING);
        bdrv_debug_event(bs, BLKDBG_PWRITEV_ZERO);
        ret = aligned_pwrite_zeroes(bs, start, end - start, flags);
        bdrv_debug_event(bs, BLKDBG_PWRITEV_DONE);
        bdrv_tracked_request_end(&req);
    }
    return ret;
}

int coroutine_fn bdrv_co_pdiscard(BdrvChild *child, int64_t offset, int64_t bytes)
{
    BlockDriverState *bs = child->bs;
    const BlockDriver *drv = bs->drv;
    int64_t align = MAX(bs->bl.pdiscard_alignment, bs->bl.request_alignment);
    int64_t max = zeroes_max_piece(bs->bl.max_pdiscard, align);
    BdrvTrackedRequest req;
    int ret = bdrv_check_write(child, offset, bytes, 0);

    if (ret < 0) {
        return ret;
    }
    /* A discard is only a hint: parts of the driver's blocks are ignored. */
    int64_t start = ROUND_UP(offset, align);
    int64_t end = ROUND_DOWN(offset + bytes, align);
    if (!bs->discard_unmap || !drv->bdrv_co_pdiscard || start >= end) {
        return 0;
    }
    bdrv_tracked_request_begin(&req, bs, start, end - start, BDRV_TRACKED_DISCARD, false);
    for (int64_t n; ret == 0 && start < end; start += n) {
        n = MIN(end - start, max);
        ret = bdrv_check_abandoned() ?: bdrv_driver_pdiscard(bs, start, n);
    }
    bdrv_tracked_request_end(&req);
    return ret == -ENOTSUP ? 0 : ret;
}

int coroutine_fn bdrv_co_secure_discard(BdrvChild *child, int64_t offset, int64_t bytes)
{
    BlockDriverState *bs = child->bs;
    BdrvTrackedRequest req;
    int ret = bdrv_check_write(child, offset, bytes, 0);

    if (ret < 0 || bytes == 0) {
        return ret;
    }
    if (!bs->drv->bdrv_co_secure_discard) {
        return -ENOTSUP;
    }
    bdrv_tracked_request_begin(&req, bs, offset, bytes, BDRV_TRACKED_DISCARD, true);
    ret = bdrv_driver_secure_discard(bs, offset, bytes);
    bdrv_tracked_request_end(&req);
    return ret;
}
