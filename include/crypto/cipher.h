/*
 * QCryptoCipher: a block cipher in a mode of operation, under one key
 *
 * A cipher never changes after creation: the IV is passed to each call, so any number of threads may use one cipher at
 * once, without a lock. The key schedule is kept in a SecretBuffer.
 *
 *     g_autoptr(QCryptoCipher) cipher =
 *         qcrypto_cipher_new(QCRYPTO_CIPHER_ALGO_AES_256, QCRYPTO_CIPHER_MODE_CBC, key, 32, errp);
 *
 *     if (!cipher) {
 *         return false;
 *     }
 *     qcrypto_cipher_encrypt(cipher, iv, data, data, len);    // in place
 *
 * Supported: aes-128/192/256, serpent-128/192/256, twofish-128/192/256, cast5-128, each in modes
 * ecb, cbc, ctr and, where the block has 16 bytes, xts. For whole disk sectors see
 * crypto/sector-cipher.h.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef CRYPTO_CIPHER_H
#define CRYPTO_CIPHER_H

#include "qapi/qapi-types.h"
#include "util/error.h"

#define QCRYPTO_CIPHER_MAX_BLOCK_LEN 16

typedef struct QCryptoCipher QCryptoCipher;

/* Whether @alg can be used in @mode; qcrypto_cipher_check() also says why not. */
bool qcrypto_cipher_supports(QCryptoCipherAlgo alg, QCryptoCipherMode mode);
bool qcrypto_cipher_check(QCryptoCipherAlgo alg, QCryptoCipherMode mode, Error **errp);

/* Bytes in one key of @alg (xts takes two of them, one after the other); 0 if it is not supported. */
size_t qcrypto_cipher_get_key_len(QCryptoCipherAlgo alg);

/* Bytes in a block of @alg; 0 if it is not supported. */
size_t qcrypto_cipher_get_block_len(QCryptoCipherAlgo alg);

/*
 * Create a cipher with the @nkey bytes at @key, which need not outlive the call. @nkey must be
 * qcrypto_cipher_get_key_len(@alg), twice that with xts. Another length or an unsupported combination is an error that
 * names both.
 */
QCryptoCipher *qcrypto_cipher_new(QCryptoCipherAlgo alg, QCryptoCipherMode mode,
                                  const uint8_t *key, size_t nkey, Error **errp);

/*
 * Encrypt or decrypt @len bytes from @in to @out, which are either the same or do not overlap. @len is a multiple of
 * the block length (in ctr mode: any). @iv is as long as a block, is not changed, and may be NULL in ecb mode. In ctr
 * mode it is the first counter block, big-endian.
 */
void qcrypto_cipher_encrypt(const QCryptoCipher *cipher, const uint8_t *iv,
                            const void *in, void *out, size_t len);
void qcrypto_cipher_decrypt(const QCryptoCipher *cipher, const uint8_t *iv,
                            const void *in, void *out, size_t len);

void qcrypto_cipher_free(QCryptoCipher *cipher);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(QCryptoCipher, qcrypto_cipher_free)

#endif
