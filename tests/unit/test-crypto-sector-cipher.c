/*
 * QCryptoSectorCipher: IEEE 1619 data units, IV generators, and all XTS kernels against nettle
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include "crypto/hash.h"
#include "crypto/sector-cipher.h"
#include "crypto/xts-kernel.h"
#include "hex.h"

#define MAX_SECTORS 40

/* The kernels that this processor supports, and NULL for the portable code. */
static size_t list_kernels(const XTSKernel **list)
{
    size_t n = 0;

    for (const XTSKernel *kernel = xts_kernels; kernel->name; kernel++) {
        if (kernel->supported()) {
            list[n++] = kernel;
        } else {
            g_test_message("kernel %s: not on this processor", kernel->name);
        }
    }
    list[n++] = NULL;
    return n;
}

typedef struct UnitCase {
    const char *name;
    QCryptoCipherAlgo alg;
    const char *key;
    uint64_t sector;
    const char *crypted;    /* of the bytes 00 01 ... ff, twice */
} UnitCase;

/* IEEE 1619-2007, annex B, vectors 4 and 10 */
static const UnitCase units[] = {
    { "aes-128-vector-4", QCRYPTO_CIPHER_ALGO_AES_128,
      "2718281828459045235360287471352631415926535897932384626433832795", 0,
      "27a7479befa1d476489f308cd4cfa6e2a96e4bbe3208ff25287dd3819616e89c"
      "c78cf7f5e543445f8333d8fa7f56000005279fa5d8b5e4ad40e736ddb4d35412"
      "328063fd2aab53e5ea1e0a9f332500a5df9487d07a5c92cc512c8866c7e860ce"
      "93fdf166a24912b422976146ae20ce846bb7dc9ba94a767aaef20c0d61ad0265"
      "5ea92dc4c4e41a8952c651d33174be51a10c421110e6d81588ede82103a252d8"
      "a750e8768defffed9122810aaeb99f9172af82b604dc4b8e51bcb08235a6f434"
      "1332e4ca60482a4ba1a03b3e65008fc5da76b70bf1690db4eae29c5f1badd03c"
      "5ccf2a55d705ddcd86d449511ceb7ec30bf12b1fa35b913f9f747a8afd1b130e"
      "94bff94effd01a91735ca1726acd0b197c4e5b03393697e126826fb6bbde8ecc"
      "1e08298516e2c9ed03ff3c1b7860f6de76d4cecd94c8119855ef5297ca67e9f3"
      "e7ff72b1e99785ca0a7e7720c5b36dc6d72cac9574c8cbbc2f801e23e56fd344"
      "b07f22154beba0f08ce8891e643ed995c94d9a69c9f1b5f499027a78572aeebd"
      "74d20cc39881c213ee770b1010e4bea718846977ae119f7a023ab58cca0ad752"
      "afe656bb3c17256a9f6e9bf19fdd5a38fc82bbe872c5539edb609ef4f79c203e"
      "bb140f2e583cb2ad15b4aa5b655016a8449277dbd477ef2c8d6c017db738b18d"
      "eb4a427d1923ce3ff262735779a418f20a282df920147beabe421ee5319d0568" },
    { "aes-256-vector-10", QCRYPTO_CIPHER_ALGO_AES_256,
      "2718281828459045235360287471352662497757247093699959574966967627"
      "3141592653589793238462643383279502884197169399375105820974944592", 0xff,
      "1c3b3a102f770386e4836c99e370cf9bea00803f5e482357a4ae12d414a3e63b"
      "5d31e276f8fe4a8d66b317f9ac683f44680a86ac35adfc3345befecb4bb188fd"
      "5776926c49a3095eb108fd1098baec70aaa66999a72a82f27d848b21d4a741b0"
      "c5cd4d5fff9dac89aeba122961d03a757123e9870f8acf1000020887891429ca"
      "2a3e7a7d7df7b10355165c8b9a6d0a7de8b062c4500dc4cd120c0f7418dae3d0"
      "b5781c34803fa75421c790dfe1de1834f280d7667b327f6c8cd7557e12ac3a0f"
      "93ec05c52e0493ef31a12d3d9260f79a289d6a379bc70c50841473d1a8cc81ec"
      "583e9645e07b8d9670655ba5bbcfecc6dc3966380ad8fecb17b6ba02469a020a"
      "84e18e8f84252070c13e9f1f289be54fbc481457778f616015e1327a02b140f1"
      "505eb309326d68378f8374595c849d84f4c333ec4423885143cb47bd71c5edae"
      "9be69a2ffeceb1bec9de244fbe15992b11b77c040f12bd8f6a975a44a0f90c29"
      "a9abc3d4d893927284c58754cce294529f8614dcd2aba991925fedc4ae74ffac"
      "6e333b93eb4aff0479da9a410e4450e0dd7ae4c6e2910900575da401fc07059f"
      "645e8b7e9bfdef33943054ff84011493c27b3429eaedb4ed5376441a77ed4385"
      "1ad77f16f541dfd269d50d6a5f14fb0aab1cbb4c1550be97f7ab4066193c4caa"
      "773dad38014bd2092fa755c824bb5e54c4f36ffda9fcea70b9c6e693e148c151" },
};

static void test_unit(const void *opaque)
{
    const UnitCase *c = opaque;
    const XTSKernel *kernels[8];
    size_t nkey, nkernels = list_kernels(kernels);
    g_autofree uint8_t *key = unhex(c->key, &nkey);

    for (size_t k = 0; k < nkernels; k++) {
        g_autoptr(QCryptoSectorCipher) sc =
            qcrypto_sector_cipher_new_with(kernels[k], c->alg, QCRYPTO_CIPHER_MODE_XTS,
                                           QCRYPTO_IV_GEN_ALGO_PLAIN64, 0, QCRYPTO_SECTOR_SIZE, key, nkey,
                                           &error_abort);
        uint8_t data[QCRYPTO_SECTOR_SIZE];

        for (size_t i = 0; i < sizeof(data); i++) {
            data[i] = i;
        }
        qcrypto_sectors_encrypt(sc, c->sector, data, data, 1);
        assert_hex(data, sizeof(data), c->crypted);
        qcrypto_sectors_decrypt(sc, c->sector, data, data, 1);
        for (size_t i = 0; i < sizeof(data); i++) {
            g_assert_cmpuint(data[i], ==, (uint8_t)i);
        }
    }
}

typedef struct SectorCase {
    QCryptoCipherAlgo alg;
    QCryptoCipherMode mode;
    QCryptoIVGenAlgo ivgen;
    size_t nkey;
    const char *digests[3];     /* sha256 of the crypted sectors 0, 1, 0x123456789 */
} SectorCase;

/* Created with OpenSSL, with IVs computed separately, from keys 00 01 02 ... and data 00 07 0e ... */
static const SectorCase sectors[] = {
    { QCRYPTO_CIPHER_ALGO_AES_256, QCRYPTO_CIPHER_MODE_CBC, QCRYPTO_IV_GEN_ALGO_ESSIV, 32,
      { "8a4451dc800b605f0559dad299396d824ba4af06bf6f468b25078e49b5a8dc1a",
        "0c08e59a98ec12d2e9e6f76bd4363ba0f0ae5d281827fbcd7f527cba39277d6b",
        "b0731e2a4f2ecfca92e2c208530b03079b83384a5741c671dbd3d5d3a00260a1" } },
    { QCRYPTO_CIPHER_ALGO_AES_256, QCRYPTO_CIPHER_MODE_CBC, QCRYPTO_IV_GEN_ALGO_PLAIN, 32,
      { "419fc9b83abd5d14f374ae3cd4e27538219fd6e50c852a0babbd0c6d0bb32107",
        "760fe278d1c97138d8f498090b07dc04fffc25dc37d2043478e929ddcbd58861",
        "9806a445ddbe024ed864d0abc33f128a97948bc76a4d840c1e981d7330dcce03" } },
    { QCRYPTO_CIPHER_ALGO_AES_256, QCRYPTO_CIPHER_MODE_CTR, QCRYPTO_IV_GEN_ALGO_PLAIN64, 32,
      { "3b05f2457b2f2e66bf372500f088f58a99a271308857c50001c12fc1dbc409e5",
        "5b128871837a5b0b435c15158bb96c3d634852281ce5b1411b6a8d281d7292de",
        "8849ba1d3fb0e17e0c56054e0209658e990c4645dacb8e664f5e632396e2ff87" } },
    { QCRYPTO_CIPHER_ALGO_CAST5_128, QCRYPTO_CIPHER_MODE_CBC, QCRYPTO_IV_GEN_ALGO_PLAIN64, 16,
      { "852c273279e80277488d294b1a0fd67bb0119c09e461b7c6240f1320f5d3bf1b",
        "4a426333e4c6d2c20eba5a07e0f6e3873b41b596f03dd693948852deedf579b6",
        "3b660a77c4156986640b4cfb3794cc47852d3348878c796b51a0bb6a8fe7a326" } },
};

static void test_ivgen(void)
{
    static const uint64_t numbers[] = { 0, 1, UINT64_C(0x123456789) };
    uint8_t key[64];

    for (size_t i = 0; i < sizeof(key); i++) {
        key[i] = i;
    }
    for (size_t s = 0; s < G_N_ELEMENTS(sectors) * G_N_ELEMENTS(numbers); s++) {
        const SectorCase *c = &sectors[s / G_N_ELEMENTS(numbers)];
        size_t n = s % G_N_ELEMENTS(numbers);
        g_autoptr(QCryptoSectorCipher) sc =
            qcrypto_sector_cipher_new(c->alg, c->mode, c->ivgen, QCRYPTO_HASH_ALGO_SHA256, QCRYPTO_SECTOR_SIZE,
                                      key, c->nkey, &error_abort);
        uint8_t data[QCRYPTO_SECTOR_SIZE], digest[QCRYPTO_HASH_MAX_DIGEST_LEN];

        for (size_t i = 0; i < sizeof(data); i++) {
            data[i] = i * 7;
        }
        qcrypto_sectors_encrypt(sc, numbers[n], data, data, 1);
        qcrypto_hash_digest(QCRYPTO_HASH_ALGO_SHA256, data, sizeof(data), digest, &error_abort);
        assert_hex(digest, 32, c->digests[n]);
        qcrypto_sectors_decrypt(sc, numbers[n], data, data, 1);
        g_assert_cmpuint(data[511], ==, (uint8_t)(511 * 7));
    }
}

/* Compare a run of sectors, with @kernel and with plain cipher calls, in both directions. */
static void compare_run(const XTSKernel *kernel, QCryptoCipherAlgo alg, QCryptoIVGenAlgo ivgen,
                        size_t sector_size, uint64_t first, size_t count, size_t misalign)
{
    size_t nkey = 2 * qcrypto_cipher_get_key_len(alg);
    uint8_t key[64];
    g_autofree uint8_t *in = g_malloc(MAX_SECTORS * sector_size + 64);
    g_autofree uint8_t *out = g_malloc(MAX_SECTORS * sector_size + 64);
    g_autofree uint8_t *expected = g_malloc(MAX_SECTORS * sector_size);
    size_t len = count * sector_size;

    for (size_t i = 0; i < sizeof(key); i++) {
        key[i] = g_test_rand_int();
    }
    for (size_t i = 0; i < len; i++) {
        in[misalign + i] = g_test_rand_int();
    }
    memset(out, 0x55, MAX_SECTORS * sector_size + 64);

    g_autoptr(QCryptoSectorCipher) sc =
        qcrypto_sector_cipher_new_with(kernel, alg, QCRYPTO_CIPHER_MODE_XTS, ivgen, 0, sector_size, key, nkey,
                                       &error_abort);
    g_autoptr(QCryptoCipher) cipher = qcrypto_cipher_new(alg, QCRYPTO_CIPHER_MODE_XTS, key, nkey,
                                                         &error_abort);
    for (size_t i = 0; i < count; i++) {
        uint64_t number = first + i * (sector_size / 512);
        uint64_t iv[2] = { GUINT64_TO_LE(ivgen == QCRYPTO_IV_GEN_ALGO_PLAIN ? (uint32_t)number : number), 0 };

        qcrypto_cipher_encrypt(cipher, (uint8_t *)iv, in + misalign + i * sector_size,
                               expected + i * sector_size, sector_size);
    }

    qcrypto_sectors_encrypt(sc, first, in + misalign, out + misalign + 1, count);
    g_assert_cmpmem(out + misalign + 1, len, expected, len);
    g_assert_cmpuint(out[misalign], ==, 0x55);
    g_assert_cmpuint(out[misalign + 1 + len], ==, 0x55);

    qcrypto_sectors_decrypt(sc, first, out + misalign + 1, out + misalign + 1, count);
    g_assert_cmpmem(out + misalign + 1, len, in + misalign, len);
    g_assert_cmpuint(out[misalign], ==, 0x55);
    g_assert_cmpuint(out[misalign + 1 + len], ==, 0x55);

    qcrypto_sectors_encrypt(sc, first, in + misalign, in + misalign, count);
    g_assert_cmpmem(in + misalign, len, expected, len);
}

static void test_kernels(void)
{
    static const uint64_t firsts[] = { 0, UINT32_MAX - 9, UINT64_MAX - 9, UINT64_C(1) << 40 };
    static const QCryptoCipherAlgo algs[] = {
        QCRYPTO_CIPHER_ALGO_AES_128, QCRYPTO_CIPHER_ALGO_AES_192, QCRYPTO_CIPHER_ALGO_AES_256,
    };
    const XTSKernel *kernels[8];
    size_t nkernels = list_kernels(kernels);

    for (size_t k = 0; k < nkernels; k++) {
        for (size_t a = 0; a < G_N_ELEMENTS(algs); a++) {
            for (size_t count = 0; count <= MAX_SECTORS; count++) {
                for (size_t size = QCRYPTO_SECTOR_SIZE; size <= QCRYPTO_MAX_SECTOR_SIZE; size *= 2) {
                    compare_run(kernels[k], algs[a],
                                count % 2 ? QCRYPTO_IV_GEN_ALGO_PLAIN : QCRYPTO_IV_GEN_ALGO_PLAIN64,
                                size, firsts[count / 2 % G_N_ELEMENTS(firsts)], count, count % 17);
                }
            }
        }
    }
}

/* With plain the number wraps at 32 bits, so that two sectors are encrypted alike; not with plain64. */
static void test_plain_wraps(void)
{
    static const uint8_t key[64] = "key";
    const XTSKernel *kernels[8];
    size_t nkernels = list_kernels(kernels);

    for (size_t k = 0; k < nkernels; k++) {
        for (int plain64 = 0; plain64 < 2; plain64++) {
            g_autoptr(QCryptoSectorCipher) sc = qcrypto_sector_cipher_new_with(
                kernels[k], QCRYPTO_CIPHER_ALGO_AES_256, QCRYPTO_CIPHER_MODE_XTS,
                plain64 ? QCRYPTO_IV_GEN_ALGO_PLAIN64 : QCRYPTO_IV_GEN_ALGO_PLAIN, 0, QCRYPTO_SECTOR_SIZE, key, 64,
                &error_abort);
            uint8_t a[QCRYPTO_SECTOR_SIZE] = { 0 }, b[QCRYPTO_SECTOR_SIZE] = { 0 };

            qcrypto_sectors_encrypt(sc, 5, a, a, 1);
            qcrypto_sectors_encrypt(sc, 5 + (UINT64_C(1) << 32), b, b, 1);
            g_assert_true((memcmp(a, b, sizeof(a)) != 0) == plain64);
        }
    }
}

/* Every algorithm of the library with every generator: works, or says why not. */
static void test_all_combinations(void)
{
    static const uint8_t key[64] = "key";

    for (int alg = 0; alg < QCRYPTO_CIPHER_ALGO__MAX; alg++) {
        for (int mode = 0; mode < QCRYPTO_CIPHER_MODE__MAX; mode++) {
            for (int ivgen = 0; ivgen < QCRYPTO_IV_GEN_ALGO__MAX; ivgen++) {
                g_autoptr(Error) err = NULL;
                size_t nkey = qcrypto_cipher_get_key_len(alg) *
                              (mode == QCRYPTO_CIPHER_MODE_XTS ? 2 : 1);
                g_autoptr(QCryptoSectorCipher) sc =
                    qcrypto_sector_cipher_new(alg, mode, ivgen, QCRYPTO_HASH_ALGO_SHA256,
                                              QCRYPTO_SECTOR_SIZE, key, nkey, &err);
                uint8_t plain[3 * QCRYPTO_SECTOR_SIZE] = "text", data[3 * QCRYPTO_SECTOR_SIZE];

                if (!sc) {
                    g_assert_nonnull(strstr(error_get_pretty(err), QCryptoCipherAlgo_str(alg)));
                    continue;
                }
                qcrypto_sectors_encrypt(sc, 77, plain, data, 3);
                g_assert_cmpint(memcmp(plain, data, sizeof(data)), !=, 0);
                qcrypto_sectors_decrypt(sc, 78, data + QCRYPTO_SECTOR_SIZE,
                                        data + QCRYPTO_SECTOR_SIZE, 2);
                qcrypto_sectors_decrypt(sc, 77, data, data, 1);
                g_assert_cmpmem(plain, sizeof(plain), data, sizeof(data));
            }
        }
    }
}

static void test_sector_size_refused(void)
{
    static const size_t sizes[] = { 0, 256, 513, 1536, 8192 };
    static const uint8_t key[64] = "key";

    for (size_t i = 0; i < G_N_ELEMENTS(sizes); i++) {
        g_autoptr(Error) err = NULL;

        g_assert_null(qcrypto_sector_cipher_new(QCRYPTO_CIPHER_ALGO_AES_256, QCRYPTO_CIPHER_MODE_XTS,
                                                QCRYPTO_IV_GEN_ALGO_PLAIN64, 0, sizes[i], key, 64, &err));
        g_assert_nonnull(strstr(error_get_pretty(err), "512 to 4096"));
    }
}

static void test_essiv_cipher(void)
{
    QCryptoCipherAlgo alg;
    g_autoptr(Error) err = NULL;

    g_assert_true(qcrypto_essiv_cipher(QCRYPTO_CIPHER_ALGO_AES_128, QCRYPTO_HASH_ALGO_SHA256,
                                       &alg, &error_abort));
    g_assert_cmpint(alg, ==, QCRYPTO_CIPHER_ALGO_AES_256);
    g_assert_true(qcrypto_essiv_cipher(QCRYPTO_CIPHER_ALGO_TWOFISH_192, QCRYPTO_HASH_ALGO_SHA256,
                                       &alg, &error_abort));
    g_assert_cmpint(alg, ==, QCRYPTO_CIPHER_ALGO_TWOFISH_256);

    g_assert_false(qcrypto_essiv_cipher(QCRYPTO_CIPHER_ALGO_AES_256, QCRYPTO_HASH_ALGO_SHA1,
                                        &alg, &err));
    g_assert_nonnull(strstr(error_get_pretty(err), "sha1"));
    g_clear_pointer(&err, error_free);
    g_assert_true(qcrypto_essiv_cipher(QCRYPTO_CIPHER_ALGO_AES_256, QCRYPTO_HASH_ALGO_MD5, &alg, &error_abort));
    g_assert_cmpint(alg, ==, QCRYPTO_CIPHER_ALGO_AES_128);
    g_assert_false(qcrypto_essiv_cipher(QCRYPTO_CIPHER_ALGO_AES_256, QCRYPTO_HASH_ALGO_SM3,
                                        &alg, &err));
    g_clear_pointer(&err, error_free);
    g_assert_false(qcrypto_essiv_cipher(QCRYPTO_CIPHER_ALGO_CAST5_128, QCRYPTO_HASH_ALGO_SHA256,
                                        &alg, &err));
    g_assert_nonnull(strstr(error_get_pretty(err), "cast5-128"));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(units); i++) {
        g_autofree char *path = g_strdup_printf("/crypto/sector-cipher/%s", units[i].name);

        g_test_add_data_func(path, &units[i], test_unit);
    }
    g_test_add_func("/crypto/sector-cipher/ivgen", test_ivgen);
    g_test_add_func("/crypto/sector-cipher/kernels", test_kernels);
    g_test_add_func("/crypto/sector-cipher/sector-size-refused", test_sector_size_refused);
    g_test_add_func("/crypto/sector-cipher/plain-wraps", test_plain_wraps);
    g_test_add_func("/crypto/sector-cipher/all-combinations", test_all_combinations);
    g_test_add_func("/crypto/sector-cipher/essiv-cipher", test_essiv_cipher);
    return g_test_run();
}
