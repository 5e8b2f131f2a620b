/*
 * Making new images
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "block/block_int.h"
#include "util/main-thread.h"

bool bdrv_supports_create(BlockdevDriver driver)
{
    const BlockDriver *drv = bdrv_find_driver(driver);

    return drv && drv->bdrv_co_create;
}

bool coroutine_fn bdrv_create(const BlockdevCreateOptions *options, Job *job, Error **errp)
{
    GLOBAL_STATE_CODE();
    if (!bdrv_supports_create(options->driver)) {
        error_setg(errp, "Driver '%s' cannot create images", BlockdevDriver_str(options->driver));
        return false;
    }
    return bdrv_find_driver(options->driver)->bdrv_co_create(options, job, errp);
}

BlockMeasureInfo *bdrv_measure(const BlockDriver *drv, const BlockdevCreateOptions *options, int64_t bytes,
                               Error **errp)
{
    if (!drv->bdrv_measure) {
        error_setg(errp, "Block driver '%s' does not support size measurement", drv->format_name);
        return NULL;
    }
    return drv->bdrv_measure(options, bytes, errp);
}
