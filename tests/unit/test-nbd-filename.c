/*
 * Filenames of the nbd driver: to options, and back
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include "block/drivers.h"
#include "block/drivers/nbd.h"
#include "filename.h"
#include "qapi/json.h"
#include "qapi/qapi.h"

#define INET(host, port) "{'server':{'type':'inet','host':'" host "','port':'" port "'}"
#define UNIX(path) "{'server':{'type':'unix','path':'" path "'}"
#define EXPORT(name) ",'export':'" name "'}"

static void test_parse(void)
{
    static const struct {
        const char *filename, *options;
    } cases[] = {
        { "nbd:localhost:10809", INET("localhost", "10809") "}" },
        { "nbd:[::1]:10809", INET("::1", "10809") "}" },
        { "nbd:host:nbd:exportname=x", "{'export':'x','server':{'type':'inet','host':'host','port':'nbd'}}" },
        { "nbd:host:1:exportname=a:b/c", "{'export':'a:b/c','server':{'type':'inet','host':'host','port':'1'}}" },
        { "nbd:unix:/run/a:b.sock", UNIX("/run/a:b.sock") "}" },
        { "nbd:unix:x:exportname=", "{'export':'','server':{'type':'unix','path':'x'}}" },
        { "nbd://host", INET("host", "10809") "}" },
        { "nbd://host/", INET("host", "10809") "}" },
        { "nbd://host:123/x/y", INET("host", "123") EXPORT("x/y") },
        { "nbd+tcp://host/x", INET("host", "10809") EXPORT("x") },
        { "nbd://[::1]:5/x", INET("::1", "5") EXPORT("x") },
        { "nbd://h/a%20b%2fc", INET("h", "10809") EXPORT("a b/c") },
        { "nbd://h/%2Fabs", INET("h", "10809") EXPORT("/abs") },
        { "nbd+unix:///?socket=/s", UNIX("/s") "}" },
        { "nbd+unix:///x?socket=/a%26b", UNIX("/a&b") EXPORT("x") },
        { "nbds://h/x", INET("h", "10809") ",'export':'x','tls-creds':''}" },
        { "nbds://h?tls-creds=t", INET("h", "10809") ",'tls-creds':'t'}" },
        { "nbds+unix:///x?socket=s&tls-creds=t&tls-hostname=n",
          UNIX("s") ",'export':'x','tls-creds':'t','tls-hostname':'n'}" },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *options = parse_filename(nbd_parse_filename, cases[i].filename);

        g_assert_cmpstr(options, ==, cases[i].options);
    }
}

static void test_refuse(void)
{
    static const char *const cases[] = {
        "nbd:", "nbd:unix:", "nbd:host", "nbd:host:", "nbd::1", "nbd:::1:5", "nbd:[::1]", "nbd:[::1", "nbd:[]:1",
        "nbd://", "nbd:///x", "nbd://:1/x", "nbd://h:x/", "nbd://h:1:2/", "nbd://h/%zz", "nbd://h/%00", "nbd://h/x#f",
        "nbd://h?x=y", "nbd://h?socket=/s", "nbd://h?tls-creds=t", "nbds://h?tls-creds=",
        "nbds://h?tls-creds=a&tls-creds=b",
        "nbd+unix:///x", "nbd+unix:///?socket=", "nbd+unix:///?socket=%zz", "nbd+unix://h/?socket=/s", "nbd+unix:s",
        "nbds:h:1", "nbd+tcp:h:1", "nbd+tcp:///x",
        "nbd://me:hunter2@h/x", "nbd://me@h/x", "nbds://:hunter2@h/x", "nbd://me:hun/ter2@h", "nbd://me:hunter2%@h:x",
        "nbd+unix://me:hunter2@/x?socket=s",
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *options = parse_filename(nbd_parse_filename, cases[i]);

        g_assert_cmpstr(options, ==, NULL);
    }
}

/* JSON with single quotes. */
static json_object *parse_quoted(const char *in)
{
    g_autofree char *text = g_strdelimit(g_strdup(in), "'", '"');

    return json_tokener_parse(text);
}

static char *filename_of(json_object *json)
{
    g_autoptr(BlockdevOptions) o = QAPI_FROM_JSON(BlockdevOptions, json, QAPI_INPUT_JSON, &error_abort);

    return nbd_filename(&o->u.nbd);
}

/* Options that a name was made of are what the name means. */
static void test_back(void)
{
    static const char *const cases[] = {
        "{'driver':'nbd','server':{'type':'inet','host':'h','port':'10809'}}",
        "{'driver':'nbd','server':{'type':'inet','host':'::1','port':'1'},'export':'x'}",
        "{'driver':'nbd','server':{'type':'inet','host':'fe80::1%eth0','port':'1'},'export':'x'}",
        "{'driver':'nbd','server':{'type':'inet','host':'h','port':'1'},'export':'//a b%/c?#&=\\u00fc\\n@:'}",
        "{'driver':'nbd','server':{'type':'unix','path':'/a b?&%#'},'export':'/'}",
        "{'driver':'nbd','server':{'type':'unix','path':'rel'},'export':'x','tls-creds':'t','tls-hostname':'n'}",
        "{'driver':'nbd','server':{'type':'inet','host':'h','port':'1'},'tls-creds':'t'}",
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(json_object) json = parse_quoted(cases[i]);
        g_autofree char *filename = filename_of(json);
        g_autofree char *again = parse_filename(nbd_parse_filename, filename);
        g_autoptr(json_object) parsed = parse_quoted(again);

        g_test_message("%s", filename);
        json_object_object_del(json, "driver");
        g_assert_true(json_object_equal(json, parsed));
    }
}

/* What no filename says. */
static void test_json(void)
{
    static const char *const cases[] = {
        "{'driver':'nbd','server':{'type':'unix','path':'x','abstract':true}}",
        "{'driver':'nbd','server':{'type':'fd','str':'5'},'export':'x'}",
        "{'driver':'nbd','server':{'type':'inet','host':'h','port':'1','ipv4':true}}",
        "{'driver':'nbd','server':{'type':'inet','host':'h','port':'nbd'}}",
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(json_object) json = parse_quoted(cases[i]);
        g_autofree char *filename = filename_of(json);

        g_assert_true(g_str_has_prefix(filename, "json:"));
        g_autoptr(json_object) parsed = json_tokener_parse(filename + strlen("json:"));
        g_assert_true(json_object_equal(json, parsed));
    }
}

static void test_printable(void)
{
    g_autofree char *text = bdrv_printable("a\033[31m\nb\x7f\xff");

    g_assert_cmpstr(text, ==, "a?[31m?b?\357\277\275");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/nbd-filename/parse", test_parse);
    g_test_add_func("/nbd-filename/refuse", test_refuse);
    g_test_add_func("/nbd-filename/back", test_back);
    g_test_add_func("/nbd-filename/json", test_json);
    g_test_add_func("/nbd-filename/printable", test_printable);
    return g_test_run();
}
