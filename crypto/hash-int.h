/*
 * Hashes, for use in this library: the nettle implementation by name, and space for its state
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef CRYPTO_HASH_INT_H
#define CRYPTO_HASH_INT_H

#include <nettle/md5.h>
#include <nettle/nettle-meta.h>
#include <nettle/ripemd160.h>
#include <nettle/sha1.h>
#include <nettle/sha2.h>

#include "crypto/hash.h"

/* The state of any supported hash. If the input is secret, put it in a SecretBuffer. */
typedef union QCryptoHashState {
    struct md5_ctx md5;
    struct sha1_ctx sha1;
    struct sha256_ctx sha256;
    struct sha512_ctx sha512;
    struct ripemd160_ctx ripemd160;
} QCryptoHashState;

/* The longest block of any supported hash. */
#define QCRYPTO_HASH_MAX_BLOCK_LEN SHA512_BLOCK_SIZE

/* NULL if @alg is not supported. */
const struct nettle_hash *qcrypto_hash_impl(QCryptoHashAlgo alg);

#endif
