/*
 * Algorithms by the names that LUKS headers use
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef CRYPTO_LUKS_ALGORITHMS_H
#define CRYPTO_LUKS_ALGORITHMS_H

#include "crypto/luks/kdf.h"

typedef struct LUKSAlgorithms {
    QCryptoCipherAlgo cipher;
    QCryptoCipherMode mode;
    QCryptoIVGenAlgo ivgen;
    QCryptoHashAlgo ivgen_hash;     /* used with essiv only */
    QCryptoHashAlgo hash;
    const LUKSKDF *kdf;
    size_t sector_size;             /* of the payload; key material is in sectors of 512 bytes */
} LUKSAlgorithms;

/* Whether @name ("aes") is a known cipher family. */
bool luks_cipher_name_known(const char *name);

/* The cipher called @name that takes keys of @key_bytes in @mode. */
bool luks_cipher_parse(const char *name, uint32_t key_bytes, QCryptoCipherMode mode,
                       QCryptoCipherAlgo *cipher);

/* "xts-plain64", "cbc-essiv:sha256"; sets mode, ivgen and ivgen_hash. */
bool luks_mode_parse(const char *mode, LUKSAlgorithms *alg, Error **errp);

bool luks_hash_parse(const char *name, QCryptoHashAlgo *hash);

/* Bytes of the volume key: one cipher key, or two in xts mode. */
uint32_t luks_key_bytes(const LUKSAlgorithms *alg);

/* Whether cipher, mode and IV generator go together and all of them are supported. */
bool luks_algorithms_check(const LUKSAlgorithms *alg, Error **errp);

/* Set cipher_name, cipher_mode, hash_spec and key_bytes of @header. */
void luks_algorithms_store(const LUKSAlgorithms *alg, LUKSHeader *header);

/* The algorithms of a header; false if one is unknown. Does not check whether they go together. */
bool luks_algorithms_load(const LUKSHeader *header, LUKSAlgorithms *alg);

/* The algorithms of @options, with QEMU's defaults, checked. */
bool luks_algorithms_from_options(const QCryptoBlockCreateOptionsLUKS *options,
                                  LUKSAlgorithms *alg, Error **errp);

/* The cipher for the payload or key material with @key, which has luks_key_bytes(). */
QCryptoSectorCipher *luks_sector_cipher_new(const LUKSAlgorithms *alg, size_t sector_size, const SecretBuffer *key,
                                            Error **errp);

#endif
