/*
 * Hash: known digests, lengths, and unsupported algorithms
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include "crypto/hash.h"
#include "hex.h"

typedef struct HashCase {
    QCryptoHashAlgo alg;
    const char *digest;     /* of "abc" (RFC 1321, FIPS 180-4 examples, RIPEMD-160 home page) */
} HashCase;

static const HashCase cases[] = {
    { QCRYPTO_HASH_ALGO_MD5, "900150983cd24fb0d6963f7d28e17f72" },
    { QCRYPTO_HASH_ALGO_SHA1, "a9993e364706816aba3e25717850c26c9cd0d89d" },
    { QCRYPTO_HASH_ALGO_SHA224, "23097d223405d8228642a477bda255b32aadbce4bda0b3f7e36c9da7" },
    { QCRYPTO_HASH_ALGO_SHA256,
      "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" },
    { QCRYPTO_HASH_ALGO_SHA384,
      "cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed"
      "8086072ba1e7cc2358baeca134c825a7" },
    { QCRYPTO_HASH_ALGO_SHA512,
      "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a"
      "2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f" },
    { QCRYPTO_HASH_ALGO_RIPEMD160, "8eb208f7e05d987a9b044a8e98c6b087f15a0bfc" },
};

static void test_digests(void)
{
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        uint8_t digest[QCRYPTO_HASH_MAX_DIGEST_LEN];
        size_t len = qcrypto_hash_digest_len(cases[i].alg);

        g_assert_true(qcrypto_hash_supports(cases[i].alg));
        g_assert_true(qcrypto_hash_digest(cases[i].alg, "abc", 3, digest, &error_abort));
        assert_hex(digest, len, cases[i].digest);
    }
}

static void test_empty(void)
{
    uint8_t digest[QCRYPTO_HASH_MAX_DIGEST_LEN];

    qcrypto_hash_digest(QCRYPTO_HASH_ALGO_SHA1, NULL, 0, digest, &error_abort);
    assert_hex(digest, 20, "da39a3ee5e6b4b0d3255bfef95601890afd80709");
}

static void test_unsupported(void)
{
    g_autoptr(Error) err = NULL;
    uint8_t digest[QCRYPTO_HASH_MAX_DIGEST_LEN];

    g_assert_false(qcrypto_hash_supports(QCRYPTO_HASH_ALGO_SM3));
    g_assert_cmpuint(qcrypto_hash_digest_len(QCRYPTO_HASH_ALGO_SM3), ==, 0);
    g_assert_false(qcrypto_hash_digest(QCRYPTO_HASH_ALGO_SM3, "abc", 3, digest, &err));
    g_assert_nonnull(strstr(error_get_pretty(err), "sm3"));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/crypto/hash/digests", test_digests);
    g_test_add_func("/crypto/hash/empty", test_empty);
    g_test_add_func("/crypto/hash/unsupported", test_unsupported);
    return g_test_run();
}
