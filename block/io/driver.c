/*
 * The boundary to drivers: request callbacks are called here and nowhere else
 *
 * Before a call, the guarantees of block_int.h to drivers are asserted; after it, those of drivers. Errors that users
 * can cause (a range beyond the end, a node that is read-only or inactive) have been returned before.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "block/io/io_int.h"

static void assert_alignment(uint32_t align)
{
    assert(align > 0 && (align & (align - 1)) == 0 && align <= BDRV_MAX_ALIGNMENT);
}

/* Of devices, these are not always powers of 2. */
static void assert_granularity(const BlockLimits *bl, uint32_t align)
{
    assert(align <= BDRV_MAX_ALIGNMENT);
    assert(align < bl->request_alignment || QEMU_IS_ALIGNED(align, bl->request_alignment));
}

void bdrv_driver_refresh_limits(BlockDriverState *bs)
{
    const BlockLimits *bl = &bs->bl;

    if (bs->drv->bdrv_refresh_limits) {
        bs->drv->bdrv_refresh_limits(bs);
    }
    assert_alignment(bl->request_alignment);
    assert_alignment(bl->min_mem_alignment);
    assert_alignment(bl->opt_mem_alignment);
    assert_granularity(bl, bl->pdiscard_alignment);
    assert_granularity(bl, bl->pwrite_zeroes_alignment);
    assert(bl->max_transfer >= 0 && bl->max_pdiscard >= 0 && bl->max_pwrite_zeroes >= 0 && bl->max_iov >= 0);
}

/* The request must be counted, so that draining waits for it. */
static inline void assert_in_flight(BlockDriverState *bs)
{
    assert(qemu_in_coroutine());
    assert(g_atomic_int_get(&bs->in_flight) > 0);
}

static inline bool is_aligned(int64_t offset, int64_t bytes, uint32_t align)
{
    return ((offset | bytes) & (align - 1)) == 0;
}

/* Whole blocks within the node, whose last block may be incomplete. */
static inline void assert_range(BlockDriverState *bs, int64_t offset, int64_t bytes)
{
    uint32_t align = bs->bl.request_alignment;

    assert(offset >= 0 && bytes > 0 && offset < bs->length);
    assert(is_aligned(offset, bytes, align));
    assert(bytes - (bs->length - offset) < align);
}

/* No more than the driver's limit @max (0: none), but at least one block of @align. @bytes are whole blocks. */
static inline void assert_limit(int64_t bytes, int64_t max, uint32_t align)
{
    assert(bytes <= BDRV_REQUEST_MAX_BYTES || bytes == align);
    assert(!max || bytes <= max || bytes == align);
}

static inline void assert_transfer(BlockDriverState *bs, int64_t offset, int64_t bytes, const QEMUIOVector *qiov)
{
    assert_in_flight(bs);
    assert_range(bs, offset, bytes);
    assert_limit(bytes, bs->bl.max_transfer, bs->bl.request_alignment);
    assert(qiov->size == (size_t)bytes);
    assert(!bs->bl.max_iov || qiov->niov <= bs->bl.max_iov);
}

static void assert_writable(const BlockDriverState *bs)
{
    assert(!bs->read_only && !bs->inactive);
}

/* Requests are done in full or fail: a number of bytes, as from a system call, is not a valid result. */
static int checked_result(int ret)
{
    assert(ret <= 0);
    return ret;
}

int coroutine_fn bdrv_driver_preadv(BlockDriverState *bs, int64_t offset, int64_t bytes, QEMUIOVector *qiov,
                                    BdrvRequestFlags flags)
{
    assert_transfer(bs, offset, bytes, qiov);
    assert(!(flags & ~bs->drv->supported_read_flags));
    if (!bs->drv->is_filter) {
        bdrv_debug_event(bdrv_file_bs(bs), BLKDBG_READ_AIO);
    }
    return checked_result(bs->drv->bdrv_co_preadv(bs, offset, bytes, qiov, flags));
}

int coroutine_fn bdrv_driver_pwritev(BlockDriverState *bs, int64_t offset, int64_t bytes, QEMUIOVector *qiov,
                                     BdrvRequestFlags flags)
{
    assert_transfer(bs, offset, bytes, qiov);
    assert_writable(bs);
    assert(!(flags & ~bs->drv->supported_write_flags));
    if (!bs->drv->is_filter) {
        bdrv_debug_event(bdrv_file_bs(bs), BLKDBG_WRITE_AIO);
    }
    return checked_result(bs->drv->bdrv_co_pwritev(bs, offset, bytes, qiov, flags));
}

int coroutine_fn bdrv_driver_pwrite_zeroes(BlockDriverState *bs, int64_t offset, int64_t bytes,
                                           BdrvRequestFlags flags)
{
    assert_in_flight(bs);
    assert_writable(bs);
    assert_range(bs, offset, bytes);
    assert(QEMU_IS_ALIGNED(bytes, MAX(bs->bl.pwrite_zeroes_alignment, 1)));
    assert_limit(bytes, bs->bl.max_pwrite_zeroes, MAX(bs->bl.pwrite_zeroes_alignment, 1));
    assert(!(flags & ~bs->drv->supported_zero_flags));
    return checked_result(bs->drv->bdrv_co_pwrite_zeroes(bs, offset, bytes, flags));
}

int coroutine_fn bdrv_driver_pdiscard(BlockDriverState *bs, int64_t offset, int64_t bytes)
{
    assert_in_flight(bs);
    assert_writable(bs);
    assert_range(bs, offset, bytes);
    assert(QEMU_IS_ALIGNED(bytes, MAX(bs->bl.pdiscard_alignment, 1)));
    assert_limit(bytes, bs->bl.max_pdiscard, MAX(bs->bl.pdiscard_alignment, 1));
    return checked_result(bs->drv->bdrv_co_pdiscard(bs, offset, bytes));
}

int coroutine_fn bdrv_driver_secure_discard(BlockDriverState *bs, int64_t offset, int64_t bytes)
{
    assert_in_flight(bs);
    assert_writable(bs);
    assert(offset >= 0 && bytes > 0 && bytes <= bs->length - offset);
    return checked_result(bs->drv->bdrv_co_secure_discard(bs, offset, bytes));
}

int coroutine_fn bdrv_driver_flush(BlockDriverState *bs)
{
    assert_in_flight(bs);
    assert(!bs->read_only);
    return checked_result(bs->drv->bdrv_co_flush(bs));
}

int coroutine_fn bdrv_driver_block_status(BlockDriverState *bs, int64_t offset, int64_t bytes, int64_t *pnum,
                                          int64_t *map, BlockDriverState **file)
{
    assert_in_flight(bs);
    assert(offset >= 0 && bytes > 0 && bytes <= bs->length - offset);
    int ret = bs->drv->bdrv_co_block_status(bs, offset, bytes, pnum, map, file);

    if (ret >= 0) {
        assert(!(ret & ~(BDRV_BLOCK_DATA | BDRV_BLOCK_ZERO | BDRV_BLOCK_OFFSET_VALID | BDRV_BLOCK_ALLOCATED |
                         BDRV_BLOCK_RECURSE)));
        assert(*pnum > 0 && *pnum <= bytes);
        assert(*pnum == bytes || is_aligned(0, *pnum, bs->bl.request_alignment));
        if (ret & (BDRV_BLOCK_OFFSET_VALID | BDRV_BLOCK_RECURSE)) {
            assert(*file && *map >= 0);
        }
        assert(!(ret & BDRV_BLOCK_RECURSE) || *file != bs);
    }
    return ret;
}

bool coroutine_fn bdrv_driver_truncate(BlockDriverState *bs, int64_t offset, bool exact, PreallocMode prealloc,
                                       Job *job, Error **errp)
{
    ERRP_GUARD();

    assert_in_flight(bs);
    assert_writable(bs);
    assert(qemu_get_current_aio_context() == qemu_get_aio_context());
    assert(offset >= 0 && offset <= BDRV_MAX_LENGTH);
    bool ok = bs->drv->bdrv_co_truncate(bs, offset, exact, prealloc, job, errp);
    assert(ok == !*errp);
    return ok;
}
