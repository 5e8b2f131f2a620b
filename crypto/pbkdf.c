/*
 * PBKDF2: HMAC from two prepared hash states, and how fast this machine is at it
 *
 * The states after the padded password are computed once; an iteration then costs two compressions
 * and nothing that depends on the password's length. All of it lives in a SecretBuffer.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include <nettle/memxor.h>
#include <time.h>

#include "crypto/hash-int.h"
#include "crypto/pbkdf.h"
#include "util/secret-buffer.h"

typedef struct PBKDF2 {
    const struct nettle_hash *hash;
    QCryptoHashState inner;         /* after the password xor ipad */
    QCryptoHashState outer;         /* after the password xor opad */
    QCryptoHashState work;
    uint8_t pad[QCRYPTO_HASH_MAX_BLOCK_LEN];
    uint8_t u[QCRYPTO_HASH_MAX_DIGEST_LEN];
    uint8_t t[QCRYPTO_HASH_MAX_DIGEST_LEN];
} PBKDF2;

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

/* Ends the inner hash in @p->work, and puts the HMAC into @p->u. */
static void pbkdf2_finish_hmac(PBKDF2 *p)
{
    const struct nettle_hash *hash = p->hash;

    hash->digest(&p->work, hash->digest_size, p->u);
    memcpy(&p->work, &p->outer, hash->context_size);
    hash->update(&p->work, hash->digest_size, p->u);
    hash->digest(&p->work, hash->digest_size, p->u);
}

/* The function F of RFC 8018: leaves block @index (from 1) of the derived key in @p->t. */
static void pbkdf2_block(PBKDF2 *p, const void *salt, size_t nsalt, uint32_t index,
                         uint64_t iterations)
{
    const struct nettle_hash *hash = p->hash;
    uint32_t index_be = GUINT32_TO_BE(index);

    memcpy(&p->work, &p->inner, hash->context_size);
    hash->update(&p->work, nsalt, salt);
    hash->update(&p->work, sizeof(index_be), (const uint8_t *)&index_be);
    pbkdf2_finish_hmac(p);
    memcpy(p->t, p->u, hash->digest_size);

    for (uint64_t i = 1; i < iterations; i++) {
        memcpy(&p->work, &p->inner, hash->context_size);
        hash->update(&p->work, hash->digest_size, p->u);
        pbkdf2_finish_hmac(p);
        memxor(p->t, p->u, hash->digest_size);
    }
}

bool qcrypto_pbkdf2(QCryptoHashAlgo hash, const void *pass, size_t npass,
                    const void *salt, size_t nsalt, uint64_t iterations,
                    void *out, size_t nout, Error **errp)
{
    uint8_t *pos = out;

    if (!qcrypto_hash_check(hash, errp)) {
        return false;
    }
    if (iterations == 0) {
        error_setg(errp, "PBKDF2 needs at least one iteration");
        return false;
    }
    if (nout / qcrypto_hash_digest_len(hash) >= UINT32_MAX) {
        error_setg(errp, "PBKDF2 with %s cannot derive %zu bytes", QCryptoHashAlgo_str(hash), nout);
        return false;
    }

    g_autoptr(SecretBuffer) buf = secret_buffer_new(sizeof(PBKDF2));
    PBKDF2 *p = (PBKDF2 *)buf->data;

    p->hash = qcrypto_hash_impl(hash);
    pbkdf2_set_password(p, pass, npass);
    for (uint32_t index = 1; nout > 0; index++) {
        size_t len = MIN(nout, p->hash->digest_size);

        pbkdf2_block(p, salt, nsalt, index, iterations);
        memcpy(pos, p->t, len);
        pos += len;
        nout -= len;
    }
    secret_wipe_stack();
    return true;
}

/*
 * A run of at least this long is measured; with the shorter ones before it, at most four times
 * that.
 */
#define CALIBRATE_NS (20 * 1000 * 1000)
#define CALIBRATE_FIRST_ITERATIONS 256
#define MAX_ITERATIONS_PER_SEC (UINT64_C(1) << 31)

static int64_t clock_ns(clockid_t clock)
{
    struct timespec ts;

    if (clock_gettime(clock, &ts) < 0) {
        return 0;
    }
    return ts.tv_sec * INT64_C(1000000000) + ts.tv_nsec;
}

/*
 * Nanoseconds of this thread that @iterations take for one block: processor time where it is known.
 */
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
