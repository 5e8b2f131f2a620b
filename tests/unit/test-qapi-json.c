/*
 * JSON text: what is parsed, what is refused and where, and that strings are wiped
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "qapi/json.h"
#include "qapi/keyval.h"
#include "qapi/qapi-types.h"

#define MARK "JuZ5gGhYq2"

/* Replaces libc's function, to see what the code under test wipes. */
static unsigned n_marks_wiped;
void explicit_bzero(void *data, size_t len)
{
    const void *seen = data;

    /* Keeps the compiler from assuming that this function only writes. */
    __asm__ volatile("" : "+r"(seen));
    n_marks_wiped += memmem(seen, len, MARK, strlen(MARK)) != NULL;
    memset(data, 0, len);
    __asm__ volatile("" : : "r"(data) : "memory");
}

/* What libc calls it where _FORTIFY_SOURCE is set. */
void __explicit_bzero_chk(void *data, size_t len, size_t size);
void __explicit_bzero_chk(void *data, size_t len, size_t size)
{
    explicit_bzero(data, len);
}

static void check(const char *text, size_t len, const char *expected, const char *error)
{
    g_autoptr(Error) err = NULL;
    g_autoptr(json_object) val = qapi_parse_json(text, len, &err);

    g_autofree char *shown = g_strescape(text, NULL);
    g_test_message("%s", shown);
    g_assert_cmpstr(err ? error_get_pretty(err) : NULL, ==, error);
    if (expected) {
        g_autofree char *printed = qapi_print_json(val, false);
        g_assert_cmpstr(printed, ==, expected);
    } else {
        g_assert_null(val);
    }
}

static void good(const char *text, const char *expected)
{
    check(text, strlen(text), expected, NULL);
}

static void bad(const char *text, unsigned line, unsigned column, const char *reason)
{
    g_autofree char *error = g_strdup_printf("JSON parse error at line %u, column %u: %s", line, column, reason);

    check(text, strlen(text), NULL, error);
}

static void test_values(void)
{
    good("{}", "{}");
    good(" \t\r\n[ ] ", "[]");
    good("0", "0");
    good("-0", "0");
    good("true", "true");
    good("\"\"", "\"\"");
    good("[null, false, -1, 1.5e3]", "[null, false, -1, 1.5e3]");
    good("{\"a\": {\"b\": [1, {}]}, \"b\": \"/\"}", "{\"a\": {\"b\": [1, {}]}, \"b\": \"/\"}");
}

static void test_integers(void)
{
    good("9223372036854775807", "9223372036854775807");
    good("-9223372036854775808", "-9223372036854775808");
    good("18446744073709551615", "18446744073709551615");
    /* beyond 64 bits they become floating-point numbers, which integer members reject */
    good("18446744073709551616", "18446744073709551616e0");
    good("[1, -9223372036854775809]", "[1, -9223372036854775809e0]");
    good("{\"a\": 99999999999999999999999999999999}", "{\"a\": 99999999999999999999999999999999e0}");
    bad("[99999999999999999999999999999999, x]", 1, 36, "unexpected character");
    bad("[99999999999999999999999999999999, trux]", 1, 39, "unexpected character");
    good("18446744073709551616.5", "18446744073709551616.5");
    bad("[01]", 1, 4, "number expected");
    bad("[-]", 1, 3, "number expected");
    bad("+1", 1, 1, "unexpected character");
    bad("0x10", 1, 2, "unexpected character");
}

static void test_strings(void)
{
    good("'x'", "\"x\"");
    good("{'a': 'b'}", "{\"a\": \"b\"}");
    good("'\"'", "\"\\\"\"");
    good("'\\''", "\"'\"");
    good("\"\\'\"", "\"'\"");
    good("\"'\"", "\"'\"");
    good("'\\\"\\\\'", "\"\\\"\\\\\"");
    good("'\\u00e9\\ud83d\\ude00\\u0001'", "\"é😀\\u0001\"");
    good("'{}[]:,/*'", "\"{}[]:,/*\"");
    bad("'a\\u0000b'", 1, 8, "NUL in a string");
    bad("{'a\\u0000': 1}", 1, 9, "NUL in a string");
    good("'\\\\u0000'", "\"\\\\u0000\"");
    bad("'a\nb'", 1, 3, "control character in a string");
    bad("'\\x'", 1, 3, "invalid string sequence");
    bad("'\xff'", 1, 2, "invalid utf-8 string");
    bad("'abc", 1, 5, "unexpected end");
    bad("'abc\\", 1, 5, "unexpected end");
    check("\"a\0b\"", 5, NULL, "JSON parse error at line 1, column 3: control character in a string");
}

static void test_refused(void)
{
    bad("", 1, 1, "unexpected end");
    bad("  ", 1, 3, "unexpected end");
    bad("null", 1, 5, "null instead of a value");
    bad("{", 1, 2, "unexpected end");
    bad("[1,\n 2", 2, 3, "unexpected end");
    bad("{} {}", 1, 4, "unexpected character");
    bad("1 2", 1, 3, "unexpected character");
    bad("[1,]", 1, 4, "unexpected character");
    bad("{'a': 1,}", 1, 9, "unexpected character");
    bad("{a: 1}", 1, 2, "quoted object property name expected");
    bad("{\n'a' 1}", 2, 5, "object property name separator ':' expected");
    bad("/* */ 1", 1, 1, "unexpected character");
    bad("[NaN]", 1, 2, "unexpected character");
    bad("Infinity", 1, 1, "unexpected character");
    bad("tru", 1, 4, "unexpected end");
    bad("True", 1, 1, "unexpected character");
    check("1\0", 2, NULL, "JSON parse error at line 1, column 2: unexpected character");
    check("{'a': 1, \"a\": 2}", 16, NULL, "JSON parse error: an object has a key twice");
    check("[{'b': {'a': 1, '\\u0061': 2}}]", 30, NULL, "JSON parse error: an object has a key twice");
}

static void test_depth(void)
{
    g_autofree char *deep = g_strnfill(100000, '[');
    g_autofree char *fits = g_strnfill(2 * (QAPI_MAX_DEPTH - 1), '[');
    g_autoptr(Error) err = NULL;

    g_assert_null(qapi_parse_json(deep, 100000, &err));
    g_assert_nonnull(strstr(error_get_pretty(err), "nesting too deep"));
    memset(fits + QAPI_MAX_DEPTH - 1, ']', QAPI_MAX_DEPTH - 1);
    g_autoptr(json_object) val = qapi_parse_json(fits, strlen(fits), &error_abort);
}

/* Every prefix of a text, and every change of one byte, must be parsed or refused, nothing else. */
static void test_damaged(void)
{
    static const char text[] = "{'driver': \"luks\", 'n': [1, -2.5e1, true, null], 'k\\u00e9': {'\\'': '\"'}}";
    g_autofree char *copy = g_strdup(text);

    for (size_t i = 0; i < strlen(text); i++) {
        g_autoptr(json_object) prefix = qapi_parse_json(text, i, NULL);
        g_assert_null(prefix);
        for (int c = 0; c < 256; c++) {
            copy[i] = c;
            g_autoptr(json_object) val = qapi_parse_json(copy, strlen(text), NULL);
            g_autoptr(BlockdevOptions) opts = val ? QAPI_FROM_JSON(BlockdevOptions, val, QAPI_INPUT_JSON, NULL) : NULL;
            g_assert_null(opts);
        }
        copy[i] = text[i];
    }
}

static void test_print(void)
{
    static const char text[] = "{'a': [1, {'b': '/:,{'}], 'c\\\\': {}, 'd\\\"]': []}";
    g_autoptr(json_object) val = qapi_parse_json(text, strlen(text), &error_abort);
    g_autofree char *line = qapi_print_json(val, false), *pretty = qapi_print_json(val, true);

    g_assert_cmpstr(line, ==, "{\"a\": [1, {\"b\": \"/:,{\"}], \"c\\\\\": {}, \"d\\\"]\": []}");
    g_assert_cmpstr(pretty, ==,
                    "{\n"
                    "    \"a\": [\n"
                    "        1,\n"
                    "        {\n"
                    "            \"b\": \"/:,{\"\n"
                    "        }\n"
                    "    ],\n"
                    "    \"c\\\\\": {\n"
                    "    },\n"
                    "    \"d\\\"]\": [\n"
                    "    ]\n"
                    "}");
}

/* File names can hold any bytes. */
static void test_print_utf8(void)
{
    static const char *const texts[][2] = {
        { "b\xff.img", "\"b\xef\xbf\xbd.img\"" },
        { "\xc3\xa4\xe2\x82\xac", "\"\xc3\xa4\xe2\x82\xac\"" },
        { "\xed\xa0\x80", "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"" },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(texts); i++) {
        g_autoptr(json_object) val = qapi_json_new_string(texts[i][0], strlen(texts[i][0]));
        g_autofree char *text = qapi_print_json(val, false);

        g_assert_cmpstr(text, ==, texts[i][1]);
    }
}

static void test_wiped(void)
{
    json_object *in = qapi_parse_json("{'qom-type': 'secret', 'id': 'a', 'data': '--" MARK "'}", 57, &error_abort);
    ObjectOptions *opts = QAPI_FROM_JSON(ObjectOptions, in, QAPI_INPUT_JSON, &error_abort);
    ObjectOptions *copy = QAPI_CLONE(ObjectOptions, opts);
    json_object *out = QAPI_TO_JSON(ObjectOptions, opts);

    /* The rewritten text and json-c's buffer. */
    g_assert_cmpint(n_marks_wiped, ==, 2);
    n_marks_wiped = 0;
    json_object_put(in);
    g_assert_cmpint(n_marks_wiped, ==, 1);
    qapi_free_ObjectOptions(opts);
    g_assert_cmpint(n_marks_wiped, ==, 2);
    qapi_free_ObjectOptions(copy);
    g_assert_cmpint(n_marks_wiped, ==, 3);
    json_object_put(out);
    g_assert_cmpint(n_marks_wiped, ==, 4);
    in = keyval_parse("data=" MARK, NULL, NULL, &error_abort);
    n_marks_wiped = 0;
    json_object_put(in);
    g_assert_cmpint(n_marks_wiped, ==, 1);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/json/values", test_values);
    g_test_add_func("/json/integers", test_integers);
    g_test_add_func("/json/strings", test_strings);
    g_test_add_func("/json/refused", test_refused);
    g_test_add_func("/json/depth", test_depth);
    g_test_add_func("/json/damaged", test_damaged);
    g_test_add_func("/json/print", test_print);
    g_test_add_func("/json/print-utf8", test_print_utf8);
    g_test_add_func("/json/wiped", test_wiped);
    return g_test_run();
}
