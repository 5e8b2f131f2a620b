/*
 * The cryptography of a keyslot: key derivation, anti-forensic split, encryption of key material
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include "crypto/afsplit.h"
#include "crypto/hash.h"
#include "crypto/random.h"
#include "crypto/luks/luks-int.h"
#include "crypto/luks/keyslot-crypto.h"
#include "util/aio.h"
#include "util/thread-pool.h"

void luks_sealed_free(LUKSSealed *sealed)
{
    if (!sealed) {
        return;
    }
    secret_buffer_free(sealed->key);
    secret_buffer_free(sealed->material);
    g_free(sealed);
}

/*
 * Length of a slice of key derivation. Between slices the operation can be paused or cancelled, and other derivations
 * get a worker. Submitting a slice costs about 20 us.
 */
#define DERIVE_SLICE_NS (50 * SCALE_MS)

/* Progress units of an iteration: most hashes compress two blocks of 64 bytes for it. */
#define ITERATION_WORK 128

typedef struct Derivation {
    const LUKSKDF *kdf;
    void *state;
    int64_t spent_ns;
} Derivation;

static int derive_slice(void *opaque)
{
    Derivation *d = opaque;
    int64_t start_ns = qemu_clock_get_ns();
    bool done = d->kdf->step(d->state, DERIVE_SLICE_NS);

    d->spent_ns += qemu_clock_get_ns() - start_ns;
    return done;
}

static uint64_t derivation_work(const LUKSAlgorithms *alg, uint32_t iterations, size_t nout)
{
    const LUKSKDFParams params = { .hash = alg->hash, .iterations = iterations };

    return alg->kdf->total(&params, nout) * ITERATION_WORK;
}

uint64_t luks_key_work(const LUKSHeader *header, const LUKSAlgorithms *alg, uint32_t iterations)
{
    return derivation_work(alg, iterations, header->key_bytes);
}

uint64_t luks_digest_work(const LUKSHeader *header, const LUKSAlgorithms *alg)
{
    return derivation_work(alg, header->digest_iterations, LUKS_DIGEST_BYTES);
}

static bool derive_key(const QCryptoLUKSIO *io, const LUKSAlgorithms *alg, const SecretBuffer *secret,
                       const uint8_t *salt, uint32_t iterations, uint8_t *out, size_t nout,
                       Error **errp)
{
    const LUKSKDFParams params = { .hash = alg->hash, .iterations = iterations, .salt = salt };
    Derivation d = { .kdf = alg->kdf, .state = alg->kdf->begin(&params, secret, out, nout, errp) };
    uint64_t total = alg->kdf->total(&params, nout), before = 0;
    bool done = false;

    if (!d.state) {
        return false;
    }
    while (!done && luks_pause_point(io, errp)) {
        done = thread_pool_submit_co(THREAD_POOL_LONG, derive_slice, &d);
        uint64_t now = alg->kdf->done(d.state);
        luks_advance(io, (now - before) * ITERATION_WORK);
        if (!done) {
            luks_set_activity(io, "Deriving the key", (double)d.spent_ns / now * (total - now));
        }
        before = now;
    }
    luks_set_activity(io, NULL, 0);
    d.kdf->end(d.state);
    return done;
}

bool luks_digest_make(const QCryptoLUKSIO *io, LUKSHeader *header, const LUKSAlgorithms *alg,
                      const SecretBuffer *master_key, Error **errp)
{
    return derive_key(io, alg, master_key, header->digest_salt, header->digest_iterations,
                      header->digest, LUKS_DIGEST_BYTES, errp);
}

LUKSSealed *luks_seal(const QCryptoLUKSIO *io, const LUKSHeader *header,
                      const LUKSAlgorithms *alg, const SecretBuffer *master_key,
                      const SecretBuffer *password, uint32_t iterations, Error **errp)
{
    g_autoptr(LUKSSealed) sealed = g_new0(LUKSSealed, 1);
    g_autoptr(QCryptoSectorCipher) cipher = NULL;

    sealed->iterations = iterations;
    sealed->key = secret_buffer_new(header->key_bytes);
    sealed->material = secret_buffer_new(luks_material_bytes(header));
    if (!qcrypto_random_bytes(sealed->salt, LUKS_SALT_BYTES, errp) ||
        !derive_key(io, alg, password, sealed->salt, iterations, sealed->key->data,
                   sealed->key->len, errp)) {
        return NULL;
    }
    cipher = luks_sector_cipher_new(alg, QCRYPTO_LUKS_SECTOR_SIZE, sealed->key, errp);
    if (!cipher || !qcrypto_afsplit_encode(alg->hash, header->key_bytes, LUKS_STRIPES,
                                           master_key->data, sealed->material->data, errp)) {
        return NULL;
    }
    qcrypto_sectors_encrypt(cipher, 0, sealed->material->data, sealed->material->data,
                            sealed->material->len / QCRYPTO_LUKS_SECTOR_SIZE);
    return g_steal_pointer(&sealed);
}

/* Decrypt @material in place with @key and join its stripes. */
static SecretBuffer *join_stripes(const LUKSHeader *header, const LUKSAlgorithms *alg,
                          const SecretBuffer *key, SecretBuffer *material, Error **errp)
{
    g_autoptr(QCryptoSectorCipher) cipher = luks_sector_cipher_new(alg, QCRYPTO_LUKS_SECTOR_SIZE, key, errp);
    g_autoptr(SecretBuffer) out = NULL;

    if (!cipher) {
        return NULL;
    }
    qcrypto_sectors_decrypt(cipher, 0, material->data, material->data,
                            material->len / QCRYPTO_LUKS_SECTOR_SIZE);
    out = secret_buffer_new(header->key_bytes);
    if (!qcrypto_afsplit_decode(alg->hash, header->key_bytes, LUKS_STRIPES, material->data,
                                out->data, errp)) {
        return NULL;
    }
    return g_steal_pointer(&out);
}

bool luks_sealed_proves(const LUKSHeader *header, const LUKSAlgorithms *alg,
                        const LUKSSealed *sealed, const SecretBuffer *material,
                        const SecretBuffer *master_key, Error **errp)
{
    g_autoptr(SecretBuffer) copy = secret_buffer_new_from(material->data, material->len);
    g_autoptr(SecretBuffer) out = join_stripes(header, alg, sealed->key, copy, errp);

    if (!out) {
        return false;
    }
    if (!secret_buffer_equal(out, master_key)) {
        error_setg(errp, "Key material that was read back does not give the master key: the volume"
                   " does not keep what is written to it");
        return false;
    }
    return true;
}

int luks_unseal(const QCryptoLUKSIO *io, const LUKSHeader *header, const LUKSAlgorithms *alg,
                int slot, const SecretBuffer *password, SecretBuffer *material,
                SecretBuffer **master_key, Error **errp)
{
    const LUKSKeyslot *entry = &header->slots[slot];
    g_autoptr(SecretBuffer) key = secret_buffer_new(header->key_bytes);
    g_autoptr(SecretBuffer) out = NULL;
    uint8_t digest[LUKS_DIGEST_BYTES];

    if (!derive_key(io, alg, password, entry->salt, entry->iterations, key->data, key->len, errp)) {
        return -1;
    }
    out = join_stripes(header, alg, key, material, errp);
    if (!out || !derive_key(io, alg, out, header->digest_salt, header->digest_iterations, digest,
                        sizeof(digest), errp)) {
        return -1;
    }
    if (memcmp(digest, header->digest, sizeof(digest)) != 0) {
        return 0;
    }
    *master_key = g_steal_pointer(&out);
    return 1;
}

typedef struct MeasureJob {
    const LUKSAlgorithms *alg;
    size_t nout;
    uint64_t rate;
} MeasureJob;

static int measure_worker(void *opaque)
{
    MeasureJob *job = opaque;

    job->rate = job->alg->kdf->rate(job->alg->hash, job->nout);
    return 0;
}

uint32_t luks_measure_iterations(const QCryptoLUKSIO *io, const LUKSHeader *header, const LUKSAlgorithms *alg,
                                 uint64_t iter_time_ms, uint64_t limit)
{
    MeasureJob job = { .alg = alg, .nout = header->key_bytes };
    uint64_t iterations;

    luks_set_activity(io, "Measuring the speed of this machine", 0);
    thread_pool_submit_co(THREAD_POOL_LONG, measure_worker, &job);
    luks_set_activity(io, NULL, 0);
    if (__builtin_mul_overflow(job.rate, iter_time_ms, &iterations)) {
        iterations = UINT64_MAX;
    }
    iterations = MIN(iterations / 1000, MIN(limit, UINT32_MAX));
    return MAX(iterations, LUKS_MIN_ITERATIONS);
}

uint32_t luks_digest_iterations(const LUKSHeader *header, const LUKSAlgorithms *alg,
                                uint32_t keyslot_iterations)
{
    /* an eighth of the time; a digest is one block, and a key may be several */
    uint64_t blocks = DIV_ROUND_UP(header->key_bytes, qcrypto_hash_digest_len(alg->hash));
    uint64_t iterations = keyslot_iterations * blocks / 8;

    return MIN(MAX(iterations, LUKS_MIN_ITERATIONS), UINT32_MAX);
}
