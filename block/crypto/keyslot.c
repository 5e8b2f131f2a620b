/*
 * BlockCrypto: passwords: add, remove, change, and QEMU's amend, which is the first two
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "block/crypto/block-crypto.h"
#include "crypto/object.h"
#include "crypto/secret.h"

void block_crypto_warn_password(const char *id, const SecretBuffer *password)
{
    g_autofree char *what = user_creatable_is_unnamed(id) ? g_strdup("the new password")
                                                          : g_strdup_printf("secret '%s'", id);

    if (!password->len) {
        warn_report("%s is empty: anybody can open the volume with it", what);
    } else if (password->data[password->len - 1] == '\n') {
        warn_report("%s ends in a line feed, which becomes a part of the password", what);
    }
}

static bool check_keyslot(int64_t keyslot, Error **errp)
{
    if (keyslot < 0 || keyslot >= QCRYPTO_LUKS_KEYSLOTS) {
        error_setg(errp, "Invalid keyslot %" PRId64 ": it must be between 0 and %d", keyslot,
                   QCRYPTO_LUKS_KEYSLOTS - 1);
        return false;
    }
    return true;
}

static bool check_iter_time(int64_t ms, Error **errp)
{
    if (ms < 0 || ms > UINT32_MAX) {
        error_setg(errp, "Invalid iter-time %" PRId64 ": it must be between 0 and %u ms", ms, UINT32_MAX);
        return false;
    }
    return true;
}

/* The same for a new keyslot, where -1 lets the library choose. */
static bool check_new_keyslot(int keyslot, int64_t iter_time_ms, Error **errp)
{
    return (keyslot == QCRYPTO_LUKS_SLOT_ANY || check_keyslot(keyslot, errp)) &&
           check_iter_time(iter_time_ms, errp);
}

/*
 * Return a handle that has the volume key: the node's own, if it was opened with a password, otherwise one opened with
 * the secret @id. If both are available, the secret must still open the volume.
 */
static bool coroutine_fn unlock_handle(BlockCrypto *c, const BlockCryptoIO *v, const char *id, Error **errp)
{
    if (!id) {
        if (!qcrypto_luks_is_unlocked(c->luks)) {
            error_setg(errp, "Node '%s' was opened without a password: one that opens the volume is needed "
                       "to add another", bdrv_get_display_name(c->bs));
            return false;
        }
        return true;
    }
    g_autoptr(SecretBuffer) password = qcrypto_secret_lookup(id, errp);
    if (!password) {
        return false;
    }
    if (qcrypto_luks_is_unlocked(c->luks)) {
        return qcrypto_luks_keyslot_find(c->luks, &v->io, password, QCRYPTO_LUKS_SLOT_ANY, NULL, errp) >= 0;
    }
    QCryptoLUKS *luks = block_crypto_co_open_luks(c, v, password, NULL, errp);
    if (!luks) {
        return false;
    }
    /* The node still cannot do I/O: c->cipher stays NULL. */
    qcrypto_luks_free(c->luks);
    c->luks = luks;
    return true;
}

bool coroutine_fn block_crypto_co_keyslot_add(BlockCrypto *c, const char *secret, const char *new_secret, int keyslot,
                                              int64_t iter_time_ms, bool force, BdrvKeyslotChange *done, Job *job,
                                              Error **errp)
{
    BlockCryptoIO unlock, add;

    if (!block_crypto_check_usable(c, errp) || !check_new_keyslot(keyslot, iter_time_ms, errp)) {
        return false;
    }
    g_autoptr(SecretBuffer) new_password = qcrypto_secret_lookup(new_secret, errp);
    if (!new_password) {
        return false;
    }
    block_crypto_warn_password(new_secret, new_password);
    QCryptoLUKSKeyslotOptions options = {
        .new_password = new_password,
        .slot = keyslot,
        .iter_time_ms = iter_time_ms,
        .force = force,
    };
    if (!block_crypto_co_update_begin(c, false, false, job, errp)) {
        return false;
    }
    block_crypto_header_io_init(&unlock, c, job);
    block_crypto_header_io_init(&add, c, job);
    block_crypto_io_reserve(&add, block_crypto_derive_work(iter_time_ms));
    *done = (BdrvKeyslotChange){ .added = -1 };
    bool ok = unlock_handle(c, &unlock, secret, errp);
    if (ok) {
        block_crypto_io_finish(&unlock);
        ok = qcrypto_luks_keyslot_add(c->luks, &add.io, &options, &done->added, errp);
    }
    if (ok) {
        block_crypto_io_finish(&add);
    }
    block_crypto_co_update_end(c);
    return ok;
}

/* Remove @keyslot; with @old_password only if that opens it; with -1 all that it opens. */
static bool coroutine_fn remove_keyslots(BlockCrypto *c, int keyslot,
                                         const SecretBuffer *old_password, bool force, BdrvKeyslotChange *done,
                                         Job *job, Error **errp)
{
    BlockCryptoIO find, remove;
    bool ok;

    block_crypto_header_io_init(&find, c, job);
    block_crypto_header_io_init(&remove, c, job);
    if (keyslot < 0) {
        ok = qcrypto_luks_keyslot_remove_password(c->luks, &remove.io, old_password, 0, force, &done->removed, NULL,
                                                  errp);
    } else {
        if (old_password) {
            block_crypto_io_reserve(&remove, block_crypto_derive_work(1));
            if (qcrypto_luks_keyslot_find(c->luks, &find.io, old_password, keyslot, NULL, errp) < 0) {
                return false;
            }
        }
        ok = qcrypto_luks_keyslot_remove(c->luks, &remove.io, keyslot, 0, force, errp);
        done->removed = 1u << keyslot;
    }
    if (ok) {
        block_crypto_io_finish(&remove);
    }
    return ok;
}

bool coroutine_fn block_crypto_co_keyslot_remove(BlockCrypto *c, int keyslot, const char *old_secret, bool force,
                                                 BdrvKeyslotChange *done, Job *job, Error **errp)
{
    g_autoptr(SecretBuffer) old_password = NULL;

    if (!block_crypto_check_usable(c, errp) ||
        (keyslot != QCRYPTO_LUKS_SLOT_ANY && !check_keyslot(keyslot, errp))) {
        return false;
    }
    if (old_secret && !(old_password = qcrypto_secret_lookup(old_secret, errp))) {
        return false;
    }
    if (keyslot == QCRYPTO_LUKS_SLOT_ANY && !old_password) {
        error_setg(errp, "To erase keyslots, the number of one or the password that they hold is needed");
        return false;
    }
    if (!block_crypto_co_update_begin(c, false, false, job, errp)) {
        return false;
    }
    *done = (BdrvKeyslotChange){ .added = -1 };
    bool ok = remove_keyslots(c, keyslot, old_password, force, done, job, errp);
    block_crypto_co_update_end(c);
    return ok;
}

bool coroutine_fn block_crypto_co_keyslot_change(BlockCrypto *c, const char *old_secret, const char *new_secret,
                                                 int keyslot, int64_t iter_time_ms, bool force,
                                                 BdrvKeyslotChange *done, Job *job, Error **errp)
{
    BlockCryptoIO v;
    int old_slot;

    if (!block_crypto_check_usable(c, errp) || !check_new_keyslot(keyslot, iter_time_ms, errp)) {
        return false;
    }
    g_autoptr(SecretBuffer) old_password = qcrypto_secret_lookup(old_secret, errp);
    g_autoptr(SecretBuffer) new_password = old_password ? qcrypto_secret_lookup(new_secret, errp) : NULL;
    if (!new_password) {
        return false;
    }
    block_crypto_warn_password(new_secret, new_password);
    if (!block_crypto_co_update_begin(c, false, false, job, errp)) {
        return false;
    }
    QCryptoLUKSKeyslotOptions options = {
        .new_password = new_password,
        .slot = keyslot,
        .iter_time_ms = iter_time_ms,
        .force = force,
    };
    block_crypto_header_io_init(&v, c, job);
    bool ok = qcrypto_luks_keyslot_change(c->luks, &v.io, old_password, &options, &old_slot, &done->added, NULL, errp);
    if (ok) {
        done->removed = old_slot == done->added ? 0 : 1u << old_slot;
        block_crypto_io_finish(&v);
    }
    block_crypto_co_update_end(c);
    return ok;
}

static bool coroutine_fn amend_active(BlockCrypto *c, const QCryptoBlockAmendOptionsLUKS *o, bool force,
                                      Job *job, Error **errp)
{
    if (!o->new_secret) {
        error_setg(errp, "'new-secret' is required to activate a keyslot");
        return false;
    }
    if (o->old_secret) {
        error_setg(errp, "'old-secret' must not be given when activating keyslots");
        return false;
    }
    /* 0 means the minimum, and must not be taken as unset. */
    BdrvKeyslotChange done;
    int64_t ms = !o->has_iter_time ? 0 : o->iter_time ?: 1;
    return block_crypto_co_keyslot_add(c, o->secret, o->new_secret,
                                       o->has_keyslot ? o->keyslot : QCRYPTO_LUKS_SLOT_ANY, ms, force, &done, job,
                                       errp);
}

static bool coroutine_fn amend_inactive(BlockCrypto *c, const QCryptoBlockAmendOptionsLUKS *o, bool force,
                                        Job *job, Error **errp)
{
    if (o->new_secret) {
        error_setg(errp, "'new-secret' must not be given when erasing keyslots");
        return false;
    }
    if (o->has_iter_time) {
        error_setg(errp, "'iter-time' must not be given when erasing keyslots");
        return false;
    }
    BdrvKeyslotChange done;
    return block_crypto_co_keyslot_remove(c, o->has_keyslot ? o->keyslot : QCRYPTO_LUKS_SLOT_ANY, o->old_secret, force,
                                          &done, job, errp);
}

bool coroutine_fn block_crypto_co_amend(BlockCrypto *c, const QCryptoBlockAmendOptionsLUKS *o, bool force, Job *job,
                                        Error **errp)
{
    if (o->has_keyslot && !check_keyslot(o->keyslot, errp)) {
        return false;
    }
    return o->state == QCRYPTO_BLOCK_LUKS_KEYSLOT_STATE_ACTIVE ? amend_active(c, o, force, job, errp)
                                                               : amend_inactive(c, o, force, job, errp);
}
