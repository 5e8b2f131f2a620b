/*
 * Opening a LUKS1 header: read, check, try passwords
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include "crypto/luks/luks-int.h"
#include "crypto/luks/keyslot-crypto.h"

void luks_set_failure(QCryptoLUKSFailure *failure, QCryptoLUKSFailure value)
{
    if (failure) {
        *failure = value;
    }
}

void qcrypto_luks_free(QCryptoLUKS *luks)
{
    if (!luks) {
        return;
    }
    secret_buffer_free(luks->master_key);
    qcrypto_sector_cipher_free(luks->sectors);
    error_free(luks->unsupported);
    g_free(luks);
}

bool luks_read_raw(const QCryptoLUKSIO *io, uint8_t *raw, QCryptoLUKSFailure *failure,
                   Error **errp)
{
    size_t bytes = MIN(ROUND_DOWN(io->length, QCRYPTO_LUKS_SECTOR_SIZE), LUKS_HEADER_BYTES);

    memset(raw, 0, LUKS_HEADER_BYTES);
    if (!luks_pread(io, 0, raw, bytes, "header", errp)) {
        luks_set_failure(failure, luks_pause_point(io, NULL) ? QCRYPTO_LUKS_FAILURE_IO
                                                              : QCRYPTO_LUKS_FAILURE_CANCELLED);
        return false;
    }
    switch (qcrypto_luks_probe(raw, bytes)) {
    case QCRYPTO_LUKS_VERSION_NONE:
        luks_set_failure(failure, QCRYPTO_LUKS_FAILURE_NOT_LUKS);
        error_set(errp, ERROR_CLASS_NOT_LUKS, "Volume is not in LUKS format");
        return false;
    case QCRYPTO_LUKS_VERSION_2:
        luks_set_failure(failure, QCRYPTO_LUKS_FAILURE_VERSION);
        error_setg(errp, "LUKS2 is not supported, only LUKS1");
        return false;
    default:
        break;
    }
    if (bytes < LUKS_HEADER_BYTES) {
        luks_set_failure(failure, QCRYPTO_LUKS_FAILURE_DAMAGED);
        error_setg(errp, "Volume has %" PRIu64 " bytes, too few for a LUKS header", io->length);
        return false;
    }
    return true;
}

LUKSPlace luks_place(const QCryptoLUKSIO *io, const QCryptoLUKSOpenOptions *options, const LUKSHeader *header)
{
    return (LUKSPlace){
        .header_volume_bytes = ROUND_DOWN(io->length, QCRYPTO_LUKS_SECTOR_SIZE),
        .payload_volume_bytes = options->payload_volume_bytes,
        /* without a password, only the header is used */
        .detached = options->detached || (!options->password && header->payload_sector == 0),
    };
}

bool luks_check_supported(const QCryptoLUKS *luks, QCryptoLUKSFailure *failure, Error **errp)
{
    if (luks->unsupported) {
        luks_set_failure(failure, QCRYPTO_LUKS_FAILURE_UNSUPPORTED);
        error_propagate(errp, error_copy(luks->unsupported));
        return false;
    }
    return true;
}

QCryptoLUKS *luks_load(const QCryptoLUKSIO *io, const QCryptoLUKSOpenOptions *options,
                       QCryptoLUKSFailure *failure, Error **errp)
{
    g_autoptr(QCryptoLUKS) luks = g_new0(QCryptoLUKS, 1);
    unsigned uses = LUKS_RULE_FORMAT | (options->password ? LUKS_RULE_KEYS | LUKS_RULE_PAYLOAD : 0);

    if (!luks_read_raw(io, luks->raw, failure, errp)) {
        return NULL;
    }
    luks_header_decode(&luks->header, luks->raw);
    luks->place = luks_place(io, options, &luks->header);
    if (!luks_header_check(&luks->header, &luks->place, uses, failure, errp)) {
        return NULL;
    }
    if (luks_header_check(&luks->header, &luks->place, LUKS_RULE_KEYS, NULL, &luks->unsupported)) {
        luks_algorithms_load(&luks->header, &luks->alg);
    }
    luks->max_iterations = options->max_iterations ? options->max_iterations
                                                   : QCRYPTO_LUKS_DEFAULT_MAX_ITERATIONS;
    return g_steal_pointer(&luks);
}

static bool check_work(const QCryptoLUKS *luks, const char *what, uint32_t iterations,
                       QCryptoLUKSFailure *failure, Error **errp)
{
    if (iterations > luks->max_iterations) {
        ERRP_GUARD();
        luks_set_failure(failure, QCRYPTO_LUKS_FAILURE_TOO_MUCH_WORK);
        error_setg(errp, "LUKS header field '%s': %" PRIu32 " exceeds the limit of %" PRIu64, what,
                   iterations, luks->max_iterations);
        error_append_hint(errp, "If you trust this header, raise the limit: --image-opts driver=luks,"
                          "max-pbkdf-iterations=%" PRIu32 ",file.filename=FILE,..., or \"max-pbkdf-iterations\" of "
                          "blockdev-add.\n", iterations);
        return false;
    }
    return true;
}

int luks_try_keyslot(const QCryptoLUKS *luks, const QCryptoLUKSIO *io,
                     const SecretBuffer *password, int slot, SecretBuffer **master_key,
                     QCryptoLUKSFailure *failure, Error **errp)
{
    const LUKSHeader *header = &luks->header;
    g_autoptr(SecretBuffer) material = NULL;
    g_autofree char *what = g_strdup_printf("keyslot %d iterations", slot);
    int ret;

    if (!check_work(luks, what, header->slots[slot].iterations, failure, errp)) {
        return -1;
    }
    material = secret_buffer_new(luks_material_bytes(header));
    if (!luks_pread(io, luks_material_offset(header, slot), material->data, material->len,
                    "key material", errp)) {
        luks_set_failure(failure, QCRYPTO_LUKS_FAILURE_IO);
        return -1;
    }
    ret = luks_unseal(io, header, &luks->alg, slot, password, material, master_key, errp);
    if (ret < 0) {
        luks_set_failure(failure, QCRYPTO_LUKS_FAILURE_UNSUPPORTED);
    }
    return ret;
}

void luks_wrong_password(const SecretBuffer *password, int slot, QCryptoLUKSFailure *failure, Error **errp)
{
    ERRP_GUARD();

    luks_set_failure(failure, QCRYPTO_LUKS_FAILURE_WRONG_PASSWORD);
    if (slot == QCRYPTO_LUKS_SLOT_ANY) {
        error_set(errp, ERROR_CLASS_WRONG_PASSWORD, "Invalid password, cannot unlock any keyslot");
    } else {
        error_set(errp, ERROR_CLASS_WRONG_PASSWORD, "Invalid password, cannot unlock keyslot %d", slot);
    }
    if (password->len && password->data[password->len - 1] == '\n') {
        error_append_hint(errp, "The secret ends in a line feed, which counts as a part of the password. If it was not "
                          "meant to be, make the file without one, as with \"printf %%s\".\n");
    }
}

uint64_t luks_try_work(const QCryptoLUKS *luks, int slot)
{
    const LUKSHeader *header = &luks->header;

    if (luks->unsupported || !qcrypto_luks_keyslot_is_active(luks, slot) ||
        header->slots[slot].iterations > luks->max_iterations) {
        return 0;
    }
    return luks_key_work(header, &luks->alg, header->slots[slot].iterations) + luks_digest_work(header, &luks->alg);
}

uint64_t luks_find_work(const QCryptoLUKS *luks, int first)
{
    uint64_t work = 0;

    for (int i = first; i < QCRYPTO_LUKS_KEYSLOTS; i++) {
        work += luks_try_work(luks, i);
    }
    return work;
}

/* If a keyslot is refused or cannot be read, try the others and report its error last. */
static int try_all_keyslots(const QCryptoLUKS *luks, const QCryptoLUKSIO *io,
                            const SecretBuffer *password, SecretBuffer **master_key,
                            QCryptoLUKSFailure *failure, Error **errp)
{
    g_autoptr(Error) first_err = NULL;
    QCryptoLUKSFailure first_failure = QCRYPTO_LUKS_FAILURE_NONE;

    for (int i = 0; i < QCRYPTO_LUKS_KEYSLOTS; i++) {
        QCryptoLUKSFailure this_failure = QCRYPTO_LUKS_FAILURE_NONE;
        g_autoptr(Error) err = NULL;

        if (!qcrypto_luks_keyslot_is_active(luks, i)) {
            continue;
        }
        if (luks_try_keyslot(luks, io, password, i, master_key, &this_failure, &err) == 1) {
            return i;
        }
        if (err && !luks_pause_point(io, NULL)) {
            luks_set_failure(failure, QCRYPTO_LUKS_FAILURE_CANCELLED);
            error_propagate(errp, g_steal_pointer(&err));
            return -1;
        }
        if (err && !first_err) {
            first_err = g_steal_pointer(&err);
            first_failure = this_failure;
        }
    }
    if (first_err) {
        luks_set_failure(failure, first_failure);
        error_propagate(errp, g_steal_pointer(&first_err));
    } else {
        luks_wrong_password(password, QCRYPTO_LUKS_SLOT_ANY, failure, errp);
    }
    return -1;
}

int luks_find_keyslot(const QCryptoLUKS *luks, const QCryptoLUKSIO *io,
                      const SecretBuffer *password, int slot, SecretBuffer **master_key,
                      QCryptoLUKSFailure *failure, Error **errp)
{
    int ret;

    if (!luks_check_supported(luks, failure, errp)) {
        return -1;
    }
    if (qcrypto_luks_keyslots_active(luks) == 0) {
        luks_set_failure(failure, QCRYPTO_LUKS_FAILURE_NO_ACTIVE_SLOT);
        error_setg(errp, "LUKS header has no active keyslot: no password can open it");
        return -1;
    }
    if (!check_work(luks, "mk-digest-iterations", luks->header.digest_iterations, failure, errp)) {
        return -1;
    }
    if (slot == QCRYPTO_LUKS_SLOT_ANY) {
        return try_all_keyslots(luks, io, password, master_key, failure, errp);
    }
    if (!qcrypto_luks_keyslot_is_active(luks, slot)) {
        luks_set_failure(failure, QCRYPTO_LUKS_FAILURE_WRONG_PASSWORD);
        error_setg(errp, "Keyslot %d is not active", slot);
        return -1;
    }
    ret = luks_try_keyslot(luks, io, password, slot, master_key, failure, errp);
    if (ret == 0) {
        luks_wrong_password(password, slot, failure, errp);
    }
    return ret == 1 ? slot : -1;
}

bool luks_unlock(QCryptoLUKS *luks, SecretBuffer *master_key, Error **errp)
{
    luks->master_key = master_key;
    luks->sectors = luks_sector_cipher_new(&luks->alg, luks->alg.sector_size, master_key, errp);
    return luks->sectors != NULL;
}

QCryptoLUKS *qcrypto_luks_open(const QCryptoLUKSIO *io, const QCryptoLUKSOpenOptions *options,
                               QCryptoLUKSFailure *failure, Error **errp)
{
    g_autoptr(QCryptoLUKS) luks = luks_load(io, options, failure, errp);
    SecretBuffer *master_key = NULL;

    if (!luks) {
        return NULL;
    }
    if (options->password) {
        luks_plan(io, luks_find_work(luks, 0));
        if (luks_find_keyslot(luks, io, options->password, QCRYPTO_LUKS_SLOT_ANY, &master_key,
                              failure, errp) < 0) {
            return NULL;
        }
        if (!luks_unlock(luks, master_key, errp)) {
            luks_set_failure(failure, QCRYPTO_LUKS_FAILURE_UNSUPPORTED);
            return NULL;
        }
    }
    return g_steal_pointer(&luks);
}
