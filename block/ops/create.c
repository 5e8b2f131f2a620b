/*
 * Making new images
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "block/block_int.h"
#include "qapi/qapi.h"
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

bool bdrv_supports_delete(const BlockDriver *drv)
{
    return drv->bdrv_co_delete;
}

bool coroutine_fn bdrv_delete(const BlockdevCreateOptions *created, Error **errp)
{
    GLOBAL_STATE_CODE();
    return bdrv_find_driver(created->driver)->bdrv_co_delete(created, errp);
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

BlockDriverState *bdrv_find_luks(BlockDriverState *bs)
{
    bs = bdrv_skip_filters(bs);
    while (bs->drv->driver == BLOCKDEV_DRIVER_RAW) {
        bs = bdrv_skip_filters(bs->file->bs);
    }
    return bs->drv->driver == BLOCKDEV_DRIVER_LUKS ? bs : NULL;
}

#define INHERIT(options, info, field)           \
    do {                                        \
        if (!(options)->has_##field) {          \
            (options)->has_##field = true;      \
            (options)->field = (info)->field;   \
        }                                       \
    } while (0)

void bdrv_inherit_luks_options(BlockDriverState *source, QCryptoBlockCreateOptionsLUKS *options)
{
    BlockDriverState *luks = bdrv_find_luks(source);

    if (!luks) {
        return;
    }
    g_autoptr(ImageInfoSpecific) specific = bdrv_get_specific_info(luks);
    const QCryptoBlockInfoLUKS *info = specific->u.luks.data;
    if (info->unsupported) {
        return;
    }
    INHERIT(options, info, cipher_alg);
    INHERIT(options, info, cipher_mode);
    INHERIT(options, info, hash_alg);
    INHERIT(options, info, ivgen_alg);
    /* The hash belongs to essiv: another generator has no use for it. */
    if (info->has_ivgen_hash_alg && options->ivgen_alg == info->ivgen_alg) {
        INHERIT(options, info, ivgen_hash_alg);
    }
}
