/*
 * Text for people
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "util/text.h"

static char *wrapped(const char *text, size_t column, size_t indent, const char *continuation)
{
    char *out = NULL;
    size_t size;
    FILE *f = open_memstream(&out, &size);

    text_print_wrapped(f, text, column, indent, continuation);
    fclose(f);
    return out;
}

static void assert_wrapped(const char *text, size_t column, size_t indent, const char *continuation,
                           const char *expected)
{
    char *out = wrapped(text, column, indent, continuation);

    g_assert_cmpstr(out, ==, expected);
    free(out);
}

#define TEN "abcdefghi "
#define SIXTY TEN TEN TEN TEN TEN TEN
#define SEVENTY SIXTY TEN

static void test_wrap(void)
{
    assert_wrapped("", 0, 0, "", "\n");
    assert_wrapped("one\ntwo  three", 0, 0, "", "one two three\n");
    assert_wrapped(SEVENTY "0123456789", 0, 0, "", SEVENTY "0123456789\n");
    assert_wrapped(SEVENTY "0123456789a", 0, 2, "", SIXTY "abcdefghi\n  0123456789a\n");
}

static void test_wrap_pieces(void)
{
    assert_wrapped(SEVENTY "[-o OPTS MORE]", 0, 4, "", SIXTY "abcdefghi\n    [-o OPTS MORE]\n");
    assert_wrapped(SEVENTY "'a b c d e f'", 0, 4, "", SIXTY "abcdefghi\n    'a b c d e f'\n");
}

static void test_wrap_command_line(void)
{
    assert_wrapped(SEVENTY "-o options1", 0, 4, " \\", SEVENTY "\\\n    -o options1\n");
    assert_wrapped(SEVENTY "01234567 90", 0, 4, " \\", SEVENTY "01234567 \\\n    90\n");
}

static const char *nearest(const char *word)
{
    static const char *const names[] = { "convert", "compare", "create", "keyslot", "dd", "none" };
    TextNearest nearest = { .word = word };

    for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
        text_nearest_offer(&nearest, names[i]);
    }
    return nearest.name;
}

static void test_nearest(void)
{
    g_autofree char *long_word = g_strnfill(100000, 'n');
    g_autofree char *guess = text_did_you_mean("dd"), *no_guess = text_did_you_mean(NULL);

    g_assert_cmpstr(nearest("conver"), ==, "convert");
    g_assert_cmpstr(nearest("convertt"), ==, "convert");
    g_assert_cmpstr(nearest("ocnvert"), ==, "convert");
    g_assert_cmpstr(nearest("craete"), ==, "create");
    g_assert_cmpstr(nearest("cmpore"), ==, "compare");
    g_assert_cmpstr(nearest("nome"), ==, "none");
    g_assert_cmpstr(nearest("key"), ==, "keyslot");
    g_assert_cmpstr(nearest("ddd"), ==, "dd");
    g_assert_null(nearest("frobnicate"));
    g_assert_null(nearest("snapshot"));
    g_assert_null(nearest("abcdef"));
    g_assert_null(nearest("x"));
    g_assert_null(nearest(""));
    g_assert_null(nearest(long_word));
    g_assert_cmpstr(guess, ==, "; did you mean 'dd'?");
    g_assert_cmpstr(no_guess, ==, "");
}

static void test_hide_secrets(void)
{
    static const char *const names[][2] = {
        { "iscsi://ann:PW@host/iqn.x/1", "iscsi://ann:***@host/iqn.x/1" },
        { "iscsi://ann%PW@host/iqn.x/1", "iscsi://ann%***@host/iqn.x/1" },
        { "iscsi://ann:P/W@PW@host/iqn.x/1", "iscsi://ann:***@host/iqn.x/1" },
        { "iscsi://ann@[::1]:3260/iqn.2024-01.x:y/1", "iscsi://ann@[::1]:3260/iqn.2024-01.x:y/1" },
        { "nbd://ann:PW@host/x", "nbd://ann:***@host/x" },
        { "nbd://[::1]:10809/a:b@c", "nbd://[::1]:10809/a:b@c" },
        { "rbd:pool/image:id=ann:key=PW==:conf=c", "rbd:pool/image:id=ann:key=***:conf=c" },
        { "rbd:pool/image:key=P\\:W:conf=c", "rbd:pool/image:key=***:conf=c" },
        { "json:{\"file\":{\"filename\":\"rbd:p/i:key=P\\\\:W\"}}",
          "json:{\"file\":{\"filename\":\"rbd:p/i:key=***\"}}" },
        { "driver=raw,file.filename=nbd://:PW@h/x", "driver=raw,file.filename=nbd://:***@h/x" },
        { "a\xff:key", "a\xff:key" },
        { "", "" },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
        g_autofree char *hidden = text_hide_secrets(names[i][0]);

        g_assert_cmpstr(hidden, ==, names[i][1]);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/text/wrap", test_wrap);
    g_test_add_func("/text/wrap-pieces", test_wrap_pieces);
    g_test_add_func("/text/wrap-command-line", test_wrap_command_line);
    g_test_add_func("/text/nearest", test_nearest);
    g_test_add_func("/text/hide-secrets", test_hide_secrets);
    return g_test_run();
}
