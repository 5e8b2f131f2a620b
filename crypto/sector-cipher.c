/*
 * QCryptoSectorCipher: IV generation, and a choice between an XTS kernel and one sector at a time
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include "crypto/cipher-int.h"
#include "crypto/hash.h"
#include "crypto/sector-cipher.h"
#include "crypto/xts-kernel.h"
#include "util/secret-buffer.h"

struct QCryptoSectorCipher {
    size_t sector_size;
    uint64_t sector_mask;       /* the bits of the sector number that enter its IV */

    /* Either a kernel with an XTSKeys ... */
    const XTSKernel *kernel;
    SecretBuffer *kernel_keys;

    /* ... or a cipher, and one for the IVs with essiv. */
    QCryptoCipher *cipher;
    QCryptoCipher *essiv;
    size_t essiv_block_len;
};

/* Ciphers that can encrypt IVs, and their families. */
static const struct {
    QCryptoCipherAlgo first, last;
} essiv_families[] = {
    { QCRYPTO_CIPHER_ALGO_AES_128, QCRYPTO_CIPHER_ALGO_AES_256 },
    { QCRYPTO_CIPHER_ALGO_SERPENT_128, QCRYPTO_CIPHER_ALGO_SERPENT_256 },
    { QCRYPTO_CIPHER_ALGO_TWOFISH_128, QCRYPTO_CIPHER_ALGO_TWOFISH_256 },
};

bool qcrypto_essiv_cipher(QCryptoCipherAlgo alg, QCryptoHashAlgo hash, QCryptoCipherAlgo *out,
                          Error **errp)
{
    size_t digest_len = qcrypto_hash_digest_len(hash);

    if (!qcrypto_hash_check(hash, errp)) {
        return false;
    }
    for (size_t i = 0; i < G_N_ELEMENTS(essiv_families); i++) {
        if (alg < essiv_families[i].first || alg > essiv_families[i].last) {
            continue;
        }
        for (QCryptoCipherAlgo a = essiv_families[i].first; a <= essiv_families[i].last; a++) {
            if (qcrypto_cipher_get_key_len(a) == digest_len) {
                *out = a;
                return true;
            }
        }
        error_setg(errp, "IV generator 'essiv' cannot use hash '%s' with cipher '%s': "
                   "no cipher of its family has a key of %zu bytes",
                   QCryptoHashAlgo_str(hash), QCryptoCipherAlgo_str(alg), digest_len);
        error_append_hint(errp, "Use ivgen-hash-alg=sha256, or ivgen-alg=plain64.\n");
        return false;
    }
    error_setg(errp, "IV generator 'essiv' does not work with cipher '%s'",
               QCryptoCipherAlgo_str(alg));
    return false;
}

static bool sector_cipher_init_essiv(QCryptoSectorCipher *sc, QCryptoCipherAlgo alg,
                                     QCryptoHashAlgo ivhash, const uint8_t *key, size_t nkey,
                                     Error **errp)
{
    g_autoptr(SecretBuffer) salt = secret_buffer_new(qcrypto_hash_digest_len(ivhash));
    QCryptoCipherAlgo essiv_alg;

    if (!qcrypto_essiv_cipher(alg, ivhash, &essiv_alg, errp) ||
        !qcrypto_hash_digest(ivhash, key, nkey, salt->data, errp)) {
        return false;
    }
    sc->essiv = qcrypto_cipher_new(essiv_alg, QCRYPTO_CIPHER_MODE_ECB, salt->data, salt->len, errp);
    sc->essiv_block_len = qcrypto_cipher_get_block_len(essiv_alg);
    return sc->essiv != NULL;
}

static bool cipher_is_aes(QCryptoCipherAlgo alg)
{
    return alg == QCRYPTO_CIPHER_ALGO_AES_128 || alg == QCRYPTO_CIPHER_ALGO_AES_192 ||
           alg == QCRYPTO_CIPHER_ALGO_AES_256;
}

QCryptoSectorCipher *qcrypto_sector_cipher_new_with(const XTSKernel *kernel,
                                                    QCryptoCipherAlgo alg, QCryptoCipherMode mode,
                                                    QCryptoIVGenAlgo ivgen, QCryptoHashAlgo ivhash,
                                                    size_t sector_size, const uint8_t *key, size_t nkey,
                                                    Error **errp)
{
    g_autoptr(QCryptoSectorCipher) sc = g_new0(QCryptoSectorCipher, 1);

    if (sector_size < QCRYPTO_SECTOR_SIZE || sector_size > QCRYPTO_MAX_SECTOR_SIZE ||
        (sector_size & (sector_size - 1)) != 0) {
        error_setg(errp, "Sector size %zu is not supported: it must be a power of two from %d to %d", sector_size,
                   QCRYPTO_SECTOR_SIZE, QCRYPTO_MAX_SECTOR_SIZE);
        return NULL;
    }
    sc->sector_size = sector_size;

    /* Checks the key's length, also for a kernel. */
    sc->cipher = qcrypto_cipher_new(alg, mode, key, nkey, errp);
    if (!sc->cipher) {
        return NULL;
    }
    sc->sector_mask = ivgen == QCRYPTO_IV_GEN_ALGO_PLAIN ? UINT32_MAX : UINT64_MAX;

    if (ivgen == QCRYPTO_IV_GEN_ALGO_ESSIV && mode != QCRYPTO_CIPHER_MODE_ECB) {
        if (!sector_cipher_init_essiv(sc, alg, ivhash, key, nkey, errp)) {
            return NULL;
        }
    } else if (kernel && cipher_is_aes(alg) && mode == QCRYPTO_CIPHER_MODE_XTS) {
        sc->kernel = kernel;
        sc->kernel_keys = secret_buffer_new(sizeof(XTSKeys));
        kernel->expand((XTSKeys *)sc->kernel_keys->data, key, nkey);
        g_clear_pointer(&sc->cipher, qcrypto_cipher_free);
    }
    return g_steal_pointer(&sc);
}

QCryptoSectorCipher *qcrypto_sector_cipher_new(QCryptoCipherAlgo alg, QCryptoCipherMode mode,
                                               QCryptoIVGenAlgo ivgen, QCryptoHashAlgo ivhash,
                                               size_t sector_size, const uint8_t *key, size_t nkey,
                                               Error **errp)
{
    return qcrypto_sector_cipher_new_with(xts_kernel_best(), alg, mode, ivgen, ivhash, sector_size,
                                          key, nkey, errp);
}

static void sector_cipher_iv(const QCryptoSectorCipher *sc, uint64_t sector, uint8_t *iv)
{
    uint64_t sector_le = GUINT64_TO_LE(sector & sc->sector_mask);

    memset(iv, 0, QCRYPTO_CIPHER_MAX_BLOCK_LEN);
    memcpy(iv, &sector_le, sizeof(sector_le));
    if (sc->essiv) {
        qcrypto_cipher_crypt_nowipe(sc->essiv, true, NULL, iv, iv, sc->essiv_block_len);
    }
}

static void sector_cipher_crypt_each(const QCryptoSectorCipher *sc, bool encrypt, uint64_t first_sector,
                                     const uint8_t *in, uint8_t *out, size_t sectors)
{
    size_t size = sc->sector_size;
    uint8_t iv[QCRYPTO_CIPHER_MAX_BLOCK_LEN];

    if (sc->kernel) {
        xts_crypt(sc->kernel, (XTSKeys *)sc->kernel_keys->data, encrypt, first_sector,
                  sc->sector_mask, size, in, out, sectors);
        return;
    }
    for (size_t i = 0; i < sectors; i++) {
        sector_cipher_iv(sc, first_sector + i * (size / QCRYPTO_SECTOR_SIZE), iv);
        qcrypto_cipher_crypt_nowipe(sc->cipher, encrypt, iv, in + i * size, out + i * size, size);
    }
    secret_wipe_stack();
}

void qcrypto_sectors_encrypt(const QCryptoSectorCipher *sc, uint64_t first_sector,
                             const void *in, void *out, size_t sectors)
{
    sector_cipher_crypt_each(sc, true, first_sector, in, out, sectors);
}

void qcrypto_sectors_decrypt(const QCryptoSectorCipher *sc, uint64_t first_sector,
                             const void *in, void *out, size_t sectors)
{
    sector_cipher_crypt_each(sc, false, first_sector, in, out, sectors);
}

void qcrypto_sector_cipher_free(QCryptoSectorCipher *sc)
{
    if (sc) {
        secret_buffer_free(sc->kernel_keys);
        qcrypto_cipher_free(sc->cipher);
        qcrypto_cipher_free(sc->essiv);
        g_free(sc);
    }
}
