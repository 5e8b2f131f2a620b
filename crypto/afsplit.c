/*
 * Anti-forensic splitter of TKS1, with the diffusion function of LUKS1
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include <nettle/memxor.h>

#include "crypto/afsplit.h"
#include "crypto/hash-int.h"
#include "crypto/random.h"
#include "util/secret-buffer.h"

/* State of the hash chain over the stripes, followed by a block of the key's length. */
typedef struct AFChain {
    const struct nettle_hash *hash;
    QCryptoHashState state;
    uint8_t digest[QCRYPTO_HASH_MAX_DIGEST_LEN];
    uint8_t block[];
} AFChain;

static AFChain *af_chain_new(QCryptoHashAlgo hash, size_t blocklen, SecretBuffer **owner)
{
    *owner = secret_buffer_new(sizeof(AFChain) + blocklen);

    AFChain *chain = (AFChain *)(*owner)->data;
    chain->hash = qcrypto_hash_impl(hash);
    return chain;
}

/*
 * Hash each digest-sized piece of the block, with its number in front. A shorter last piece is hashed as it is, and the
 * digest truncated to its length.
 */
static void af_diffuse(AFChain *chain, size_t blocklen)
{
    const struct nettle_hash *hash = chain->hash;
    uint32_t index = 0;

    for (size_t pos = 0; pos < blocklen; pos += hash->digest_size) {
        size_t len = MIN(blocklen - pos, hash->digest_size);
        uint32_t index_be = GUINT32_TO_BE(index);

        hash->init(&chain->state);
        hash->update(&chain->state, sizeof(index_be), (const uint8_t *)&index_be);
        hash->update(&chain->state, len, chain->block + pos);
        hash->digest(&chain->state, hash->digest_size, chain->digest);
        memcpy(chain->block + pos, chain->digest, len);
        index++;
    }
}

/* Run all stripes but the last through the chain, which starts as zeroes. */
static void af_absorb(AFChain *chain, size_t blocklen, uint32_t stripes, const uint8_t *split)
{
    for (uint32_t i = 0; i + 1 < stripes; i++) {
        memxor(chain->block, split + (size_t)i * blocklen, blocklen);
        af_diffuse(chain, blocklen);
    }
}

static bool af_check(QCryptoHashAlgo hash, size_t blocklen, uint32_t stripes, Error **errp)
{
    if (!qcrypto_hash_check(hash, errp)) {
        return false;
    }
    if (stripes == 0 || blocklen > SIZE_MAX / stripes) {
        error_setg(errp, "Cannot split a key of %zu bytes over %" PRIu32 " stripes",
                   blocklen, stripes);
        return false;
    }
    return true;
}

bool qcrypto_afsplit_encode(QCryptoHashAlgo hash, size_t blocklen, uint32_t stripes,
                            const uint8_t *in, uint8_t *out, Error **errp)
{
    g_autoptr(SecretBuffer) owner = NULL;

    if (!af_check(hash, blocklen, stripes, errp)) {
        return false;
    }

    AFChain *chain = af_chain_new(hash, blocklen, &owner);
    size_t last = (size_t)(stripes - 1) * blocklen;

    if (!qcrypto_random_bytes(out, last, errp)) {
        return false;
    }
    af_absorb(chain, blocklen, stripes, out);
    memxor3(out + last, chain->block, in, blocklen);
    secret_wipe_stack();
    return true;
}

bool qcrypto_afsplit_decode(QCryptoHashAlgo hash, size_t blocklen, uint32_t stripes,
                            const uint8_t *in, uint8_t *out, Error **errp)
{
    g_autoptr(SecretBuffer) owner = NULL;

    if (!af_check(hash, blocklen, stripes, errp)) {
        return false;
    }

    AFChain *chain = af_chain_new(hash, blocklen, &owner);

    af_absorb(chain, blocklen, stripes, in);
    memxor3(out, chain->block, in + (size_t)(stripes - 1) * blocklen, blocklen);
    secret_wipe_stack();
    return true;
}
