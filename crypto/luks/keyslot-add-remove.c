/*
 * Adding and removing passwords
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include "crypto/luks/keyslot-replace.h"

int qcrypto_luks_keyslot_find(const QCryptoLUKS *luks, const QCryptoLUKSIO *io,
                              const SecretBuffer *password, int slot,
                              QCryptoLUKSFailure *failure, Error **errp)
{
    SecretBuffer *master_key = NULL;

    luks_plan(io, slot == QCRYPTO_LUKS_SLOT_ANY ? luks_find_work(luks, 0) : luks_try_work(luks, slot));
    slot = luks_find_keyslot(luks, io, password, slot, &master_key, failure, errp);
    secret_buffer_free(master_key);
    return slot;
}

bool qcrypto_luks_keyslot_add(QCryptoLUKS *luks, const QCryptoLUKSIO *io,
                              const QCryptoLUKSKeyslotOptions *options, int *slot, Error **errp)
{
    g_autoptr(LUKSSealed) sealed = NULL;
    int target = options->slot;

    if (!luks->master_key) {
        error_setg(errp, "The volume was opened without a password: one is needed to add another");
        return false;
    }
    if (!qcrypto_luks_refresh(luks, io, errp) || !luks_choose_keyslot(luks, options, -1, &target, errp)) {
        return false;
    }
    uint32_t iterations = luks_new_iterations(luks, io, options);
    luks_plan(io, luks_key_work(&luks->header, &luks->alg, iterations) + luks_replace_work(luks, target, iterations));
    sealed = luks_seal(io, &luks->header, &luks->alg, luks->master_key, options->new_password, iterations, errp);
    if (!sealed) {
        return false;
    }

    /* Deriving took a while, so check again before writing. */
    target = options->slot;
    if (!qcrypto_luks_refresh(luks, io, errp) || !luks_choose_keyslot(luks, options, -1, &target, errp)) {
        return false;
    }
    if (!luks_replace_keyslot(luks, io, target, sealed, luks->master_key, options->new_password, errp)) {
        return false;
    }
    if (slot) {
        *slot = target;
    }
    return true;
}

bool qcrypto_luks_keyslot_remove(QCryptoLUKS *luks, const QCryptoLUKSIO *io, int slot,
                                 unsigned passes, bool force, Error **errp)
{
    ERRP_GUARD();

    passes = luks_overwrite_passes(passes, errp);
    if (!passes || !luks_check_slot_number(slot, errp) || !qcrypto_luks_refresh(luks, io, errp)) {
        return false;
    }
    if (!qcrypto_luks_keyslot_is_active(luks, slot) && !force) {
        error_setg(errp, "Keyslot %d is not active", slot);
        error_append_hint(errp, "Use --force to overwrite its key material again.\n");
        return false;
    }
    if (qcrypto_luks_keyslots_active(luks) == 1 && !force) {
        error_setg(errp, "Keyslot %d is the last active one: removing it makes all data"
                   " inaccessible", slot);
        error_append_hint(errp, "Use --force if that is what you want.\n");
        return false;
    }
    luks_plan(io, luks_wipe_work(luks, passes));
    return luks_wipe_keyslot(luks, io, slot, passes, errp);
}

/* Set @matches for each active keyslot that @password opens; fails if there is none. */
static bool keyslots_find_matching(const QCryptoLUKS *luks, const QCryptoLUKSIO *io,
                                   const SecretBuffer *password, bool *matches, unsigned *n,
                                   QCryptoLUKSFailure *failure, Error **errp)
{
    SecretBuffer *found = NULL;
    int first = luks_find_keyslot(luks, io, password, QCRYPTO_LUKS_SLOT_ANY, &found, failure, errp);

    secret_buffer_free(found);
    if (first < 0) {
        return false;
    }
    for (int i = first; i < QCRYPTO_LUKS_KEYSLOTS; i++) {
        SecretBuffer *master_key = NULL;
        g_autoptr(Error) err = NULL;

        matches[i] = i == first ||
                     (qcrypto_luks_keyslot_is_active(luks, i) &&
                         luks_try_keyslot(luks, io, password, i, &master_key, NULL, &err) == 1);
        secret_buffer_free(master_key);
        if (err) {
            error_propagate(errp, g_steal_pointer(&err));
            luks_set_failure(failure, QCRYPTO_LUKS_FAILURE_IO);
            return false;
        }
        *n += matches[i];
    }
    return true;
}

bool qcrypto_luks_keyslot_remove_password(QCryptoLUKS *luks, const QCryptoLUKSIO *io,
                                          const SecretBuffer *password, unsigned passes,
                                          bool force, unsigned *removed,
                                          QCryptoLUKSFailure *failure, Error **errp)
{
    bool matches[QCRYPTO_LUKS_KEYSLOTS] = { false };
    unsigned n = 0;
    g_autofree LUKSHeader *seen = NULL;
    unsigned which = 0;

    ERRP_GUARD();
    luks_set_failure(failure, QCRYPTO_LUKS_FAILURE_IO);
    passes = luks_overwrite_passes(passes, errp);
    if (!passes || !qcrypto_luks_refresh(luks, io, errp)) {
        return false;
    }
    luks_plan(io, luks_find_work(luks, 0) + qcrypto_luks_keyslots_active(luks) * luks_wipe_work(luks, passes));
    if (!keyslots_find_matching(luks, io, password, matches, &n, failure, errp)) {
        return false;
    }
    if (n == qcrypto_luks_keyslots_active(luks) && !force) {
        error_setg(errp, "The password opens all active keyslots: removing them makes all data"
                   " inaccessible");
        error_append_hint(errp, "Use --force if that is what you want.\n");
        return false;
    }
    seen = g_memdup2(&luks->header, sizeof(luks->header));
    if (!qcrypto_luks_refresh(luks, io, errp)) {
        return false;
    }
    if (memcmp(seen->slots, luks->header.slots, sizeof(seen->slots)) != 0) {
        error_setg(errp, "Keyslots were changed by another program meanwhile");
        return false;
    }
    for (int i = 0; i < QCRYPTO_LUKS_KEYSLOTS; i++) {
        if (matches[i] && !luks_wipe_keyslot(luks, io, i, passes, errp)) {
            return false;
        }
        which |= (unsigned)matches[i] << i;
    }
    if (removed) {
        *removed = which;
    }
    return true;
}
