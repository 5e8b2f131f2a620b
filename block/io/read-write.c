/*
 * Reads and writes: aligned for the driver, and split into pieces that it supports
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "block/io/io_int.h"

/* Maximum size of bounce buffers for requests with more buffers than the driver supports. */
#define LINEARIZE_MAX_BYTES (1 * MiB)

void *qemu_blockalign(const BlockDriverState *bs, size_t size)
{
    void *ptr = NULL;
    size_t align = MAX(bs->bl.opt_mem_alignment, sizeof(void *));

    if (posix_memalign(&ptr, align, MAX(size, 1)) != 0) {
        g_error("could not allocate a buffer of %zu bytes", size);
    }
    return ptr;
}

void qemu_vfree(void *ptr)
{
    free(ptr);
}

/* The size of the next piece of a request of @bytes. */
static int64_t rw_piece_bytes(BlockDriverState *bs, const QEMUIOVector *qiov, int64_t bytes)
{
    int64_t max = bs->bl.max_transfer;

    if (bs->bl.max_iov && qiov->niov > bs->bl.max_iov) {
        max = max ? MIN(max, LINEARIZE_MAX_BYTES) : LINEARIZE_MAX_BYTES;
    }
    return MIN(bytes, bdrv_max_piece(max, bs->bl.request_alignment));
}

static int coroutine_fn rw_write_piece(BlockDriverState *bs, int64_t offset, QEMUIOVector *qiov, BdrvRequestFlags flags)
{
    int ret = bdrv_driver_pwritev(bs, offset, qiov->size, qiov, flags);

    if (bdrv_may_be_flush_error(bs, ret, flags) &&
        bdrv_driver_pwritev(bs, offset, qiov->size, qiov, flags & ~BDRV_REQ_FUA) == 0) {
        bdrv_set_flush_error(bs, ret);
    }
    return ret;
}

/* Read or write one piece, through a bounce buffer if it has too many buffers for the driver. */
static int coroutine_fn rw_piece(BlockDriverState *bs, int64_t offset, QEMUIOVector *qiov, bool write,
                                 BdrvRequestFlags flags)
{
    QEMUIOVector linear;
    int ret = bdrv_check_abandoned();

    if (ret < 0) {
        return ret;
    }
    if (!bs->bl.max_iov || qiov->niov <= bs->bl.max_iov) {
        return write ? rw_write_piece(bs, offset, qiov, flags)
                     : bdrv_driver_preadv(bs, offset, qiov->size, qiov, flags);
    }
    void *buf = qemu_blockalign(bs, qiov->size);
    qemu_iovec_init_buf(&linear, buf, qiov->size);
    if (write) {
        qemu_iovec_to_buf(qiov, 0, buf, qiov->size);
        ret = rw_write_piece(bs, offset, &linear, flags);
    } else {
        ret = bdrv_driver_preadv(bs, offset, qiov->size, &linear, flags);
        if (ret == 0) {
            qemu_iovec_from_buf(qiov, 0, buf, qiov->size);
        }
    }
    qemu_vfree(buf);
    return ret;
}

/* Read or write an aligned range of any size. */
static int coroutine_fn aligned_rw(BlockDriverState *bs, int64_t offset, int64_t bytes, QEMUIOVector *qiov,
                                   bool write, BdrvRequestFlags flags)
{
    int ret = 0;

    if (rw_piece_bytes(bs, qiov, bytes) == bytes) {
        return rw_piece(bs, offset, qiov, write, flags);
    }
    for (int64_t done = 0; ret == 0 && done < bytes;) {
        QEMUIOVector piece;
        int64_t n = rw_piece_bytes(bs, qiov, bytes - done);

        qemu_iovec_init_slice(&piece, qiov, done, n);
        ret = rw_piece(bs, offset + done, &piece, write, flags);
        qemu_iovec_destroy(&piece);
        done += n;
    }
    return ret;
}

int coroutine_fn bdrv_aligned_pwritev(BlockDriverState *bs, int64_t offset, int64_t bytes, QEMUIOVector *qiov,
                                      BdrvRequestFlags flags)
{
    BdrvRequestFlags supported = bs->drv->supported_write_flags;
    int ret = aligned_rw(bs, offset, bytes, qiov, true, flags & supported);

    if (ret == 0 && flags & BDRV_REQ_FUA & ~supported) {
        ret = bdrv_flush_request(bs);
    }
    return ret;
}

/* A request widened to whole blocks, with a buffer for the bytes around the caller's. */
typedef struct Padded {
    int64_t offset;
    int64_t bytes;
    QEMUIOVector qiov;      /* [head] caller's buffers [tail] */
    uint8_t *buf;           /* the block of the head, then that of the tail unless it is the same */
    size_t head;            /* bytes before the caller's */
    size_t tail;            /* bytes after them */
    uint8_t *tail_block;
} Padded;

static bool padded_is_needed(BlockDriverState *bs, int64_t offset, int64_t bytes)
{
    return !QEMU_IS_ALIGNED(offset | bytes, bs->bl.request_alignment);
}

static void padded_init(Padded *p, BlockDriverState *bs, int64_t offset, int64_t bytes, QEMUIOVector *qiov)
{
    int64_t align = bs->bl.request_alignment;
    int64_t end = ROUND_UP(offset + bytes, align);

    p->offset = ROUND_DOWN(offset, align);
    p->bytes = end - p->offset;
    p->head = offset - p->offset;
    p->tail = end - (offset + bytes);
    p->buf = qemu_blockalign(bs, MIN(p->bytes, 2 * align));
    p->tail_block = p->bytes > align ? p->buf + align : p->buf;

    qemu_iovec_init(&p->qiov, qiov->niov + 2);
    if (p->head) {
        qemu_iovec_add(&p->qiov, p->buf, p->head);
    }
    qemu_iovec_concat(&p->qiov, qiov, 0, bytes);
    if (p->tail) {
        qemu_iovec_add(&p->qiov, p->tail_block + align - p->tail, p->tail);
    }
}

static void padded_cleanup(Padded *p)
{
    qemu_iovec_destroy(&p->qiov);
    qemu_vfree(p->buf);
}

/* The first block holds the head and, if it is the only one, also the tail. */
static void padded_events(const Padded *p, BlockDriverState *bs, bool only, BlkdebugEvent head, BlkdebugEvent tail)
{
    if (p->head) {
        bdrv_debug_event(bs, head);
    }
    if (p->tail && only) {
        bdrv_debug_event(bs, tail);
    }
}

/* Read the bytes around the caller's. */
static int coroutine_fn padded_fill(Padded *p, BlockDriverState *bs)
{
    int64_t align = bs->bl.request_alignment;
    QEMUIOVector block;
    int ret = 0;

    if (p->head || p->tail_block == p->buf) {
        padded_events(p, bs, p->tail_block == p->buf, BLKDBG_PWRITEV_RMW_HEAD, BLKDBG_PWRITEV_RMW_TAIL);
        qemu_iovec_init_buf(&block, p->buf, align);
        ret = aligned_rw(bs, p->offset, align, &block, false, 0);
        padded_events(p, bs, p->tail_block == p->buf, BLKDBG_PWRITEV_RMW_AFTER_HEAD, BLKDBG_PWRITEV_RMW_AFTER_TAIL);
    }
    if (ret == 0 && p->tail && p->tail_block != p->buf) {
        bdrv_debug_event(bs, BLKDBG_PWRITEV_RMW_TAIL);
        qemu_iovec_init_buf(&block, p->tail_block, align);
        ret = aligned_rw(bs, p->offset + p->bytes - align, align, &block, false, 0);
        bdrv_debug_event(bs, BLKDBG_PWRITEV_RMW_AFTER_TAIL);
    }
    return ret;
}

int coroutine_fn bdrv_co_preadv(BdrvChild *child, int64_t offset, int64_t bytes, QEMUIOVector *qiov,
                                BdrvRequestFlags flags)
{
    BlockDriverState *bs = child->bs;
    BdrvTrackedRequest req;
    int ret = bdrv_check_request(bs, offset, bytes);

    bdrv_assert_perm(child, BLK_PERM_CONSISTENT_READ);
    if (ret < 0 || bytes == 0) {
        return ret;
    }
    bdrv_tracked_request_begin(&req, bs, offset, bytes, BDRV_TRACKED_READ, flags & BDRV_REQ_SERIALISING);
    flags &= bs->drv->supported_read_flags;
    if (padded_is_needed(bs, offset, bytes)) {
        Padded p;

        padded_init(&p, bs, offset, bytes, qiov);
        ret = aligned_rw(bs, p.offset, p.bytes, &p.qiov, false, flags);
        padded_cleanup(&p);
    } else {
        ret = aligned_rw(bs, offset, bytes, qiov, false, flags);
    }
    bdrv_tracked_request_end(&req);
    return ret;
}

static int coroutine_fn tracked_aligned_pwritev(BlockDriverState *bs, int64_t offset, int64_t bytes, QEMUIOVector *qiov,
                                                BdrvRequestFlags flags)
{
    bdrv_debug_event(bs, BLKDBG_PWRITEV);
    int ret = bdrv_aligned_pwritev(bs, offset, bytes, qiov, flags);
    bdrv_debug_event(bs, BLKDBG_PWRITEV_DONE);
    return ret;
}

static int coroutine_fn padded_pwritev(BlockDriverState *bs, int64_t offset, int64_t bytes,
                                       QEMUIOVector *qiov, BdrvRequestFlags flags)
{
    BdrvTrackedRequest req;
    Padded p;

    padded_init(&p, bs, offset, bytes, qiov);
    bdrv_tracked_request_begin(&req, bs, p.offset, p.bytes, BDRV_TRACKED_WRITE, true);
    int ret = padded_fill(&p, bs);
    if (ret == 0) {
        ret = tracked_aligned_pwritev(bs, p.offset, p.bytes, &p.qiov, flags);
    }
    bdrv_tracked_request_end(&req);
    padded_cleanup(&p);
    return ret;
}

int coroutine_fn bdrv_tracked_pwritev(BlockDriverState *bs, int64_t offset, int64_t bytes,
                                      QEMUIOVector *qiov, BdrvRequestFlags flags)
{
    BdrvTrackedRequest req;

    if (padded_is_needed(bs, offset, bytes)) {
        return padded_pwritev(bs, offset, bytes, qiov, flags);
    }
    bdrv_tracked_request_begin(&req, bs, offset, bytes, BDRV_TRACKED_WRITE, flags & BDRV_REQ_SERIALISING);
    int ret = tracked_aligned_pwritev(bs, offset, bytes, qiov, flags);
    bdrv_tracked_request_end(&req);
    return ret;
}

int coroutine_fn bdrv_co_pwritev(BdrvChild *child, int64_t offset, int64_t bytes, QEMUIOVector *qiov,
                                 BdrvRequestFlags flags)
{
    BlockDriverState *bs = child->bs;
    int ret = bdrv_check_write(child, offset, bytes, flags);

    if (ret < 0 || bytes == 0) {
        return ret;
    }
    if (bs->detect_zeroes != BLOCKDEV_DETECT_ZEROES_OPTIONS_OFF && qemu_iovec_is_zero(qiov, 0, bytes)) {
        flags &= BDRV_REQ_ANY_WRITE;
        if (bs->detect_zeroes == BLOCKDEV_DETECT_ZEROES_OPTIONS_UNMAP) {
            flags |= BDRV_REQ_MAY_UNMAP;
        }
        return bdrv_co_pwrite_zeroes(child, offset, bytes, flags);
    }
    return bdrv_tracked_pwritev(bs, offset, bytes, qiov, flags);
}

int coroutine_fn bdrv_co_pread(BdrvChild *child, int64_t offset, int64_t bytes, void *buf)
{
    QEMUIOVector qiov;

    qemu_iovec_init_buf(&qiov, buf, bytes);
    return bdrv_co_preadv(child, offset, bytes, &qiov, 0);
}

int coroutine_fn bdrv_co_pwrite(BdrvChild *child, int64_t offset, int64_t bytes, const void *buf,
                                BdrvRequestFlags flags)
{
    QEMUIOVector qiov;

    qemu_iovec_init_buf(&qiov, (void *)buf, bytes);
    return bdrv_co_pwritev(child, offset, bytes, &qiov, flags);
}
