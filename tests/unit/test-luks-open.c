/*
 * LUKS1: creating and opening, with every cipher, mode, IV generator and hash
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include "crypto/hash.h"
#include "luks-volume.h"

static void assert_same_options(const QCryptoBlockCreateOptionsLUKS *a, const QCryptoLUKS *luks)
{
    QCryptoBlockCreateOptionsLUKS *b = qcrypto_luks_get_create_options(luks);

    g_assert_cmpint(a->cipher_alg, ==, b->cipher_alg);
    g_assert_cmpint(a->cipher_mode, ==, b->cipher_mode);
    g_assert_cmpint(a->ivgen_alg, ==, b->ivgen_alg);
    g_assert_cmpint(a->hash_alg, ==, b->hash_alg);
    if (a->ivgen_alg == QCRYPTO_IV_GEN_ALGO_ESSIV) {
        g_assert_cmpint(a->ivgen_hash_alg, ==, b->ivgen_hash_alg);
    }
    qapi_free_QCryptoBlockCreateOptionsLUKS(b);
}

static void round_trip(const QCryptoBlockCreateOptionsLUKS *options)
{
    g_autoptr(Volume) v = volume_create(options, "open sesame", 0);
    g_autoptr(QCryptoLUKS) luks = volume_open(v, "open sesame", NULL, &error_abort);

    assert_same_options(options, luks);
    g_assert_cmpuint(qcrypto_luks_payload_offset(luks), ==, v->bytes);
    g_assert_false(volume_opens(v, "open sesam", NULL));
}

/* All supported combinations round-trip, all others fail with an error. */
static void test_matrix(gconstpointer opaque)
{
    QCryptoBlockCreateOptionsLUKS o = {
        .has_cipher_alg = true, .has_cipher_mode = true, .has_ivgen_alg = true,
        .has_ivgen_hash_alg = true, .has_hash_alg = true,
        .cipher_alg = GPOINTER_TO_INT(opaque),
    };
    unsigned good = 0;

    for (o.cipher_mode = 0; o.cipher_mode < QCRYPTO_CIPHER_MODE__MAX; o.cipher_mode++) {
        for (o.ivgen_alg = 0; o.ivgen_alg < QCRYPTO_IV_GEN_ALGO__MAX; o.ivgen_alg++) {
            for (o.hash_alg = 0; o.hash_alg < QCRYPTO_HASH_ALGO__MAX; o.hash_alg++) {
                g_autoptr(Error) err = NULL;
                uint64_t bytes;

                /* essiv depends on the hash that fits the key, so vary it with the other one */
                o.ivgen_hash_alg = o.hash_alg;
                if (qcrypto_luks_create_bytes(&o, &bytes, &err)) {
                    round_trip(&o);
                    good++;
                } else {
                    g_assert_nonnull(err);
                }
            }
        }
    }
    g_test_message("%u combinations", good);
    g_assert_true((good > 0) == (qcrypto_cipher_get_key_len(o.cipher_alg) > 0));
}

static void assert_header_bytes(QCryptoCipherAlgo alg, QCryptoCipherMode mode, uint64_t want)
{
    QCryptoBlockCreateOptionsLUKS o = {
        .has_cipher_alg = true, .cipher_alg = alg, .has_cipher_mode = true, .cipher_mode = mode,
    };
    uint64_t bytes;

    qcrypto_luks_create_bytes(&o, &bytes, &error_abort);
    g_assert_cmpuint(bytes, ==, want);
}

/* Payload offsets written by qemu-img 10.0. */
static void test_header_bytes(void)
{
    assert_header_bytes(QCRYPTO_CIPHER_ALGO_AES_256, QCRYPTO_CIPHER_MODE_XTS, 4040 * 512);
    assert_header_bytes(QCRYPTO_CIPHER_ALGO_AES_192, QCRYPTO_CIPHER_MODE_XTS, 3016 * 512);
    assert_header_bytes(QCRYPTO_CIPHER_ALGO_AES_256, QCRYPTO_CIPHER_MODE_CBC, 2056 * 512);
    assert_header_bytes(QCRYPTO_CIPHER_ALGO_CAST5_128, QCRYPTO_CIPHER_MODE_CBC, 1032 * 512);
}

static void test_defaults(void)
{
    g_autoptr(Volume) v = volume_create(NULL, "", 8192);
    g_autoptr(QCryptoLUKS) luks = volume_open(v, "", NULL, &error_abort);
    QCryptoBlockInfoLUKS *info = qcrypto_luks_get_info(luks);

    g_assert_cmpint(info->cipher_alg, ==, QCRYPTO_CIPHER_ALGO_AES_256);
    g_assert_cmpint(info->cipher_mode, ==, QCRYPTO_CIPHER_MODE_XTS);
    g_assert_cmpint(info->ivgen_alg, ==, QCRYPTO_IV_GEN_ALGO_PLAIN64);
    g_assert_false(info->has_ivgen_hash_alg);
    g_assert_cmpint(info->hash_alg, ==, QCRYPTO_HASH_ALGO_SHA256);
    g_assert_cmpint(info->payload_offset, ==, 2068480);
    g_assert_cmpint(info->master_key_iters, ==, TEST_ITERATIONS);
    g_assert_true(g_uuid_string_is_valid(info->uuid));
    g_assert_cmpint(info->uuid[14], ==, '4');
    g_assert_cmpuint(info->slots->n, ==, 8);
    g_assert_true(info->slots->items[0]->active);
    g_assert_cmpint(info->slots->items[0]->iters, ==, TEST_ITERATIONS);
    g_assert_cmpint(info->slots->items[0]->stripes, ==, 4000);
    g_assert_false(info->slots->items[1]->active);
    g_assert_cmpint(info->slots->items[7]->key_offset, ==, (8 + 7 * 504) * 512);
    qapi_free_QCryptoBlockInfoLUKS(info);
}

static void test_metadata_only(void)
{
    g_autoptr(Volume) v = volume_create(NULL, "pw", 0);
    g_autoptr(QCryptoLUKS) luks = volume_open(v, NULL, NULL, &error_abort);

    g_assert_false(qcrypto_luks_is_unlocked(luks));
    g_assert_null(qcrypto_luks_sector_cipher(luks));
    g_assert_cmpuint(qcrypto_luks_keyslots_active(luks), ==, 1);
}

static void test_wrong_password(void)
{
    g_autoptr(Volume) v = volume_create(NULL, "pw", 0);
    QCryptoLUKSFailure failure = QCRYPTO_LUKS_FAILURE_NONE;
    g_autoptr(Error) err = NULL;

    g_assert_null(volume_open(v, "no", &failure, &err));
    g_assert_cmpint(failure, ==, QCRYPTO_LUKS_FAILURE_WRONG_PASSWORD);
    g_assert_cmpstr(error_get_pretty(err), ==, "Invalid password, cannot unlock any keyslot");
}

static void test_binary_password(void)
{
    g_autoptr(SecretBuffer) pw = secret_buffer_new_from("\0\xff\0\n", 4);
    QCryptoBlockCreateOptionsLUKS none = { 0 };
    QCryptoLUKSCreateOptions co = {
        .options = &none, .password = pw, .force_iterations = TEST_ITERATIONS,
    };
    QCryptoLUKSOpenOptions oo = { .password = pw };
    g_autoptr(Volume) v = volume_new(2068480);

    qcrypto_luks_free(qcrypto_luks_create(&v->io, &co, &error_abort));
    qcrypto_luks_free(qcrypto_luks_open(&v->io, &oo, NULL, &error_abort));
    pw->len = 3;
    g_assert_null(qcrypto_luks_open(&v->io, &oo, NULL, NULL));
}

static void test_detached(void)
{
    QCryptoBlockCreateOptionsLUKS none = { 0 };
    g_autoptr(SecretBuffer) pw = password_new("pw");
    QCryptoLUKSCreateOptions co = {
        .options = &none, .password = pw, .force_iterations = TEST_ITERATIONS, .detached = true,
    };
    QCryptoLUKSOpenOptions oo = { .password = pw };
    g_autoptr(Volume) v = volume_new(2068480);
    g_autoptr(QCryptoLUKS) luks = qcrypto_luks_create(&v->io, &co, &error_abort);
    g_autoptr(Error) err = NULL;
    QCryptoLUKSFailure failure = QCRYPTO_LUKS_FAILURE_NONE;

    g_assert_cmpuint(qcrypto_luks_payload_offset(luks), ==, 0);
    g_assert_null(qcrypto_luks_open(&v->io, &oo, &failure, &err));
    g_assert_cmpint(failure, ==, QCRYPTO_LUKS_FAILURE_DAMAGED);
    g_assert_nonnull(strstr(error_get_pretty(err), "'payload-offset'"));

    oo.detached = true;
    qcrypto_luks_free(qcrypto_luks_open(&v->io, &oo, NULL, &error_abort));
    oo.payload_volume_bytes = 1;
    qcrypto_luks_free(qcrypto_luks_open(&v->io, &oo, NULL, &error_abort));
    qcrypto_luks_free(volume_open(v, NULL, NULL, &error_abort));
}

/* If a keyslot has too many iterations, other keyslots are tried, and the limit can be raised. */
static void test_iteration_limit(void)
{
    g_autoptr(Volume) v = volume_create(NULL, "cheap", 0);
    g_autoptr(QCryptoLUKS) luks = volume_open(v, "cheap", NULL, &error_abort);
    g_autoptr(SecretBuffer) dear = password_new("dear");
    g_autoptr(SecretBuffer) cheap = password_new("cheap");
    QCryptoLUKSKeyslotOptions ko = {
        .new_password = dear, .slot = QCRYPTO_LUKS_SLOT_ANY, .force_iterations = 3000,
    };
    QCryptoLUKSOpenOptions oo = { .password = dear, .max_iterations = 2999 };
    QCryptoLUKSFailure failure = QCRYPTO_LUKS_FAILURE_NONE;
    g_autoptr(Error) err = NULL;

    qcrypto_luks_keyslot_add(luks, &v->io, &ko, NULL, &error_abort);
    g_assert_null(qcrypto_luks_open(&v->io, &oo, &failure, &err));
    g_assert_cmpint(failure, ==, QCRYPTO_LUKS_FAILURE_TOO_MUCH_WORK);
    g_assert_nonnull(strstr(error_get_pretty(err), "'keyslot 1 iterations'"));

    oo.password = cheap;
    qcrypto_luks_free(qcrypto_luks_open(&v->io, &oo, NULL, &error_abort));
    oo.password = dear;
    oo.max_iterations = 3000;
    qcrypto_luks_free(qcrypto_luks_open(&v->io, &oo, NULL, &error_abort));

    /* the digest is limited, too: beyond the limit nothing is derived */
    memset(v->data + 164, 0xff, 4);
    oo.max_iterations = 0;
    g_clear_pointer(&err, error_free);
    g_assert_null(qcrypto_luks_open(&v->io, &oo, &failure, &err));
    g_assert_cmpint(failure, ==, QCRYPTO_LUKS_FAILURE_TOO_MUCH_WORK);
    g_assert_nonnull(strstr(error_get_pretty(err), "'mk-digest-iterations'"));
}

static void test_calibration(void)
{
    QCryptoBlockCreateOptionsLUKS o = { .has_iter_time = true, .iter_time = 40 };
    g_autoptr(SecretBuffer) pw = password_new("pw");
    QCryptoLUKSCreateOptions co = { .options = &o, .password = pw };
    g_autoptr(Volume) v = volume_new(2068480);
    g_autoptr(QCryptoLUKS) luks = qcrypto_luks_create(&v->io, &co, &error_abort);
    QCryptoBlockInfoLUKS *info = qcrypto_luks_get_info(luks);

    g_assert_cmpint(info->slots->items[0]->iters, >, 1000);
    g_assert_cmpint(info->master_key_iters, >=, 1000);
    g_assert_cmpint(info->master_key_iters, <=, info->slots->items[0]->iters);
    qapi_free_QCryptoBlockInfoLUKS(info);

    o.iter_time = 0;
    qcrypto_luks_free(qcrypto_luks_create(&v->io, &co, &error_abort));
    o.iter_time = -1;
    g_assert_null(qcrypto_luks_create(&v->io, &co, NULL));
}

static void test_create_too_short(void)
{
    QCryptoBlockCreateOptionsLUKS o = { 0 };
    g_autoptr(SecretBuffer) pw = password_new("pw");
    QCryptoLUKSCreateOptions co = {
        .options = &o, .password = pw, .force_iterations = TEST_ITERATIONS,
    };
    g_autoptr(Volume) v = volume_new(2068480 - 512);
    g_autoptr(Error) err = NULL;

    g_assert_null(qcrypto_luks_create(&v->io, &co, &err));
    g_assert_nonnull(strstr(error_get_pretty(err), "2068480"));
    g_assert_cmpuint(v->log->len, ==, 0);
}

/* All of the header area is overwritten, and nothing after it. */
static void test_create_wipes(void)
{
    QCryptoBlockCreateOptionsLUKS o = { 0 };
    g_autoptr(SecretBuffer) pw = password_new("pw");
    QCryptoLUKSCreateOptions co = {
        .options = &o, .password = pw, .force_iterations = TEST_ITERATIONS,
    };
    g_autoptr(Volume) v = volume_new(2068480 + 4096);
    uint8_t mark[512];

    memset(mark, 0xa5, sizeof(mark));
    memset(v->data, 0xa5, v->bytes);
    qcrypto_luks_free(qcrypto_luks_create(&v->io, &co, &error_abort));
    for (uint64_t at = 0; at < v->bytes; at += 512) {
        g_assert_cmpint(memcmp(v->data + at, mark, 512) == 0, ==, at >= 2068480);
    }
}

/* A volume that loses writes is detected before the header is written. */
static void test_create_read_back(void)
{
    QCryptoBlockCreateOptionsLUKS o = { 0 };
    g_autoptr(SecretBuffer) pw = password_new("pw");
    QCryptoLUKSCreateOptions co = {
        .options = &o, .password = pw, .force_iterations = TEST_ITERATIONS,
    };
    g_autoptr(Volume) v = volume_new(2068480);

    v->forget_writes = true;
    g_assert_null(qcrypto_luks_create(&v->io, &co, NULL));
}

static void test_probe(void)
{
    g_assert_cmpint(qcrypto_luks_probe("LUKS\xba\xbe\0\1", 8), ==, QCRYPTO_LUKS_VERSION_1);
    g_assert_cmpint(qcrypto_luks_probe("LUKS\xba\xbe\0\2", 8), ==, QCRYPTO_LUKS_VERSION_2);
    g_assert_cmpint(qcrypto_luks_probe("LUKS\xba\xbe\1\1", 8), ==, QCRYPTO_LUKS_VERSION_UNKNOWN);
    g_assert_cmpint(qcrypto_luks_probe("LUKS\xba\xbf\0\1", 8), ==, QCRYPTO_LUKS_VERSION_NONE);
    g_assert_cmpint(qcrypto_luks_probe("LUKS\xba\xbe\0\1", 7), ==, QCRYPTO_LUKS_VERSION_NONE);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/luks/probe", test_probe);
    g_test_add_func("/luks/header-bytes", test_header_bytes);
    g_test_add_func("/luks/defaults", test_defaults);
    g_test_add_func("/luks/metadata-only", test_metadata_only);
    g_test_add_func("/luks/wrong-password", test_wrong_password);
    g_test_add_func("/luks/binary-password", test_binary_password);
    g_test_add_func("/luks/detached", test_detached);
    g_test_add_func("/luks/iteration-limit", test_iteration_limit);
    g_test_add_func("/luks/calibration", test_calibration);
    g_test_add_func("/luks/create/too-short", test_create_too_short);
    g_test_add_func("/luks/create/wipes", test_create_wipes);
    g_test_add_func("/luks/create/read-back", test_create_read_back);
    for (int i = 0; i < QCRYPTO_CIPHER_ALGO__MAX; i++) {
        g_autofree char *name = g_strdup_printf("/luks/matrix/%s", QCryptoCipherAlgo_str(i));

        g_test_add_data_func(name, GINT_TO_POINTER(i), test_matrix);
    }
    return g_test_run();
}
