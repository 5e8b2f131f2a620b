/*
 * keyval: option arguments to JSON
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "qapi/keyval.h"

/* Parse @params and compare with @expected, JSON text, or, if @error is not NULL, with the message. */
static void check(const char *params, const char *implied, const char *expected, const char *error)
{
    g_autoptr(Error) err = NULL;
    g_autoptr(json_object) val = keyval_parse(params, implied, NULL, &err);

    g_assert_cmpstr(err ? error_get_pretty(err) : NULL, ==, error);
    if (!error) {
        g_autofree char *text = qapi_print_json(val, false);
        g_assert_cmpstr(text, ==, expected);
    }
}

static void test_plain(void)
{
    check("", NULL, "{}", NULL);
    check("a=1", NULL, "{\"a\": \"1\"}", NULL);
    check("a=1,", NULL, "{\"a\": \"1\"}", NULL);
    check("a=,b=x=y", NULL, "{\"a\": \"\", \"b\": \"x=y\"}", NULL);
    check("a=x,,y,b=,,,c=,,", NULL, "{\"a\": \"x,y\", \"b\": \",\", \"c\": \",\"}", NULL);
    check("a=1,a=2", NULL, "{\"a\": \"2\"}", NULL);
    check("secret_keyring=1,x-a_b=2", NULL, "{\"secret_keyring\": \"1\", \"x-a_b\": \"2\"}", NULL);
}

static void test_implied(void)
{
    check("secret,id=a", "qom-type", "{\"qom-type\": \"secret\", \"id\": \"a\"}", NULL);
    check("a,,b", "driver", "{\"driver\": \"a,b\"}", NULL);
    check("id=a,secret", "qom-type", NULL, "Expected '=' after parameter 'secret'");
    check("secret,id", "qom-type", NULL, "Expected '=' after parameter 'id'");
    check(",id=a", "qom-type", NULL, "Expected a parameter before ','");
}

static void test_nested(void)
{
    check("file.driver=file,file.filename=x", NULL,
          "{\"file\": {\"driver\": \"file\", \"filename\": \"x\"}}", NULL);
    check("a.b.c=1,a.b.d=2,a.e=3", NULL,
          "{\"a\": {\"b\": {\"c\": \"1\", \"d\": \"2\"}, \"e\": \"3\"}}", NULL);
    check("a.b=1,a=2", NULL, NULL, "Parameters 'a.*' used inconsistently");
    check("a=2,a.b=1", NULL, NULL, "Parameters 'a.*' used inconsistently");
    check("x.a.b=1,x.a=2", NULL, NULL, "Parameters 'x.a.*' used inconsistently");
}

static void test_lists(void)
{
    check("a.1=y,a.0=x", NULL, "{\"a\": [\"x\", \"y\"]}", NULL);
    check("l.0.k=1,l.0.j=2,l.1.k=3", NULL, "{\"l\": [{\"k\": \"1\", \"j\": \"2\"}, {\"k\": \"3\"}]}", NULL);
    check("a.0.0=x", NULL, "{\"a\": [[\"x\"]]}", NULL);
    check("a.0=x,a.2=y", NULL, NULL, "Parameter 'a.1' is missing");
    check("a.01=x", NULL, NULL, "Parameter 'a.0' is missing");
    check("a.4294967296=x", NULL, NULL, "Parameter 'a.0' is missing");
    check("b.a.0=x,b.a.c=y", NULL, NULL, "Parameters 'b.a.*' used inconsistently");
    check("0=x", NULL, NULL, "Parameters must have names, not numbers");
}

static void test_bad_keys(void)
{
    g_autofree char *deep = g_strnfill(2 * 5000, '.');
    g_autofree char *deep_error = NULL;
    g_autofree char *name = g_strnfill(200, 'n');
    g_autofree char *longer = g_strconcat(name, "=1", NULL);
    g_autoptr(Error) err = NULL;

    check("=1", NULL, NULL, "Invalid parameter ''");
    check("a..b=1", NULL, NULL, "Invalid parameter 'a..b'");
    check("a.=1", NULL, NULL, "Invalid parameter 'a.'");
    check(".a=1", NULL, NULL, "Invalid parameter '.a'");
    check("a b=1", NULL, NULL, "Invalid parameter 'a b'");
    check("1a=1", NULL, NULL, "Invalid parameter '1a'");
    check("-a=1", NULL, NULL, "Invalid parameter '-a'");
    check(",,a=1", NULL, NULL, "Expected a parameter before ','");
    g_assert_null(keyval_parse(longer, NULL, NULL, &err));
    g_assert_true(g_str_has_suffix(error_get_pretty(err), "...' is too long"));
    for (size_t i = 0; i < 2 * 5000; i += 2) {
        deep[i] = 'a';
    }
    deep[2 * 5000 - 1] = '=';
    deep_error = g_strdup_printf("Parameter '%.127s...' is too long", deep);
    check(deep, NULL, NULL, deep_error);
}

static void test_help(void)
{
    static const char *const with_help[] = { "help", "?", "a=1,help", "help,a=1", "secret,help" };
    g_autoptr(Error) err = NULL;

    for (size_t i = 0; i < G_N_ELEMENTS(with_help); i++) {
        bool help = false;
        g_autoptr(json_object) val = keyval_parse(with_help[i], "k", &help, &error_abort);
        g_assert_nonnull(val);
        g_assert_true(help);
    }
    bool help = false;
    g_autoptr(json_object) val = keyval_parse("a=help,b=?", NULL, &help, &error_abort);
    g_assert_false(help);
    g_assert_null(keyval_parse("help", NULL, NULL, &err));
    g_assert_cmpstr(error_get_pretty(err), ==, "Help is not available for this option");
}

static void test_json(void)
{
    QAPIInputMode mode;
    g_autoptr(json_object) a = keyval_parse_or_json("{'a': 1}", NULL, NULL, &mode, &error_abort);
    g_assert_cmpint(mode, ==, QAPI_INPUT_JSON);
    g_autoptr(json_object) b = keyval_parse_or_json("a=1", NULL, NULL, &mode, &error_abort);
    g_assert_cmpint(mode, ==, QAPI_INPUT_KEYVAL);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/keyval/plain", test_plain);
    g_test_add_func("/keyval/implied", test_implied);
    g_test_add_func("/keyval/nested", test_nested);
    g_test_add_func("/keyval/lists", test_lists);
    g_test_add_func("/keyval/bad-keys", test_bad_keys);
    g_test_add_func("/keyval/help", test_help);
    g_test_add_func("/keyval/json", test_json);
    return g_test_run();
}
