/*
 * Anti-forensic splitter: known results, round trips, and that every stripe counts
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include "crypto/afsplit.h"
#include "hex.h"

typedef struct AFCase {
    QCryptoHashAlgo hash;
    size_t blocklen;
    uint32_t stripes;
    const char *joined;     /* of the bytes 00 01 02 ..., which wrap around */
} AFCase;

/*
 * Computed with another hash implementation (Python's hashlib) from the text of the LUKS1
 * specification.
 */
static const AFCase cases[] = {
    { QCRYPTO_HASH_ALGO_SHA1, 16, 3,
      "16b15c38ed50f2e3657a117fc6e3f985" },
    { QCRYPTO_HASH_ALGO_SHA1, 32, 4000,
      "c97a600216091d8954e8b995d5dc619e508b118dcf6353ca9a966cf237cc377c" },
    { QCRYPTO_HASH_ALGO_SHA1, 64, 50,
      "f24ab2c3b9d5139badc93c781ab4a1464bddfe6d0aaa7b152c6ca2f1348239c0"
      "2a402bebf8f31b632ba0f09cc786c9417d5581147edd263237430a4324a6437b" },
    { QCRYPTO_HASH_ALGO_SHA256, 32, 4000,
      "918cafbdf51d2d33a97ae0cb99d3a4bba94e4d1fb1ff8c6feb2fd37330e42efb" },
    { QCRYPTO_HASH_ALGO_SHA256, 64, 4000,
      "1069c4cb41d57072503b0f79a702ef14e5eae37707664fe4a3fa4bb6415e66a3"
      "9ca305cf6a72e4f399d98ea5e51badc5167348a1e076937f348dd22f70d54f0a" },
    { QCRYPTO_HASH_ALGO_SHA256, 24, 7,
      "6eeb49d9b0ad01502db14605baf61e582b692cb5419cedde" },
    { QCRYPTO_HASH_ALGO_SHA512, 64, 50,
      "89041f06190d085cbf66e3cc9192ba65c2dcd80f0b1848ed3845ea0efa34b683"
      "5a0d612f34087eece6fa3fe5e4d3d9f459ba05c99b8c4c3c2b5e03319b004da0" },
    { QCRYPTO_HASH_ALGO_RIPEMD160, 64, 11,
      "77717cf009c88e60bbc58a4a86aefc86c2bc8f74f44022921afbaaeb5d0a7211"
      "4b3ff1ca5311823361a7da70e60f1a01172d78bcfe77804da24accdfc64e3772" },
};

static void test_known(void)
{
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        const AFCase *c = &cases[i];
        size_t len = c->blocklen * c->stripes;
        g_autofree uint8_t *in = g_malloc(len);
        uint8_t out[64];

        for (size_t j = 0; j < len; j++) {
            in[j] = j;
        }
        qcrypto_afsplit_decode(c->hash, c->blocklen, c->stripes, in, out, &error_abort);
        assert_hex(out, c->blocklen, c->joined);
    }
}

static void test_round_trip(void)
{
    static const size_t lengths[] = { 1, 16, 20, 31, 32, 64 };
    static const uint32_t stripes[] = { 1, 2, 3, 50, 4000 };
    uint8_t key[64], out[64];

    for (size_t i = 0; i < sizeof(key); i++) {
        key[i] = 3 * i;
    }
    for (int hash = 0; hash < QCRYPTO_HASH_ALGO__MAX; hash++) {
        for (size_t i = 0; i < G_N_ELEMENTS(lengths) * G_N_ELEMENTS(stripes); i++) {
            size_t len = lengths[i / G_N_ELEMENTS(stripes)];
            uint32_t n = stripes[i % G_N_ELEMENTS(stripes)];
            g_autofree uint8_t *split = g_malloc(len * n);
            g_autoptr(Error) err = NULL;

            if (!qcrypto_afsplit_encode(hash, len, n, key, split, &err)) {
                g_assert_true(hash == QCRYPTO_HASH_ALGO_MD5 || hash == QCRYPTO_HASH_ALGO_SM3);
                continue;
            }
            qcrypto_afsplit_decode(hash, len, n, split, out, &error_abort);
            g_assert_cmpmem(key, len, out, len);

            if (len > 4) {      /* a single byte may be right by chance */
                split[g_test_rand_int_range(0, len * n)] ^= 1;
                qcrypto_afsplit_decode(hash, len, n, split, out, &error_abort);
                g_assert_cmpint(memcmp(key, out, len), !=, 0);
            }
        }
    }
}

/* Each split of a key is different. */
static void test_random(void)
{
    static const uint8_t key[32];
    uint8_t a[32 * 4], b[32 * 4];

    qcrypto_afsplit_encode(QCRYPTO_HASH_ALGO_SHA256, 32, 4, key, a, &error_abort);
    qcrypto_afsplit_encode(QCRYPTO_HASH_ALGO_SHA256, 32, 4, key, b, &error_abort);
    for (size_t stripe = 0; stripe < 4; stripe++) {
        g_assert_cmpint(memcmp(a + 32 * stripe, b + 32 * stripe, 32), !=, 0);
    }
}

static void test_errors(void)
{
    uint8_t buf[32] = { 0 };
    g_autoptr(Error) err = NULL;

    g_assert_false(qcrypto_afsplit_encode(QCRYPTO_HASH_ALGO_SHA1, 32, 0, buf, buf, &err));
    g_assert_nonnull(err);
    g_clear_pointer(&err, error_free);
    g_assert_false(qcrypto_afsplit_decode(QCRYPTO_HASH_ALGO_SHA1, SIZE_MAX / 2, 3, buf, buf, &err));
    g_assert_nonnull(err);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/crypto/afsplit/known", test_known);
    g_test_add_func("/crypto/afsplit/round-trip", test_round_trip);
    g_test_add_func("/crypto/afsplit/random", test_random);
    g_test_add_func("/crypto/afsplit/errors", test_errors);
    return g_test_run();
}
