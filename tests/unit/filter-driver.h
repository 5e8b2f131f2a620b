/*
 * The table of drivers of a test: a protocol of its own, TEST_PROTOCOL, in the place of null-co, and a filter in the
 * place of raw. fake-driver.h and memory-driver.h include it.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef FILTER_DRIVER_H
#define FILTER_DRIVER_H

#include "block/block_int.h"

/* A node above another one. */
static bool coroutine_fn filter_co_open(BlockDriverState *bs, Error **errp)
{
    return bdrv_co_open_child(bs, "file", bs->options->u.raw.file, BDRV_CHILD_FILTERED, errp);
}

static int coroutine_fn filter_co_preadv(BlockDriverState *bs, int64_t offset, int64_t bytes, QEMUIOVector *qiov,
                                         BdrvRequestFlags flags)
{
    return bdrv_co_preadv(bs->file, offset, bytes, qiov, flags);
}

static int coroutine_fn filter_co_pwritev(BlockDriverState *bs, int64_t offset, int64_t bytes, QEMUIOVector *qiov,
                                          BdrvRequestFlags flags)
{
    return bdrv_co_pwritev(bs->file, offset, bytes, qiov, flags);
}

static const BlockDriver filter_driver = {
    .format_name = "raw",
    .driver = BLOCKDEV_DRIVER_RAW,
    .is_filter = true,
    .bdrv_co_open = filter_co_open,
    .bdrv_co_preadv = filter_co_preadv,
    .bdrv_co_pwritev = filter_co_pwritev,
    .supported_write_flags = BDRV_REQ_FUA | BDRV_REQ_OWN_BUFFER | BDRV_REQ_WRITE_UNCHANGED,
};

const BlockDriver *bdrv_find_driver(BlockdevDriver driver)
{
    return driver == BLOCKDEV_DRIVER_NULL_CO ? &TEST_PROTOCOL : driver == BLOCKDEV_DRIVER_RAW ? &filter_driver : NULL;
}

const BlockDriver *bdrv_find_format(const char *format_name)
{
    int driver = qapi_enum_parse(&qapi_type_BlockdevDriver, format_name, -1, NULL);

    return driver < 0 ? NULL : bdrv_find_driver(driver);
}

const BlockDriver *bdrv_probe_all(const uint8_t *buf, size_t len)
{
    return &TEST_PROTOCOL;
}

void bdrv_iterate_drivers(void (*fn)(const BlockDriver *drv, void *opaque), void *opaque)
{
    fn(&TEST_PROTOCOL, opaque);
}

#endif
