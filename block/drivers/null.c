/*
 * null-co and null-aio: volumes that discard what is written, for tests and benchmarks
 *
 * QEMU has two drivers, one of which completes requests through its event loop. Here every request is a coroutine: only
 * the names differ.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "block/block_int.h"
#include "block/drivers.h"
#include "util/aio.h"

#define DEFAULT_SIZE (1 * GiB)

typedef struct NullSleeper {
    CoSleep sleep;
    bool cancelled;
    struct NullSleeper *next;
} NullSleeper;

typedef struct BDRVNullState {
    GMutex lock;
    NullSleeper *sleepers;      /* requests waiting for their latency to pass; under lock */
    int64_t length;
    int64_t latency_ns;
    bool read_zeroes;
} BDRVNullState;

static bool coroutine_fn null_open(BlockDriverState *bs, const BlockdevOptionsNull *o, Error **errp)
{
    BDRVNullState *s = bs->opaque;

    if (o->has_size && o->size > (uint64_t)BDRV_MAX_LENGTH) {
        error_setg(errp, "size is too large");
        return false;
    }
    if (o->has_latency_ns && o->latency_ns > INT64_MAX / 2) {
        error_setg(errp, "latency-ns is invalid");
        return false;
    }
    g_mutex_init(&s->lock);
    s->length = o->has_size ? ROUND_UP(o->size, BDRV_SECTOR_SIZE) : DEFAULT_SIZE;
    s->latency_ns = o->has_latency_ns ? o->latency_ns : 0;
    s->read_zeroes = o->has_read_zeroes && o->read_zeroes;
    bs->filename = g_strdup_printf("%s://", bs->drv->format_name);
    return true;
}

static bool coroutine_fn null_co_open(BlockDriverState *bs, Error **errp)
{
    return null_open(bs, &bs->options->u.null_co, errp);
}

static bool coroutine_fn null_aio_open(BlockDriverState *bs, Error **errp)
{
    return null_open(bs, &bs->options->u.null_aio, errp);
}

static void coroutine_fn null_co_close(BlockDriverState *bs)
{
    BDRVNullState *s = bs->opaque;

    g_mutex_clear(&s->lock);
}

static int64_t coroutine_fn null_co_getlength(BlockDriverState *bs)
{
    BDRVNullState *s = bs->opaque;

    return s->length;
}

static int coroutine_fn null_wait_latency(BDRVNullState *s)
{
    NullSleeper sleeper = { .cancelled = false };

    if (s->latency_ns == 0) {
        return 0;
    }
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&s->lock);
    if (bdrv_must_not_wait() || !qemu_co_cancel_begin_sleep(&sleeper.sleep)) {
        return -ECANCELED;
    }
    sleeper.next = s->sleepers;
    s->sleepers = &sleeper;
    co_sleep_ns_wakeable(&sleeper.sleep, s->latency_ns, &s->lock);
    qemu_co_cancel_end();
    for (NullSleeper **p = &s->sleepers; *p; p = &(*p)->next) {
        if (*p == &sleeper) {
            *p = sleeper.next;
            break;
        }
    }
    return sleeper.cancelled || qemu_co_is_cancelled() ? -ECANCELED : 0;
}

static void null_cancel_in_flight(BlockDriverState *bs)
{
    BDRVNullState *s = bs->opaque;
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&s->lock);

    for (NullSleeper *sleeper = s->sleepers; sleeper; sleeper = sleeper->next) {
        sleeper->cancelled = true;
        qemu_co_sleep_wake(&sleeper->sleep);
    }
}

static int coroutine_fn null_co_preadv(BlockDriverState *bs, int64_t offset, int64_t bytes, QEMUIOVector *qiov,
                                       BdrvRequestFlags flags)
{
    BDRVNullState *s = bs->opaque;

    if (s->read_zeroes) {
        qemu_iovec_memset(qiov, 0, 0, bytes);
    }
    return null_wait_latency(s);
}

static int coroutine_fn null_co_pwritev(BlockDriverState *bs, int64_t offset, int64_t bytes,
                                        QEMUIOVector *qiov, BdrvRequestFlags flags)
{
    return null_wait_latency(bs->opaque);
}

static int coroutine_fn null_co_flush(BlockDriverState *bs)
{
    return null_wait_latency(bs->opaque);
}

static int coroutine_fn null_co_pwrite_zeroes(BlockDriverState *bs, int64_t offset, int64_t bytes,
                                              BdrvRequestFlags flags)
{
    return null_wait_latency(bs->opaque);
}

static int coroutine_fn null_co_block_status(BlockDriverState *bs, int64_t offset, int64_t bytes,
                                             int64_t *pnum, int64_t *map, BlockDriverState **file)
{
    BDRVNullState *s = bs->opaque;

    *pnum = bytes;
    *map = offset;
    *file = bs;
    return BDRV_BLOCK_OFFSET_VALID | BDRV_BLOCK_ALLOCATED |
           (s->read_zeroes ? BDRV_BLOCK_ZERO : BDRV_BLOCK_DATA);
}

static int64_t coroutine_fn null_co_get_allocated_file_size(BlockDriverState *bs)
{
    return 0;
}

/* Only the protocol is allowed: there is nothing to name. */
static bool null_parse_filename(const char *filename, struct json_object *options, Error **errp)
{
    const char *rest = strchr(filename, ':');

    if (strcmp(rest, "://") != 0) {
        error_setg(errp, "The only allowed filename for this driver is '%.*s://'", (int)(rest - filename), filename);
        return false;
    }
    return true;
}

static void coroutine_fn null_co_erase_info(BlockDriverState *bs, int64_t offset, int64_t bytes,
                                            BdrvEraseInfo *info)
{
    info->assurance = SECURE_ERASE_ASSURANCE_OVERWRITTEN;
    g_ptr_array_add(info->notes, g_strdup_printf("%s stores nothing", bs->drv->format_name));
}

const BlockDriver bdrv_null_co = {
    .format_name = "null-co",
    .driver = BLOCKDEV_DRIVER_NULL_CO,
    .instance_size = sizeof(BDRVNullState),
    .is_protocol = true,
    .protocol_names = (const char *const[]){ "null-co", NULL },
    .bdrv_parse_filename = null_parse_filename,
    .strong_runtime_opts = (const char *const[]){ "size", "read-zeroes", NULL },

    .bdrv_co_open = null_co_open,
    .bdrv_co_close = null_co_close,
    .bdrv_cancel_in_flight = null_cancel_in_flight,
    .bdrv_co_getlength = null_co_getlength,
    .bdrv_co_preadv = null_co_preadv,
    .bdrv_co_pwritev = null_co_pwritev,
    .bdrv_co_flush = null_co_flush,
    .supported_write_flags = BDRV_REQ_FUA,
    .supported_zero_flags = BDRV_REQ_FUA | BDRV_REQ_MAY_UNMAP | BDRV_REQ_NO_FALLBACK,
    .bdrv_co_pwrite_zeroes = null_co_pwrite_zeroes,
    .bdrv_co_block_status = null_co_block_status,
    .bdrv_co_get_allocated_file_size = null_co_get_allocated_file_size,
    .bdrv_co_erase_info = null_co_erase_info,
};

const BlockDriver bdrv_null_aio = {
    .format_name = "null-aio",
    .driver = BLOCKDEV_DRIVER_NULL_AIO,
    .instance_size = sizeof(BDRVNullState),
    .is_protocol = true,
    .protocol_names = (const char *const[]){ "null-aio", NULL },
    .bdrv_parse_filename = null_parse_filename,
    .strong_runtime_opts = (const char *const[]){ "size", "read-zeroes", NULL },

    .bdrv_co_open = null_aio_open,
    .bdrv_co_close = null_co_close,
    .bdrv_cancel_in_flight = null_cancel_in_flight,
    .bdrv_co_getlength = null_co_getlength,
    .bdrv_co_preadv = null_co_preadv,
    .bdrv_co_pwritev = null_co_pwritev,
    .bdrv_co_flush = null_co_flush,
    .supported_write_flags = BDRV_REQ_FUA,
    .supported_zero_flags = BDRV_REQ_FUA | BDRV_REQ_MAY_UNMAP | BDRV_REQ_NO_FALLBACK,
    .bdrv_co_pwrite_zeroes = null_co_pwrite_zeroes,
    .bdrv_co_block_status = null_co_block_status,
    .bdrv_co_get_allocated_file_size = null_co_get_allocated_file_size,
    .bdrv_co_erase_info = null_co_erase_info,
};
