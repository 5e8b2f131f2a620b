/*
 * Changing a password: the new one works before the old one goes
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include "crypto/luks/keyslot-replace.h"

/* Read the header again; keyslot @own must still be what it was. */
static bool refresh_keeping(QCryptoLUKS *luks, const QCryptoLUKSIO *io, int own, Error **errp)
{
    LUKSKeyslot before = luks->header.slots[own];

    if (!qcrypto_luks_refresh(luks, io, errp)) {
        return false;
    }
    if (memcmp(&before, &luks->header.slots[own], sizeof(before)) != 0) {
        error_setg(errp, "Keyslot %d was changed by another program meanwhile", own);
        return false;
    }
    return true;
}

static bool change_password(QCryptoLUKS *luks, const QCryptoLUKSIO *io, int old_slot,
                   const SecretBuffer *master_key, const QCryptoLUKSKeyslotOptions *options,
                   int *slot, Error **errp)
{
    g_autoptr(LUKSSealed) sealed = NULL;
    LUKSProgress progress;

    if (!luks_choose_keyslot(luks, options, old_slot, slot, errp)) {
        return false;
    }
    sealed = luks_seal_new_password(luks, io, master_key, options, errp);
    if (!sealed || !refresh_keeping(luks, io, old_slot, errp) ||
        !luks_choose_keyslot(luks, options, old_slot, slot, errp)) {
        return false;
    }
    progress = luks_wipe_progress(luks, luks_replace_wipes(luks, *slot) + (*slot != old_slot),
                                  QCRYPTO_LUKS_DEFAULT_PASSES);
    if (!luks_replace_keyslot(luks, io, *slot, sealed, master_key, options->new_password,
                              &progress, errp)) {
        return false;
    }
    if (*slot == old_slot) {
        return true;
    }
    return luks_prove_keyslot(luks, io, options->new_password, *slot, master_key, errp) &&
           luks_wipe_keyslot(luks, io, old_slot, QCRYPTO_LUKS_DEFAULT_PASSES, &progress,
                                errp);
}

bool qcrypto_luks_keyslot_change(QCryptoLUKS *luks, const QCryptoLUKSIO *io,
                                 const SecretBuffer *old_password,
                                 const QCryptoLUKSKeyslotOptions *options, int *slot,
                                 QCryptoLUKSFailure *failure, Error **errp)
{
    SecretBuffer *opened = NULL;
    g_autoptr(SecretBuffer) master_key = NULL;
    int old_slot, new_slot;

    luks_set_failure(failure, QCRYPTO_LUKS_FAILURE_IO);
    if (!qcrypto_luks_refresh(luks, io, errp)) {
        return false;
    }
    old_slot = luks_find_keyslot(luks, io, old_password, QCRYPTO_LUKS_SLOT_ANY, &opened, failure,
                                 errp);
    if (old_slot < 0) {
        return false;
    }
    master_key = opened;
    if (!change_password(luks, io, old_slot, master_key, options, &new_slot, errp)) {
        return false;
    }
    if (slot) {
        *slot = new_slot;
    }
    return true;
}
