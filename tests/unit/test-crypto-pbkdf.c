/*
 * PBKDF2: known keys, limits, and a calibration that is cheap and plausible, and depends on the key's length
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include <time.h>

#include "crypto/hash.h"
#include "crypto/pbkdf.h"
#include "hex.h"

typedef struct PBKDFCase {
    QCryptoHashAlgo hash;
    const char *pass;
    size_t npass;
    const char *salt;
    size_t nsalt;
    uint64_t iterations;
    const char *key;
} PBKDFCase;

#define TEXT(s) s, sizeof(s) - 1
#define X16 "xxxxxxxxxxxxxxxx"
#define X128 X16 X16 X16 X16 X16 X16 X16 X16

/* RFC 6070 for sha1. The same inputs, and passwords of a block and more, with OpenSSL for the others. */
static const PBKDFCase cases[] = {
    { QCRYPTO_HASH_ALGO_SHA1, TEXT("password"), TEXT("salt"), 1,
      "0c60c80f961f0e71f3a9b524af6012062fe037a6" },
    { QCRYPTO_HASH_ALGO_SHA1, TEXT("password"), TEXT("salt"), 2,
      "ea6c014dc72d6f8ccd1ed92ace1d41f0d8de8957" },
    { QCRYPTO_HASH_ALGO_SHA1, TEXT("password"), TEXT("salt"), 4096,
      "4b007901b765489abead49d926f721d065a429c1" },
    { QCRYPTO_HASH_ALGO_SHA1, TEXT("passwordPASSWORDpassword"),
      TEXT("saltSALTsaltSALTsaltSALTsaltSALTsalt"), 4096,
      "3d2eec4fe41c849b80c8d83662c0e44a8b291a964cf2f07038" },
    { QCRYPTO_HASH_ALGO_SHA1, TEXT("pass\0word"), TEXT("sa\0lt"), 4096,
      "56fa6aa75548099dcc37d7f03425e0c3" },
    { QCRYPTO_HASH_ALGO_MD5, TEXT("password"), TEXT("salt"), 4096,
      "15001f89b9c29ee6998c520d1a0629e893cc3f99"
      "6a08d27060e4c33305bf0fb262e27c0c9745202f" },
    { QCRYPTO_HASH_ALGO_SHA256, TEXT("password"), TEXT("salt"), 1,
      "120fb6cffcf8b32c43e7225256c4f837a86548c92ccc35480805987cb70be17b" },
    { QCRYPTO_HASH_ALGO_SHA256, TEXT("password"), TEXT("salt"), 4096,
      "c5e478d59288c841aa530db6845c4c8d962893a001ce4e11a4963873aa98134a" },
    { QCRYPTO_HASH_ALGO_SHA512, TEXT("password"), TEXT("salt"), 1,
      "867f70cf1ade02cff3752599a3a53dc4af34c7a669815ae5d513554e1c8cf252"
      "c02d470a285a0501bad999bfe943c08f050235d7d68b1da55e63f73b60a57fce" },
    { QCRYPTO_HASH_ALGO_SHA512, TEXT("password"), TEXT("salt"), 4096,
      "d197b1b33db0143e018b12f3d1d1479e6cdebdcc97c5c0f87f6902e072f457b5"
      "143f30602641b3d55cd335988cb36b84376060ecd532e039b742a239434af2d5" },
    { QCRYPTO_HASH_ALGO_SHA224, TEXT(X128 X16 X16 X16 X16 "xxxxxxxx"), TEXT("salt"), 3,
      "60a8d691d97a30932d7368f6382222edda93a811ef5a47250f92f0fdae005773"
      "0153e641eefb5183b8a3d64c0eb0d27ec4847e4ac60836ae047ba8d0d7419311" },
    { QCRYPTO_HASH_ALGO_SHA384, TEXT(X128), TEXT("salt"), 3,
      "60a298735cafa53bb15adb7569bba44e319486aee3aacb4787e8328b733d4405"
      "c041e088c2ebec98a40635deb190314db0119b62de9b4851ba7520ff66251e6d" },
    { QCRYPTO_HASH_ALGO_RIPEMD160, TEXT("password"), TEXT("salt"), 2,
      "768dcc27b7bfdef794a1ff9d935090fcf598555e66913180b9ce363c615e9ed9"
      "53b95fd07169be535e38afbea29c030e06d14f40745b1513b7ccdf0e76229e50" },
};

static void test_vectors(void)
{
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        const PBKDFCase *c = &cases[i];
        uint8_t key[64];
        size_t nkey = strlen(c->key) / 2;

        qcrypto_pbkdf2(c->hash, c->pass, c->npass, c->salt, c->nsalt, c->iterations, key, nkey,
                       &error_abort);
        assert_hex(key, nkey, c->key);
    }
}

/* In the shortest possible steps. */
static void test_steps(void)
{
    uint8_t whole[100], in_steps[100];
    unsigned steps = 1;

    qcrypto_pbkdf2(QCRYPTO_HASH_ALGO_SHA256, "p", 1, "s", 1, 5000, whole, 100, &error_abort);
    g_autoptr(QCryptoPBKDF2) kdf = qcrypto_pbkdf2_new(QCRYPTO_HASH_ALGO_SHA256, "p", 1, "s", 1, 5000, in_steps, 100,
                                                      &error_abort);
    while (!qcrypto_pbkdf2_step(kdf, 0)) {
        steps++;
    }
    g_assert_cmpuint(steps, >, 4);
    g_assert_cmpmem(whole, 100, in_steps, 100);
}

static void test_errors(void)
{
    uint8_t key[20];
    g_autoptr(Error) err = NULL;

    g_assert_false(qcrypto_pbkdf2(QCRYPTO_HASH_ALGO_SHA1, "p", 1, "s", 1, 0, key, 20, &err));
    g_assert_nonnull(err);
    g_clear_pointer(&err, error_free);

    g_assert_false(qcrypto_pbkdf2(QCRYPTO_HASH_ALGO_SM3, "p", 1, "s", 1, 1, key, 16, &err));
    g_assert_nonnull(strstr(error_get_pretty(err), "sm3"));
    g_clear_pointer(&err, error_free);

    /* Refused before anything is written. */
    g_assert_false(qcrypto_pbkdf2(QCRYPTO_HASH_ALGO_SHA1, "p", 1, "s", 1, 1, key, SIZE_MAX, &err));
    g_assert_nonnull(err);
}

static void test_no_password(void)
{
    uint8_t a[20], b[20];

    qcrypto_pbkdf2(QCRYPTO_HASH_ALGO_SHA1, NULL, 0, "salt", 4, 1, a, 20, &error_abort);
    qcrypto_pbkdf2(QCRYPTO_HASH_ALGO_SHA1, "", 0, "salt", 4, 1, b, 20, &error_abort);
    g_assert_cmpmem(a, 20, b, 20);
}

static int64_t thread_cpu_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
    return ts.tv_sec * INT64_C(1000000000) + ts.tv_nsec;
}

static void test_calibration(void)
{
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        int64_t start_ns = thread_cpu_ns();
        uint64_t rate = qcrypto_pbkdf2_count_iters_per_sec(cases[i].hash, 32);

        g_assert_cmpint(thread_cpu_ns() - start_ns, <, 100 * 1000 * 1000);
        g_assert_cmpuint(rate, >, 1000);
    }
    g_assert_cmpuint(qcrypto_pbkdf2_count_iters_per_sec(QCRYPTO_HASH_ALGO_SM3, 32), ==, 1);
}

/* Twice the digests, half the rate, with a margin for a noisy machine. */
static void test_calibration_blocks(void)
{
    double one = qcrypto_pbkdf2_count_iters_per_sec(QCRYPTO_HASH_ALGO_SHA256, 32);
    double four = qcrypto_pbkdf2_count_iters_per_sec(QCRYPTO_HASH_ALGO_SHA256, 97);

    g_assert_cmpfloat(one / four, >, 2);
    g_assert_cmpfloat(one / four, <, 8);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/crypto/pbkdf/vectors", test_vectors);
    g_test_add_func("/crypto/pbkdf/steps", test_steps);
    g_test_add_func("/crypto/pbkdf/errors", test_errors);
    g_test_add_func("/crypto/pbkdf/no-password", test_no_password);
    g_test_add_func("/crypto/pbkdf/calibration", test_calibration);
    g_test_add_func("/crypto/pbkdf/calibration-blocks", test_calibration_blocks);
    return g_test_run();
}
