/*
 * Overwriting a range with random bytes, flushed and read back
 *
 * The bytes of a pass are a key stream under a random key, so they can be generated again to verify
 * what was read back, for any length.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include "crypto/random.h"
#include "crypto/luks/luks-int.h"
#include "crypto/luks/overwrite.h"

#define CHUNK_BYTES MiB

uint64_t luks_overwrite_work(uint64_t length, unsigned passes)
{
    return length * (passes + 1);
}

unsigned luks_overwrite_passes(unsigned passes, Error **errp)
{
    if (passes > QCRYPTO_LUKS_MAX_PASSES) {
        error_setg(errp, "Cannot overwrite %u times: the most is %d", passes,
                   QCRYPTO_LUKS_MAX_PASSES);
        return 0;
    }
    return passes ? passes : QCRYPTO_LUKS_DEFAULT_PASSES;
}

static QCryptoSectorCipher *pattern_new(Error **errp)
{
    g_autoptr(SecretBuffer) key = secret_buffer_new(64);

    if (!qcrypto_random_bytes(key->data, key->len, errp)) {
        return NULL;
    }
    return qcrypto_sector_cipher_new(QCRYPTO_CIPHER_ALGO_AES_256, QCRYPTO_CIPHER_MODE_XTS,
                                     QCRYPTO_IV_GEN_ALGO_PLAIN64, QCRYPTO_HASH_ALGO_SHA256, QCRYPTO_SECTOR_SIZE,
                                     key->data, key->len, errp);
}

static void pattern_fill(const QCryptoSectorCipher *pattern, uint64_t offset, uint8_t *buf,
                         size_t bytes)
{
    memset(buf, 0, bytes);
    qcrypto_sectors_encrypt(pattern, offset / QCRYPTO_LUKS_SECTOR_SIZE, buf, buf,
                            bytes / QCRYPTO_LUKS_SECTOR_SIZE);
}

static bool write_pass(const QCryptoLUKSIO *io, QCryptoLUKSRegion *region,
                       const QCryptoSectorCipher *pattern, Error **errp)
{
    g_autofree uint8_t *buf = g_malloc(MIN((uint64_t)CHUNK_BYTES, region->length));

    for (uint64_t done = 0; done < region->length;) {
        size_t bytes = MIN((uint64_t)CHUNK_BYTES, region->length - done);

        pattern_fill(pattern, region->offset + done, buf, bytes);
        if (!luks_pwrite(io, region->offset + done, buf, bytes, region->what, errp)) {
            return false;
        }
        done += bytes;
        region->written = MAX(region->written, done);
        luks_advance(io, bytes);
    }
    return true;
}

static bool verify_pass(const QCryptoLUKSIO *io, const QCryptoLUKSRegion *region,
                        const QCryptoSectorCipher *pattern, Error **errp)
{
    size_t chunk = MIN((uint64_t)CHUNK_BYTES, region->length);
    g_autofree uint8_t *buf = g_malloc(chunk);
    g_autofree uint8_t *want = g_malloc(chunk);

    for (uint64_t done = 0; done < region->length;) {
        size_t bytes = MIN((uint64_t)CHUNK_BYTES, region->length - done);

        if (!luks_pread(io, region->offset + done, buf, bytes, region->what, errp)) {
            return false;
        }
        pattern_fill(pattern, region->offset + done, want, bytes);
        if (memcmp(buf, want, bytes) != 0) {
            error_setg(errp, "LUKS %s was overwritten, but other bytes were read back from %" PRIu64
                       " on", region->what, region->offset + done);
            return false;
        }
        done += bytes;
        luks_advance(io, bytes);
    }
    return true;
}

bool luks_overwrite(const QCryptoLUKSIO *io, QCryptoLUKSRegion *region, unsigned passes, Error **errp)
{
    region->written = 0;
    region->passes = 0;
    region->verified = false;
    for (unsigned pass = 0; pass < passes; pass++) {
        g_autoptr(QCryptoSectorCipher) pattern = pattern_new(errp);

        if (!pattern || !write_pass(io, region, pattern, errp) ||
            !luks_flush(io, region->what, errp)) {
            return false;
        }
        region->passes++;
        if (region->passes == passes && !verify_pass(io, region, pattern, errp)) {
            return false;
        }
    }
    region->verified = true;
    return true;
}

bool luks_fill_random(const QCryptoLUKSIO *io, uint64_t offset, uint64_t length, const char *what,
                      Error **errp)
{
    g_autofree char *copy = g_strdup(what);
    QCryptoLUKSRegion region = { .offset = offset, .length = length, .what = copy };
    g_autoptr(QCryptoSectorCipher) pattern = pattern_new(errp);

    return pattern && write_pass(io, &region, pattern, errp);
}
