/*
 * User-creatable objects: ids, types, and wiping --object arguments
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include "crypto/object.h"
#include "crypto/secret.h"

/* Create an object from read-only text. */
static bool parse(const char *text, Error **errp)
{
    g_autofree char *arg = g_strdup(text);

    return user_creatable_parse(arg, errp);
}

/* Check that @text is refused with a message that contains @expected. */
static void assert_refused(const char *text, const char *expected)
{
    g_autoptr(Error) err = NULL;

    g_assert_false(parse(text, &err));
    if (!strstr(error_get_pretty(err), expected)) {
        g_error("'%s' gives '%s', which does not mention '%s'", text, error_get_pretty(err),
                expected);
    }
}

/* A comma in a secret that was not doubled: no part of the secret is shown. */
static void assert_hidden(const char *text)
{
    g_autoptr(Error) err = NULL;

    g_assert_false(parse(text, &err));
    g_assert_null(strstr(error_get_pretty(err), "HUSH"));
    g_assert_null(strstr(error_get_hint(err), "HUSH"));
}

static void assert_secret(const char *id, const char *expected)
{
    g_autoptr(SecretBuffer) secret = qcrypto_secret_lookup(id, &error_abort);

    g_assert_cmpmem(secret->data, secret->len, expected, strlen(expected));
}

static void test_keyval_and_json(void)
{
    parse("secret,id=a,data=12,,34", &error_abort);
    parse("qom-type=secret,data=56,id=b", &error_abort);
    parse("{\"qom-type\": \"secret\", \"id\": \"c\", \"data\": \"78\"}", &error_abort);
    assert_secret("a", "12,34");
    assert_secret("b", "56");
    assert_secret("c", "78");
    user_creatable_cleanup();
}

static void test_refused(void)
{
    parse("secret,id=a,data=x", &error_abort);
    assert_refused("secret,id=a,data=x", "'a'");
    assert_refused("secret,data=x", "id");
    assert_refused("id=b,data=x", "qom-type");
    assert_refused("nonsense,id=b", "nonsense");
    assert_refused("secret,id=b,file=x,colour=red", "colour");
    assert_hidden("secret,id=b,data=hush,HUSH");
    assert_hidden("secret,id=b,data=hush,HUSH=1");
    assert_refused("secret,id=b,format=base32,data=x", "base32");
    assert_refused("", "");
    assert_refused("{", "");
    assert_refused("{}", "");
    assert_refused("{\"qom-type\": \"secret\", \"id\": 5, \"data\": \"x\"}", "id");

    assert_secret("a", "x");
    user_creatable_cleanup();
}

static void test_ids(void)
{
    static const char *const good[] = { "a", "Z", "a-b.c_d9", "masterKey0" };
    static const char *const bad[] = { "", "1a", "-a", "_a", ".a", "a b", "a/b", "a\xc3\xa9" };

    for (size_t i = 0; i < G_N_ELEMENTS(good); i++) {
        g_autofree char *arg = g_strdup_printf("secret,data=x,id=%s", good[i]);

        parse(arg, &error_abort);
        assert_secret(good[i], "x");
    }
    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autofree char *arg = g_strdup_printf("secret,data=x,id=%s", bad[i]);
        g_autofree char *quoted = g_strdup_printf("'%s'", bad[i]);

        assert_refused(arg, quoted);
    }
    user_creatable_cleanup();
}

/* A list of processes must not show a password; everything else stays readable. */
static void test_wiped_argument(void)
{
    char keyval[] = "secret,id=a,data=hidden";
    char json[] = "{\"data\": \"hidden\", \"qom-type\": \"secret\", \"id\": \"b\"}";
    char broken[] = "secret,id=c,data=hidden,x=y";
    char file[] = "secret,id=d,file=/dev/null/nothing";

    user_creatable_parse(keyval, &error_abort);
    user_creatable_parse(json, &error_abort);
    g_assert_false(user_creatable_parse(broken, NULL));
    g_assert_false(user_creatable_parse(file, NULL));
    g_assert_null(strstr(keyval, "hidden"));
    g_assert_null(strstr(json, "hidden"));
    g_assert_null(strstr(broken, "hidden"));
    g_assert_nonnull(strstr(file, "/dev/null/nothing"));
    assert_secret("a", "hidden");
    assert_secret("b", "hidden");
    user_creatable_cleanup();
}

static void test_delete(void)
{
    g_autoptr(Error) err = NULL;

    parse("secret,id=one,data=1", &error_abort);
    parse("secret,id=two,data=2", &error_abort);
    parse("secret,id=three,data=3", &error_abort);
    g_assert_true(user_creatable_del("two", &error_abort));
    g_assert_false(user_creatable_del("two", &err));
    g_assert_nonnull(strstr(error_get_pretty(err), "'two'"));
    parse("secret,id=two,data=22", &error_abort);
    assert_secret("one", "1");
    assert_secret("two", "22");
    assert_secret("three", "3");
    user_creatable_cleanup();
    g_assert_null(qcrypto_secret_lookup("one", NULL));
    parse("secret,id=one,data=1", &error_abort);
    user_creatable_cleanup();
}

static void test_help(void)
{
    if (g_test_subprocess()) {
        g_assert_true(user_creatable_is_help("help"));
        g_assert_true(user_creatable_is_help("secret,help"));
        g_assert_false(user_creatable_is_help("nonsense,help"));
        g_assert_false(user_creatable_is_help("secret,id=help"));
        g_assert_false(user_creatable_is_help("{}"));
        return;
    }
    g_test_trap_subprocess(NULL, 0, 0);
    g_test_trap_assert_passed();
    g_test_trap_assert_stdout("*secret_keyring*keyid=*");
}

static void test_lookup(void)
{
    g_autoptr(Error) err = NULL;

    parse("secret,id=a,data=1", &error_abort);
    g_assert_nonnull(user_creatable_lookup("a", OBJECT_TYPE_SECRET, &error_abort));
    g_assert_null(user_creatable_lookup("a", OBJECT_TYPE_SECRET_KEYRING, &err));
    g_assert_nonnull(strstr(error_get_pretty(err), "'secret'"));
    g_clear_pointer(&err, error_free);
    g_assert_null(user_creatable_lookup("b", OBJECT_TYPE_SECRET, &err));
    g_clear_pointer(&err, error_free);
    g_assert_null(qcrypto_secret_lookup("b", &err));
    g_assert_nonnull(strstr(error_get_pretty(err), "'b'"));
    g_assert_nonnull(strstr(error_get_hint(err), "--object secret,id=b"));
    user_creatable_cleanup();
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/crypto/object/keyval-and-json", test_keyval_and_json);
    g_test_add_func("/crypto/object/refused", test_refused);
    g_test_add_func("/crypto/object/ids", test_ids);
    g_test_add_func("/crypto/object/wiped-argument", test_wiped_argument);
    g_test_add_func("/crypto/object/delete", test_delete);
    g_test_add_func("/crypto/object/help", test_help);
    g_test_add_func("/crypto/object/lookup", test_lookup);
    return g_test_run();
}
