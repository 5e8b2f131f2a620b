/*
 * LUKS1: secure erase, of whole and of damaged headers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include "luks-volume.h"

#define PAYLOAD 2068480
#define STRIDE 258048
#define MATERIAL 256000

static Volume *volume_filled(void)
{
    Volume *v = volume_create(NULL, "a", 8192);
    g_autoptr(QCryptoLUKS) luks = volume_open(v, "a", NULL, &error_abort);

    for (int i = 1; i < QCRYPTO_LUKS_KEYSLOTS; i++) {
        volume_add(v, luks, "b", i);
    }
    volume_clear_log(v);
    return v;
}

static const QCryptoLUKSRegion *region(const QCryptoLUKSErasePlan *plan, guint i)
{
    return &g_array_index(plan->regions, QCryptoLUKSRegion, i);
}

/* Check that all sectors in [@begin, @end) differ from @before. */
static void assert_gone(const Volume *v, const uint8_t *before, uint64_t begin, uint64_t end)
{
    for (uint64_t at = begin; at < end; at += 512) {
        g_assert_true(memcmp(v->data + at, before + at, 512) != 0);
    }
}

static void assert_keyslots(const QCryptoLUKSErasePlan *plan)
{
    g_assert_cmpuint(plan->regions->len, >=, 8);
    for (int i = 0; i < QCRYPTO_LUKS_KEYSLOTS; i++) {
        g_autofree char *what = g_strdup_printf("keyslot %d material", i);

        g_assert_cmpint(region(plan, i)->keyslot, ==, i);
        g_assert_cmpuint(region(plan, i)->offset, ==, 4096 + i * STRIDE);
        g_assert_cmpuint(region(plan, i)->length, ==, MATERIAL);
        g_assert_cmpstr(region(plan, i)->what, ==, what);
    }
}

static void test_key_material(void)
{
    g_autoptr(Volume) v = volume_filled();
    g_autofree uint8_t *before = g_memdup2(v->data, v->bytes);
    g_autoptr(QCryptoLUKSErasePlan) plan = qcrypto_luks_erase_plan_new(
        &v->io, QCRYPTO_LUKS_ERASE_KEY_MATERIAL, false, &error_abort);
    g_autoptr(QCryptoLUKS) luks = NULL;

    assert_keyslots(plan);
    g_assert_cmpuint(plan->regions->len, ==, 8);
    g_assert_cmpuint(plan->notes->len, ==, 0);
    g_assert_cmpuint(plan->payload_offset, ==, PAYLOAD);
    g_assert_cmpuint(v->log->len, ==, 0);

    qcrypto_luks_erase_run(&v->io, plan, 2, &error_abort);
    for (int i = 0; i < QCRYPTO_LUKS_KEYSLOTS; i++) {
        g_assert_cmpuint(region(plan, i)->passes, ==, 2);
        g_assert_true(region(plan, i)->verified);
        assert_gone(v, before, 4096 + i * STRIDE, 4096 + i * STRIDE + MATERIAL);
    }
    g_assert_cmpuint(v->done, ==, v->planned);
    g_assert_cmpmem(v->data + PAYLOAD, 8192, before + PAYLOAD, 8192);
    luks = volume_open(v, NULL, NULL, &error_abort);
    g_assert_cmpuint(qcrypto_luks_keyslots_active(luks), ==, 0);
}

static void test_header(void)
{
    g_autoptr(Volume) v = volume_filled();
    g_autofree uint8_t *before = g_memdup2(v->data, v->bytes);
    g_autoptr(QCryptoLUKSErasePlan) plan = qcrypto_luks_erase_plan_new(
        &v->io, QCRYPTO_LUKS_ERASE_HEADER, false, &error_abort);
    const QCryptoLUKSRegion *last;
    uint64_t sum = 0;
    g_autoptr(Error) err = NULL;

    assert_keyslots(plan);
    last = region(plan, plan->regions->len - 1);
    g_assert_cmpstr(last->what, ==, "header");
    g_assert_cmpuint(last->offset, ==, 0);
    g_assert_cmpuint(last->length, ==, 4096);
    for (guint i = 0; i < plan->regions->len; i++) {
        sum += region(plan, i)->length;
    }
    g_assert_cmpuint(sum, ==, PAYLOAD);

    qcrypto_luks_erase_run(&v->io, plan, 0, &error_abort);
    g_assert_cmpuint(last->passes, ==, QCRYPTO_LUKS_DEFAULT_PASSES);
    assert_gone(v, before, 0, PAYLOAD);
    g_assert_cmpmem(v->data + PAYLOAD, 8192, before + PAYLOAD, 8192);
    g_assert_null(qcrypto_luks_erase_plan_new(&v->io, QCRYPTO_LUKS_ERASE_HEADER, false, &err));
    g_assert_nonnull(strstr(error_get_pretty(err), "not in LUKS format"));
}

static void test_append(void)
{
    g_autoptr(Volume) v = volume_filled();
    g_autofree uint8_t *before = g_memdup2(v->data, v->bytes);
    g_autoptr(QCryptoLUKSErasePlan) plan = qcrypto_luks_erase_plan_new(
        &v->io, QCRYPTO_LUKS_ERASE_HEADER, false, &error_abort);

    qcrypto_luks_erase_plan_append(plan, plan->payload_offset, v->bytes - PAYLOAD, "payload");
    qcrypto_luks_erase_run(&v->io, plan, 1, &error_abort);
    assert_gone(v, before, 0, v->bytes);
}

/* Each pass is flushed before the next one begins. */
static void test_flush_each_pass(void)
{
    g_autoptr(Volume) v = volume_filled();
    g_autoptr(QCryptoLUKSErasePlan) plan = qcrypto_luks_erase_plan_new(
        &v->io, QCRYPTO_LUKS_ERASE_HEADER, false, &error_abort);
    unsigned flushes = 0;
    uint64_t unflushed = 0;

    qcrypto_luks_erase_run(&v->io, plan, 4, &error_abort);
    for (guint i = 0; i < v->log->len; i++) {
        const VolumeOp *op = &g_array_index(v->log, VolumeOp, i);

        flushes += !op->data;
        unflushed = op->data ? unflushed + op->bytes : 0;
        g_assert_cmpuint(unflushed, <=, MATERIAL);
    }
    g_assert_cmpuint(flushes, ==, 4 * plan->regions->len);
}

static void test_failures(void)
{
    g_autoptr(Volume) v = volume_filled();
    g_autoptr(QCryptoLUKSErasePlan) plan = qcrypto_luks_erase_plan_new(
        &v->io, QCRYPTO_LUKS_ERASE_HEADER, false, &error_abort);
    g_autoptr(Error) err = NULL;

    g_assert_false(qcrypto_luks_erase_run(&v->io, plan, 101, &err));
    g_assert_cmpuint(v->log->len, ==, 0);

    v->fail_write = 3;
    g_clear_pointer(&err, error_free);
    g_assert_false(qcrypto_luks_erase_run(&v->io, plan, 2, &err));
    g_assert_nonnull(strstr(error_get_pretty(err), "keyslot 1 material"));
    g_assert_true(region(plan, 0)->verified);
    g_assert_cmpuint(region(plan, 1)->passes, ==, 0);

    volume_clear_log(v);
    v->fail_write = 0;
    v->forget_writes = true;
    g_clear_pointer(&err, error_free);
    g_assert_false(qcrypto_luks_erase_run(&v->io, plan, 1, &err));
    g_assert_nonnull(strstr(error_get_pretty(err), "other bytes were read back"));
    g_assert_false(region(plan, 0)->verified);
}

static void test_detached(void)
{
    QCryptoBlockCreateOptionsLUKS none = { 0 };
    g_autoptr(SecretBuffer) pw = password_new("pw");
    QCryptoLUKSCreateOptions co = {
        .options = &none, .password = pw, .detached = true, .force_iterations = TEST_ITERATIONS,
    };
    g_autoptr(Volume) v = volume_new(PAYLOAD);
    g_autoptr(QCryptoLUKSErasePlan) plan = NULL;
    g_autofree uint8_t *before = NULL;

    qcrypto_luks_free(qcrypto_luks_create(&v->io, &co, &error_abort));
    before = g_memdup2(v->data, v->bytes);
    plan = qcrypto_luks_erase_plan_new(&v->io, QCRYPTO_LUKS_ERASE_HEADER, true, &error_abort);
    g_assert_true(plan->detached);
    g_assert_cmpuint(plan->notes->len, ==, 0);
    qcrypto_luks_erase_run(&v->io, plan, 1, &error_abort);
    assert_gone(v, before, 0, PAYLOAD);
}

/* Bytes of the header to overwrite with 0xff, and the number of notes that this causes. */
typedef struct Damage {
    const char *name;
    struct {
        unsigned at, bytes;
    } ranges[4];
    guint notes;
} Damage;

#define SLOT(i) (208 + 48 * (i))

static const Damage damages[] = {
    { "magic", { { 0, 6 } }, 1 },
    { "version", { { 6, 2 } }, 1 },
    { "cipher", { { 8, 96 } }, 0 },
    { "payload-offset", { { 104, 4 } }, 1 },
    { "key-bytes", { { 108, 4 } }, 1 },
    { "digest", { { 112, 56 } }, 0 },
    { "one-offset", { { SLOT(3) + 40, 4 } }, 1 },
    { "three-offsets", { { SLOT(1) + 40, 4 }, { SLOT(3) + 40, 4 }, { SLOT(6) + 40, 4 } }, 3 },
    { "states", { { SLOT(0), 4 }, { SLOT(7), 4 } }, 0 },
    { "magic-and-key-bytes-and-offset", { { 0, 6 }, { 108, 4 }, { SLOT(2) + 40, 4 } }, 3 },
    { "everything-but-keyslots", { { 0, 208 } }, 4 },
    { "first-sector-fields-and-stripes", { { 8, 200 }, { SLOT(6) + 44, 4 } }, 2 },
};

static void test_damaged(gconstpointer opaque)
{
    const Damage *d = opaque;
    g_autoptr(Volume) v = volume_filled();
    g_autofree uint8_t *before = NULL;
    g_autoptr(QCryptoLUKSErasePlan) plan = NULL;

    for (size_t i = 0; i < G_N_ELEMENTS(d->ranges); i++) {
        memset(v->data + d->ranges[i].at, 0xff, d->ranges[i].bytes);
    }
    before = g_memdup2(v->data, v->bytes);
    plan = qcrypto_luks_erase_plan_new(&v->io, QCRYPTO_LUKS_ERASE_HEADER, false, &error_abort);
    for (guint i = 0; i < plan->notes->len; i++) {
        g_test_message("%s", (char *)g_ptr_array_index(plan->notes, i));
    }
    assert_keyslots(plan);
    g_assert_cmpuint(plan->notes->len, ==, d->notes);
    g_assert_cmpuint(plan->payload_offset, ==, PAYLOAD);
    qcrypto_luks_erase_run(&v->io, plan, 1, &error_abort);
    assert_gone(v, before, 0, PAYLOAD);
    g_assert_cmpmem(v->data + PAYLOAD, 8192, before + PAYLOAD, 8192);
}

/* If too little is left to recognize the usual layout, whatever can be located is erased, and the rest is reported. */
static void test_unlocatable(void)
{
    g_autoptr(Volume) v = volume_filled();
    g_autoptr(QCryptoLUKSErasePlan) plan = NULL;
    g_autoptr(Error) err = NULL;

    for (int i = 1; i < 6; i++) {
        memset(v->data + SLOT(i) + 40, 0xff, 4);
    }
    plan = qcrypto_luks_erase_plan_new(&v->io, QCRYPTO_LUKS_ERASE_KEY_MATERIAL, false,
                                       &error_abort);
    g_assert_cmpuint(plan->regions->len, ==, 3);
    g_assert_cmpuint(plan->notes->len, ==, 5);
    qcrypto_luks_erase_run(&v->io, plan, 1, &error_abort);
    /* a keyslot that could not be erased stays active, so that it shows */
    g_assert_cmpint(v->data[SLOT(1) + 1], ==, 0xac);
    g_assert_cmpint(v->data[SLOT(0) + 2], ==, 0xde);

    for (int i = 0; i < 8; i++) {
        memset(v->data + SLOT(i) + 40, 0xff, 4);
    }
    g_assert_null(qcrypto_luks_erase_plan_new(&v->io, QCRYPTO_LUKS_ERASE_HEADER, false, &err));
    g_assert_nonnull(strstr(error_get_pretty(err), "no keyslot can be located"));
}

/* A truncated volume: the rest of the keyslots is erased. */
static void test_truncated(void)
{
    g_autoptr(Volume) v = volume_filled();

    for (uint64_t bytes = 1536000; bytes >= 512; bytes /= 2) {
        g_autoptr(QCryptoLUKSErasePlan) plan = NULL;

        v->bytes = v->io.length = ROUND_DOWN(bytes, 512);
        plan = qcrypto_luks_erase_plan_new(&v->io, QCRYPTO_LUKS_ERASE_HEADER, false, NULL);
        g_assert_cmpint(plan != NULL, ==, bytes > 4096);
        for (guint i = 0; plan && i < plan->regions->len; i++) {
            g_assert_cmpuint(region(plan, i)->offset + region(plan, i)->length, <=, v->bytes);
        }
    }
}

/* A header backup ends before the payload, which is not an error. */
static void test_header_backup(void)
{
    g_autoptr(Volume) v = volume_filled();
    uint32_t payload = GUINT32_TO_BE(8192);

    memcpy(v->data + 104, &payload, 4);
    v->bytes = v->io.length = 2068480;
    g_autoptr(QCryptoLUKSErasePlan) plan =
        qcrypto_luks_erase_plan_new(&v->io, QCRYPTO_LUKS_ERASE_HEADER, false, &error_abort);
    g_assert_cmpuint(plan->notes->len, ==, 0);
    g_assert_cmpuint(plan->header_end, ==, v->bytes);
}

static void test_not_luks(void)
{
    g_autoptr(Volume) v = volume_new(1 * MiB);
    g_autoptr(Error) err = NULL;

    for (int i = 0; i < 2; i++) {
        g_assert_null(qcrypto_luks_erase_plan_new(&v->io, QCRYPTO_LUKS_ERASE_HEADER, false, NULL));
        memset(v->data, 0xff, v->bytes);
    }
    memcpy(v->data, "LUKS\xba\xbe\0\2", 8);
    g_assert_null(qcrypto_luks_erase_plan_new(&v->io, QCRYPTO_LUKS_ERASE_HEADER, false, &err));
    g_assert_nonnull(strstr(error_get_pretty(err), "LUKS2"));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/luks/erase/key-material", test_key_material);
    g_test_add_func("/luks/erase/header", test_header);
    g_test_add_func("/luks/erase/append", test_append);
    g_test_add_func("/luks/erase/flush-each-pass", test_flush_each_pass);
    g_test_add_func("/luks/erase/failures", test_failures);
    g_test_add_func("/luks/erase/detached", test_detached);
    for (size_t i = 0; i < G_N_ELEMENTS(damages); i++) {
        g_autofree char *name = g_strdup_printf("/luks/erase/damaged/%s", damages[i].name);

        g_test_add_data_func(name, &damages[i], test_damaged);
    }
    g_test_add_func("/luks/erase/unlocatable", test_unlocatable);
    g_test_add_func("/luks/erase/truncated", test_truncated);
    g_test_add_func("/luks/erase/header-backup", test_header_backup);
    g_test_add_func("/luks/erase/not-luks", test_not_luks);
    return g_test_run();
}
