/*
 * The cryptography of a keyslot, without any I/O
 *
 * Sealing makes key material from the master key and a password; unsealing recovers the master key.
 * Slow work runs on THREAD_POOL_LONG, so these may yield in a coroutine. Functions that take @io
 * can be cancelled by its pause_point().
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef CRYPTO_LUKS_KEYSLOT_CRYPTO_H
#define CRYPTO_LUKS_KEYSLOT_CRYPTO_H

#include "crypto/luks/algorithms.h"

/* A master key sealed under a password, ready to be stored in one or more keyslots. */
typedef struct LUKSSealed {
    uint32_t iterations;
    uint8_t salt[LUKS_SALT_BYTES];
    SecretBuffer *key;          /* derived from the password */
    SecretBuffer *material;     /* luks_material_bytes(), encrypted under @key */
} LUKSSealed;

/*
 * Seal @master_key under @password, with a new salt. Lengths are taken from @header.
 */
LUKSSealed *luks_seal(const QCryptoLUKSIO *io, const LUKSHeader *header,
                      const LUKSAlgorithms *alg, const SecretBuffer *master_key,
                      const SecretBuffer *password, uint32_t iterations, Error **errp);
void luks_sealed_free(LUKSSealed *sealed);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(LUKSSealed, luks_sealed_free)

/* Whether @material, read back from the volume, yields @master_key with @sealed's derived key. */
bool luks_sealed_proves(const LUKSHeader *header, const LUKSAlgorithms *alg,
                        const LUKSSealed *sealed, const SecretBuffer *material,
                        const SecretBuffer *master_key, Error **errp);

/*
 * Unseal @material of keyslot @slot with @password: 1 with *@master_key set if the digest in
 * @header confirms it, 0 if it does not, -1 with an error. @material is decrypted in place.
 */
int luks_unseal(const QCryptoLUKSIO *io, const LUKSHeader *header, const LUKSAlgorithms *alg,
                int slot, const SecretBuffer *password, SecretBuffer *material,
                SecretBuffer **master_key, Error **errp);

/* Progress units of deriving a keyslot's key, and of computing the master key's digest. */
uint64_t luks_key_work(const LUKSHeader *header, const LUKSAlgorithms *alg, uint32_t iterations);
uint64_t luks_digest_work(const LUKSHeader *header, const LUKSAlgorithms *alg);

/* Set @header's digest to that of @master_key, using its digest_salt and digest_iterations. */
bool luks_digest_make(const QCryptoLUKSIO *io, LUKSHeader *header, const LUKSAlgorithms *alg,
                      const SecretBuffer *master_key, Error **errp);

/*
 * Measure how many iterations make deriving a key of @header take @iter_time_ms on this machine: at
 * least LUKS_MIN_ITERATIONS, and at most @limit, so that we can open what we create.
 */
uint32_t luks_measure_iterations(const QCryptoLUKSIO *io, const LUKSHeader *header, const LUKSAlgorithms *alg,
                                 uint64_t iter_time_ms, uint64_t limit);

/* Iterations of the master key digest for a keyslot with @keyslot_iterations. */
uint32_t luks_digest_iterations(const LUKSHeader *header, const LUKSAlgorithms *alg,
                                uint32_t keyslot_iterations);

#endif
