/*
 * Changing a password: the new one works before the old one is removed
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include "crypto/luks/keyslot-replace.h"

/* Read the header again; keyslot @own must be unchanged. */
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
                            uint32_t iterations, int *slot, Error **errp)
{
    g_autoptr(LUKSSealed) sealed = NULL;

    if (!luks_choose_keyslot(luks, options, old_slot, slot, errp)) {
        return false;
    }
    sealed = luks_seal(io, &luks->header, &luks->alg, master_key, options->new_password, iterations, errp);
    if (!sealed || !refresh_keeping(luks, io, old_slot, errp) ||
        !luks_choose_keyslot(luks, options, old_slot, slot, errp)) {
        return false;
    }
    if (!luks_replace_keyslot(luks, io, *slot, sealed, master_key, options->new_password, errp)) {
        return false;
    }
    if (*slot == old_slot) {
        return true;
    }
    return luks_prove_keyslot(luks, io, options->new_password, *slot, master_key, errp) &&
           luks_wipe_keyslot(luks, io, old_slot, QCRYPTO_LUKS_DEFAULT_PASSES, errp);
}

/* The most work that a change can take: two wipes to replace an active keyslot, and one of the old keyslot. */
static uint64_t change_work(const QCryptoLUKS *luks, const QCryptoLUKSKeyslotOptions *options, uint32_t iterations)
{
    bool named = options->slot != QCRYPTO_LUKS_SLOT_ANY && qcrypto_luks_keyslot_is_active(luks, options->slot);
    unsigned proofs = named && qcrypto_luks_keyslot_find_free(luks) >= 0 ? 2 : 1;

    return luks_find_work(luks, 0) + luks_key_work(&luks->header, &luks->alg, iterations) +
           proofs * luks_prove_work(luks, iterations) + 3 * luks_wipe_work(luks, QCRYPTO_LUKS_DEFAULT_PASSES);
}

bool qcrypto_luks_keyslot_change(QCryptoLUKS *luks, const QCryptoLUKSIO *io,
                                 const SecretBuffer *old_password,
                                 const QCryptoLUKSKeyslotOptions *options, int *old_slot, int *slot,
                                 QCryptoLUKSFailure *failure, Error **errp)
{
    SecretBuffer *opened = NULL;
    g_autoptr(SecretBuffer) master_key = NULL;
    int from, to;

    luks_set_failure(failure, QCRYPTO_LUKS_FAILURE_IO);
    if (!qcrypto_luks_refresh(luks, io, errp) || !luks_check_supported(luks, failure, errp)) {
        return false;
    }
    /* Measure first, so that progress covers the whole operation. */
    uint32_t iterations = luks_new_iterations(luks, io, options);
    luks_plan(io, change_work(luks, options, iterations));
    from = luks_find_keyslot(luks, io, old_password, QCRYPTO_LUKS_SLOT_ANY, &opened, failure,
                             errp);
    if (from < 0) {
        return false;
    }
    master_key = opened;
    luks_advance(io, luks_find_work(luks, from + 1));
    if (!change_password(luks, io, from, master_key, options, iterations, &to, errp)) {
        return false;
    }
    if (old_slot) {
        *old_slot = from;
    }
    if (slot) {
        *slot = to;
    }
    return true;
}
