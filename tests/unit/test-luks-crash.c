/*
 * LUKS1: after a power cut or a failed write, the expected passwords still open the volume
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include "luks-crash.h"

/* What must hold in every state. Passwords are single letters. */
typedef struct Promise {
    const char *always;         /* each of these opens */
    const char *one_of;         /* at least one of each of these groups opens ("ab,ac"); NULL: no promise */
    int slot;                   /* above 0: if active, @slot_password opens it */
    char slot_password;
    bool or_no_header;          /* or the volume has no LUKS header */
    const uint8_t *fingerprint; /* NULL: several master keys are possible */
    unsigned states;
} Promise;

static bool opens(Volume *v, char password, const uint8_t *fingerprint)
{
    char text[] = { password, '\0' };

    return volume_opens(v, text, fingerprint);
}

static bool one_opens(Volume *v, const char *group, const uint8_t *fingerprint)
{
    for (const char *c = group; *c; c++) {
        if (opens(v, *c, fingerprint)) {
            return true;
        }
    }
    return false;
}

static void check_promise(Volume *v, void *opaque)
{
    Promise *p = opaque;
    g_auto(GStrv) groups = g_strsplit(p->one_of ? p->one_of : "", ",", -1);

    p->states++;
    if (p->or_no_header && qcrypto_luks_probe(v->data, v->bytes) == QCRYPTO_LUKS_VERSION_NONE) {
        return;
    }
    for (const char *c = p->always; c && *c; c++) {
        g_assert_true(opens(v, *c, p->fingerprint));
    }
    for (char **group = groups; *group; group++) {
        g_assert_true(one_opens(v, *group, p->fingerprint));
    }
    if (p->slot > 0) {
        g_autoptr(QCryptoLUKS) luks = volume_open(v, NULL, NULL, &error_abort);

        g_assert_true(!qcrypto_luks_keyslot_is_active(luks, p->slot) ||
                      opens(v, p->slot_password, p->fingerprint));
    }
}

/* Keyslot i of the volume has the password @passwords[i], unless that is a space. */
typedef struct Fixture {
    Volume *v;
    QCryptoLUKS *luks;
    uint8_t *before;
    uint8_t fingerprint[QCRYPTO_LUKS_SECTOR_SIZE];
} Fixture;

/* The shortest key, whose material is the quickest to read. */
static const QCryptoBlockCreateOptionsLUKS small = {
    .has_cipher_alg = true, .cipher_alg = QCRYPTO_CIPHER_ALGO_AES_128,
    .has_cipher_mode = true, .cipher_mode = QCRYPTO_CIPHER_MODE_CBC,
};

#define SMALL_HEADER_BYTES (1032 * 512)

static void fixture_start(Fixture *f)
{
    g_free(f->before);
    f->before = g_memdup2(f->v->data, f->v->bytes);
    volume_clear_log(f->v);
}

static void fixture_init(Fixture *f, const char *passwords)
{
    char first[] = { passwords[0], '\0' };

    *f = (Fixture) { .v = volume_create(&small, first, 512) };
    f->luks = volume_open(f->v, first, NULL, &error_abort);
    luks_fingerprint(f->luks, f->fingerprint);
    for (int i = 1; passwords[i]; i++) {
        char text[] = { passwords[i], '\0' };

        if (passwords[i] != ' ') {
            volume_add(f->v, f->luks, text, i);
        }
    }
    fixture_start(f);
}

static void fixture_cleanup(Fixture *f)
{
    qcrypto_luks_free(f->luks);
    volume_free(f->v);
    g_free(f->before);
}

typedef bool Operation(Fixture *f, const void *arg, Error **errp);

/* Cut the power at every point of @op, then fail every write of it. */
static void run(const char *passwords, Operation *op, const void *arg, Promise promise,
                const char *after, const char *not_after)
{
    Fixture f;
    unsigned n_writes;

    fixture_init(&f, passwords);
    promise.fingerprint = f.fingerprint;
    op(&f, arg, &error_abort);
    n_writes = f.v->n_writes;
    crash_enumerate(f.v, f.before, check_promise, &promise);
    for (const char *c = after; *c; c++) {
        g_assert_true(opens(f.v, *c, f.fingerprint));
    }
    for (const char *c = not_after; *c; c++) {
        g_assert_false(opens(f.v, *c, NULL));
    }
    g_test_message("%u states, %u writes", promise.states, n_writes);

    for (unsigned fail = 1; fail <= n_writes; fail++) {
        g_autoptr(Error) err = NULL;

        memcpy(f.v->data, f.before, f.v->bytes);
        volume_clear_log(f.v);
        f.v->fail_write = fail;
        g_assert_false(op(&f, arg, &err));
        g_assert_nonnull(err);
        check_promise(f.v, &promise);
    }
    fixture_cleanup(&f);
}

typedef struct SlotArg {
    int slot;
    bool force;
    const char *old_password;
    const char *new_password;
} SlotArg;

static bool op_add(Fixture *f, const void *opaque, Error **errp)
{
    const SlotArg *arg = opaque;
    g_autoptr(SecretBuffer) pw = password_new(arg->new_password);
    QCryptoLUKSKeyslotOptions ko = {
        .new_password = pw, .slot = arg->slot, .force = arg->force,
        .force_iterations = TEST_ITERATIONS,
    };

    return qcrypto_luks_keyslot_add(f->luks, &f->v->io, &ko, NULL, errp);
}

static bool op_remove(Fixture *f, const void *opaque, Error **errp)
{
    const SlotArg *arg = opaque;

    return qcrypto_luks_keyslot_remove(f->luks, &f->v->io, arg->slot, 2, arg->force, errp);
}

static bool op_change(Fixture *f, const void *opaque, Error **errp)
{
    const SlotArg *arg = opaque;
    g_autoptr(SecretBuffer) old_pw = password_new(arg->old_password);
    g_autoptr(SecretBuffer) new_pw = password_new(arg->new_password);
    QCryptoLUKSKeyslotOptions ko = {
        .new_password = new_pw, .slot = arg->slot, .force = arg->force,
        .force_iterations = TEST_ITERATIONS,
    };

    return qcrypto_luks_keyslot_change(f->luks, &f->v->io, old_pw, &ko, NULL, NULL, NULL, errp);
}

/* Keyslots 0 to 5 are in the first sector, 7 in the second, and 6 in both. */
static void test_add(void)
{
    for (int slot = 5; slot < QCRYPTO_LUKS_KEYSLOTS; slot++) {
        SlotArg arg = { .slot = slot, .new_password = "n" };

        run("a", op_add, &arg, (Promise) { .always = "a", .slot = slot, .slot_password = 'n' },
            "an", "");
    }
}

static void test_add_force(void)
{
    SlotArg arg = { .slot = 0, .force = true, .new_password = "n" };

    run("a", op_add, &arg, (Promise) { .one_of = "an" }, "n", "a");
    run("ab", op_add, &arg, (Promise) { .always = "b", .one_of = "an" }, "bn", "a");
    arg.slot = 6;
    run("a     b", op_add, &arg, (Promise) { .always = "a", .one_of = "bn" }, "an", "b");
    arg.slot = 0;
    run("ab    c", op_add, &arg, (Promise) { .always = "bc", .one_of = "an" }, "bcn", "a");
    /* no free keyslot: the one overwritten may be lost, the others not */
    run("abcdefgh", op_add, &arg, (Promise) { .always = "bcdefgh" }, "bcdefghn", "a");
}

static void test_remove(void)
{
    for (int slot = 5; slot < QCRYPTO_LUKS_KEYSLOTS; slot++) {
        SlotArg arg = { .slot = slot };
        char passwords[] = "a       ";

        passwords[slot] = 'b';
        run(passwords, op_remove, &arg, (Promise) { .always = "a" }, "a", "b");
    }
}

static void test_change(void)
{
    SlotArg arg = { .slot = -1, .old_password = "a", .new_password = "n" };

    run("a", op_change, &arg, (Promise) { .one_of = "an" }, "n", "a");
    run("abcdefg", op_change, &arg, (Promise) { .always = "bcdefg", .one_of = "an" }, "n", "a");
    run("abcdef h", op_change, &arg, (Promise) { .always = "bcdefh", .one_of = "an" }, "n", "a");
}

static void test_change_in_place(void)
{
    SlotArg arg = { .slot = 0, .old_password = "a", .new_password = "n" };

    run("a", op_change, &arg, (Promise) { .one_of = "an" }, "n", "a");
    run("abcdef h", op_change, &arg, (Promise) { .always = "bcdefh", .one_of = "an" }, "n", "a");
    arg = (SlotArg) { .slot = 6, .old_password = "g", .new_password = "n" };
    run("a     g", op_change, &arg, (Promise) { .always = "a", .one_of = "gn" }, "an", "g");
    arg = (SlotArg) { .slot = 0, .old_password = "g", .new_password = "n", .force = true };
    run("a     g", op_change, &arg, (Promise) { .one_of = "gn" }, "n", "ag");
}

/* On an empty volume, and on one that has a header already. */
static bool op_create(Fixture *f, const void *opaque, Error **errp)
{
    g_autoptr(SecretBuffer) pw = password_new("n");
    QCryptoLUKSCreateOptions co = {
        .options = &small, .password = pw, .force_iterations = TEST_ITERATIONS,
    };
    g_autoptr(QCryptoLUKS) luks = qcrypto_luks_create(&f->v->io, &co, errp);

    return luks != NULL;
}

static void check_create(Fixture *f, const char *one_of)
{
    Promise promise = { .one_of = one_of, .or_no_header = true };
    unsigned n_writes;

    fixture_start(f);
    op_create(f, NULL, &error_abort);
    g_assert_true(opens(f->v, 'n', NULL));
    n_writes = f->v->n_writes;
    crash_enumerate(f->v, f->before, check_promise, &promise);
    for (unsigned fail = 1; fail <= n_writes; fail++) {
        memcpy(f->v->data, f->before, f->v->bytes);
        volume_clear_log(f->v);
        f->v->fail_write = fail;
        g_assert_false(op_create(f, NULL, NULL));
        check_promise(f->v, &promise);
    }
}

static void test_create(void)
{
    Fixture f;

    fixture_init(&f, "a");
    check_create(&f, "an");
    fixture_cleanup(&f);

    f = (Fixture) { .v = volume_new(SMALL_HEADER_BYTES) };
    check_create(&f, "n");
    fixture_cleanup(&f);
}

/* Erase: after a cut, it can be repeated, or all key material is gone. */
static void check_erase(Volume *v, void *opaque)
{
    const Fixture *f = opaque;
    g_autoptr(QCryptoLUKSErasePlan) plan =
        qcrypto_luks_erase_plan_new(&v->io, QCRYPTO_LUKS_ERASE_HEADER, false, NULL);

    if (!plan) {
        for (uint64_t at = 4096; at < SMALL_HEADER_BYTES; at += 512) {
            g_assert_true(memcmp(v->data + at, f->before + at, 512) != 0);
        }
    }
}

static bool op_erase(Fixture *f, const void *opaque, Error **errp)
{
    const QCryptoLUKSEraseScope *scope = opaque;
    g_autoptr(QCryptoLUKSErasePlan) plan =
        qcrypto_luks_erase_plan_new(&f->v->io, *scope, false, errp);

    return plan && qcrypto_luks_erase_run(&f->v->io, plan, 2, errp);
}

static void test_erase(void)
{
    static const QCryptoLUKSEraseScope scopes[] = {
        QCRYPTO_LUKS_ERASE_KEY_MATERIAL, QCRYPTO_LUKS_ERASE_HEADER,
    };

    for (size_t i = 0; i < G_N_ELEMENTS(scopes); i++) {
        Fixture f;

        fixture_init(&f, "abcdefgh");
        op_erase(&f, &scopes[i], &error_abort);
        crash_enumerate(f.v, f.before, check_erase, &f);
        g_assert_false(opens(f.v, 'a', NULL));
        fixture_cleanup(&f);
    }
}

static bool op_restore(Fixture *f, const void *opaque, Error **errp)
{
    return qcrypto_luks_restore(&f->v->io, opaque, false, 0, true, errp);
}

static SecretBuffer *backup_of(const char *passwords, Fixture *f)
{
    fixture_init(f, passwords);
    return qcrypto_luks_backup(&f->v->io, false, &error_abort);
}

/* Turn the volume of @f's backup into one with @passwords and the same master key. */
static void rekey(Fixture *f, const char *passwords)
{
    for (int i = 0; i < QCRYPTO_LUKS_KEYSLOTS; i++) {
        char text[] = { passwords[i], '\0' };
        g_autoptr(SecretBuffer) pw = password_new(text);
        QCryptoLUKSKeyslotOptions ko = {
            .new_password = pw, .slot = i, .force = true, .force_iterations = TEST_ITERATIONS,
        };

        if (passwords[i] == ' ') {
            if (qcrypto_luks_keyslot_is_active(f->luks, i)) {
                qcrypto_luks_keyslot_remove(f->luks, &f->v->io, i, 1, true, &error_abort);
            }
        } else if (passwords[i] != '=') {
            qcrypto_luks_keyslot_add(f->luks, &f->v->io, &ko, NULL, &error_abort);
        }
    }
    fixture_start(f);
}

static void check_restore(const char *backed_up, const char *now, const char *always,
                          const char *one_of)
{
    Fixture f;
    g_autoptr(SecretBuffer) backup = backup_of(backed_up, &f);
    Promise promise = { .always = always, .one_of = one_of, .fingerprint = f.fingerprint };
    g_autoptr(SecretBuffer) again = NULL;
    unsigned n_writes;

    rekey(&f, now);
    op_restore(&f, backup, &error_abort);
    n_writes = f.v->n_writes;
    crash_enumerate(f.v, f.before, check_promise, &promise);
    again = qcrypto_luks_backup(&f.v->io, false, &error_abort);
    g_assert_true(secret_buffer_equal(again, backup));
    g_test_message("%u states", promise.states);

    /* An error leaves the same as a cut between two writes, so a sample is enough. */
    for (unsigned fail = 1; fail <= n_writes; fail += 5) {
        memcpy(f.v->data, f.before, f.v->bytes);
        volume_clear_log(f.v);
        f.v->fail_write = fail;
        g_assert_false(op_restore(&f, backup, NULL));
        check_promise(f.v, &promise);
    }
    fixture_cleanup(&f);
}

/*
 * Every password of the volume opens until the backup's password for its keyslot does. Those without a keyslot in the
 * backup open until all passwords of the backup do.
 */
static void test_restore(void)
{
    check_restore("a", "b       ", "", "ab");
    check_restore("a", "=bcdefgh", "a", NULL);
    check_restore("ab", "=c      ", "a", "bc");
    check_restore("abcdefgh", "=ijk    ", "a", "bi,cj,dk");
    check_restore("ab", "  c     ", "", "ac,bc");
    check_restore("a      b", "cd    ef", "", "ac,bf,ad,bd,ae,be");
    check_restore("a     g", "b     h ", "", "ab,gh");
}

/* With eight passwords, one without a keyslot in the backup makes room; if there is none, seven stay. */
static void test_restore_full(void)
{
    check_restore("a      b", "ijklmnop", "", "ai,bp,ak,bk,al,bl,am,bm,an,bn,ao,bo");
    check_restore("abcdefgh", "ijklmnop", "", "abij,cdkl,efmn,ghop");
}

/* Over another volume's header: no header, or the old one unchanged, or the new one. */
static void test_restore_other(void)
{
    Fixture f, other;
    g_autoptr(SecretBuffer) backup = backup_of("a", &other);
    Promise promise = { .one_of = "ab", .or_no_header = true };

    fixture_init(&f, "b");
    op_restore(&f, backup, &error_abort);
    crash_enumerate(f.v, f.before, check_promise, &promise);
    g_assert_true(opens(f.v, 'a', other.fingerprint));
    fixture_cleanup(&f);
    fixture_cleanup(&other);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/luks/crash/create", test_create);
    g_test_add_func("/luks/crash/add", test_add);
    g_test_add_func("/luks/crash/add-force", test_add_force);
    g_test_add_func("/luks/crash/remove", test_remove);
    g_test_add_func("/luks/crash/change", test_change);
    g_test_add_func("/luks/crash/change-in-place", test_change_in_place);
    g_test_add_func("/luks/crash/erase", test_erase);
    g_test_add_func("/luks/crash/restore", test_restore);
    g_test_add_func("/luks/crash/restore-full", test_restore_full);
    g_test_add_func("/luks/crash/restore-other", test_restore_other);
    return g_test_run();
}
