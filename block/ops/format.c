/*
 * A new format for a volume that exists, and what it would destroy there
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "block/block-backend.h"
#include "block/block_int.h"
#include "block/ops/signature.h"
#include "crypto/luks.h"
#include "util/main-thread.h"

/* Read the first bytes of @blk, enough to recognise LUKS: how many, or -1 with @errp. */
static int coroutine_fn read_start(BlockBackend *blk, uint8_t *buf, Error **errp)
{
    int64_t len = MIN(blk_getlength(blk), QCRYPTO_LUKS_UUID_PROBE_BYTES);
    int ret = blk_co_pread(blk, 0, len, buf);

    if (ret < 0) {
        error_setg_errno(errp, -ret, "Could not read the beginning of '%s'", blk_bs(blk)->filename);
        return -1;
    }
    return len;
}

/* A LUKS header at the start of @blk, for people; NULL: none, or with @errp set it could not be read. */
static char *coroutine_fn probe_luks(BlockBackend *blk, Error **errp)
{
    uint8_t buf[QCRYPTO_LUKS_UUID_PROBE_BYTES];
    int len = read_start(blk, buf, errp);

    return len < 0 ? NULL : block_luks_signature(buf, len);
}

char *coroutine_fn bdrv_probe_luks_uuid(BlockDriverState *bs)
{
    BlockBackend *blk = blk_new("check for a signature", BLK_PERM_CONSISTENT_READ, BLK_PERM_ALL);
    uint8_t buf[QCRYPTO_LUKS_UUID_PROBE_BYTES];
    int len = blk_insert_bs(blk, bs, NULL) ? read_start(blk, buf, NULL) : -1;

    blk_co_unref(blk);
    return len < 0 ? NULL : qcrypto_luks_probe_uuid(buf, len);
}

static bool coroutine_fn check_overwrite(BlockBackend *blk, bool luks_only, Error **errp)
{
    ERRP_GUARD();
    g_autofree char *what = luks_only ? probe_luks(blk, errp) : bdrv_probe_signature(blk, errp);

    if (what) {
        error_setg(errp, "'%s' already carries a signature: %s", blk_bs(blk)->filename, what);
        error_append_hint(errp, "Use --force to overwrite it, which destroys its data.\n");
    }
    return !*errp;
}

bool coroutine_fn bdrv_check_overwrite(BlockDriverState *bs, bool luks_only, Error **errp)
{
    BlockBackend *blk = blk_new("check for a signature", BLK_PERM_CONSISTENT_READ, BLK_PERM_ALL);
    bool ok = blk_insert_bs(blk, bs, errp) && check_overwrite(blk, luks_only, errp);

    blk_co_unref(blk);
    return ok;
}

/* Nobody else may use a volume that is being formatted. */
static BlockBackend *coroutine_fn take_volume(BlockDriverState *bs, uint64_t perm, bool force, Error **errp)
{
    BlockBackend *blk = blk_new("format", perm | BLK_PERM_CONSISTENT_READ | BLK_PERM_WRITE, 0);

    if (!blk_insert_bs(blk, bs, errp) || (!force && !check_overwrite(blk, false, errp))) {
        blk_co_unref(blk);
        return NULL;
    }
    return blk;
}

bool coroutine_fn bdrv_format(BlockDriverState *file, BlockDriverState *header,
                              const BlockdevFormatOptions *options, bool force, Job *job, Error **errp)
{
    const BlockDriver *drv = bdrv_find_driver(options->driver);
    BlockBackend *header_blk = NULL;
    bool ok = false;

    GLOBAL_STATE_CODE();
    if (!drv || !drv->bdrv_co_format) {
        error_setg(errp, "Driver '%s' cannot format existing volumes", BlockdevDriver_str(options->driver));
        return false;
    }
    BlockBackend *file_blk = take_volume(file, 0, force, errp);
    /* A header may be put into a new, empty file, which grows. */
    if (file_blk && (!header || (header_blk = take_volume(header, BLK_PERM_RESIZE, force, errp)))) {
        ok = drv->bdrv_co_format(file_blk, header_blk, options, job, errp);
    }
    blk_co_unref(header_blk);
    blk_co_unref(file_blk);
    return ok;
}
