/*
 * QCryptoCipher: published vectors of every cipher and mode, and invalid parameters
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include "crypto/cipher.h"
#include "hex.h"

typedef struct CipherCase {
    const char *name;
    QCryptoCipherAlgo alg;
    QCryptoCipherMode mode;
    const char *key;
    const char *iv;
    const char *plain;
    const char *crypted;
} CipherCase;

#define ZERO16 "00000000000000000000000000000000"
#define NIST_KEY_128 "2b7e151628aed2a6abf7158809cf4f3c"
#define NIST_KEY_192 "8e73b0f7da0e6452c810f32b809079e562f8ead2522c6b7b"
#define NIST_KEY_256 "603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4"
#define NIST_IV "000102030405060708090a0b0c0d0e0f"
#define NIST_COUNTER "f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff"
#define NIST_PLAIN                                                                  \
    "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51"              \
    "30c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710"

static const CipherCase cases[] = {
    /* NIST SP 800-38A, appendix F */
    { "aes-128-ecb", QCRYPTO_CIPHER_ALGO_AES_128, QCRYPTO_CIPHER_MODE_ECB,
      NIST_KEY_128, NULL, NIST_PLAIN,
      "3ad77bb40d7a3660a89ecaf32466ef97f5d3d58503b9699de785895a96fdbaaf"
      "43b1cd7f598ece23881b00e3ed0306887b0c785e27e8ad3f8223207104725dd4" },
    { "aes-192-ecb", QCRYPTO_CIPHER_ALGO_AES_192, QCRYPTO_CIPHER_MODE_ECB,
      NIST_KEY_192, NULL, NIST_PLAIN,
      "bd334f1d6e45f25ff712a214571fa5cc974104846d0ad3ad7734ecb3ecee4eef"
      "ef7afd2270e2e60adce0ba2face6444e9a4b41ba738d6c72fb16691603c18e0e" },
    { "aes-256-ecb", QCRYPTO_CIPHER_ALGO_AES_256, QCRYPTO_CIPHER_MODE_ECB,
      NIST_KEY_256, NULL, NIST_PLAIN,
      "f3eed1bdb5d2a03c064b5a7e3db181f8591ccb10d410ed26dc5ba74a31362870"
      "b6ed21b99ca6f4f9f153e7b1beafed1d23304b7a39f9f3ff067d8d8f9e24ecc7" },
    { "aes-128-cbc", QCRYPTO_CIPHER_ALGO_AES_128, QCRYPTO_CIPHER_MODE_CBC,
      NIST_KEY_128, NIST_IV, NIST_PLAIN,
      "7649abac8119b246cee98e9b12e9197d5086cb9b507219ee95db113a917678b2"
      "73bed6b8e3c1743b7116e69e222295163ff1caa1681fac09120eca307586e1a7" },
    { "aes-192-cbc", QCRYPTO_CIPHER_ALGO_AES_192, QCRYPTO_CIPHER_MODE_CBC,
      NIST_KEY_192, NIST_IV, NIST_PLAIN,
      "4f021db243bc633d7178183a9fa071e8b4d9ada9ad7dedf4e5e738763f69145a"
      "571b242012fb7ae07fa9baac3df102e008b0e27988598881d920a9e64f5615cd" },
    { "aes-256-cbc", QCRYPTO_CIPHER_ALGO_AES_256, QCRYPTO_CIPHER_MODE_CBC,
      NIST_KEY_256, NIST_IV, NIST_PLAIN,
      "f58c4c04d6e5f1ba779eabfb5f7bfbd69cfc4e967edb808d679f777bc6702c7d"
      "39f23369a9d9bacfa530e26304231461b2eb05e2c39be9fcda6c19078c6a9d1b" },
    { "aes-128-ctr", QCRYPTO_CIPHER_ALGO_AES_128, QCRYPTO_CIPHER_MODE_CTR,
      NIST_KEY_128, NIST_COUNTER, NIST_PLAIN,
      "874d6191b620e3261bef6864990db6ce9806f66b7970fdff8617187bb9fffdff"
      "5ae4df3edbd5d35e5b4f09020db03eab1e031dda2fbe03d1792170a0f3009cee" },
    { "aes-256-ctr", QCRYPTO_CIPHER_ALGO_AES_256, QCRYPTO_CIPHER_MODE_CTR,
      NIST_KEY_256, NIST_COUNTER, NIST_PLAIN,
      "601ec313775789a5b7a7f504bbf3d228f443e3ca4d62b59aca84e990cacaf5c5"
      "2b0930daa23de94ce87017ba2d84988ddfc9c58db67aada613c2dd08457941a6" },

    /* IEEE 1619-2007, annex B, vectors 1 to 3 */
    { "aes-128-xts-1", QCRYPTO_CIPHER_ALGO_AES_128, QCRYPTO_CIPHER_MODE_XTS,
      ZERO16 ZERO16, ZERO16, ZERO16 ZERO16,
      "917cf69ebd68b2ec9b9fe9a3eadda692cd43d2f59598ed858c02c2652fbf922e" },
    { "aes-128-xts-2", QCRYPTO_CIPHER_ALGO_AES_128, QCRYPTO_CIPHER_MODE_XTS,
      "1111111111111111111111111111111122222222222222222222222222222222",
      "33333333330000000000000000000000",
      "4444444444444444444444444444444444444444444444444444444444444444",
      "c454185e6a16936e39334038acef838bfb186fff7480adc4289382ecd6d394f0" },
    { "aes-128-xts-3", QCRYPTO_CIPHER_ALGO_AES_128, QCRYPTO_CIPHER_MODE_XTS,
      "fffefdfcfbfaf9f8f7f6f5f4f3f2f1f022222222222222222222222222222222",
      "33333333330000000000000000000000",
      "4444444444444444444444444444444444444444444444444444444444444444",
      "af85336b597afc1a900b2eb21ec949d292df4c047e0b21532186a5971a227a89" },

    /* Serpent: the authors' vectors in NESSIE's byte order, set 1, vector 0 */
    { "serpent-128", QCRYPTO_CIPHER_ALGO_SERPENT_128, QCRYPTO_CIPHER_MODE_ECB,
      "80000000000000000000000000000000", NULL, ZERO16, "264e5481eff42a4606abda06c0bfda3d" },
    { "serpent-192", QCRYPTO_CIPHER_ALGO_SERPENT_192, QCRYPTO_CIPHER_MODE_ECB,
      "800000000000000000000000000000000000000000000000", NULL, ZERO16,
      "9e274ead9b737bb21efcfca548602689" },
    { "serpent-256", QCRYPTO_CIPHER_ALGO_SERPENT_256, QCRYPTO_CIPHER_MODE_ECB,
      "8000000000000000000000000000000000000000000000000000000000000000", NULL, ZERO16,
      "a223aa1288463c0e2be38ebd825616c0" },

    /* Twofish: the authors' paper, section B.2 */
    { "twofish-128", QCRYPTO_CIPHER_ALGO_TWOFISH_128, QCRYPTO_CIPHER_MODE_ECB,
      ZERO16, NULL, ZERO16, "9f589f5cf6122c32b6bfec2f2ae8c35a" },
    { "twofish-192", QCRYPTO_CIPHER_ALGO_TWOFISH_192, QCRYPTO_CIPHER_MODE_ECB,
      "0123456789abcdeffedcba98765432100011223344556677", NULL, ZERO16,
      "cfd1d2e5a9be9cdf501f13b892bd2248" },
    { "twofish-256", QCRYPTO_CIPHER_ALGO_TWOFISH_256, QCRYPTO_CIPHER_MODE_ECB,
      "0123456789abcdeffedcba987654321000112233445566778899aabbccddeeff", NULL, ZERO16,
      "37527be0052334b89f0cfccae87cfa20" },

    /* CAST-128: RFC 2144, appendix B.1 */
    { "cast5-128", QCRYPTO_CIPHER_ALGO_CAST5_128, QCRYPTO_CIPHER_MODE_ECB,
      "0123456712345678234567893456789a", NULL, "0123456789abcdef", "238b4fe5847e44b2" },
};

static void test_vector(const void *opaque)
{
    const CipherCase *c = opaque;
    size_t nkey, niv, len, ncrypted;
    g_autofree uint8_t *key = unhex(c->key, &nkey);
    g_autofree uint8_t *iv = unhex(c->iv ? c->iv : "", &niv);
    g_autofree uint8_t *plain = unhex(c->plain, &len);
    g_autofree uint8_t *crypted = unhex(c->crypted, &ncrypted);
    g_autofree uint8_t *out = g_malloc(len);
    g_autoptr(QCryptoCipher) cipher = qcrypto_cipher_new(c->alg, c->mode, key, nkey, &error_abort);

    g_assert_cmpuint(len, ==, ncrypted);
    g_assert_cmpuint(niv, ==, c->iv ? qcrypto_cipher_get_block_len(c->alg) : 0);
    qcrypto_cipher_encrypt(cipher, iv, plain, out, len);
    g_assert_cmpmem(out, len, crypted, len);
    qcrypto_cipher_decrypt(cipher, iv, out, out, len);
    g_assert_cmpmem(out, len, plain, len);

    /* The IV is not changed: a second call gives the same result. */
    qcrypto_cipher_encrypt(cipher, iv, out, out, len);
    g_assert_cmpmem(out, len, crypted, len);
}

static void test_ctr_partial_block(void)
{
    size_t len;
    g_autofree uint8_t *key = unhex(NIST_KEY_128, &len);
    g_autofree uint8_t *iv = unhex(NIST_COUNTER, &len);
    g_autofree uint8_t *plain = unhex(NIST_PLAIN, &len);
    g_autoptr(QCryptoCipher) cipher =
        qcrypto_cipher_new(QCRYPTO_CIPHER_ALGO_AES_128, QCRYPTO_CIPHER_MODE_CTR, key, 16,
                           &error_abort);

    qcrypto_cipher_encrypt(cipher, iv, plain, plain, 21);
    assert_hex(plain, 21, "874d6191b620e3261bef6864990db6ce9806f66b79");
}

static void test_all_combinations(void)
{
    static const uint8_t key[64], iv[16] = "initialisation!";

    for (int alg = 0; alg < QCRYPTO_CIPHER_ALGO__MAX; alg++) {
        for (int mode = 0; mode < QCRYPTO_CIPHER_MODE__MAX; mode++) {
            g_autoptr(Error) err = NULL;
            size_t nkey = qcrypto_cipher_get_key_len(alg) *
                          (mode == QCRYPTO_CIPHER_MODE_XTS ? 2 : 1);
            g_autoptr(QCryptoCipher) cipher = qcrypto_cipher_new(alg, mode, key, nkey, &err);
            uint8_t data[64] = "text", crypted[64];

            g_assert_true(!cipher == !qcrypto_cipher_supports(alg, mode));
            if (!cipher) {
                g_assert_nonnull(strstr(error_get_pretty(err), QCryptoCipherAlgo_str(alg)));
                continue;
            }
            qcrypto_cipher_encrypt(cipher, iv, data, crypted, sizeof(data));
            g_assert_cmpint(memcmp(data, crypted, sizeof(data)), !=, 0);
            qcrypto_cipher_decrypt(cipher, iv, crypted, crypted, sizeof(data));
            g_assert_cmpmem(data, sizeof(data), crypted, sizeof(data));
        }
    }
    g_assert_false(qcrypto_cipher_supports(QCRYPTO_CIPHER_ALGO_CAST5_128,
                                           QCRYPTO_CIPHER_MODE_XTS));
    g_assert_false(qcrypto_cipher_supports(QCRYPTO_CIPHER_ALGO_DES, QCRYPTO_CIPHER_MODE_CBC));
}

static void test_key_length(void)
{
    static const uint8_t key[128];

    for (size_t nkey = 0; nkey <= sizeof(key); nkey++) {
        g_autoptr(Error) err = NULL;
        g_autoptr(QCryptoCipher) cipher =
            qcrypto_cipher_new(QCRYPTO_CIPHER_ALGO_AES_256, QCRYPTO_CIPHER_MODE_XTS, key, nkey,
                               &err);

        g_assert_true(!!cipher == (nkey == 64));
        g_assert_true(!!cipher == !err);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *path = g_strdup_printf("/crypto/cipher/vector/%s", cases[i].name);

        g_test_add_data_func(path, &cases[i], test_vector);
    }
    g_test_add_func("/crypto/cipher/ctr-partial-block", test_ctr_partial_block);
    g_test_add_func("/crypto/cipher/all-combinations", test_all_combinations);
    g_test_add_func("/crypto/cipher/key-length", test_key_length);
    return g_test_run();
}
