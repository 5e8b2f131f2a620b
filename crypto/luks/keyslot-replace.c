/*
 * Storing a new password in a keyslot, free or active
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include "crypto/luks/keyslot-replace.h"

bool luks_check_slot_number(int slot, Error **errp)
{
    if (slot < 0 || slot >= QCRYPTO_LUKS_KEYSLOTS) {
        error_setg(errp, "There is no keyslot %d: they are numbered from 0 to %d", slot,
                   QCRYPTO_LUKS_KEYSLOTS - 1);
        return false;
    }
    return true;
}

bool luks_choose_keyslot(const QCryptoLUKS *luks, const QCryptoLUKSKeyslotOptions *options, int own,
                         int *slot, Error **errp)
{
    int free_slot = qcrypto_luks_keyslot_find_free(luks);
    ERRP_GUARD();

    if (options->slot == QCRYPTO_LUKS_SLOT_ANY && free_slot >= 0) {
        *slot = free_slot;
        return true;
    }
    *slot = options->slot == QCRYPTO_LUKS_SLOT_ANY ? own : options->slot;
    if (*slot != QCRYPTO_LUKS_SLOT_ANY && !luks_check_slot_number(*slot, errp)) {
        return false;
    }
    if (*slot == QCRYPTO_LUKS_SLOT_ANY || (*slot == own && free_slot < 0 && !options->force)) {
        error_setg(errp, "All keyslots are active");
        error_append_hint(errp, own < 0 ? "Remove one first, or name one to overwrite, with --slot N --force.\n"
                                        : "Remove one first, or use --force to overwrite the keyslot of the old "
                                          "password. If that is interrupted, neither password may open the volume.\n");
        return false;
    }
    if (*slot != own && qcrypto_luks_keyslot_is_active(luks, *slot) && !options->force) {
        error_setg(errp, "Keyslot %d is active", *slot);
        error_append_hint(errp, "Choose another one, or use --force to overwrite it.\n");
        return false;
    }
    return true;
}

uint32_t luks_new_iterations(const QCryptoLUKS *luks, const QCryptoLUKSIO *io,
                             const QCryptoLUKSKeyslotOptions *options)
{
    uint64_t ms = options->iter_time_ms ? options->iter_time_ms
                                        : QCRYPTO_LUKS_DEFAULT_ITER_TIME_MS;

    return options->force_iterations ?: luks_measure_iterations(io, &luks->header, &luks->alg, ms,
                                                                luks->max_iterations);
}

bool luks_prove_keyslot(const QCryptoLUKS *luks, const QCryptoLUKSIO *io,
                        const SecretBuffer *password, int slot, const SecretBuffer *master_key,
                        Error **errp)
{
    g_autoptr(QCryptoLUKS) fresh = g_new0(QCryptoLUKS, 1);
    SecretBuffer *opened = NULL;
    bool same;

    *fresh = (QCryptoLUKS) {
        .header = luks->header,
        .alg = luks->alg,
        .place = luks->place,
        .max_iterations = UINT64_MAX,   /* what was just written is not refused */
    };
    memcpy(fresh->raw, luks->raw, sizeof(fresh->raw));
    if (!qcrypto_luks_refresh(fresh, io, errp) ||
        luks_find_keyslot(fresh, io, password, slot, &opened, NULL, errp) < 0) {
        if (luks_pause_point(io, NULL)) {
            error_prepend(errp, "The new password does not open keyslot %d: ", slot);
        }
        return false;
    }
    same = secret_buffer_equal(opened, master_key);
    secret_buffer_free(opened);
    if (!same) {
        error_setg(errp, "Keyslot %d does not hold the master key", slot);
    }
    return same;
}

uint64_t luks_prove_work(const QCryptoLUKS *luks, uint32_t iterations)
{
    return luks_key_work(&luks->header, &luks->alg, iterations) + luks_digest_work(&luks->header, &luks->alg);
}

uint64_t luks_replace_work(const QCryptoLUKS *luks, int slot, uint32_t iterations)
{
    uint64_t wipe = luks_wipe_work(luks, QCRYPTO_LUKS_DEFAULT_PASSES);

    if (!qcrypto_luks_keyslot_is_active(luks, slot)) {
        return 0;
    }
    return qcrypto_luks_keyslot_find_free(luks) >= 0 ? luks_prove_work(luks, iterations) + 2 * wipe : wipe;
}

bool luks_replace_keyslot(QCryptoLUKS *luks, const QCryptoLUKSIO *io, int slot,
                          const LUKSSealed *sealed, const SecretBuffer *master_key,
                          const SecretBuffer *new_password, Error **errp)
{
    QCryptoLUKSIO steady = *io;
    int via;

    if (!qcrypto_luks_keyslot_is_active(luks, slot)) {
        return luks_store_keyslot(luks, io, slot, sealed, master_key, errp);
    }
    via = qcrypto_luks_keyslot_find_free(luks);
    if (via >= 0 && (!luks_store_keyslot(luks, io, via, sealed, master_key, errp) ||
                     !luks_prove_keyslot(luks, io, new_password, via, master_key, errp))) {
        return false;
    }
    if (via < 0) {
        /* All keyslots are in use, so the wiped password is stored nowhere for a moment: do not cancel then. */
        steady.pause_point = NULL;
        io = &steady;
    }
    return luks_wipe_keyslot(luks, io, slot, QCRYPTO_LUKS_DEFAULT_PASSES, errp) &&
           luks_store_keyslot(luks, io, slot, sealed, master_key, errp) &&
           (via < 0 || luks_wipe_keyslot(luks, io, via, QCRYPTO_LUKS_DEFAULT_PASSES, errp));
}
