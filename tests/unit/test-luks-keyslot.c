/*
 * LUKS1: adding, removing and changing passwords
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include "luks-volume.h"

/* Progress of deriving a key of 64 bytes with sha256, and of trying a password, with the digest. */
#define KEY_WORK (2 * TEST_ITERATIONS * 128)
#define PROVE_WORK (KEY_WORK + TEST_ITERATIONS * 128)

/* Create a volume with password "0" in keyslot 0, and so on up to @n of them. */
static Volume *volume_with(int n, QCryptoLUKS **luks)
{
    Volume *v = volume_create(NULL, "0", 4096);

    *luks = volume_open(v, "0", NULL, &error_abort);
    for (int i = 1; i < n; i++) {
        char name[] = { '0' + i, '\0' };

        g_assert_cmpint(volume_add(v, *luks, name, QCRYPTO_LUKS_SLOT_ANY), ==, i);
    }
    volume_clear_log(v);
    return v;
}

static void assert_opening(Volume *v, const QCryptoLUKS *luks, const char *passwords)
{
    uint8_t fp[QCRYPTO_LUKS_SECTOR_SIZE];
    const uint8_t *want = NULL;

    if (qcrypto_luks_is_unlocked(luks)) {
        luks_fingerprint(luks, fp);
        want = fp;
    }
    for (char c = '0'; c <= '9'; c++) {
        char name[] = { c, '\0' };

        g_assert_cmpint(volume_opens(v, name, want), ==, strchr(passwords, c) != NULL);
    }
}

static void test_add_all(void)
{
    QCryptoLUKS *luks;
    g_autoptr(Volume) v = volume_with(8, &luks);
    g_autoptr(SecretBuffer) pw = password_new("8");
    QCryptoLUKSKeyslotOptions ko = {
        .new_password = pw, .slot = QCRYPTO_LUKS_SLOT_ANY, .force = true,
        .force_iterations = TEST_ITERATIONS,
    };
    g_autoptr(Error) err = NULL;

    assert_opening(v, luks, "01234567");
    g_assert_cmpint(qcrypto_luks_keyslot_find_free(luks), ==, -1);
    g_assert_false(qcrypto_luks_keyslot_add(luks, &v->io, &ko, NULL, &err));
    g_assert_nonnull(strstr(error_get_pretty(err), "All keyslots are active"));
    g_assert_cmpuint(v->log->len, ==, 0);

    /* in place, with force: the only way left */
    ko.slot = 3;
    qcrypto_luks_keyslot_add(luks, &v->io, &ko, NULL, &error_abort);
    assert_opening(v, luks, "01245678");
    qcrypto_luks_free(luks);
}

static void test_add_refusals(void)
{
    QCryptoLUKS *luks;
    g_autoptr(Volume) v = volume_with(2, &luks);
    g_autoptr(SecretBuffer) pw = password_new("9");
    QCryptoLUKSKeyslotOptions ko = {
        .new_password = pw, .slot = 1, .force_iterations = TEST_ITERATIONS,
    };
    static const int bad[] = { -2, 8, INT_MAX, INT_MIN };
    g_autoptr(Error) err = NULL;

    g_assert_false(qcrypto_luks_keyslot_add(luks, &v->io, &ko, NULL, &err));
    g_assert_nonnull(strstr(error_get_pretty(err), "Keyslot 1 is active"));
    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        ko.slot = bad[i];
        g_assert_false(qcrypto_luks_keyslot_add(luks, &v->io, &ko, NULL, NULL));
        g_assert_false(qcrypto_luks_keyslot_remove(luks, &v->io, bad[i], 0, true, NULL));
    }
    g_assert_cmpuint(v->log->len, ==, 0);
    qcrypto_luks_free(luks);
}

/* Overwriting an active keyslot goes through a free one, which is free again afterwards. */
static void test_add_force(void)
{
    QCryptoLUKS *luks;
    g_autoptr(Volume) v = volume_with(2, &luks);
    g_autoptr(SecretBuffer) pw = password_new("9");
    QCryptoLUKSKeyslotOptions ko = {
        .new_password = pw, .slot = 0, .force = true, .force_iterations = TEST_ITERATIONS,
    };
    int slot;

    qcrypto_luks_keyslot_add(luks, &v->io, &ko, &slot, &error_abort);
    g_assert_cmpint(slot, ==, 0);
    g_assert_cmpuint(qcrypto_luks_keyslots_active(luks), ==, 2);
    g_assert_cmpuint(v->done, ==, v->planned);
    g_assert_cmpuint(v->planned, ==, KEY_WORK + PROVE_WORK + 2 * (QCRYPTO_LUKS_DEFAULT_PASSES + 1) * 256000);
    g_assert_null(v->activity);
    assert_opening(v, luks, "19");
    qcrypto_luks_free(luks);
}

/* What takes long is named while it lasts: so is finding out how many iterations there are to be. */
static void test_add_measures(void)
{
    QCryptoLUKS *luks;
    g_autoptr(Volume) v = volume_with(1, &luks);
    g_autoptr(SecretBuffer) pw = password_new("1");
    QCryptoLUKSKeyslotOptions ko = { .new_password = pw, .slot = QCRYPTO_LUKS_SLOT_ANY, .iter_time_ms = 1 };

    qcrypto_luks_keyslot_add(luks, &v->io, &ko, NULL, &error_abort);
    g_assert_cmpuint(v->n_measured, ==, 1);
    g_assert_cmpuint(v->done, ==, v->planned);
    g_assert_null(v->activity);
    qcrypto_luks_free(luks);
}

static void test_remove(void)
{
    QCryptoLUKS *luks;
    g_autoptr(Volume) v = volume_with(3, &luks);
    g_autofree uint8_t *material = g_memdup2(v->data + 4096 + 258048, 256000);
    g_autoptr(Error) err = NULL;

    qcrypto_luks_keyslot_remove(luks, &v->io, 1, 5, false, &error_abort);
    g_assert_cmpint(v->done, ==, v->planned);
    g_assert_cmpint(v->planned, ==, 6 * 256000);
    assert_opening(v, luks, "02");
    for (size_t i = 0; i < 256000; i += 512) {
        g_assert_true(memcmp(material + i, v->data + 4096 + 258048 + i, 512) != 0);
    }

    g_assert_false(qcrypto_luks_keyslot_remove(luks, &v->io, 1, 0, false, &err));
    g_assert_nonnull(strstr(error_get_pretty(err), "Keyslot 1 is not active"));
    g_clear_pointer(&err, error_free);
    g_assert_false(qcrypto_luks_keyslot_remove(luks, &v->io, 0, 101, true, &err));

    qcrypto_luks_keyslot_remove(luks, &v->io, 0, 1, false, &error_abort);
    g_clear_pointer(&err, error_free);
    g_assert_false(qcrypto_luks_keyslot_remove(luks, &v->io, 2, 1, false, &err));
    g_assert_nonnull(strstr(error_get_pretty(err), "last active"));
    assert_opening(v, luks, "2");
    qcrypto_luks_keyslot_remove(luks, &v->io, 2, 1, true, &error_abort);
    assert_opening(v, luks, "");
    qcrypto_luks_free(luks);
}

/* On a volume that loses writes, the keyslot stays active, since the material is still there. */
static void test_remove_read_back(void)
{
    QCryptoLUKS *luks;
    g_autoptr(Volume) v = volume_with(2, &luks);
    g_autoptr(SecretBuffer) pw = password_new("9");
    QCryptoLUKSKeyslotOptions ko = {
        .new_password = pw, .slot = QCRYPTO_LUKS_SLOT_ANY, .force_iterations = TEST_ITERATIONS,
    };
    g_autoptr(Error) err = NULL;

    v->forget_writes = true;
    g_assert_false(qcrypto_luks_keyslot_remove(luks, &v->io, 1, 1, false, &err));
    g_assert_true(qcrypto_luks_keyslot_is_active(luks, 1));
    volume_clear_log(v);
    g_clear_pointer(&err, error_free);
    g_assert_false(qcrypto_luks_keyslot_add(luks, &v->io, &ko, NULL, &err));
    g_assert_nonnull(strstr(error_get_pretty(err), "does not keep what is written"));
    qcrypto_luks_free(luks);
}

static void test_remove_password(void)
{
    QCryptoLUKS *luks;
    g_autoptr(Volume) v = volume_with(2, &luks);
    g_autoptr(SecretBuffer) one = password_new("1");
    g_autoptr(SecretBuffer) zero = password_new("0");
    g_autoptr(SecretBuffer) no = password_new("no");
    QCryptoLUKSFailure failure = QCRYPTO_LUKS_FAILURE_NONE;
    unsigned removed = 0;
    g_autoptr(Error) err = NULL;

    volume_add(v, luks, "1", 5);
    volume_add(v, luks, "1", 6);
    volume_clear_log(v);
    g_assert_false(qcrypto_luks_keyslot_remove_password(luks, &v->io, no, 1, false, &removed,
                                                        &failure, &err));
    g_assert_cmpint(failure, ==, QCRYPTO_LUKS_FAILURE_WRONG_PASSWORD);
    g_assert_cmpuint(v->log->len, ==, 0);

    qcrypto_luks_keyslot_remove_password(luks, &v->io, one, 1, false, &removed, NULL,
                                         &error_abort);
    g_assert_cmphex(removed, ==, 1 << 1 | 1 << 5 | 1 << 6);
    assert_opening(v, luks, "0");

    g_clear_pointer(&err, error_free);
    volume_clear_log(v);
    g_assert_false(qcrypto_luks_keyslot_remove_password(luks, &v->io, zero, 1, false, &removed,
                                                        NULL, &err));
    g_assert_cmpuint(v->log->len, ==, 0);
    qcrypto_luks_keyslot_remove_password(luks, &v->io, zero, 1, true, &removed, NULL,
                                         &error_abort);
    assert_opening(v, luks, "");
    qcrypto_luks_free(luks);
}

/* A new keyslot needs a handle that knows the key. */
static void test_add_locked(void)
{
    QCryptoLUKS *luks;
    g_autoptr(Volume) v = volume_with(1, &luks);
    g_autoptr(QCryptoLUKS) locked = volume_open(v, NULL, NULL, &error_abort);
    g_autoptr(SecretBuffer) pw = password_new("9");
    QCryptoLUKSKeyslotOptions ko = { .new_password = pw, .slot = QCRYPTO_LUKS_SLOT_ANY };
    g_autoptr(Error) err = NULL;

    g_assert_false(qcrypto_luks_keyslot_add(locked, &v->io, &ko, NULL, &err));
    g_assert_nonnull(strstr(error_get_pretty(err), "opened without a password"));
    qcrypto_luks_free(luks);
}

static void test_find(void)
{
    QCryptoLUKS *luks;
    g_autoptr(Volume) v = volume_with(3, &luks);
    g_autoptr(QCryptoLUKS) locked = volume_open(v, NULL, NULL, &error_abort);
    g_autoptr(SecretBuffer) two = password_new("2");

    g_assert_cmpint(qcrypto_luks_keyslot_find(locked, &v->io, two, -1, NULL, &error_abort), ==, 2);
    g_assert_cmpint(qcrypto_luks_keyslot_find(locked, &v->io, two, 2, NULL, &error_abort), ==, 2);
    g_assert_cmpint(qcrypto_luks_keyslot_find(locked, &v->io, two, 1, NULL, NULL), ==, -1);
    g_assert_cmpint(qcrypto_luks_keyslot_find(locked, &v->io, two, 4, NULL, NULL), ==, -1);
    g_assert_cmpint(qcrypto_luks_keyslot_find(locked, &v->io, two, 99, NULL, NULL), ==, -1);
    qcrypto_luks_free(luks);
}

static bool change(Volume *v, QCryptoLUKS *luks, const char *old, const char *new, int slot,
                   bool force, int *used, Error **errp)
{
    g_autoptr(SecretBuffer) old_pw = password_new(old);
    g_autoptr(SecretBuffer) new_pw = password_new(new);
    QCryptoLUKSKeyslotOptions ko = {
        .new_password = new_pw, .slot = slot, .force = force, .force_iterations = TEST_ITERATIONS,
    };

    return qcrypto_luks_keyslot_change(luks, &v->io, old_pw, &ko, NULL, used, NULL, errp);
}

static void test_change(void)
{
    QCryptoLUKS *luks;
    g_autoptr(Volume) v = volume_with(2, &luks);
    g_autoptr(QCryptoLUKS) locked = volume_open(v, NULL, NULL, &error_abort);
    g_autoptr(Error) err = NULL;
    int slot;

    change(v, luks, "0", "2", -1, false, &slot, &error_abort);
    g_assert_cmpint(slot, ==, 2);
    /* what it found out of two keyslots, the new key, its proof and the wipe, out of the three that there may be */
    g_assert_cmpuint(v->done, ==, 3 * PROVE_WORK + KEY_WORK + (QCRYPTO_LUKS_DEFAULT_PASSES + 1) * 256000);
    g_assert_cmpuint(v->planned, ==, v->done + 2 * (QCRYPTO_LUKS_DEFAULT_PASSES + 1) * 256000);
    assert_opening(v, luks, "12");

    /* into the same keyslot, with a handle that has no key */
    change(v, locked, "2", "3", 2, false, &slot, &error_abort);
    g_assert_cmpint(slot, ==, 2);
    assert_opening(v, luks, "13");

    change(v, luks, "3", "4", 6, false, &slot, &error_abort);
    g_assert_cmpint(slot, ==, 6);
    assert_opening(v, luks, "14");

    g_assert_false(change(v, luks, "4", "5", 1, false, &slot, &err));
    g_assert_nonnull(strstr(error_get_pretty(err), "Keyslot 1 is active"));
    change(v, luks, "4", "5", 1, true, &slot, &error_abort);
    assert_opening(v, luks, "5");

    g_assert_false(change(v, luks, "4", "6", -1, true, &slot, NULL));
    change(v, luks, "5", "5", -1, false, &slot, &error_abort);
    assert_opening(v, luks, "5");
    g_assert_cmpuint(qcrypto_luks_keyslots_active(luks), ==, 1);
    qcrypto_luks_free(luks);
}

static void test_change_full(void)
{
    QCryptoLUKS *luks;
    g_autoptr(Volume) v = volume_with(8, &luks);
    int slot;

    g_assert_false(change(v, luks, "3", "9", -1, false, &slot, NULL));
    g_assert_false(change(v, luks, "3", "9", 3, false, &slot, NULL));
    g_assert_cmpuint(v->log->len, ==, 0);
    change(v, luks, "3", "9", -1, true, &slot, &error_abort);
    g_assert_cmpint(slot, ==, 3);
    assert_opening(v, luks, "01245679");
    change(v, luks, "9", "8", 0, true, &slot, &error_abort);
    assert_opening(v, luks, "1245678");
    qcrypto_luks_free(luks);
}

/* Change "1" to "2" among @n passwords, cancelled at every possible point: one of them opens, and all others do. */
static void cancel_everywhere(int n, bool force)
{
    QCryptoLUKS *luks;
    g_autoptr(Volume) v = volume_with(n, &luks);
    g_autofree uint8_t *before = g_memdup2(v->data, v->bytes);
    bool cancelled = true;
    int slot, with_old = 0, with_new = 0;

    for (int at = 1; cancelled; at++) {
        g_autoptr(Error) err = NULL;

        memcpy(v->data, before, v->bytes);
        qcrypto_luks_refresh(luks, &v->io, &error_abort);
        v->n_pause_points = 0;
        v->cancel_at = at;
        cancelled = !change(v, luks, "1", "new", -1, force, &slot, &err);
        v->cancel_at = 0;
        bool old_opens = volume_opens(v, "1", NULL), new_opens = volume_opens(v, "new", NULL);
        g_assert_true(volume_opens(v, "0", NULL));
        g_assert_true(old_opens || new_opens);
        if (cancelled) {
            g_assert_cmpstr(error_get_pretty(err), ==, "cancelled");
            with_old += old_opens;
            with_new += new_opens;
        } else {
            g_assert_true(new_opens && !old_opens);
        }
    }
    /* With a free keyslot, both open for a while. */
    g_test_message("%d times the old one, %d times the new one", with_old, with_new);
    g_assert_cmpint(with_old, >, 5);
    g_assert_cmpint(with_new > 0, ==, n < QCRYPTO_LUKS_KEYSLOTS);
    qcrypto_luks_free(luks);
}

static void test_cancel(void)
{
    cancel_everywhere(2, false);
    cancel_everywhere(QCRYPTO_LUKS_KEYSLOTS, true);
}

static void test_cancel_opening(void)
{
    g_autoptr(Volume) v = volume_create(NULL, "0", 4096);
    g_autoptr(Error) err = NULL;
    QCryptoLUKSFailure why;

    for (v->cancel_at = 1; v->cancel_at <= 4; v->cancel_at++) {
        v->n_pause_points = 0;
        g_clear_pointer(&err, error_free);
        g_assert_null(volume_open(v, "0", &why, &err));
        g_assert_cmpint(why, ==, QCRYPTO_LUKS_FAILURE_CANCELLED);
        g_assert_cmpstr(error_get_pretty(err), ==, "cancelled");
    }
}

/* Keyslots changed by another program are respected; a volume replaced by another program is not touched. */
static void test_changed_meanwhile(void)
{
    QCryptoLUKS *luks;
    g_autoptr(Volume) v = volume_with(1, &luks);
    g_autoptr(QCryptoLUKS) other = volume_open(v, "0", NULL, &error_abort);
    g_autoptr(SecretBuffer) pw = password_new("9");
    QCryptoLUKSKeyslotOptions ko = {
        .new_password = pw, .slot = QCRYPTO_LUKS_SLOT_ANY, .force_iterations = TEST_ITERATIONS,
    };
    g_autoptr(Volume) v2 = NULL;
    g_autoptr(Error) err = NULL;

    g_assert_cmpint(volume_add(v, other, "1", QCRYPTO_LUKS_SLOT_ANY), ==, 1);
    g_assert_cmpint(volume_add(v, luks, "2", QCRYPTO_LUKS_SLOT_ANY), ==, 2);
    assert_opening(v, luks, "012");
    qcrypto_luks_keyslot_remove(other, &v->io, 2, 1, false, &error_abort);
    assert_opening(v, luks, "01");

    v2 = volume_create(NULL, "0", 4096);
    volume_clear_log(v2);
    g_assert_false(qcrypto_luks_keyslot_add(luks, &v2->io, &ko, NULL, &err));
    g_assert_nonnull(strstr(error_get_pretty(err), "was changed since"));
    g_assert_nonnull(error_get_hint(err));
    g_assert_false(qcrypto_luks_keyslot_remove(luks, &v2->io, 0, 1, true, NULL));
    g_assert_cmpuint(v2->log->len, ==, 0);
    qcrypto_luks_free(luks);
}

/* The rest of the second sector, after the fields, does not change. */
static void test_keeps_rest_of_sector(void)
{
    QCryptoLUKS *luks;
    g_autoptr(Volume) v = volume_with(1, &luks);

    memset(v->data + 592, 0x77, 1024 - 592);
    for (int i = 1; i < 8; i++) {
        volume_add(v, luks, "x", i);
    }
    for (int i = 592; i < 1024; i++) {
        g_assert_cmpint(v->data[i], ==, 0x77);
    }
    qcrypto_luks_free(luks);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/luks/keyslot/add-all", test_add_all);
    g_test_add_func("/luks/keyslot/add-refusals", test_add_refusals);
    g_test_add_func("/luks/keyslot/add-force", test_add_force);
    g_test_add_func("/luks/keyslot/add-measures", test_add_measures);
    g_test_add_func("/luks/keyslot/remove", test_remove);
    g_test_add_func("/luks/keyslot/remove-read-back", test_remove_read_back);
    g_test_add_func("/luks/keyslot/remove-password", test_remove_password);
    g_test_add_func("/luks/keyslot/add-locked", test_add_locked);
    g_test_add_func("/luks/keyslot/find", test_find);
    g_test_add_func("/luks/keyslot/change", test_change);
    g_test_add_func("/luks/keyslot/change-full", test_change_full);
    g_test_add_func("/luks/keyslot/cancel", test_cancel);
    g_test_add_func("/luks/keyslot/cancel-opening", test_cancel_opening);
    g_test_add_func("/luks/keyslot/changed-meanwhile", test_changed_meanwhile);
    g_test_add_func("/luks/keyslot/keeps-rest-of-sector", test_keeps_rest_of_sector);
    return g_test_run();
}
