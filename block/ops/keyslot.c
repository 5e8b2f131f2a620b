/*
 * Passwords and headers of encrypted nodes: front doors to the drivers that have them
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "block/block_int.h"
#include "block/ops/copies.h"

static bool lacks(BlockDriverState *bs, const char *what, Error **errp)
{
    error_setg(errp, "Node '%s': driver '%s' has no %s", bdrv_get_display_name(bs), bs->drv->format_name, what);
    return false;
}

bool coroutine_fn bdrv_keyslot_add(BlockDriverState *bs, const char *new_secret, int keyslot, int64_t iter_time_ms,
                                   bool force, BdrvKeyslotChange *done, Job *job, Error **errp)
{
    BdrvKeyslotChange unwanted;

    bs = bdrv_skip_filters(bs);
    if (!bs->drv->bdrv_co_keyslot_add) {
        return lacks(bs, "keyslots", errp);
    }
    bdrv_ref(bs);
    bool ok = bs->drv->bdrv_co_keyslot_add(bs, new_secret, keyslot, iter_time_ms, force, done ?: &unwanted, job, errp);
    bdrv_co_unref(bs);
    return ok;
}

bool coroutine_fn bdrv_keyslot_remove(BlockDriverState *bs, int keyslot, const char *old_secret, bool force,
                                      BdrvKeyslotChange *done, Job *job, Error **errp)
{
    BdrvKeyslotChange unwanted;

    bs = bdrv_skip_filters(bs);
    if (!bs->drv->bdrv_co_keyslot_remove) {
        return lacks(bs, "keyslots", errp);
    }
    bdrv_ref(bs);
    bool ok = bs->drv->bdrv_co_keyslot_remove(bs, keyslot, old_secret, force, done ?: &unwanted, job, errp);
    if (ok) {
        bdrv_warn_copies(bs, job);
    }
    bdrv_co_unref(bs);
    return ok;
}

bool coroutine_fn bdrv_keyslot_change(BlockDriverState *bs, const char *old_secret, const char *new_secret,
                                      int keyslot, int64_t iter_time_ms, bool force, BdrvKeyslotChange *done, Job *job,
                                      Error **errp)
{
    BdrvKeyslotChange unwanted;

    bs = bdrv_skip_filters(bs);
    if (!bs->drv->bdrv_co_keyslot_change) {
        return lacks(bs, "keyslots", errp);
    }
    bdrv_ref(bs);
    bool ok = bs->drv->bdrv_co_keyslot_change(bs, old_secret, new_secret, keyslot, iter_time_ms, force,
                                              done ?: &unwanted, job, errp);
    if (ok) {
        bdrv_warn_copies(bs, job);
    }
    bdrv_co_unref(bs);
    return ok;
}

bool coroutine_fn bdrv_amend(BlockDriverState *bs, const BlockdevAmendOptions *options, bool force, Job *job,
                             Error **errp)
{
    bs = bdrv_skip_filters(bs);
    if (options->driver != bs->drv->driver) {
        error_setg(errp, "Node '%s' has driver '%s', not '%s'", bdrv_get_display_name(bs), bs->drv->format_name,
                   BlockdevDriver_str(options->driver));
        return false;
    }
    if (!bs->drv->bdrv_co_amend) {
        return lacks(bs, "options to amend", errp);
    }
    bdrv_ref(bs);
    bool ok = bs->drv->bdrv_co_amend(bs, options, force, job, errp);
    if (ok && options->u.luks.state == QCRYPTO_BLOCK_LUKS_KEYSLOT_STATE_INACTIVE) {
        bdrv_warn_copies(bs, job);
    }
    bdrv_co_unref(bs);
    return ok;
}

SecretBuffer *coroutine_fn bdrv_header_backup(BlockDriverState *bs, Error **errp)
{
    bs = bdrv_skip_filters(bs);
    if (!bs->drv->bdrv_co_header_backup) {
        lacks(bs, "header to back up", errp);
        return NULL;
    }
    bdrv_ref(bs);
    SecretBuffer *backup = bs->drv->bdrv_co_header_backup(bs, errp);
    bdrv_co_unref(bs);
    return backup;
}

bool coroutine_fn bdrv_header_restore(BlockDriverState *bs, const SecretBuffer *backup, bool force, Job *job,
                                      Error **errp)
{
    bs = bdrv_skip_filters(bs);
    if (!bs->drv->bdrv_co_header_restore) {
        return lacks(bs, "header to restore", errp);
    }
    bdrv_ref(bs);
    bool ok = bs->drv->bdrv_co_header_restore(bs, backup, force, job, errp);
    bdrv_co_unref(bs);
    return ok;
}
