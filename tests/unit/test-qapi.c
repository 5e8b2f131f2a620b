/*
 * QAPI: JSON and option arguments to structs and back
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "qapi/keyval.h"
#include "qapi/qapi-types.h"

static void *from_text(const QAPIType *type, const char *text, Error **errp)
{
    g_autoptr(json_object) in = qapi_parse_json(text, strlen(text), &error_abort);

    return qapi_from_json(type, in, QAPI_INPUT_JSON, errp);
}

/* JSON text must come back unchanged, also from a copy. */
static void check_round_trip(const QAPIType *type, const char *text)
{
    void *obj = from_text(type, text, &error_abort);
    void *copy = qapi_clone(type, obj);
    g_autoptr(json_object) json = qapi_to_json(type, obj);

    qapi_free(type, obj);
    g_autoptr(json_object) again = qapi_to_json(type, copy);
    qapi_free(type, copy);
    g_autofree char *printed = qapi_print_json(json, false);
    g_assert_cmpstr(printed, ==, text);
    g_autofree char *printed_again = qapi_print_json(again, false);
    g_assert_cmpstr(printed_again, ==, text);
}

static void test_round_trips(void)
{
    check_round_trip(&qapi_type_BlockdevOptions,
        "{\"driver\": \"luks\", \"node-name\": \"n\", \"discard\": \"unmap\", "
        "\"cache\": {\"direct\": true, \"no-flush\": false}, \"read-only\": true, "
        "\"file\": {\"driver\": \"file\", \"filename\": \"a/b\", \"aio\": \"io_uring\", \"aio-max-batch\": -1}, "
        "\"key-secret\": \"s\", \"header\": \"hdr\", \"max-pbkdf-iterations\": 9223372036854775807}");
    check_round_trip(&qapi_type_BlockdevOptions,
        "{\"driver\": \"null-co\", \"size\": 18446744073709551615, \"latency-ns\": 18446744073709551615}");
    check_round_trip(&qapi_type_BlockdevOptions,
        "{\"driver\": \"file\", \"filename\": \"n\", \"aio-max-batch\": -9223372036854775808}");
    check_round_trip(&qapi_type_SecureEraseReport,
        "{\"scope\": \"header\", \"regions\": ["
        "{\"offset\": 4096, \"length\": 128000, \"what\": \"keyslot\", \"keyslot\": 0, "
        "\"passes\": 1, \"verified\": true}, "
        "{\"offset\": 0, \"length\": 592, \"what\": \"header\", \"passes\": 1, \"verified\": false}, "
        "{\"offset\": 0, \"length\": 592, \"what\": \"header\", \"passes\": 1, \"verified\": false}], "
        "\"layers\": [{\"node-name\": \"n\", \"driver\": \"file\", \"assurance\": \"may-survive\", "
        "\"notes\": [\"reflink\", \"btrfs\", \"é\"]}], \"assurance\": \"may-survive\"}");
    check_round_trip(&qapi_type_ImageInfo,
        "{\"filename\": \"x\", \"format\": \"luks\", \"virtual-size\": 1, \"encrypted\": true, "
        "\"format-specific\": {\"type\": \"luks\", \"data\": {\"cipher-alg\": \"aes-256\", \"cipher-mode\": \"xts\", "
        "\"ivgen-alg\": \"plain64\", \"hash-alg\": \"sha256\", \"detached-header\": false, "
        "\"payload-offset\": 2068480, "
        "\"master-key-iters\": 1000, \"uuid\": \"u\", \"slots\": [{\"active\": false, \"key-offset\": 4096}]}}, "
        "\"backing-image\": {\"filename\": \"y\", \"format\": \"raw\", \"virtual-size\": 2}}");
    check_round_trip(&qapi_type_ObjectOptions,
        "{\"qom-type\": \"secret_keyring\", \"id\": \"k\", \"serial\": -2147483648}");
    check_round_trip(&qapi_type_BlockdevRef, "\"node0\"");
}

static void test_presence(void)
{
    g_autoptr(BlockdevOptions) opts = from_text(&qapi_type_BlockdevOptions,
        "{'driver': 'raw', 'file': 'n', 'read-only': false, 'offset': 0}", &error_abort);

    g_assert_true(opts->has_read_only);
    g_assert_false(opts->read_only);
    g_assert_false(opts->has_discard);
    g_assert_null(opts->node_name);
    g_assert_null(opts->cache);
    g_assert_true(opts->u.raw.has_offset);
    g_assert_false(opts->u.raw.has_size);
    g_assert_cmpint(opts->u.raw.file->type, ==, QTYPE_QSTRING);
    g_assert_cmpstr(opts->u.raw.file->u.reference, ==, "n");
}

static void test_built_by_hand(void)
{
    g_autoptr(Keyslots) slots = g_new0(Keyslots, 1);
    g_autoptr(json_object) empty = QAPI_TO_JSON(Keyslots, slots);
    g_autofree char *empty_text = qapi_print_json(empty, false);

    g_assert_cmpstr(empty_text, ==, "{\"slots\": []}");
    for (int i = 0; i < 9; i++) {
        KeyslotInfo *info = g_new0(KeyslotInfo, 1);
        info->slot = i;
        info->has_iters = info->active = i == 2;
        QAPI_LIST_APPEND(slots->slots, info);
    }
    g_autoptr(Keyslots) copy = QAPI_CLONE(Keyslots, slots);
    /* The copy can be appended to like the original. */
    QAPI_LIST_APPEND(copy->slots, g_new0(KeyslotInfo, 1));
    g_assert_cmpint(copy->slots->n, ==, 10);
    g_assert_cmpint(copy->slots->items[8]->slot, ==, 8);
    g_assert_true(copy->slots->items[2]->has_iters);
    g_assert_cmpstr(QCryptoCipherAlgo_str(QCRYPTO_CIPHER_ALGO_3DES), ==, "3des");
    g_assert_cmpstr(BlockdevDriver_str(BLOCKDEV_DRIVER_HOST_DEVICE), ==, "host_device");
}

static void test_base(void)
{
    g_autoptr(BlockdevCreateOptionsLUKS) opts = from_text(&qapi_type_BlockdevCreateOptionsLUKS,
        "{'size': 5, 'hash-alg': 'sha1', 'key-secret': 's'}", &error_abort);
    QCryptoBlockCreateOptionsLUKS *base = qapi_BlockdevCreateOptionsLUKS_base(opts);

    g_assert_cmpint(opts->size, ==, 5);
    g_assert_cmpstr(base->key_secret, ==, "s");
    g_assert_true(base->has_hash_alg);
    g_assert_cmpint(base->hash_alg, ==, QCRYPTO_HASH_ALGO_SHA1);
}

typedef struct BadInput {
    const QAPIType *type;
    const char *text;
    const char *error;
} BadInput;

static const BadInput bad_json[] = {
    { &qapi_type_BlockdevOptions, "[]", "The value must be an object" },
    { &qapi_type_BlockdevOptions, "{}", "Parameter 'driver' is missing" },
    { &qapi_type_BlockdevOptions, "{'driver': 'luks'}", "Parameter 'file' is missing" },
    { &qapi_type_BlockdevOptions, "{'driver': 'luks', 'file': {'driver': 'file'}}",
      "Parameter 'file.filename' is missing" },
    { &qapi_type_BlockdevOptions, "{'driver': 'raw', 'file': {'driver': 'raw', 'file': {'driver': 'file', "
      "'filename': 'x', 'foo': 1}}}", "Invalid parameter 'file.file.foo'" },
    { &qapi_type_BlockdevOptions, "{'driver': 'file', 'filename': 'x', 'key-secret': 's'}",
      "Invalid parameter 'key-secret'" },
    { &qapi_type_BlockdevOptions, "{'driver': 'zzz'}", "Parameter 'driver' does not accept value 'zzz'" },
    { &qapi_type_BlockdevOptions, "{'driver': 'fil'}", "Parameter 'driver' does not accept value 'fil'" },
    { &qapi_type_BlockdevOptions, "{'driver': 1}", "Parameter 'driver' expects a string" },
    { &qapi_type_BlockdevOptions, "{'driver': null}", "Parameter 'driver' expects a string" },
    { &qapi_type_BlockdevOptions, "{'driver': 'file', 'filename': null}", "Parameter 'filename' expects a string" },
    { &qapi_type_BlockdevOptions, "{'driver': 'file', 'filename': ['x']}", "Parameter 'filename' expects a string" },
    { &qapi_type_BlockdevOptions, "{'driver': 'raw', 'file': 1}",
      "Parameter 'file' expects an object or a string" },
    { &qapi_type_BlockdevOptions, "{'driver': 'null-co', 'read-only': 'on'}",
      "Parameter 'read-only' expects a boolean" },
    { &qapi_type_BlockdevOptions, "{'driver': 'null-co', 'cache': {'direct': 0}}",
      "Parameter 'cache.direct' expects a boolean" },
    { &qapi_type_BlockdevOptions, "{'driver': 'file', 'filename': 'n', 'aio-max-batch': '1'}",
      "Parameter 'aio-max-batch' expects an integer from -9223372036854775808 to 9223372036854775807" },
    { &qapi_type_BlockdevOptions, "{'driver': 'file', 'filename': 'n', 'aio-max-batch': 9223372036854775808}",
      "Parameter 'aio-max-batch' expects an integer from -9223372036854775808 to 9223372036854775807" },
    { &qapi_type_BlockdevOptions, "{'driver': 'file', 'filename': 'n', 'aio-max-batch': 1.5}",
      "Parameter 'aio-max-batch' expects an integer from -9223372036854775808 to 9223372036854775807" },
    { &qapi_type_BlockdevOptions, "{'driver': 'null-co', 'latency-ns': -1}",
      "Parameter 'latency-ns' expects an integer from 0 to 18446744073709551615" },
    { &qapi_type_ObjectOptions, "{'qom-type': 'secret_keyring', 'id': 'a', 'serial': 2147483648}",
      "Parameter 'serial' expects an integer from -2147483648 to 2147483647" },
    { &qapi_type_ObjectOptions, "{'qom-type': 'secret_keyring', 'id': 'a', 'serial': -2147483649}",
      "Parameter 'serial' expects an integer from -2147483648 to 2147483647" },
    { &qapi_type_BlockdevCreateOptions, "{'driver': 'file', 'filename': 'x', 'size': -1}",
      "Parameter 'size' expects a size in bytes, such as 65536, 64K or 1.5G" },
    { &qapi_type_BlockdevCreateOptions, "{'driver': 'raw', 'x': 1}", "Invalid parameter 'x'" },
    { &qapi_type_BlockdevOptions, "{'driver': 'file', 'filename': 'x', 'pr-manager': 'm'}",
      "Parameter 'pr-manager' is not supported" },
    { &qapi_type_QCryptoBlockCreateOptionsLUKS, "{'cipher-alg': 'des'}",
      "Parameter 'cipher-alg' does not support value 'des'" },
    { &qapi_type_Keyslots, "{'slots': {}}", "Parameter 'slots' expects an array" },
    { &qapi_type_Keyslots, "{'slots': [{'slot': 0, 'active': true, 'key-offset': 0}, 3]}",
      "Parameter 'slots[1]' expects an object" },
    { &qapi_type_Keyslots, "{'slots': [{'slot': 0, 'active': true}]}",
      "Parameter 'slots[0].key-offset' is missing" },
    { &qapi_type_SecureEraseLayer, "{'node-name': 'a', 'driver': 'b', 'assurance': 'unknown', 'notes': ['x', 5]}",
      "Parameter 'notes[1]' expects a string" },
};

static void test_bad_json(void)
{
    for (size_t i = 0; i < G_N_ELEMENTS(bad_json); i++) {
        g_autoptr(Error) err = NULL;

        g_assert_null(from_text(bad_json[i].type, bad_json[i].text, &err));
        g_assert_cmpstr(error_get_pretty(err), ==, bad_json[i].error);
    }
    g_autoptr(Error) err = NULL;
    g_assert_null(from_text(&qapi_type_BlockdevCacheOptions, "{'x': 1}", NULL));
    g_assert_null(from_text(&qapi_type_BlockdevOptions, "{'driver': 'zzz'}", &err));
    g_autoptr(GString) hint = g_string_new("Accepted values: ");
    for (BlockdevDriver driver = 0; driver < BLOCKDEV_DRIVER__MAX; driver++) {
        g_string_append_printf(hint, "%s%s", driver ? ", " : "", BlockdevDriver_str(driver));
    }
    g_assert_cmpstr(error_get_hint(err), ==, hint->str);
}

static void *from_keyval(const QAPIType *type, const char *params, Error **errp)
{
    g_autoptr(json_object) in = keyval_parse(params, NULL, NULL, &error_abort);

    return qapi_from_json(type, in, QAPI_INPUT_KEYVAL, errp);
}

static void test_keyval(void)
{
    g_autoptr(BlockdevOptions) opts = from_keyval(&qapi_type_BlockdevOptions,
        "driver=luks,file.driver=file,file.filename=a,,b,read-only=on,auto-read-only=false,cache.direct=y,"
        "max-pbkdf-iterations=0x10", &error_abort);

    g_assert_cmpint(opts->driver, ==, BLOCKDEV_DRIVER_LUKS);
    g_assert_true(opts->read_only);
    g_assert_true(opts->has_auto_read_only);
    g_assert_false(opts->auto_read_only);
    g_assert_true(opts->cache->direct);
    g_assert_cmpint(opts->u.luks.max_pbkdf_iterations, ==, 16);
    g_assert_cmpint(opts->u.luks.file->type, ==, QTYPE_QDICT);
    g_assert_cmpstr(opts->u.luks.file->u.definition.u.file.filename, ==, "a,b");
}

static void test_keyval_scalars(void)
{
    g_autoptr(ImgCreateOptionsFile) opts = from_keyval(&qapi_type_ImgCreateOptionsFile,
                                                       "size=1.5k,extent_size_hint=1M,nocow=yes", &error_abort);
    g_autoptr(json_object) typed = qapi_parse_json("{'size': 1, 'nocow': true}", 26, &error_abort);
    g_autoptr(ImgCreateOptionsFile) native = QAPI_FROM_JSON(ImgCreateOptionsFile, typed, QAPI_INPUT_KEYVAL,
                                                            &error_abort);

    g_assert_cmpuint(opts->size, ==, 1536);
    g_assert_cmpuint(opts->extent_size_hint, ==, MiB);
    g_assert_true(opts->nocow);
    g_assert_cmpuint(native->size, ==, 1);
    g_assert_true(native->nocow);
}

static void test_bad_keyval(void)
{
    static const BadInput bad[] = {
        { &qapi_type_BlockdevOptions, "driver=null-co,read-only=maybe", "Parameter 'read-only' expects 'on' or 'off'" },
        { &qapi_type_BlockdevOptions, "driver=null-co,read-only=", "Parameter 'read-only' expects 'on' or 'off'" },
        { &qapi_type_ObjectOptions, "qom-type=secret_keyring,id=a,serial=1x",
          "Parameter 'serial' expects an integer from -2147483648 to 2147483647" },
        { &qapi_type_ObjectOptions, "qom-type=secret_keyring,id=a,serial=",
          "Parameter 'serial' expects an integer from -2147483648 to 2147483647" },
        { &qapi_type_ObjectOptions, "qom-type=secret_keyring,id=a,serial=99999999999999999999",
          "Parameter 'serial' expects an integer from -2147483648 to 2147483647" },
        { &qapi_type_BlockdevOptions, "driver=null-co,latency-ns=-1",
          "Parameter 'latency-ns' expects an integer from 0 to 18446744073709551615" },
        { &qapi_type_ImgCreateOptionsFile, "size=1x",
          "Parameter 'size' expects a size in bytes, such as 65536, 64K or 1.5G" },
        { &qapi_type_ImgCreateOptionsFile, "size=16E",
          "Parameter 'size' expects a size in bytes, such as 65536, 64K or 1.5G" },
        { &qapi_type_Keyslots, "slots.0.slot=1,slots.0.active=on", "Parameter 'slots.0.key-offset' is missing" },
        { &qapi_type_BlockdevOptions, "driver=raw,file.driver=file", "Parameter 'file.filename' is missing" },
        { &qapi_type_BlockdevOptions, "driver=raw,file=a,cache=b", "Parameter 'cache' expects an object" },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autoptr(Error) err = NULL;

        g_assert_null(from_keyval(bad[i].type, bad[i].text, &err));
        g_assert_cmpstr(error_get_pretty(err), ==, bad[i].error);
    }
}

static void test_strings(void)
{
    g_autoptr(json_object) in = json_object_new_object();
    g_autoptr(Error) err = NULL, enum_err = NULL, bool_err = NULL;

    json_object_object_add(in, "driver", qapi_json_new_string("file", 4));
    json_object_object_add(in, "filename", qapi_json_new_string("\xff\x01", 2));
    g_autoptr(BlockdevOptions) opts = QAPI_FROM_JSON(BlockdevOptions, in, QAPI_INPUT_JSON, &error_abort);
    g_assert_cmpstr(opts->u.file.filename, ==, "\xff\x01");

    json_object_object_add(in, "filename", qapi_json_new_string("a\0b", 3));
    g_assert_null(QAPI_FROM_JSON(BlockdevOptions, in, QAPI_INPUT_JSON, &err));
    g_assert_cmpstr(error_get_pretty(err), ==, "Parameter 'filename' expects a string without NUL characters");

    json_object_object_add(in, "read-only", qapi_json_new_string("on\0", 3));
    g_assert_null(QAPI_FROM_JSON(BlockdevOptions, in, QAPI_INPUT_KEYVAL, &bool_err));

    json_object_object_add(in, "driver", qapi_json_new_string("file\0", 5));
    g_assert_null(QAPI_FROM_JSON(BlockdevOptions, in, QAPI_INPUT_JSON, &enum_err));
}

/* Nested beyond the limit, created without the parser, which has the same limit. */
static void test_depth(void)
{
    struct json_object *in = qapi_json_new_string("n", 1);
    g_autoptr(Error) err = NULL;

    for (int i = 0; i < 10000; i++) {
        struct json_object *outer = json_object_new_object();
        json_object_object_add(outer, "driver", qapi_json_new_string("raw", 3));
        json_object_object_add(outer, "file", in);
        in = outer;
    }
    g_assert_null(QAPI_FROM_JSON(BlockdevOptions, in, QAPI_INPUT_JSON, &err));
    g_assert_true(g_str_has_suffix(error_get_pretty(err), "expects less deeply nested values"));
    json_object_put(in);
}

static void test_help(void)
{
    g_autofree char *text = NULL;
    g_autoptr(Error) err = NULL;
    size_t len;
    FILE *out = open_memstream(&text, &len);

    qapi_print_help(&qapi_type_ImgCreateOptionsLUKS, out);
    fputs("--\n", out);
    g_assert_true(qapi_print_branch_help(&qapi_type_ObjectOptions, "secret_keyring", out, &error_abort));
    g_assert_false(qapi_print_branch_help(&qapi_type_ObjectOptions, "x", out, &err));
    fputs("--\n", out);
    qapi_print_help(&qapi_type_ObjectOptions, out);
    qapi_print_help(&qapi_type_NbdServerOptions, out);
    qapi_print_help(&qapi_type_BlockExportOptions, out);
    fclose(out);
    g_test_message("%s", text);
    g_assert_nonnull(strstr(text, "  cipher-mode=<str>         - "));
    g_assert_nonnull(strstr(text, "; one of: ecb, cbc, xts,\n                              ctr\n"));
    g_assert_nonnull(strstr(text, "  size=<size>               - "));
    g_assert_nonnull(strstr(text, "  serial=<num>"));
    g_assert_null(strstr(text, "sm3"));
    g_assert_nonnull(strstr(text, "    secret_keyring          - "));
    g_assert_nonnull(strstr(text, "\n  addr.type=<str>: "));
    g_assert_nonnull(strstr(text, "\n  addr.path=<str>           - "));
    g_assert_nonnull(strstr(text, "listening replaces a stale\n"
                                  "                              one; with addr.type=unix; required\n"));
    g_assert_nonnull(strstr(text, "  addr.mptcp=<bool (on/off)> - use Multipath TCP"));
    g_assert_null(strstr(text, "vduse"));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/qapi/round-trips", test_round_trips);
    g_test_add_func("/qapi/presence", test_presence);
    g_test_add_func("/qapi/built-by-hand", test_built_by_hand);
    g_test_add_func("/qapi/base", test_base);
    g_test_add_func("/qapi/bad-json", test_bad_json);
    g_test_add_func("/qapi/keyval", test_keyval);
    g_test_add_func("/qapi/keyval-scalars", test_keyval_scalars);
    g_test_add_func("/qapi/bad-keyval", test_bad_keyval);
    g_test_add_func("/qapi/strings", test_strings);
    g_test_add_func("/qapi/depth", test_depth);
    g_test_add_func("/qapi/help", test_help);
    return g_test_run();
}
