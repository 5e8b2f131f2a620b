/*
 * Key derivation: from a password to the key that encrypts a keyslot's material
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef CRYPTO_LUKS_KDF_H
#define CRYPTO_LUKS_KDF_H

#include "crypto/luks/header.h"

/* How a keyslot's key, or the master key's digest, is derived. */
typedef struct LUKSKDFParams {
    QCryptoHashAlgo hash;
    uint32_t iterations;
    const uint8_t *salt;        /* LUKS_SALT_BYTES; must stay valid until the last step */
} LUKSKDFParams;

/*
 * A key derivation function. It runs in steps, and the operation can be paused or cancelled between them. Each step
 * may run on another thread.
 */
typedef struct LUKSKDF {
    /* Begin to derive @nout bytes; the last step writes them to @out. NULL with @errp on error. */
    void *(*begin)(const LUKSKDFParams *params, const SecretBuffer *secret, uint8_t *out, size_t nout, Error **errp);

    /* Work for about @ns nanoseconds; true once the key is derived. */
    bool (*step)(void *state, int64_t ns);

    /* For progress: iterations done, and needed for @nout bytes in total. */
    uint64_t (*done)(const void *state);
    uint64_t (*total)(const LUKSKDFParams *params, size_t nout);

    /* Free @state, whether or not the key is derived. */
    void (*end)(void *state);

    /* Measure, for about 0.1 s, how many iterations per second this machine does for keys of @nout bytes. */
    uint64_t (*rate)(QCryptoHashAlgo hash, size_t nout);
} LUKSKDF;

/* LUKS1 has no other. */
extern const LUKSKDF luks_kdf_pbkdf2;

#endif
