/*
 * Ciphers inside this library: crypting without wiping the stack after each call
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef CRYPTO_CIPHER_INT_H
#define CRYPTO_CIPHER_INT_H

#include "crypto/cipher.h"

/*
 * As qcrypto_cipher_encrypt() and qcrypto_cipher_decrypt(), for callers that crypt many small
 * pieces and call secret_wipe_stack() after the last one.
 */
void qcrypto_cipher_encrypt_nowipe(const QCryptoCipher *cipher, const uint8_t *iv,
                                   const void *in, void *out, size_t len);
void qcrypto_cipher_decrypt_nowipe(const QCryptoCipher *cipher, const uint8_t *iv,
                                   const void *in, void *out, size_t len);

#endif
