/*
 * A block driver on memory for the tests of the block layer, and a filter: they replace null-co and raw with a table of
 * their own, so that block/drivers/drivers.c is not linked. Asserts what block/io guarantees to drivers.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef MEMORY_DRIVER_H
#define MEMORY_DRIVER_H

#include "block/block_int.h"
#include "util/aio.h"

typedef struct MemoryState {
    uint8_t *data;
    int64_t length;
    GMutex lock;        /* tests may read what others are writing */
    int busy;           /* requests inside the driver; atomic */
    int flushes;
    int64_t bytes_read;     /* all three under lock */
    int64_t bytes_written;
    int64_t bytes_zeroed;
} MemoryState;

/* Set before opening a node. */
static uint32_t memory_alignment = 1;
static int64_t memory_max_transfer;
static int64_t memory_latency_ns;
static int memory_max_iov;
/* Requests that touch this byte fail as long as there are failures left; writes half done. Can be set at any time. */
static int64_t memory_bad_byte;
static int memory_read_failures;
static int memory_write_failures;
/* Whether zero blocks of 4 KiB are reported as such, and can be created without writing them. */
static bool memory_sparse;
#define MEMORY_BLOCK_BYTES 4096
/* The length that the driver reports, without allocating so much memory; 0: the real one. */
static int64_t memory_length;

static bool coroutine_fn memory_co_open(BlockDriverState *bs, Error **errp)
{
    MemoryState *s = bs->opaque;

    s->length = bs->options->u.null_co.has_size ? bs->options->u.null_co.size : 1 * MiB;
    s->data = g_malloc0(s->length);
    g_mutex_init(&s->lock);
    bs->filename = g_strdup("memory");
    return true;
}

static void coroutine_fn memory_co_close(BlockDriverState *bs)
{
    MemoryState *s = bs->opaque;

    g_assert_cmpint(s->busy, ==, 0);
    g_mutex_clear(&s->lock);
    g_free(s->data);
}

static int64_t coroutine_fn memory_co_getlength(BlockDriverState *bs)
{
    return memory_length ?: ((MemoryState *)bs->opaque)->length;
}

static void memory_refresh_limits(BlockDriverState *bs)
{
    bs->bl.request_alignment = memory_alignment;
    bs->bl.max_transfer = memory_max_transfer;
    bs->bl.max_iov = memory_max_iov;
}

static void coroutine_fn memory_check(BlockDriverState *bs, int64_t offset, int64_t bytes)
{
    MemoryState *s = bs->opaque;

    g_assert_cmpint(offset % memory_alignment, ==, 0);
    g_assert_cmpint(bytes % memory_alignment, ==, 0);
    g_assert_cmpint(offset + bytes, <=, s->length);
    g_assert_true(!memory_max_transfer || bytes <= memory_max_transfer);
    g_atomic_int_inc(&s->busy);
    if (memory_latency_ns) {
        co_sleep_ns(memory_latency_ns);
    }
    g_atomic_int_add(&s->busy, -1);
}

/* Whether this request must fail. */
static bool memory_fails(int *failures, int64_t offset, int64_t bytes)
{
    if (*failures && memory_bad_byte >= offset && memory_bad_byte < offset + bytes) {
        --*failures;
        return true;
    }
    return false;
}

static int coroutine_fn memory_co_preadv(BlockDriverState *bs, int64_t offset, int64_t bytes, QEMUIOVector *qiov,
                                         BdrvRequestFlags flags)
{
    MemoryState *s = bs->opaque;

    memory_check(bs, offset, bytes);
    g_assert_true(!memory_max_iov || qiov->niov <= memory_max_iov);
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&s->lock);
    qemu_iovec_from_buf(qiov, 0, s->data + offset, bytes);
    s->bytes_read += bytes;
    return memory_fails(&memory_read_failures, offset, bytes) ? -EIO : 0;
}

static int coroutine_fn memory_co_pwritev(BlockDriverState *bs, int64_t offset, int64_t bytes,
                                          QEMUIOVector *qiov, BdrvRequestFlags flags)
{
    MemoryState *s = bs->opaque;

    memory_check(bs, offset, bytes);
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&s->lock);
    bool fails = memory_fails(&memory_write_failures, offset, bytes);

    qemu_iovec_to_buf(qiov, 0, s->data + offset, fails ? bytes / 2 : bytes);
    s->bytes_written += bytes;
    if (flags & BDRV_REQ_OWN_BUFFER) {
        /* Nobody may use its contents any more. */
        qemu_iovec_memset(qiov, 0, 0xee, bytes);
    }
    return fails ? -EIO : 0;
}

static int coroutine_fn memory_co_pwrite_zeroes(BlockDriverState *bs, int64_t offset, int64_t bytes,
                                                BdrvRequestFlags flags)
{
    MemoryState *s = bs->opaque;

    if (!memory_sparse) {
        return -ENOTSUP;
    }
    memory_check(bs, offset, bytes);
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&s->lock);
    memset(s->data + offset, 0, bytes);
    s->bytes_zeroed += bytes;
    return 0;
}

static int coroutine_fn memory_co_block_status(BlockDriverState *bs, int64_t offset, int64_t bytes, int64_t *pnum,
                                               int64_t *map, BlockDriverState **file)
{
    MemoryState *s = bs->opaque;
    bool zero = false;

    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&s->lock);
    *pnum = 0;
    while (memory_sparse && *pnum < bytes) {
        int64_t n = MIN(MEMORY_BLOCK_BYTES - (offset + *pnum) % MEMORY_BLOCK_BYTES, bytes - *pnum);
        bool n_zero = buffer_is_zero(s->data + offset + *pnum, n);

        if (*pnum && n_zero != zero) {
            break;
        }
        zero = n_zero;
        *pnum += n;
    }
    *pnum = memory_sparse ? *pnum : bytes;
    return (zero ? BDRV_BLOCK_ZERO : BDRV_BLOCK_DATA) | BDRV_BLOCK_ALLOCATED;
}

static int coroutine_fn memory_co_pdiscard(BlockDriverState *bs, int64_t offset, int64_t bytes)
{
    MemoryState *s = bs->opaque;

    memory_check(bs, offset, bytes);
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&s->lock);
    memset(s->data + offset, 0, bytes);
    return 0;
}

static int coroutine_fn memory_co_flush(BlockDriverState *bs)
{
    ((MemoryState *)bs->opaque)->flushes++;
    return 0;
}

static bool coroutine_fn memory_co_truncate(BlockDriverState *bs, int64_t offset, bool exact,
                                            PreallocMode prealloc, Job *job, Error **errp)
{
    MemoryState *s = bs->opaque;

    if (memory_length) {
        return true;
    }
    s->data = g_realloc(s->data, offset);
    if (offset > s->length) {
        memset(s->data + s->length, 0, offset - s->length);
    }
    s->length = offset;
    return true;
}

static bool memory_parse_filename(const char *filename, struct json_object *options, Error **errp)
{
    return true;
}

static const BlockDriver memory_driver = {
    .format_name = "null-co",
    .driver = BLOCKDEV_DRIVER_NULL_CO,
    .instance_size = sizeof(MemoryState),
    .is_protocol = true,
    .protocol_names = (const char *const[]){ "memory", "memory+unix", "memories", NULL },
    .bdrv_parse_filename = memory_parse_filename,
    .bdrv_co_open = memory_co_open,
    .bdrv_co_close = memory_co_close,
    .bdrv_co_getlength = memory_co_getlength,
    .bdrv_refresh_limits = memory_refresh_limits,
    .bdrv_co_preadv = memory_co_preadv,
    .bdrv_co_pwritev = memory_co_pwritev,
    .supported_write_flags = BDRV_REQ_OWN_BUFFER,
    .bdrv_co_pwrite_zeroes = memory_co_pwrite_zeroes,
    .bdrv_co_block_status = memory_co_block_status,
    .bdrv_co_pdiscard = memory_co_pdiscard,
    .bdrv_co_flush = memory_co_flush,
    .bdrv_co_truncate = memory_co_truncate,
};

#define TEST_PROTOCOL memory_driver
#include "filter-driver.h"

#endif
