/*
 * PBKDF2 with HMAC (RFC 8018, section 5.2): turns a password into a key, slowly
 *
 * The iteration count determines how slowly. To make a derivation take about two seconds on this machine:
 *
 *     uint64_t rate = qcrypto_pbkdf2_count_iters_per_sec(hash, key->len);
 *     uint64_t iterations = rate * 2;
 *
 *     if (!qcrypto_pbkdf2(hash, pass->data, pass->len, salt, sizeof(salt), iterations,
 *                         key->data, key->len, errp)) {
 *         return false;
 *     }
 *
 * Both calls keep the processor busy until they return: use a worker thread (thread_pool_submit_co() with
 * THREAD_POOL_LONG), never an event loop. A derivation that can be cancelled is done in steps:
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
 * Derive @nout bytes at @out from the @npass bytes at @pass (any bytes, may be empty) and the salt. @iterations is at
 * least 1 and unlimited here: a caller that reads it from a header must limit it. Fails if @hash is not supported,
 * @iterations is 0, or @nout exceeds 2^32 - 1 digests.
 */
bool qcrypto_pbkdf2(QCryptoHashAlgo hash, const void *pass, size_t npass,
                    const void *salt, size_t nsalt, uint64_t iterations,
                    void *out, size_t nout, Error **errp);

/* The same in steps. @salt and @out remain the caller's, and must stay valid until the last step. */
typedef struct QCryptoPBKDF2 QCryptoPBKDF2;
QCryptoPBKDF2 *qcrypto_pbkdf2_new(QCryptoHashAlgo hash, const void *pass, size_t npass,
                                  const void *salt, size_t nsalt, uint64_t iterations,
                                  void *out, size_t nout, Error **errp);

/*
 * Work for about @ns nanoseconds. True once everything is derived. Each step may run on another thread, one at a time.
 */
bool qcrypto_pbkdf2_step(QCryptoPBKDF2 *kdf, int64_t ns);

/* For progress: iterations done, and the total of a derivation: @iterations for each digest of the key. */
uint64_t qcrypto_pbkdf2_iterations_done(const QCryptoPBKDF2 *kdf);
uint64_t qcrypto_pbkdf2_iterations_total(QCryptoHashAlgo hash, uint64_t iterations, size_t nout);

/* May be called at any time. */
void qcrypto_pbkdf2_free(QCryptoPBKDF2 *kdf);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(QCryptoPBKDF2, qcrypto_pbkdf2_free)

/*
 * Iterations per second of processor time with which this machine derives @nout bytes.
 *
 * It depends on @nout: sha256 yields 32 bytes per pass, so a 64-byte key takes two passes and halves the rate. Takes
 * less than 100 ms of processor time. Cannot fail: if the processor clock is missing or coarse, the wall clock is used.
 * The result is between 1 and 2^31; 1 if @hash is not supported.
 */
uint64_t qcrypto_pbkdf2_count_iters_per_sec(QCryptoHashAlgo hash, size_t nout);

#endif
