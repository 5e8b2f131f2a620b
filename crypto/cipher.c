/*
 * QCryptoCipher: the ciphers and modes of nettle, with key schedules in a SecretBuffer
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include <nettle/cbc.h>
#include <nettle/ctr.h>
#include <nettle/nettle-meta.h>
#include <nettle/xts.h>

#include "crypto/cipher-int.h"
#include "util/secret-buffer.h"

static const struct nettle_cipher *const ciphers[QCRYPTO_CIPHER_ALGO__MAX] = {
    [QCRYPTO_CIPHER_ALGO_AES_128] = &nettle_aes128,
    [QCRYPTO_CIPHER_ALGO_AES_192] = &nettle_aes192,
    [QCRYPTO_CIPHER_ALGO_AES_256] = &nettle_aes256,
    [QCRYPTO_CIPHER_ALGO_CAST5_128] = &nettle_cast128,
    [QCRYPTO_CIPHER_ALGO_SERPENT_128] = &nettle_serpent128,
    [QCRYPTO_CIPHER_ALGO_SERPENT_192] = &nettle_serpent192,
    [QCRYPTO_CIPHER_ALGO_SERPENT_256] = &nettle_serpent256,
    [QCRYPTO_CIPHER_ALGO_TWOFISH_128] = &nettle_twofish128,
    [QCRYPTO_CIPHER_ALGO_TWOFISH_192] = &nettle_twofish192,
    [QCRYPTO_CIPHER_ALGO_TWOFISH_256] = &nettle_twofish256,
};

struct QCryptoCipher {
    const struct nettle_cipher *impl;
    QCryptoCipherMode mode;
    SecretBuffer *schedules;    /* holds the three below */
    void *encrypt_ctx;
    void *decrypt_ctx;
    void *tweak_ctx;            /* xts: the second key */
};

bool qcrypto_cipher_check(QCryptoCipherAlgo alg, QCryptoCipherMode mode, Error **errp)
{
    if (!ciphers[alg]) {
        error_setg(errp, "Cipher algorithm '%s' is not supported", QCryptoCipherAlgo_str(alg));
        return false;
    }
    if (mode == QCRYPTO_CIPHER_MODE_XTS && ciphers[alg]->block_size != XTS_BLOCK_SIZE) {
        error_setg(errp, "Cipher mode 'xts' needs a cipher with a 16-byte block, which '%s' is not",
                   QCryptoCipherAlgo_str(alg));
        return false;
    }
    return true;
}

bool qcrypto_cipher_supports(QCryptoCipherAlgo alg, QCryptoCipherMode mode)
{
    return qcrypto_cipher_check(alg, mode, NULL);
}

size_t qcrypto_cipher_get_key_len(QCryptoCipherAlgo alg)
{
    return ciphers[alg] ? ciphers[alg]->key_size : 0;
}

size_t qcrypto_cipher_get_block_len(QCryptoCipherAlgo alg)
{
    return ciphers[alg] ? ciphers[alg]->block_size : 0;
}

QCryptoCipher *qcrypto_cipher_new(QCryptoCipherAlgo alg, QCryptoCipherMode mode,
                                  const uint8_t *key, size_t nkey, Error **errp)
{
    if (!qcrypto_cipher_check(alg, mode, errp)) {
        return NULL;
    }

    const struct nettle_cipher *impl = ciphers[alg];
    bool xts = mode == QCRYPTO_CIPHER_MODE_XTS;
    size_t expected = impl->key_size * (xts ? 2 : 1);

    if (nkey != expected) {
        error_setg(errp, "Cipher '%s' in mode '%s' needs a key of %zu bytes, not %zu",
                   QCryptoCipherAlgo_str(alg), QCryptoCipherMode_str(mode), expected, nkey);
        return NULL;
    }

    size_t ctx_size = ROUND_UP(impl->context_size, 64);
    QCryptoCipher *cipher = g_new0(QCryptoCipher, 1);

    cipher->impl = impl;
    cipher->mode = mode;
    cipher->schedules = secret_buffer_new(ctx_size * 3);
    cipher->encrypt_ctx = cipher->schedules->data;
    cipher->decrypt_ctx = cipher->schedules->data + ctx_size;
    cipher->tweak_ctx = cipher->schedules->data + ctx_size * 2;
    impl->set_encrypt_key(cipher->encrypt_ctx, key);
    impl->set_decrypt_key(cipher->decrypt_ctx, key);
    if (xts) {
        impl->set_encrypt_key(cipher->tweak_ctx, key + impl->key_size);
    }
    secret_wipe_stack();
    return cipher;
}

void qcrypto_cipher_crypt_nowipe(const QCryptoCipher *cipher, bool encrypt, const uint8_t *iv,
                                 const void *in, void *out, size_t len)
{
    const struct nettle_cipher *impl = cipher->impl;
    const void *ctx = encrypt ? cipher->encrypt_ctx : cipher->decrypt_ctx;
    nettle_cipher_func *func = encrypt ? impl->encrypt : impl->decrypt;
    uint8_t chain[QCRYPTO_CIPHER_MAX_BLOCK_LEN];

    if (len == 0) {
        return;
    }
    assert(cipher->mode == QCRYPTO_CIPHER_MODE_CTR || len % impl->block_size == 0);
    switch (cipher->mode) {
    case QCRYPTO_CIPHER_MODE_ECB:
        func(ctx, len, out, in);
        break;
    case QCRYPTO_CIPHER_MODE_CBC:
        memcpy(chain, iv, impl->block_size);
        (encrypt ? cbc_encrypt : cbc_decrypt)(ctx, func, impl->block_size, chain, len, out, in);
        break;
    case QCRYPTO_CIPHER_MODE_XTS:
        if (encrypt) {
            xts_encrypt_message(ctx, cipher->tweak_ctx, func, iv, len, out, in);
        } else {
            xts_decrypt_message(ctx, cipher->tweak_ctx, func, impl->encrypt, iv, len, out, in);
        }
        break;
    case QCRYPTO_CIPHER_MODE_CTR:
        memcpy(chain, iv, impl->block_size);
        ctr_crypt(cipher->encrypt_ctx, impl->encrypt, impl->block_size, chain, len, out, in);
        break;
    default:
        g_assert_not_reached();
    }
}

void qcrypto_cipher_encrypt(const QCryptoCipher *cipher, const uint8_t *iv,
                            const void *in, void *out, size_t len)
{
    qcrypto_cipher_crypt_nowipe(cipher, true, iv, in, out, len);
    secret_wipe_stack();
}

void qcrypto_cipher_decrypt(const QCryptoCipher *cipher, const uint8_t *iv,
                            const void *in, void *out, size_t len)
{
    qcrypto_cipher_crypt_nowipe(cipher, false, iv, in, out, len);
    secret_wipe_stack();
}

void qcrypto_cipher_free(QCryptoCipher *cipher)
{
    if (cipher) {
        secret_buffer_free(cipher->schedules);
        g_free(cipher);
    }
}
