/*
 * Hash: message digests by QAPI name
 *
 * Supported: md5, sha1, sha224, sha256, sha384, sha512, ripemd160. sm3 exists only because it is in QEMU's schema;
 * using it is an error, never a crash.
 *
 *     uint8_t digest[QCRYPTO_HASH_MAX_DIGEST_LEN];
 *
 *     if (!qcrypto_hash_digest(QCRYPTO_HASH_ALGO_SHA256, key->data, key->len, digest, errp)) {
 *         return false;
 *     }
 *     use(digest, qcrypto_hash_digest_len(QCRYPTO_HASH_ALGO_SHA256));
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef CRYPTO_HASH_H
#define CRYPTO_HASH_H

#include "qapi/qapi-types.h"
#include "util/error.h"

/* Bytes that hold the digest of any supported algorithm. */
#define QCRYPTO_HASH_MAX_DIGEST_LEN 64

/* Whether @alg can be used; qcrypto_hash_check() also says why not. */
bool qcrypto_hash_supports(QCryptoHashAlgo alg);
bool qcrypto_hash_check(QCryptoHashAlgo alg, Error **errp);

/* Bytes in a digest of @alg; 0 if it is not supported. */
size_t qcrypto_hash_digest_len(QCryptoHashAlgo alg);

/*
 * Write the digest of the @len bytes at @in to @out, which has room for qcrypto_hash_digest_len(@alg). No trace of @in
 * is left on stack or heap. Fails only if @alg is not supported.
 */
bool qcrypto_hash_digest(QCryptoHashAlgo alg, const void *in, size_t len, uint8_t *out,
                         Error **errp);

#endif
