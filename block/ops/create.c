/*
 * Making new images
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "block/block_int.h"

bool coroutine_fn bdrv_create(const BlockdevCreateOptions *options, Job *job, Error **errp)
{
    const BlockDriver *drv = bdrv_find_driver(options->driver);

    if (!drv || !drv->bdrv_co_create) {
        error_setg(errp, "Driver '%s' cannot create images", BlockdevDriver_str(options->driver));
        return false;
    }
    return drv->bdrv_co_create(options, job, errp);
}
