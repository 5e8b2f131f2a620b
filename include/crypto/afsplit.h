/*
 * Anti-forensic splitter (TKS1, as in LUKS1): spreads a key over many stripes
 *
 * All stripes are needed to recover the key, so overwriting any part of them destroys it, even on media that keep a
 * copy of some sectors.
 *
 *     size_t nsplit = key->len * 4000;
 *     g_autoptr(SecretBuffer) split = secret_buffer_new(nsplit);
 *
 *     if (!qcrypto_afsplit_encode(hash, key->len, 4000, key->data, split->data, errp)) {
 *         return false;
 *     }
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef CRYPTO_AFSPLIT_H
#define CRYPTO_AFSPLIT_H

#include "qapi/qapi-types.h"
#include "util/error.h"

/*
 * Split the @blocklen bytes at @in into @blocklen * @stripes bytes at @out, which must not overlap. Fails if @hash is
 * not supported, @stripes is 0, or the system has no random bytes.
 */
bool qcrypto_afsplit_encode(QCryptoHashAlgo hash, size_t blocklen, uint32_t stripes,
                            const uint8_t *in, uint8_t *out, Error **errp);

/*
 * Join the @blocklen * @stripes bytes at @in into @blocklen bytes at @out. Any input yields some key: the caller must
 * check whether it is the right one.
 */
bool qcrypto_afsplit_decode(QCryptoHashAlgo hash, size_t blocklen, uint32_t stripes,
                            const uint8_t *in, uint8_t *out, Error **errp);

#endif
