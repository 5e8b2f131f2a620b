/*
 * Filenames of the rbd driver: to options, and back
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include "block/drivers/rbd.h"
#include "filename.h"
#include "qapi/json.h"
#include "qapi/qapi.h"

static void test_parse(void)
{
    static const struct {
        const char *filename, *options;
    } cases[] = {
        { "rbd:p/i", "{'pool':'p','image':'i'}" },
        { "rbd:p/n/i", "{'pool':'p','namespace':'n','image':'i'}" },
        { "rbd:p//i", "{'pool':'p','image':'i'}" },
        { "rbd:p/i@s", "{'pool':'p','image':'i','snapshot':'s'}" },
        { "rbd:p/i@s@t/u", "{'pool':'p','image':'i','snapshot':'s@t/u'}" },
        { "rbd:p/n/i@s:id=me", "{'pool':'p','namespace':'n','image':'i','snapshot':'s','user':'me'}" },
        { "rbd:p/i:conf=/etc/ceph/c.conf:id=me", "{'pool':'p','image':'i','conf':'/etc/ceph/c.conf','user':'me'}" },
        { "rbd:p/i:id=a@b", "{'pool':'p','image':'i','user':'a@b'}" },
        { "rbd:p/i:conf=a=b", "{'pool':'p','image':'i','conf':'a=b'}" },
        { "rbd:p/i:conf=", "{'pool':'p','image':'i','conf':''}" },
        { "rbd:a\\/b\\:c/d\\@e\\\\f@g\\:h", "{'pool':'a/b:c','image':'d@e\\\\f','snapshot':'g:h'}" },
        { "rbd:p/i\\", "{'pool':'p','image':'i\\\\'}" },
        { "rbd:p/i:mon_host=h", "{'pool':'p','image':'i','server':[{'host':'h','port':'6789'}]}" },
        { "rbd:p/i:mon_host=h\\:1\\;[\\:\\:1]\\:2\\;[fe80\\:\\:1]",
          "{'pool':'p','image':'i','server':[{'host':'h','port':'1'},{'host':'::1','port':'2'},"
          "{'host':'fe80::1','port':'6789'}]}" },
        { "rbd:p/i:mon_host=h\\:1,g\\:2",
          "{'pool':'p','image':'i','server':[{'host':'h','port':'1'},{'host':'g','port':'2'}]}" },
        { "rbd:p/i:auth_supported=cephx\\;none", "{'pool':'p','image':'i','auth-client-required':['cephx','none']}" },
        { "rbd:p/i:auth_client_required=none", "{'pool':'p','image':'i','auth-client-required':['none']}" },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *options = parse_filename(qemu_rbd_parse_filename, cases[i].filename);
        g_assert_cmpstr(options, ==, cases[i].options);
    }
}

static void test_refuse(void)
{
    static const char *const filenames[] = {
        "rbd:", "rbd:p", "rbd:p/", "rbd:/i", "rbd:p/n/", "rbd:p:id=x", "rbd:p/i@", "rbd:p/i@:id=x", "rbd:p/@s",
        "rbd:p/i:", "rbd:p/i:id", "rbd:p/i:id:conf=x", "rbd:p/i:nonsense=hunter2", "rbd:p/i:key=hunter2",
        "rbd:p/i:id=x:key=hunter2", "rbd:p/i:mon_host=a:1", "rbd:p/i:mon_host=a\\:1\\:2", "rbd:p/i:mon_host=[a",
        "rbd:p/i:mon_host=[]", "rbd:p/i:mon_host=\\:1", "rbd:p/i:mon_host=[\\:\\:1]x", "rbd:p/i:mon_host=h\\:",
        "rbd:p/i:mon_host=[v2\\:1.2.3.4\\:3300,v1\\:1.2.3.4\\:6789]",
    };

    for (size_t i = 0; i < G_N_ELEMENTS(filenames); i++) {
        g_autofree char *options = parse_filename(qemu_rbd_parse_filename, filenames[i]);
        g_assert_null(options);
    }
}

/* Options in JSON, and the filename that is shown for them. */
static void test_show(void)
{
    static const struct {
        const char *options, *filename;
    } cases[] = {
        { "'image':'i'", "rbd:p/i" },
        { "'image':'i','namespace':''", "rbd:p/i" },
        { "'image':'i','namespace':'n/m','snapshot':'s@t'", "rbd:p/n\\/m/i@s\\@t" },
        { "'image':'a:b@c/d\\\\e','user':'u:v','conf':'/x:y'", "rbd:p/a\\:b\\@c\\/d\\\\e:id=u\\:v:conf=/x\\:y" },
        { "'image':'i','server':[{'host':'h','port':'1'},{'host':'::1','port':'2'}]",
          "rbd:p/i:mon_host=h\\:1;[\\:\\:1]\\:2" },
        { "'image':'i','auth-client-required':['cephx','none']", "rbd:p/i:auth_client_required=cephx;none" },
        { "'image':'i','key-secret':'k'",
          "json:{\"pool\": \"p\", \"image\": \"i\", \"key-secret\": \"k\", \"driver\": \"rbd\"}" },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *quoted = g_strdup_printf("{'pool':'p',%s}", cases[i].options);
        g_autofree char *text = g_strdelimit(g_strdup(quoted), "'", '"');
        g_autoptr(json_object) json = qapi_parse_json(text, strlen(text), &error_abort);
        g_autoptr(BlockdevOptionsRbd) options = QAPI_FROM_JSON(BlockdevOptionsRbd, json, QAPI_INPUT_JSON, &error_abort);
        g_autofree char *filename = qemu_rbd_filename(options);

        g_assert_cmpstr(filename, ==, cases[i].filename);
        if (g_str_has_prefix(filename, "rbd:")) {
            /* It means the same options. */
            g_autofree char *again = parse_filename(qemu_rbd_parse_filename, filename);
            g_strdelimit(again, "'", '"');
            g_autoptr(json_object) json2 = qapi_parse_json(again, strlen(again), &error_abort);
            g_autoptr(BlockdevOptionsRbd) options2 = QAPI_FROM_JSON(BlockdevOptionsRbd, json2, QAPI_INPUT_JSON,
                                                                    &error_abort);
            g_autofree char *filename2 = qemu_rbd_filename(options2);
            g_assert_cmpstr(filename2, ==, filename);
        }
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/rbd-filename/parse", test_parse);
    g_test_add_func("/rbd-filename/refuse", test_refuse);
    g_test_add_func("/rbd-filename/show", test_show);
    return g_test_run();
}
