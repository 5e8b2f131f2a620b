/*
 * A block driver that a test controls, and a filter: they replace null-co and raw with a table of their own, so that
 * block/drivers/drivers.c is not linked. Nothing is stored.
 *
 *     fake_hook = my_hook;
 *     BlockBackend *blk = fake_open_blk("driver=null-co");
 *     ...
 *     g_assert_cmpstr(fake_calls->str, ==, "wf");
 *     blk_co_unref(blk);
 *     fake_reset();
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef FAKE_DRIVER_H
#define FAKE_DRIVER_H

#include <json-c/json.h>

#include "block/block-backend.h"
#include "block/block_int.h"
#include "qapi/json.h"
#include "qapi/keyval.h"
#include "util/aio.h"

typedef enum FakeOp {
    FAKE_READ,
    FAKE_WRITE,
    FAKE_ZEROES,
    FAKE_DISCARD,
    FAKE_FLUSH,
} FakeOp;

/* Called for each request; returns its result. Without a hook the result is 0. */
static int coroutine_fn (*fake_hook)(FakeOp op, int64_t offset, int64_t bytes, BdrvRequestFlags flags);
static GString *fake_calls;     /* created by main(); a letter for each request: r w z d f, capital with FUA */
static bool fake_silent;        /* nothing is logged there, for requests from several threads */
static struct {
    uint32_t alignment;
    uint32_t zeroes_alignment;      /* also for discards */
    int64_t max_transfer;
    int status;
    int64_t pnum;
    BlockDriverState *file;
    bool open_fails;        /* without an error */
} fake;

static int coroutine_fn fake_call(FakeOp op, int64_t offset, int64_t bytes, BdrvRequestFlags flags)
{
    char letter = "rwzdf"[op];

    if (!fake_silent) {
        g_string_append_c(fake_calls, flags & BDRV_REQ_FUA ? g_ascii_toupper(letter) : letter);
    }
    return fake_hook ? fake_hook(op, offset, bytes, flags) : 0;
}

static bool coroutine_fn fake_co_open(BlockDriverState *bs, Error **errp)
{
    bs->filename = g_strdup("fake");
    return !fake.open_fails;
}

static void coroutine_fn fake_co_close(BlockDriverState *bs)
{
}

static int64_t coroutine_fn fake_co_getlength(BlockDriverState *bs)
{
    const BlockdevOptionsNull *o = &bs->options->u.null_co;

    return o->has_size ? (int64_t)o->size : 1 * MiB;
}

static void fake_refresh_limits(BlockDriverState *bs)
{
    bs->bl.request_alignment = fake.alignment ?: 1;
    bs->bl.pwrite_zeroes_alignment = bs->bl.pdiscard_alignment = fake.zeroes_alignment;
    bs->bl.max_transfer = fake.max_transfer;
}

static int coroutine_fn fake_co_preadv(BlockDriverState *bs, int64_t offset, int64_t bytes, QEMUIOVector *qiov,
                                       BdrvRequestFlags flags)
{
    return fake_call(FAKE_READ, offset, bytes, flags);
}

static int coroutine_fn fake_co_pwritev(BlockDriverState *bs, int64_t offset, int64_t bytes, QEMUIOVector *qiov,
                                        BdrvRequestFlags flags)
{
    return fake_call(FAKE_WRITE, offset, bytes, flags);
}

static int coroutine_fn fake_co_flush(BlockDriverState *bs)
{
    return fake_call(FAKE_FLUSH, 0, 0, 0);
}

static int coroutine_fn fake_co_pwrite_zeroes(BlockDriverState *bs, int64_t offset, int64_t bytes,
                                              BdrvRequestFlags flags)
{
    return fake_call(FAKE_ZEROES, offset, bytes, flags);
}

static int coroutine_fn fake_co_pdiscard(BlockDriverState *bs, int64_t offset, int64_t bytes)
{
    return fake_call(FAKE_DISCARD, offset, bytes, 0);
}

static int coroutine_fn fake_co_block_status(BlockDriverState *bs, int64_t offset, int64_t bytes, int64_t *pnum,
                                             int64_t *map, BlockDriverState **file)
{
    *pnum = fake.pnum;
    *file = fake.file;
    return fake.status;
}

static const BlockDriver fake_driver = {
    .format_name = "null-co",
    .driver = BLOCKDEV_DRIVER_NULL_CO,
    .is_protocol = true,
    .bdrv_co_open = fake_co_open,
    .bdrv_co_close = fake_co_close,
    .bdrv_co_getlength = fake_co_getlength,
    .bdrv_refresh_limits = fake_refresh_limits,
    .bdrv_co_preadv = fake_co_preadv,
    .bdrv_co_pwritev = fake_co_pwritev,
    .bdrv_co_flush = fake_co_flush,
    .supported_write_flags = BDRV_REQ_FUA,
    .supported_zero_flags = BDRV_REQ_FUA | BDRV_REQ_MAY_UNMAP,
    .bdrv_co_pwrite_zeroes = fake_co_pwrite_zeroes,
    .bdrv_co_pdiscard = fake_co_pdiscard,
    .bdrv_co_block_status = fake_co_block_status,
};

#define TEST_PROTOCOL fake_driver
#include "filter-driver.h"

static BlockBackend *coroutine_fn fake_open_blk(const char *text)
{
    g_autoptr(json_object) options = keyval_parse(text, NULL, NULL, &error_abort);

    g_string_truncate(fake_calls, 0);
    return blk_co_new_open("test", NULL, options, 0, BLK_PERM_ALL, BLK_PERM_ALL, &error_abort);
}

static void fake_reset(void)
{
    memset(&fake, 0, sizeof(fake));
    fake_hook = NULL;
    fake_silent = false;
}

#endif
