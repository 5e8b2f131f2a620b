/*
 * LUKS1: header backup and restore
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include "luks-volume.h"

static void assert_refused(Volume *v, const SecretBuffer *backup, bool force, const char *text)
{
    g_autofree uint8_t *before = g_memdup2(v->data, v->bytes);
    g_autoptr(Error) err = NULL;

    volume_clear_log(v);
    g_assert_false(qcrypto_luks_restore(&v->io, backup, false, 0, force, &err));
    g_assert_nonnull(strstr(error_get_pretty(err), text));
    g_assert_cmpuint(v->log->len, ==, 0);
    g_assert_cmpmem(before, v->bytes, v->data, v->bytes);
}

static void test_round_trip(void)
{
    g_autoptr(Volume) v = volume_create(NULL, "pw", 4096);
    g_autoptr(SecretBuffer) backup = qcrypto_luks_backup(&v->io, false, &error_abort);
    g_autofree uint8_t *before = g_memdup2(v->data, v->bytes);

    g_assert_cmpuint(backup->len, ==, 2068480);
    g_assert_cmpmem(backup->data, backup->len, v->data, backup->len);

    /* no difference: nothing is written */
    volume_clear_log(v);
    qcrypto_luks_restore(&v->io, backup, false, 0, false, &error_abort);
    g_assert_cmpuint(v->log->len, ==, 0);

    /* the magic is lost, with everything else */
    memset(v->data, 0, 2068480);
    qcrypto_luks_restore(&v->io, backup, false, 0, false, &error_abort);
    g_assert_cmpmem(before, v->bytes, v->data, v->bytes);

    /* fields other than those compared are damaged */
    memset(v->data + 8, 0xff, 32);
    memset(v->data + 208, 0xff, 600000);
    qcrypto_luks_restore(&v->io, backup, false, 0, false, &error_abort);
    g_assert_cmpmem(before, v->bytes, v->data, v->bytes);
}

static void test_refused_backups(void)
{
    g_autoptr(Volume) v = volume_create(NULL, "pw", 0);
    g_autoptr(SecretBuffer) backup = qcrypto_luks_backup(&v->io, false, &error_abort);
    g_autoptr(SecretBuffer) empty = secret_buffer_new(0);

    assert_refused(v, empty, true, "not a LUKS header");
    backup->len = 2068480 - 4096;
    assert_refused(v, backup, true, "cut off");
    backup->len = 1000;
    assert_refused(v, backup, true, "not a LUKS header");
    backup->len = 2068480;

    backup->data[7] = 2;
    assert_refused(v, backup, true, "'version'");
    backup->data[7] = 1;
    backup->data[0] = 'X';
    assert_refused(v, backup, true, "not a LUKS header");
    backup->data[0] = 'L';
    backup->data[104] = 0x7f;
    assert_refused(v, backup, true, "'payload-offset'");
}

static void test_fit(void)
{
    g_autoptr(Volume) v = volume_create(NULL, "pw", 1 * MiB);
    g_autoptr(Volume) other = volume_create(NULL, "other", 1 * MiB);
    g_autoptr(SecretBuffer) backup = qcrypto_luks_backup(&v->io, false, &error_abort);

    assert_refused(other, backup, false, "another UUID");
    memcpy(other->data + 168, v->data + 168, 40);
    other->data[107]++;
    assert_refused(other, backup, false, "another payload offset");
    other->data[107]--;
    other->data[111]--;
    assert_refused(other, backup, false, "another key size");

    qcrypto_luks_restore(&other->io, backup, false, 0, true, &error_abort);
    g_assert_true(volume_opens(other, "pw", NULL));
    g_assert_false(volume_opens(other, "other", NULL));
}

static void test_too_short_volume(void)
{
    g_autoptr(Volume) v = volume_create(NULL, "pw", 0);
    g_autoptr(SecretBuffer) backup = qcrypto_luks_backup(&v->io, false, &error_abort);
    g_autoptr(Volume) small = volume_new(2068480 - 512);
    g_autoptr(Volume) none = volume_new(0);

    assert_refused(small, backup, true, "'payload-offset'");
    assert_refused(none, backup, true, "'payload-offset'");
}

static void test_no_active_slot(void)
{
    g_autoptr(Volume) v = volume_create(NULL, "pw", 0);
    g_autoptr(QCryptoLUKS) luks = volume_open(v, "pw", NULL, &error_abort);
    g_autoptr(SecretBuffer) backup = NULL;
    g_autofree uint8_t *good = g_memdup2(v->data, v->bytes);

    qcrypto_luks_keyslot_remove(luks, &v->io, 0, 1, true, &error_abort);
    backup = qcrypto_luks_backup(&v->io, false, &error_abort);
    memcpy(v->data, good, v->bytes);
    assert_refused(v, backup, false, "no active keyslot");
    qcrypto_luks_restore(&v->io, backup, false, 0, true, &error_abort);
    g_assert_cmpmem(v->data, backup->len, backup->data, backup->len);
}

/* A backup may be longer than the header, as cryptsetup's are: the payload is not touched. */
static void test_longer_backup(void)
{
    g_autoptr(Volume) v = volume_create(NULL, "pw", 8192);
    g_autoptr(SecretBuffer) backup = qcrypto_luks_backup(&v->io, false, &error_abort);
    uint8_t junk[4096];
    g_autofree uint8_t *before = g_memdup2(v->data, v->bytes);

    memset(junk, 0xee, sizeof(junk));
    secret_buffer_append(backup, junk, sizeof(junk));
    memset(v->data, 0, 4096);
    qcrypto_luks_restore(&v->io, backup, false, 0, false, &error_abort);
    g_assert_cmpmem(before, v->bytes, v->data, v->bytes);
}

static void test_detached(void)
{
    QCryptoBlockCreateOptionsLUKS none = { 0 };
    g_autoptr(SecretBuffer) pw = password_new("pw");
    QCryptoLUKSCreateOptions co = {
        .options = &none, .password = pw, .detached = true, .force_iterations = TEST_ITERATIONS,
    };
    g_autoptr(Volume) v = volume_new(2068480);
    g_autoptr(SecretBuffer) backup = NULL;
    g_autofree uint8_t *before = NULL;

    qcrypto_luks_free(qcrypto_luks_create(&v->io, &co, &error_abort));
    before = g_memdup2(v->data, v->bytes);
    backup = qcrypto_luks_backup(&v->io, true, &error_abort);
    memset(v->data, 0, backup->len);
    qcrypto_luks_restore(&v->io, backup, true, 0, false, &error_abort);
    g_assert_cmpmem(before, v->bytes, v->data, v->bytes);
}

/* A payload or keyslots far away must not make us allocate that much. */
static void test_huge(void)
{
    g_autoptr(Volume) v = volume_create(NULL, "pw", 32 * MiB);
    g_autoptr(SecretBuffer) backup = NULL;
    g_autoptr(Error) err = NULL;
    const uint8_t payload[] = { 0, 1, 0, 0 }, slot[] = { 0, 0, 0x90, 0 };

    memcpy(v->data + 104, payload, 4);
    backup = qcrypto_luks_backup(&v->io, false, &error_abort);
    g_assert_cmpuint(backup->len, <=, 2068480);
    memcpy(v->data + 208 + 7 * 48 + 40, slot, 4);
    g_assert_null(qcrypto_luks_backup(&v->io, false, &err));
    g_assert_nonnull(strstr(error_get_pretty(err), "too far away"));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/luks/backup/round-trip", test_round_trip);
    g_test_add_func("/luks/backup/refused", test_refused_backups);
    g_test_add_func("/luks/backup/fit", test_fit);
    g_test_add_func("/luks/backup/too-short-volume", test_too_short_volume);
    g_test_add_func("/luks/backup/no-active-slot", test_no_active_slot);
    g_test_add_func("/luks/backup/longer", test_longer_backup);
    g_test_add_func("/luks/backup/detached", test_detached);
    g_test_add_func("/luks/backup/huge", test_huge);
    return g_test_run();
}
