/*
 * Hash: nettle's digests by QAPI name
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include "crypto/hash.h"
#include "crypto/hash-int.h"
#include "util/secret-buffer.h"

static const struct nettle_hash *const hashes[QCRYPTO_HASH_ALGO__MAX] = {
    [QCRYPTO_HASH_ALGO_MD5] = &nettle_md5,
    [QCRYPTO_HASH_ALGO_SHA1] = &nettle_sha1,
    [QCRYPTO_HASH_ALGO_SHA224] = &nettle_sha224,
    [QCRYPTO_HASH_ALGO_SHA256] = &nettle_sha256,
    [QCRYPTO_HASH_ALGO_SHA384] = &nettle_sha384,
    [QCRYPTO_HASH_ALGO_SHA512] = &nettle_sha512,
    [QCRYPTO_HASH_ALGO_RIPEMD160] = &nettle_ripemd160,
};

const struct nettle_hash *qcrypto_hash_impl(QCryptoHashAlgo alg)
{
    return hashes[alg];
}

bool qcrypto_hash_supports(QCryptoHashAlgo alg)
{
    return hashes[alg] != NULL;
}

bool qcrypto_hash_check(QCryptoHashAlgo alg, Error **errp)
{
    if (!hashes[alg]) {
        error_setg(errp, "Hash algorithm '%s' is not supported", QCryptoHashAlgo_str(alg));
        return false;
    }
    return true;
}

size_t qcrypto_hash_digest_len(QCryptoHashAlgo alg)
{
    return hashes[alg] ? hashes[alg]->digest_size : 0;
}

bool qcrypto_hash_digest(QCryptoHashAlgo alg, const void *in, size_t len, uint8_t *out,
                         Error **errp)
{
    const struct nettle_hash *hash = hashes[alg];
    QCryptoHashState state;

    if (!qcrypto_hash_check(alg, errp)) {
        return false;
    }
    assert(hash->context_size <= sizeof(state));
    hash->init(&state);
    hash->update(&state, len, in);
    hash->digest(&state, hash->digest_size, out);
    secret_wipe(&state, sizeof(state));
    secret_wipe_stack();
    return true;
}
