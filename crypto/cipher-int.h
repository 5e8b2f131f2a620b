/*
 * Ciphers, for use in this library: without wiping the stack after each call
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef CRYPTO_CIPHER_INT_H
#define CRYPTO_CIPHER_INT_H

#include "crypto/cipher.h"

/*
 * Like qcrypto_cipher_encrypt() or qcrypto_cipher_decrypt(), for callers that process many small pieces and call
 * secret_wipe_stack() after the last one.
 */
void qcrypto_cipher_crypt_nowipe(const QCryptoCipher *cipher, bool encrypt, const uint8_t *iv,
                                 const void *in, void *out, size_t len);

#endif
