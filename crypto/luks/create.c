/*
 * Creating a LUKS1 header
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include "crypto/random.h"
#include "crypto/luks/luks-int.h"
#include "crypto/luks/overwrite.h"
#include "crypto/luks/keyslot-crypto.h"

/* Distance between the material of two keyslots. */
static uint64_t material_stride(const LUKSHeader *header)
{
    return ROUND_UP(luks_material_bytes(header), LUKS_ALIGN_BYTES);
}

static uint64_t header_area_bytes(const LUKSHeader *header)
{
    return LUKS_ALIGN_BYTES + QCRYPTO_LUKS_KEYSLOTS * material_stride(header);
}

bool qcrypto_luks_create_bytes(const QCryptoBlockCreateOptionsLUKS *options, uint64_t *bytes,
                               Error **errp)
{
    g_autofree LUKSHeader *header = g_new0(LUKSHeader, 1);
    LUKSAlgorithms alg;

    if (!luks_algorithms_from_options(options, &alg, errp)) {
        return false;
    }
    luks_algorithms_store(&alg, header);
    if (bytes) {
        *bytes = header_area_bytes(header);
    }
    return true;
}

/* RFC 9562, version 4: random. */
static bool make_uuid(char *uuid, Error **errp)
{
    uint8_t b[16];

    if (!qcrypto_random_bytes(b, sizeof(b), errp)) {
        return false;
    }
    b[6] = (b[6] & 0x0f) | 0x40;
    b[8] = (b[8] & 0x3f) | 0x80;
    g_snprintf(uuid, LUKS_UUID_BYTES, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-"
               "%02x%02x%02x%02x%02x%02x", b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7], b[8],
               b[9], b[10], b[11], b[12], b[13], b[14], b[15]);
    return true;
}

/* Set all fields except the digest and the entry of the active keyslot. */
static bool make_header(LUKSHeader *header, const LUKSAlgorithms *alg, bool detached, Error **errp)
{
    memcpy(header->magic, LUKS_MAGIC, LUKS_MAGIC_BYTES);
    header->version = 1;
    luks_algorithms_store(alg, header);
    header->payload_sector = detached ? 0 : header_area_bytes(header) / QCRYPTO_LUKS_SECTOR_SIZE;
    for (int i = 0; i < QCRYPTO_LUKS_KEYSLOTS; i++) {
        header->slots[i].state = LUKS_KEYSLOT_INACTIVE;
        header->slots[i].stripes = LUKS_STRIPES;
        header->slots[i].material_sector =
            (LUKS_ALIGN_BYTES + i * material_stride(header)) / QCRYPTO_LUKS_SECTOR_SIZE;
    }
    return make_uuid(header->uuid, errp) &&
           qcrypto_random_bytes(header->digest_salt, LUKS_SALT_BYTES, errp);
}

/* Seal the master key for keyslot 0 and set its entry and the digest. */
static LUKSSealed *make_keyslot(QCryptoLUKS *luks, const QCryptoLUKSIO *io,
                                const QCryptoLUKSCreateOptions *options, Error **errp)
{
    const QCryptoBlockCreateOptionsLUKS *o = options->options;
    LUKSHeader *header = &luks->header;
    LUKSKeyslot *entry = &header->slots[0];
    uint32_t iterations = options->force_iterations;
    g_autoptr(LUKSSealed) sealed = NULL;

    header->digest_iterations = iterations;
    if (iterations == 0) {
        uint64_t ms = o->has_iter_time ? o->iter_time : QCRYPTO_LUKS_DEFAULT_ITER_TIME_MS;

        iterations = luks_measure_iterations(io, header, &luks->alg, ms, luks->max_iterations);
        header->digest_iterations = luks_digest_iterations(header, &luks->alg, iterations);
    }
    luks_plan(io, luks_key_work(header, &luks->alg, iterations) + luks_digest_work(header, &luks->alg) +
                  header_area_bytes(header) - LUKS_ALIGN_BYTES);
    sealed = luks_seal(io, header, &luks->alg, luks->master_key, options->password, iterations,
                       errp);
    if (!sealed || !luks_digest_make(io, header, &luks->alg, luks->master_key, errp)) {
        return NULL;
    }
    entry->state = LUKS_KEYSLOT_ACTIVE;
    entry->iterations = sealed->iterations;
    memcpy(entry->salt, sealed->salt, LUKS_SALT_BYTES);
    return g_steal_pointer(&sealed);
}

/* Remove the magic of an old header before the rest of it is overwritten. */
static bool remove_old_header(const QCryptoLUKSIO *io, Error **errp)
{
    uint8_t sector[QCRYPTO_LUKS_SECTOR_SIZE];

    if (!luks_pread(io, 0, sector, sizeof(sector), "header", errp)) {
        return false;
    }
    if (qcrypto_luks_probe(sector, sizeof(sector)) == QCRYPTO_LUKS_VERSION_NONE) {
        return true;
    }
    memset(sector, 0, sizeof(sector));
    return luks_pwrite(io, 0, sector, sizeof(sector), "header", errp) &&
           luks_flush(io, "header", errp);
}

/*
 * Write the header area except the two sectors of the header: random bytes over the key material,
 * so that nothing of an earlier volume remains, then the proven material of keyslot 0.
 */
static bool write_header_area(const QCryptoLUKS *luks, const QCryptoLUKSIO *io, const LUKSSealed *sealed,
                              Error **errp)
{
    static const uint8_t zeroes[LUKS_ALIGN_BYTES - LUKS_HEADER_BYTES];
    uint64_t end = header_area_bytes(&luks->header);
    g_autoptr(SecretBuffer) back = secret_buffer_new(sealed->material->len);

    return luks_pwrite(io, LUKS_HEADER_BYTES, zeroes, sizeof(zeroes), "header", errp) &&
           luks_fill_random(io, LUKS_ALIGN_BYTES, end - LUKS_ALIGN_BYTES, "key material", errp) &&
           luks_pwrite(io, LUKS_ALIGN_BYTES, sealed->material->data, sealed->material->len,
                          "key material", errp) &&
           luks_flush(io, "key material", errp) &&
           luks_pread(io, LUKS_ALIGN_BYTES, back->data, back->len, "key material", errp) &&
           luks_sealed_proves(&luks->header, &luks->alg, sealed, back, luks->master_key, errp);
}

/* Write the sector with the magic last. */
static bool write_header_sectors(QCryptoLUKS *luks, const QCryptoLUKSIO *io, Error **errp)
{
    luks_header_encode(&luks->header, luks->raw);
    for (int i = 1; i >= 0; i--) {
        uint64_t at = i * QCRYPTO_LUKS_SECTOR_SIZE;

        if (!luks_pwrite(io, at, luks->raw + at, QCRYPTO_LUKS_SECTOR_SIZE, "header", errp) ||
            !luks_flush(io, "header", errp)) {
            return false;
        }
    }
    return true;
}

QCryptoLUKS *qcrypto_luks_create(const QCryptoLUKSIO *io, const QCryptoLUKSCreateOptions *options,
                                 Error **errp)
{
    g_autoptr(QCryptoLUKS) luks = g_new0(QCryptoLUKS, 1);
    g_autoptr(LUKSSealed) sealed = NULL;
    SecretBuffer *master_key = NULL;

    if (!luks_algorithms_from_options(options->options, &luks->alg, errp) ||
        !make_header(&luks->header, &luks->alg, options->detached, errp)) {
        return NULL;
    }
    luks->place = (LUKSPlace) {
        .header_volume_bytes = ROUND_DOWN(io->length, QCRYPTO_LUKS_SECTOR_SIZE),
        .detached = options->detached,
    };
    luks->max_iterations = QCRYPTO_LUKS_DEFAULT_MAX_ITERATIONS;
    if (header_area_bytes(&luks->header) > luks->place.header_volume_bytes) {
        error_setg(errp, "The LUKS header needs %" PRIu64 " bytes, but the volume has only %"
                   PRIu64, header_area_bytes(&luks->header), io->length);
        return NULL;
    }

    master_key = secret_buffer_new(luks->header.key_bytes);
    if (!qcrypto_random_bytes(master_key->data, master_key->len, errp)) {
        secret_buffer_free(master_key);
        return NULL;
    }
    if (!luks_unlock(luks, master_key, errp)) {
        return NULL;
    }
    sealed = make_keyslot(luks, io, options, errp);
    if (!sealed || !remove_old_header(io, errp) || !write_header_area(luks, io, sealed, errp) ||
        !write_header_sectors(luks, io, errp)) {
        return NULL;
    }
    return g_steal_pointer(&luks);
}
