/*
 * Keys under passwords: the cryptography of a keyslot, without any reading or writing
 *
 * Sealing makes key material from the master key and a password; unsealing goes the other way.
 * What takes long runs on THREAD_POOL_LONG, so these may yield in a coroutine. Where they take @io,
 * its pause_point() can end them.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef CRYPTO_LUKS_KEYSLOT_CRYPTO_H
#define CRYPTO_LUKS_KEYSLOT_CRYPTO_H

#include "crypto/luks/algorithms.h"

/* A master key under a password, as keyslots store it. The same may be stored in several. */
typedef struct LUKSSealed {
    uint32_t iterations;
    uint8_t salt[LUKS_SALT_BYTES];
    SecretBuffer *key;          /* derived from the password */
    SecretBuffer *material;     /* luks_material_bytes(), encrypted under @key */
} LUKSSealed;

/*
 * Seal @master_key under @password, with a new salt.
 * @header: for its lengths
 */
LUKSSealed *luks_seal(const QCryptoLUKSIO *io, const LUKSHeader *header,
                      const LUKSAlgorithms *alg, const SecretBuffer *master_key,
                      const SecretBuffer *password, uint32_t iterations, Error **errp);
void luks_sealed_free(LUKSSealed *sealed);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(LUKSSealed, luks_sealed_free)

/* Whether @material, read back from the volume, gives @master_key under @sealed's derived key. */
bool luks_sealed_proves(const LUKSHeader *header, const LUKSAlgorithms *alg,
                        const LUKSSealed *sealed, const SecretBuffer *material,
                        const SecretBuffer *master_key, Error **errp);

/*
 * What @password makes of @material with keyslot @slot of @header: 1 with *@master_key set where
 * the digest in the header confirms it, 0 where it does not, -1 with an error. @material is
 * decrypted in place.
 */
int luks_unseal(const QCryptoLUKSIO *io, const LUKSHeader *header, const LUKSAlgorithms *alg,
                int slot, const SecretBuffer *password, SecretBuffer *material,
                SecretBuffer **master_key, Error **errp);

/* What deriving a keyslot's key adds to the progress, and what the digest of a master key does. */
uint64_t luks_key_work(const LUKSHeader *header, const LUKSAlgorithms *alg, uint32_t iterations);
uint64_t luks_digest_work(const LUKSHeader *header, const LUKSAlgorithms *alg);

/* Set the digest of @header to that of @master_key, with its digest_salt and digest_iterations. */
bool luks_digest_make(const QCryptoLUKSIO *io, LUKSHeader *header, const LUKSAlgorithms *alg,
                      const SecretBuffer *master_key, Error **errp);

/*
 * Iterations that make deriving a key of @header take @iter_time_ms on this machine: at least
 * LUKS_MIN_ITERATIONS, and at most @limit, so that we never make what we refuse to open.
 */
uint32_t luks_measure_iterations(const QCryptoLUKSIO *io, const LUKSHeader *header, const LUKSAlgorithms *alg,
                                 uint64_t iter_time_ms, uint64_t limit);

/* The iterations of the master key digest that go with those of a keyslot. */
uint32_t luks_digest_iterations(const LUKSHeader *header, const LUKSAlgorithms *alg,
                                uint32_t keyslot_iterations);

#endif
