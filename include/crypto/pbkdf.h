/*
 * PBKDF2 with HMAC (RFC 8018, section 5.2): turns a password into a key, slowly
 *
 * How slowly is the iteration count. To have a derivation take about two seconds on this machine:
 *
 *     uint64_t rate = qcrypto_pbkdf2_count_iters_per_sec(hash, key->len);
 *     uint64_t iterations = rate * 2;
 *
 *     if (!qcrypto_pbkdf2(hash, pass->data, pass->len, salt, sizeof(salt), iterations,
 *                         key->data, key->len, errp)) {
 *         return false;
 *     }
 *
 * Both calls keep the processor busy until they return: use a worker thread
 * (thread_pool_submit_co() with THREAD_POOL_LONG), never an event loop. A derivation that somebody
 * may want to cancel goes in steps:
 *
 *     g_autoptr(QCryptoPBKDF2) kdf = qcrypto_pbkdf2_new(hash, ..., key->data, key->len, errp);
 *
 *     while (kdf && !qcrypto_pbkdf2_step(kdf, 50 * SCALE_MS)) {
 *         if (cancelled) {
 *             return false;
 *         }
 *     }
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef CRYPTO_PBKDF_H
#define CRYPTO_PBKDF_H

#include "qapi/qapi-types.h"
#include "util/error.h"

/*
 * Derive @nout bytes at @out from the @npass bytes at @pass (any bytes, may be none) and the salt.
 * @iterations is at least 1 and has no upper bound here: who reads it from a header must bound it.
 * Fails where @hash is not supported, @iterations is 0, or @nout exceeds 2^32 - 1 digests.
 */
bool qcrypto_pbkdf2(QCryptoHashAlgo hash, const void *pass, size_t npass,
                    const void *salt, size_t nsalt, uint64_t iterations,
                    void *out, size_t nout, Error **errp);

/*
 * The same in steps. @salt and @out stay the caller's, and must not go away before the last step.
 */
typedef struct QCryptoPBKDF2 QCryptoPBKDF2;
QCryptoPBKDF2 *qcrypto_pbkdf2_new(QCryptoHashAlgo hash, const void *pass, size_t npass,
                                  const void *salt, size_t nsalt, uint64_t iterations,
                                  void *out, size_t nout, Error **errp);

/*
 * Work for about @ns nanoseconds. True once all is derived. Each step may run on another thread,
 * one at a time.
 */
bool qcrypto_pbkdf2_step(QCryptoPBKDF2 *kdf, int64_t ns);

/* For progress: iterations done, and those that a derivation takes in all: @iterations for each digest of the key. */
uint64_t qcrypto_pbkdf2_iterations_done(const QCryptoPBKDF2 *kdf);
uint64_t qcrypto_pbkdf2_iterations_total(QCryptoHashAlgo hash, uint64_t iterations, size_t nout);

/* At any time. */
void qcrypto_pbkdf2_free(QCryptoPBKDF2 *kdf);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(QCryptoPBKDF2, qcrypto_pbkdf2_free)

/*
 * Iterations per second of processor time with which this machine derives @nout bytes.
 *
 * @nout counts: sha256 makes 32 bytes a pass, so a 64-byte key takes two passes and the rate
 * halves. Costs less than 100 ms of processor time. Cannot fail: where the processor clock is
 * missing or coarse the wall clock is used, and the result lies between 1 and 2^31. Where @hash is
 * not supported it is 1.
 */
uint64_t qcrypto_pbkdf2_count_iters_per_sec(QCryptoHashAlgo hash, size_t nout);

#endif
