/*
 * Filenames of the iscsi driver: to options, and back
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include "block/drivers/iscsi.h"
#include "filename.h"
#include "qapi/json.h"
#include "qapi/qapi.h"

#define REST(target, lun) ",'transport':'tcp','target':'" target "','lun':'" lun "'}"
#define AT(portal) "{'portal':'" portal "'"

static void test_parse(void)
{
    static const struct {
        const char *filename, *options;
    } cases[] = {
        { "iscsi://h/iqn.2024-01.a:b/0", AT("h") REST("iqn.2024-01.a:b", "0") },
        { "iscsi://h:1/t/65535", AT("h:1") REST("t", "65535") },
        { "iscsi://[::1]/t/1", AT("[::1]") REST("t", "1") },
        { "iscsi://[::1]:3260/t/1", AT("[::1]:3260") REST("t", "1") },
        { "iscsi://h,1/t/1", AT("h,1") REST("t", "1") },
        { "iscsi://h/a%20b%2Bc/1", AT("h") REST("a b+c", "1") },
        { "iscsi://me@h/t/1", "{'user':'me','portal':'h'" REST("t", "1") },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *options = parse_filename(iscsi_parse_filename, cases[i].filename);

        g_assert_cmpstr(options, ==, cases[i].options);
    }
}

static void test_refuse(void)
{
    static const char *const cases[] = {
        "iscsi:", "iscsi://", "iscsi:h/t/1", "iscsi://h", "iscsi://h/", "iscsi://h/t", "iscsi://h/t/", "iscsi://h//1",
        "iscsi:///t/1", "iscsi://:1/t/1", "iscsi://h:/t/1", "iscsi://::1/t/1", "iscsi://[::1/t/1", "iscsi://[]/t/1",
        "iscsi://[::1]x/t/1", "iscsi://h/t/x", "iscsi://h/t/-1", "iscsi://h/t/65536", "iscsi://h/t/1/2",
        "iscsi://h/%zz/1", "iscsi://h/%00/1", "iscsi://h/a%2Fb/1", "iscsi://h/t/1?header_digest=crc32c", "iser://h/t/1",
        "iscsi://@h/t/1",
        "iscsi://me%hunter2@h/t/1", "iscsi://me:hunter2@h/t/1", "iscsi://me%hun/ter2@h/t/1", "iscsi://%hunter2@h/t/1",
        "iscsi://me%hunter2@h", "iscsi://me%a@hunter2@h/t/1", "iscsi://h/t/1?target_password=hunter2",
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *options = parse_filename(iscsi_parse_filename, cases[i]);

        g_assert_cmpstr(options, ==, NULL);
    }
}

/* The name of what options in JSON, with single quotes, open. */
static char *filename_of(const char *text)
{
    g_autofree char *json = g_strdelimit(g_strdup(text), "'", '"');
    g_autoptr(json_object) in = json_tokener_parse(json);
    g_autoptr(BlockdevOptionsIscsi) o = QAPI_FROM_JSON(BlockdevOptionsIscsi, in, QAPI_INPUT_KEYVAL, &error_abort);

    return iscsi_filename(o);
}

static void test_filename(void)
{
    static const struct {
        const char *options, *filename;
    } cases[] = {
        { AT("h") REST("iqn.2024-01.a:b", "7"), "iscsi://h/iqn.2024-01.a:b/7" },
        { AT("[::1]:5") REST("t", "0"), "iscsi://[::1]:5/t/0" },
        { "{'user':'me','portal':'h'" REST("a b%/é", "1"), "iscsi://me@h/a%20b%25%2F%C3%A9/1" },
        { "{'transport':'tcp','portal':'h','target':'t'}", "iscsi://h/t/0" },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *filename = filename_of(cases[i].options);

        g_assert_cmpstr(filename, ==, cases[i].filename);
    }
}

/* What no URL can say is JSON, which has the id of the secret, not the password. */
static void test_json_filename(void)
{
    static const char *const options[] = {
        "{'portal':'h','user':'me','password-secret':'s0'" REST("t", "1"),
        "{'portal':'h','header-digest':'crc32c'" REST("t", "1"),
        "{'portal':'h','timeout':5" REST("t", "1"),
        "{'portal':'h','initiator-name':'x'" REST("t", "1"),
        "{'portal':'h','user':'a@b'" REST("t", "1"),
        "{'portal':'h/x'" REST("t", "1"),
    };

    for (size_t i = 0; i < G_N_ELEMENTS(options); i++) {
        g_autofree char *filename = filename_of(options[i]);

        g_assert_true(g_str_has_prefix(filename, "json:{"));
        g_autoptr(json_object) in = json_tokener_parse(filename + strlen("json:"));
        json_object_object_del(in, "driver");
        g_autoptr(BlockdevOptionsIscsi) again = QAPI_FROM_JSON(BlockdevOptionsIscsi, in, QAPI_INPUT_JSON, &error_abort);
        g_autofree char *same = iscsi_filename(again);
        g_assert_cmpstr(same, ==, filename);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/iscsi-filename/parse", test_parse);
    g_test_add_func("/iscsi-filename/refuse", test_refuse);
    g_test_add_func("/iscsi-filename/filename", test_filename);
    g_test_add_func("/iscsi-filename/json", test_json_filename);
    return g_test_run();
}
