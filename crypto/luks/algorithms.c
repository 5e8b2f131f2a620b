/*
 * Algorithms by the names that LUKS headers use
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include "crypto/hash.h"
#include "crypto/luks/algorithms.h"

static const struct {
    const char *name;
    QCryptoCipherAlgo cipher;
} ciphers[] = {
    { "aes", QCRYPTO_CIPHER_ALGO_AES_128 },
    { "aes", QCRYPTO_CIPHER_ALGO_AES_192 },
    { "aes", QCRYPTO_CIPHER_ALGO_AES_256 },
    { "cast5", QCRYPTO_CIPHER_ALGO_CAST5_128 },
    { "serpent", QCRYPTO_CIPHER_ALGO_SERPENT_128 },
    { "serpent", QCRYPTO_CIPHER_ALGO_SERPENT_192 },
    { "serpent", QCRYPTO_CIPHER_ALGO_SERPENT_256 },
    { "twofish", QCRYPTO_CIPHER_ALGO_TWOFISH_128 },
    { "twofish", QCRYPTO_CIPHER_ALGO_TWOFISH_192 },
    { "twofish", QCRYPTO_CIPHER_ALGO_TWOFISH_256 },
};

bool luks_cipher_name_known(const char *name)
{
    for (size_t i = 0; i < G_N_ELEMENTS(ciphers); i++) {
        if (strcmp(ciphers[i].name, name) == 0) {
            return true;
        }
    }
    return false;
}

/* NULL: LUKS has no name for it. */
static const char *cipher_name(QCryptoCipherAlgo cipher)
{
    for (size_t i = 0; i < G_N_ELEMENTS(ciphers); i++) {
        if (ciphers[i].cipher == cipher) {
            return ciphers[i].name;
        }
    }
    return NULL;
}

static uint32_t key_bytes(QCryptoCipherAlgo cipher, QCryptoCipherMode mode)
{
    return qcrypto_cipher_get_key_len(cipher) * (mode == QCRYPTO_CIPHER_MODE_XTS ? 2 : 1);
}

uint32_t luks_key_bytes(const LUKSAlgorithms *alg)
{
    return key_bytes(alg->cipher, alg->mode);
}

bool luks_cipher_parse(const char *name, uint32_t nkey, QCryptoCipherMode mode,
                       QCryptoCipherAlgo *cipher)
{
    for (size_t i = 0; i < G_N_ELEMENTS(ciphers); i++) {
        if (strcmp(ciphers[i].name, name) == 0 && key_bytes(ciphers[i].cipher, mode) == nkey) {
            *cipher = ciphers[i].cipher;
            return true;
        }
    }
    return false;
}

bool luks_hash_parse(const char *name, QCryptoHashAlgo *hash)
{
    for (int i = 0; i < QCRYPTO_HASH_ALGO__MAX; i++) {
        if (strcmp(QCryptoHashAlgo_str(i), name) == 0) {
            *hash = i;
            return qcrypto_hash_supports(i);
        }
    }
    return false;
}

bool luks_mode_parse(const char *spec, LUKSAlgorithms *alg, Error **errp)
{
    g_auto(GStrv) parts = g_strsplit(spec, "-", 2);
    const char *mode = parts[0] ? parts[0] : "";
    char *ivgen = parts[0] ? parts[1] : NULL;
    char *ivhash = ivgen ? strchr(ivgen, ':') : NULL;
    int i;

    if (ivhash) {
        *ivhash++ = '\0';
    }
    for (i = 0; i < QCRYPTO_CIPHER_MODE__MAX; i++) {
        if (strcmp(QCryptoCipherMode_str(i), mode) == 0) {
            break;
        }
    }
    if (i == QCRYPTO_CIPHER_MODE__MAX) {
        error_setg(errp, "cipher mode '%s' is not supported", mode);
        return false;
    }
    alg->mode = i;

    /* cryptsetup writes a bare "ecb", since nothing uses an IV there */
    if (!ivgen && alg->mode == QCRYPTO_CIPHER_MODE_ECB) {
        ivgen = (char *)"plain";
    }
    for (i = 0; ivgen && i < QCRYPTO_IV_GEN_ALGO__MAX; i++) {
        if (strcmp(QCryptoIVGenAlgo_str(i), ivgen) == 0) {
            break;
        }
    }
    if (!ivgen || i == QCRYPTO_IV_GEN_ALGO__MAX) {
        error_setg(errp, "IV generator '%s' is not supported", ivgen ? ivgen : "");
        return false;
    }
    alg->ivgen = i;

    /* plain and plain64 ignore a hash, as in dm-crypt: QEMU writes one on request */
    alg->ivgen_hash = QCRYPTO_HASH_ALGO_SHA256;
    if (alg->ivgen == QCRYPTO_IV_GEN_ALGO_ESSIV &&
        (!ivhash || !luks_hash_parse(ivhash, &alg->ivgen_hash))) {
        error_setg(errp, "IV generator hash '%s' is not supported", ivhash ? ivhash : "");
        return false;
    }
    return true;
}

bool luks_algorithms_check(const LUKSAlgorithms *alg, Error **errp)
{
    QCryptoCipherAlgo ivcipher;

    if (!cipher_name(alg->cipher)) {
        error_setg(errp, "Cipher '%s' is not supported with LUKS",
                   QCryptoCipherAlgo_str(alg->cipher));
        return false;
    }
    return qcrypto_cipher_check(alg->cipher, alg->mode, errp) &&
           qcrypto_hash_check(alg->hash, errp) &&
           (alg->ivgen != QCRYPTO_IV_GEN_ALGO_ESSIV ||
               (qcrypto_hash_check(alg->ivgen_hash, errp) &&
                   qcrypto_essiv_cipher(alg->cipher, alg->ivgen_hash, &ivcipher, errp)));
}

void luks_algorithms_store(const LUKSAlgorithms *alg, LUKSHeader *header)
{
    const char *mode = QCryptoCipherMode_str(alg->mode);
    const char *ivgen = QCryptoIVGenAlgo_str(alg->ivgen);

    g_strlcpy(header->cipher_name, cipher_name(alg->cipher), LUKS_NAME_BYTES);
    if (alg->ivgen == QCRYPTO_IV_GEN_ALGO_ESSIV) {
        g_snprintf(header->cipher_mode, LUKS_NAME_BYTES, "%s-%s:%s", mode, ivgen,
                   QCryptoHashAlgo_str(alg->ivgen_hash));
    } else {
        g_snprintf(header->cipher_mode, LUKS_NAME_BYTES, "%s-%s", mode, ivgen);
    }
    g_strlcpy(header->hash_spec, QCryptoHashAlgo_str(alg->hash), LUKS_NAME_BYTES);
    header->key_bytes = luks_key_bytes(alg);
}

bool luks_algorithms_load(const LUKSHeader *header, LUKSAlgorithms *alg)
{
    alg->kdf = &luks_kdf_pbkdf2;
    alg->sector_size = QCRYPTO_LUKS_SECTOR_SIZE;
    return luks_mode_parse(header->cipher_mode, alg, NULL) &&
           luks_hash_parse(header->hash_spec, &alg->hash) &&
           luks_cipher_parse(header->cipher_name, header->key_bytes, alg->mode, &alg->cipher);
}

bool luks_algorithms_from_options(const QCryptoBlockCreateOptionsLUKS *options,
                                  LUKSAlgorithms *alg, Error **errp)
{
    *alg = (LUKSAlgorithms) {
        .cipher = options->has_cipher_alg ? options->cipher_alg : QCRYPTO_CIPHER_ALGO_AES_256,
        .mode = options->has_cipher_mode ? options->cipher_mode : QCRYPTO_CIPHER_MODE_XTS,
        .ivgen = options->has_ivgen_alg ? options->ivgen_alg : QCRYPTO_IV_GEN_ALGO_PLAIN64,
        .ivgen_hash = options->has_ivgen_hash_alg ? options->ivgen_hash_alg
                                                  : QCRYPTO_HASH_ALGO_SHA256,
        .hash = options->has_hash_alg ? options->hash_alg : QCRYPTO_HASH_ALGO_SHA256,
        .kdf = &luks_kdf_pbkdf2,
        .sector_size = QCRYPTO_LUKS_SECTOR_SIZE,
    };
    if (options->has_iter_time && options->iter_time < 0) {
        error_setg(errp, "Parameter 'iter-time' is %" PRId64 ", but cannot be negative",
                   options->iter_time);
        return false;
    }
    return luks_algorithms_check(alg, errp);
}

QCryptoSectorCipher *luks_sector_cipher_new(const LUKSAlgorithms *alg, size_t sector_size, const SecretBuffer *key,
                                            Error **errp)
{
    return qcrypto_sector_cipher_new(alg->cipher, alg->mode, alg->ivgen, alg->ivgen_hash, sector_size,
                                     key->data, key->len, errp);
}
