/*
 * Key derivation: what turns a password into the key that a keyslot's material is encrypted under
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef CRYPTO_LUKS_KDF_H
#define CRYPTO_LUKS_KDF_H

#include "crypto/luks/header.h"

/* What a keyslot, or the master key's digest, says about how its key is derived. */
typedef struct LUKSKDFParams {
    QCryptoHashAlgo hash;
    uint32_t iterations;
    const uint8_t *salt;        /* LUKS_SALT_BYTES; must not go away before the last step */
} LUKSKDFParams;

/*
 * One kind of derivation. It runs in steps, between which an operation can be paused or cancelled. Each step may run on
 * another thread.
 */
typedef struct LUKSKDF {
    /* Begin to derive @nout bytes at @out, which is written when the last step is done. NULL with @errp. */
    void *(*begin)(const LUKSKDFParams *params, const SecretBuffer *secret, uint8_t *out, size_t nout, Error **errp);

    /* Work for about @ns nanoseconds; true once all is derived. */
    bool (*step)(void *state, int64_t ns);

    /* For progress: iterations done, and those that @nout bytes take in all. */
    uint64_t (*done)(const void *state);
    uint64_t (*total)(const LUKSKDFParams *params, size_t nout);

    /* At any time, whether or not all is derived. */
    void (*end)(void *state);

    /* Iterations per second with which this machine derives @nout bytes; keeps a processor busy for some 0.1 s. */
    uint64_t (*rate)(QCryptoHashAlgo hash, size_t nout);
} LUKSKDF;

/* The only one of LUKS1. */
extern const LUKSKDF luks_kdf_pbkdf2;

#endif
