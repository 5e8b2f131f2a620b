/*
 * PBKDF2: HMAC from two prepared hash states, and a benchmark of this machine
 *
 * The states after the padded password are computed once. An iteration then costs two compressions, no matter how long
 * the password is. All of it is in a SecretBuffer.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include <nettle/memxor.h>
#include <time.h>

#include "crypto/hash-int.h"
#include "crypto/pbkdf.h"
#include "util/secret-buffer.h"

/* Everything that must stay secret. */
typedef struct PBKDF2 {
    const struct nettle_hash *hash;
    QCryptoHashState inner;         /* after the password xor ipad */
    QCryptoHashState outer;         /* after the password xor opad */
    QCryptoHashState work;
    uint8_t pad[QCRYPTO_HASH_MAX_BLOCK_LEN];
    uint8_t u[QCRYPTO_HASH_MAX_DIGEST_LEN];
    uint8_t t[QCRYPTO_HASH_MAX_DIGEST_LEN];
} PBKDF2;

/* Iterations between looks at the clock: 0.3 ms with sha256. */
#define STRETCH_ITERATIONS 2048

struct QCryptoPBKDF2 {
    SecretBuffer *buf;
    PBKDF2 *p;                      /* in @buf */
    const void *salt;
    size_t nsalt;
    uint64_t iterations;
    uint64_t iterations_done;       /* of block @index */
    uint32_t index;                 /* from 1 */
    uint8_t *out;                   /* of block @index */
    size_t nout;                    /* from there on */
};

/* RFC 2104: the password fills a block; a longer one is hashed first. */
static void pbkdf2_set_password(PBKDF2 *p, const void *pass, size_t npass)
{
    const struct nettle_hash *hash = p->hash;

    if (npass > hash->block_size) {
        hash->init(&p->work);
        hash->update(&p->work, npass, pass);
        hash->digest(&p->work, hash->digest_size, p->pad);
    } else if (npass > 0) {
        memcpy(p->pad, pass, npass);
    }

    for (size_t i = 0; i < hash->block_size; i++) {
        p->pad[i] ^= 0x36;
    }
    hash->init(&p->inner);
    hash->update(&p->inner, hash->block_size, p->pad);

    for (size_t i = 0; i < hash->block_size; i++) {
        p->pad[i] ^= 0x36 ^ 0x5c;
    }
    hash->init(&p->outer);
    hash->update(&p->outer, hash->block_size, p->pad);
}

/* End the inner hash in @p->work, and put the HMAC into @p->u. */
static void pbkdf2_finish_hmac(PBKDF2 *p)
{
    const struct nettle_hash *hash = p->hash;

    hash->digest(&p->work, hash->digest_size, p->u);
    memcpy(&p->work, &p->outer, hash->context_size);
    hash->update(&p->work, hash->digest_size, p->u);
    hash->digest(&p->work, hash->digest_size, p->u);
}

/* Begin the function F of RFC 8018, which leaves block @index of the derived key in @p->t. */
static void pbkdf2_first_iteration(const QCryptoPBKDF2 *kdf)
{
    PBKDF2 *p = kdf->p;
    uint32_t index_be = GUINT32_TO_BE(kdf->index);

    memcpy(&p->work, &p->inner, p->hash->context_size);
    p->hash->update(&p->work, kdf->nsalt, kdf->salt);
    p->hash->update(&p->work, sizeof(index_be), (const uint8_t *)&index_be);
    pbkdf2_finish_hmac(p);
    memcpy(p->t, p->u, p->hash->digest_size);
}

/* Continue it. */
static void pbkdf2_iterate(PBKDF2 *p, uint64_t iterations)
{
    const struct nettle_hash *hash = p->hash;

    for (uint64_t i = 0; i < iterations; i++) {
        memcpy(&p->work, &p->inner, hash->context_size);
        hash->update(&p->work, hash->digest_size, p->u);
        pbkdf2_finish_hmac(p);
        memxor(p->t, p->u, hash->digest_size);
    }
}

static void pbkdf2_end_block(QCryptoPBKDF2 *kdf)
{
    size_t len = MIN(kdf->nout, kdf->p->hash->digest_size);

    memcpy(kdf->out, kdf->p->t, len);
    kdf->out += len;
    kdf->nout -= len;
    kdf->index++;
    kdf->iterations_done = 0;
}

static void pbkdf2_stretch(QCryptoPBKDF2 *kdf)
{
    if (kdf->iterations_done == 0) {
        pbkdf2_first_iteration(kdf);
        kdf->iterations_done = 1;
    }
    uint64_t iterations = MIN(kdf->iterations - kdf->iterations_done, STRETCH_ITERATIONS);

    pbkdf2_iterate(kdf->p, iterations);
    kdf->iterations_done += iterations;
    if (kdf->iterations_done == kdf->iterations) {
        pbkdf2_end_block(kdf);
    }
}

static int64_t clock_ns(clockid_t clock)
{
    struct timespec ts;

    if (clock_gettime(clock, &ts) < 0) {
        return 0;
    }
    return ts.tv_sec * INT64_C(1000000000) + ts.tv_nsec;
}

QCryptoPBKDF2 *qcrypto_pbkdf2_new(QCryptoHashAlgo hash, const void *pass, size_t npass,
                                  const void *salt, size_t nsalt, uint64_t iterations,
                                  void *out, size_t nout, Error **errp)
{
    if (!qcrypto_hash_check(hash, errp)) {
        return NULL;
    }
    if (iterations == 0) {
        error_setg(errp, "PBKDF2 needs at least one iteration");
        return NULL;
    }
    if (nout / qcrypto_hash_digest_len(hash) >= UINT32_MAX) {
        error_setg(errp, "PBKDF2 with %s cannot derive %zu bytes", QCryptoHashAlgo_str(hash), nout);
        return NULL;
    }

    QCryptoPBKDF2 *kdf = g_new(QCryptoPBKDF2, 1);

    *kdf = (QCryptoPBKDF2) {
        .buf = secret_buffer_new(sizeof(PBKDF2)), .salt = salt, .nsalt = nsalt,
        .iterations = iterations, .index = 1, .out = out, .nout = nout,
    };
    kdf->p = (PBKDF2 *)kdf->buf->data;
    kdf->p->hash = qcrypto_hash_impl(hash);
    pbkdf2_set_password(kdf->p, pass, npass);
    secret_wipe_stack();
    return kdf;
}

bool qcrypto_pbkdf2_step(QCryptoPBKDF2 *kdf, int64_t ns)
{
    int64_t start_ns = clock_ns(CLOCK_MONOTONIC);

    while (kdf->nout > 0) {
        pbkdf2_stretch(kdf);
        if (clock_ns(CLOCK_MONOTONIC) - start_ns >= ns) {
            break;
        }
    }
    secret_wipe_stack();
    return kdf->nout == 0;
}

uint64_t qcrypto_pbkdf2_iterations_done(const QCryptoPBKDF2 *kdf)
{
    return (kdf->index - 1) * kdf->iterations + kdf->iterations_done;
}

uint64_t qcrypto_pbkdf2_iterations_total(QCryptoHashAlgo hash, uint64_t iterations, size_t nout)
{
    return iterations * DIV_ROUND_UP(nout, qcrypto_hash_digest_len(hash));
}

void qcrypto_pbkdf2_free(QCryptoPBKDF2 *kdf)
{
    if (kdf) {
        secret_buffer_free(kdf->buf);
        g_free(kdf);
    }
}

bool qcrypto_pbkdf2(QCryptoHashAlgo hash, const void *pass, size_t npass,
                    const void *salt, size_t nsalt, uint64_t iterations,
                    void *out, size_t nout, Error **errp)
{
    g_autoptr(QCryptoPBKDF2) kdf = qcrypto_pbkdf2_new(hash, pass, npass, salt, nsalt, iterations,
                                                      out, nout, errp);

    return kdf && qcrypto_pbkdf2_step(kdf, INT64_MAX);
}

/*
 * Only a run of at least this length counts. Together with the shorter ones before it, it takes at most four times as
 * long.
 */
#define CALIBRATE_NS (20 * 1000 * 1000)
#define CALIBRATE_FIRST_ITERATIONS 256
#define MAX_ITERATIONS_PER_SEC (UINT64_C(1) << 31)

/* Nanoseconds that this thread needs for @iterations of one block; processor time if available. */
static int64_t pbkdf2_measure_ns(QCryptoHashAlgo hash, uint64_t iterations)
{
    uint8_t out[QCRYPTO_HASH_MAX_DIGEST_LEN];
    int64_t cpu = clock_ns(CLOCK_THREAD_CPUTIME_ID);
    int64_t wall = clock_ns(CLOCK_MONOTONIC);

    qcrypto_pbkdf2(hash, "password", 8, "0123456789abcdef0123456789abcdef", 32, iterations,
                   out, qcrypto_hash_digest_len(hash), &error_abort);
    cpu = clock_ns(CLOCK_THREAD_CPUTIME_ID) - cpu;
    wall = clock_ns(CLOCK_MONOTONIC) - wall;
    return cpu > 0 ? cpu : wall;
}

uint64_t qcrypto_pbkdf2_count_iters_per_sec(QCryptoHashAlgo hash, size_t nout)
{
    if (!qcrypto_hash_supports(hash)) {
        return 1;
    }

    uint64_t iterations = CALIBRATE_FIRST_ITERATIONS;
    uint64_t blocks = MAX(DIV_ROUND_UP(nout, qcrypto_hash_digest_len(hash)), 1);
    int64_t elapsed_ns;

    while ((elapsed_ns = pbkdf2_measure_ns(hash, iterations)) < CALIBRATE_NS &&
           iterations < MAX_ITERATIONS_PER_SEC) {
        iterations *= 2;
    }

    double rate = (double)iterations * 1e9 / MAX(elapsed_ns, 1) / blocks;
    return CLAMP(rate, 1, MAX_ITERATIONS_PER_SEC);
}
