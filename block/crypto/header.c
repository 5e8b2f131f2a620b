/*
 * BlockCrypto: backup and restore of the header
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "block/crypto/block-crypto.h"

SecretBuffer *coroutine_fn block_crypto_co_header_backup(BlockCrypto *c, Error **errp)
{
    QEMU_CO_LOCK_GUARD(&c->lock);
    BlockCryptoIO v;

    block_crypto_header_io_init(&v, c, NULL);
    return qcrypto_luks_backup(&v.io, block_crypto_is_detached(c), errp);
}

/* A volume without a LUKS header has presumably lost it, unless it carries something else. */
static bool coroutine_fn volume_check_other(BlockDriverState *volume, Error **errp)
{
    return !bdrv_check_overwrite(volume, true, NULL) || bdrv_check_overwrite(volume, false, errp);
}

bool coroutine_fn block_crypto_co_header_restore(BlockCrypto *c, const SecretBuffer *backup, bool force, Job *job,
                                                 Error **errp)
{
    BlockCryptoVolume payload = { NULL };
    BlockCryptoIO v;

    if (c->cipher && force) {
        error_setg(errp, "Node '%s' is open with its volume key: a header may only be forced onto it when it is "
                   "opened for its metadata alone", bdrv_get_display_name(c->bs));
        return false;
    }
    if (c->ops->payload) {
        c->ops->payload(c->bs, &payload);
    }
    block_crypto_header_io_init(&v, c, job);
    if ((!force && v.volume.offset == 0 && !volume_check_other(v.volume.child->bs, errp)) ||
        !block_crypto_co_update_begin(c, false, false, job, errp)) {
        return false;
    }
    bool ok = qcrypto_luks_restore(&v.io, backup, block_crypto_is_detached(c), payload.length, force, errp);
    block_crypto_co_update_end(c);
    return ok;
}
