/*
 * The luks driver, except for requests: opening, creating, passwords, headers, permissions, information
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include <json-c/json.h>

#include "block/job.h"
#include "luks-node.h"
#include "qapi/json.h"
#include "qapi/keyval.h"
#include "qapi/qapi.h"
#include "util/aio.h"

static void assert_opens(const char *name, const char *options, const char *error)
{
    g_autoptr(Error) err = NULL;
    BlockDriverState *bs = open_volume(name, options, 0, &err);

    if (error) {
        g_assert_null(bs);
        assert_error(&err, error);
    } else {
        g_assert_null(err);
        bdrv_co_unref(bs);
    }
}

static bool coroutine_fn create(const char *text, Error **errp)
{
    g_autoptr(json_object) json = keyval_parse(text, NULL, NULL, &error_abort);
    g_autoptr(BlockdevCreateOptions) options = QAPI_FROM_JSON(BlockdevCreateOptions, json,
                                                              QAPI_INPUT_KEYVAL, &error_abort);

    return bdrv_create(options, NULL, errp);
}

static void coroutine_fn open_entry(void *opaque)
{
    g_autoptr(Error) err = NULL;
    uint8_t buf[512];

    make_volume("open.luks", "");
    assert_opens("open.luks", "", NULL);
    assert_opens("open.luks", ",max-pbkdf-iterations=1", "iterations");
    assert_opens("open.luks", ",max-pbkdf-iterations=0", "max-pbkdf-iterations");

    g_autofree char *file = file_options("file.", "open.luks");
    g_autofree char *no_secret = g_strdup_printf("driver=luks,%s", file);
    g_autoptr(json_object) json = keyval_parse(no_secret, NULL, NULL, &error_abort);
    g_assert_null(bdrv_co_open(NULL, json, 0, &err));
    assert_error(&err, "Parameter 'key-secret' is required for cipher");

    json_object_object_add(json, "key-secret", json_object_new_string("pw1"));
    g_assert_null(bdrv_co_open(NULL, json, 0, &err));
    assert_error(&err, "password");
    json_object_object_add(json, "key-secret", json_object_new_string("nobody"));
    g_assert_null(bdrv_co_open(NULL, json, 0, &err));
    assert_error(&err, "nobody");

    /* Without a password: only the header. */
    BlockDriverState *bs = open_volume("open.luks", "", BDRV_O_NO_IO, &error_abort);
    g_assert_cmpint(bdrv_getlength(bs), ==, TEST_SIZE);
    BlockBackend *blk = blk_new("test", BLK_PERM_CONSISTENT_READ | BLK_PERM_WRITE, BLK_PERM_ALL);
    g_assert_true(blk_insert_bs(blk, bs, &error_abort));
    g_assert_cmpint(blk_co_pread(blk, 0, 512, buf), ==, -ENOKEY);
    g_assert_cmpint(blk_co_pwrite(blk, 0, 512, buf, 0), ==, -ENOKEY);
    blk_co_unref(blk);
    bdrv_co_unref(bs);

    scratch_file("zero.img", 8 * MiB);
    assert_opens("zero.img", "", "");
    scratch_file("empty.img", 0);
    assert_opens("empty.img", "", "");
}

static void coroutine_fn probe_entry(void *opaque)
{
    g_autofree char *path = scratch_path("probe.luks");

    make_volume("probe.luks", "");
    BlockDriverState *bs = bdrv_co_open(path, NULL, BDRV_O_NO_IO, &error_abort);
    g_assert_cmpstr(bdrv_get_format_name(bs), ==, "luks");
    bdrv_co_unref(bs);

    /* LUKS2 is not mistaken for LUKS1 or raw, except to describe it; if requested by name it is refused by name. */
    scratch_write("probe.luks", 7, "\2", 1);
    g_autoptr(Error) err = NULL;
    g_assert_null(bdrv_co_open(path, NULL, BDRV_O_NO_IO, &err));
    assert_error(&err, "LUKS version 2");
    bs = bdrv_co_open(path, NULL, BDRV_O_NO_IO | BDRV_O_DESCRIBE, &error_abort);
    g_assert_cmpstr(bdrv_get_format_name(bs), ==, "raw");
    bdrv_co_unref(bs);
    assert_opens("probe.luks", "", "2");
}

static void coroutine_fn info_entry(void *opaque)
{
    make_volume("info.luks", ",cipher-alg=aes-128,cipher-mode=cbc,ivgen-alg=essiv,hash-alg=sha1");
    BlockDriverState *bs = open_volume("info.luks", "", BDRV_O_NO_IO, &error_abort);
    g_autoptr(BlockGraphInfo) info = bdrv_query_graph_info(bs);

    g_assert_cmpstr(info->format, ==, "luks");
    g_assert_cmpint(info->virtual_size, ==, TEST_SIZE);
    g_assert_true(info->has_encrypted && info->encrypted);
    g_assert_cmpint(info->format_specific->type, ==, IMAGE_INFO_SPECIFIC_KIND_LUKS);
    const QCryptoBlockInfoLUKS *luks = info->format_specific->u.luks.data;
    g_assert_cmpint(luks->cipher_alg, ==, QCRYPTO_CIPHER_ALGO_AES_128);
    g_assert_cmpint(luks->ivgen_alg, ==, QCRYPTO_IV_GEN_ALGO_ESSIV);
    g_assert_false(luks->detached_header);
    g_assert_cmpint(luks->slots->n, ==, 8);
    g_assert_true(luks->slots->items[0]->active);
    g_assert_cmpint(info->children->n, ==, 1);
    g_assert_cmpstr(info->children->items[0]->name, ==, "file");
    g_assert_cmpstr(info->children->items[0]->info->format, ==, "file");
    g_assert_cmpint(info->children->items[0]->info->virtual_size, ==, TEST_SIZE + luks->payload_offset);

    g_autoptr(ImageInfo) image = bdrv_query_image_info(bs);
    g_assert_cmpint(image->virtual_size, ==, TEST_SIZE);
    bdrv_co_unref(bs);
}

static void coroutine_fn create_errors_entry(void *opaque)
{
    g_autofree char *file = file_options("file.", "bad.luks");
    g_autofree char *prefix = g_strdup_printf("driver=luks,size=1M,%s,", file);
    static const struct { const char *options; const char *error; } bad[] = {
        { "iter-time=1", "Parameter 'key-secret' is required" },
        { "key-secret=nobody", "nobody" },
        { "key-secret=pw0,cipher-alg=cast5-128", "xts" },
        { "key-secret=pw0,iter-time=-1", "iter-time" },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autofree char *text = g_strconcat(prefix, bad[i].options, NULL);
        g_autoptr(Error) err = NULL;

        scratch_file("bad.luks", 3000);
        g_assert_false(create(text, &err));
        assert_error(&err, bad[i].error);
        g_autoptr(GBytes) data = scratch_read("bad.luks");
        g_assert_cmpint(g_bytes_get_size(data), ==, 3000);
    }
    g_autoptr(Error) err = NULL;
    g_assert_false(create("driver=luks,size=1M,key-secret=pw0", &err));
    assert_error(&err, "'file' or 'header'");
    g_autofree char *larger = g_strdup_printf("driver=luks,size=9223372036854771712,key-secret=pw0,%s", file);
    g_assert_false(create(larger, &err));
    assert_error(&err, "size");
}

static void coroutine_fn detached_entry(void *opaque)
{
    g_autofree char *file = file_options("file.", "payload.img");
    g_autofree char *header = file_options("header.", "header.img");
    g_autofree char *text = g_strdup_printf("driver=luks,size=1M,key-secret=pw0,iter-time=1,%s,%s", file,
                                            header);
    g_autofree char *with_header = g_strconcat(",", header, NULL);
    uint8_t buf[4096], seen[4096];

    scratch_file("payload.img", 0);
    scratch_file("header.img", 0);
    g_assert_true(create(text, &error_abort));
    g_autoptr(GBytes) header_data = scratch_read("header.img");
    g_assert_cmpint(memcmp(g_bytes_get_data(header_data, NULL), "LUKS\xba\xbe", 6), ==, 0);
    g_autoptr(GBytes) payload_data = scratch_read("payload.img");
    g_assert_cmpint(g_bytes_get_size(payload_data), ==, 1 * MiB);

    BlockBackend *blk = open_volume_blk("payload.img", with_header);
    g_assert_cmpint(blk_getlength(blk), ==, 1 * MiB);
    memset(buf, 7, sizeof(buf));
    g_assert_cmpint(blk_co_pwrite(blk, 0, sizeof(buf), buf, 0), ==, 0);
    g_assert_cmpint(blk_co_pwrite(blk, 1 * MiB - sizeof(buf), sizeof(buf), buf, 0), ==, 0);
    blk_co_unref(blk);

    blk = open_volume_blk("payload.img", with_header);
    g_assert_cmpint(blk_co_pread(blk, 0, sizeof(seen), seen), ==, 0);
    g_assert_cmpint(memcmp(buf, seen, sizeof(buf)), ==, 0);
    g_assert_true(bdrv_keyslot_add(blk_bs(blk), "pw1", -1, 1, false, NULL, NULL, &error_abort));
    g_autoptr(BlockGraphInfo) info = bdrv_query_graph_info(blk_bs(blk));
    g_assert_true(info->format_specific->u.luks.data->detached_header);
    g_assert_cmpint(info->children->n, ==, 2);
    blk_co_unref(blk);

    /* The header can be inspected alone, but not opened as a volume. */
    BlockDriverState *bs = open_volume("header.img", "", BDRV_O_NO_IO, &error_abort);
    bdrv_co_unref(bs);
    assert_opens("header.img", "", "detached");
}

static bool amend(BlockDriverState *bs, const char *text, bool force, Error **errp)
{
    g_autoptr(json_object) json = keyval_parse(text, NULL, NULL, &error_abort);
    g_autoptr(BlockdevAmendOptions) options = NULL;

    json_object_object_add(json, "driver", json_object_new_string("luks"));
    options = QAPI_FROM_JSON(BlockdevAmendOptions, json, QAPI_INPUT_KEYVAL, &error_abort);
    return bdrv_amend(bs, options, force, NULL, errp);
}

static void assert_amend(BlockDriverState *bs, const char *text, bool force, const char *error)
{
    g_autoptr(Error) err = NULL;
    bool ok = amend(bs, text, force, &err);

    if (error) {
        g_assert_false(ok);
        assert_error(&err, error);
    } else if (!ok) {
        g_error("amend %s: %s", text, error_get_pretty(err));
    }
}

static char *active_slots(BlockDriverState *bs)
{
    g_autoptr(ImageInfo) info = bdrv_query_image_info(bs);
    const QCryptoBlockInfoLUKS *luks = info->format_specific->u.luks.data;
    GString *slots = g_string_new(NULL);

    for (size_t i = 0; i < luks->slots->n; i++) {
        if (luks->slots->items[i]->active) {
            g_string_append_printf(slots, "%zu", i);
        }
    }
    return g_string_free(slots, FALSE);
}

static void assert_slots(BlockDriverState *bs, const char *want)
{
    g_autofree char *slots = active_slots(bs);

    g_assert_cmpstr(slots, ==, want);
}

static bool opens_with(const char *name, const char *secret)
{
    g_autofree char *file = file_options("file.", name);
    g_autofree char *text = g_strdup_printf("driver=luks,%s,key-secret=%s,read-only=on,force-share=on", file,
                                            secret);
    g_autoptr(json_object) json = keyval_parse(text, NULL, NULL, &error_abort);
    BlockDriverState *bs = bdrv_co_open(NULL, json, 0, NULL);

    bdrv_co_unref(bs);
    return bs;
}

static void coroutine_fn amend_entry(void *opaque)
{
    make_volume("amend.luks", "");
    BlockDriverState *bs = open_volume("amend.luks", "", 0, &error_abort);

    assert_amend(bs, "state=active", false, "'new-secret' is required");
    assert_amend(bs, "state=active,new-secret=pw1,old-secret=pw0", false, "'old-secret'");
    assert_amend(bs, "state=active,new-secret=pw1,keyslot=8", false, "keyslot 8");
    assert_amend(bs, "state=active,new-secret=pw1,keyslot=-1", false, "keyslot -1");
    assert_amend(bs, "state=active,new-secret=pw1,iter-time=-1", false, "iter-time");
    assert_amend(bs, "state=active,new-secret=pw1,keyslot=0", false, "active");
    assert_amend(bs, "state=active,new-secret=nobody", false, "nobody");
    assert_amend(bs, "state=active,new-secret=pw1,secret=pw5,iter-time=1", false, "password");
    assert_amend(bs, "state=inactive", false, "To erase keyslots");
    assert_amend(bs, "state=inactive,new-secret=pw1", false, "'new-secret'");
    assert_amend(bs, "state=inactive,keyslot=0,iter-time=1", false, "'iter-time'");
    assert_amend(bs, "state=inactive,keyslot=0", false, "last");
    assert_amend(bs, "state=inactive,keyslot=3", false, "3");
    assert_amend(bs, "state=inactive,old-secret=pw1", false, "password");
    assert_slots(bs, "0");

    assert_amend(bs, "state=active,new-secret=pw1,iter-time=1", false, NULL);
    assert_amend(bs, "state=active,new-secret=pw2,keyslot=5,iter-time=1,secret=pw0", false, NULL);
    assert_slots(bs, "015");
    g_assert_true(opens_with("amend.luks", "pw1"));
    assert_amend(bs, "state=inactive,keyslot=5,old-secret=pw1", false, "password");
    assert_amend(bs, "state=inactive,keyslot=5,old-secret=pw2", false, NULL);
    assert_amend(bs, "state=inactive,old-secret=pw1", false, NULL);
    assert_slots(bs, "0");
    g_assert_false(opens_with("amend.luks", "pw1"));
    assert_amend(bs, "state=active,new-secret=pw3,keyslot=0,iter-time=1", true, NULL);
    g_assert_false(opens_with("amend.luks", "pw0"));
    g_assert_true(opens_with("amend.luks", "pw3"));
    assert_amend(bs, "state=inactive,old-secret=pw3", false, "");
    assert_amend(bs, "state=inactive,old-secret=pw3", true, NULL);
    assert_slots(bs, "");
    bdrv_co_unref(bs);

    scratch_file("plain.img", 4096);
    g_autofree char *plain = file_options("", "plain.img");
    g_autoptr(json_object) json = keyval_parse(plain, NULL, NULL, &error_abort);
    bs = bdrv_co_open(NULL, json, 0, &error_abort);
    assert_amend(bs, "state=inactive,keyslot=0", true, "driver 'file'");
    g_autoptr(Error) err = NULL;
    g_assert_false(bdrv_keyslot_add(bs, "pw0", -1, 0, false, NULL, NULL, &err));
    assert_error(&err, "driver 'file'");
    bdrv_co_unref(bs);
}

static void coroutine_fn keyslot_entry(void *opaque)
{
    g_autoptr(Error) err = NULL;

    make_volume("keys.luks", "");
    BlockDriverState *bs = open_volume("keys.luks", "", 0, &error_abort);
    for (int i = 1; i < 8; i++) {
        g_autofree char *secret = g_strdup_printf("pw%d", i);
        g_assert_true(bdrv_keyslot_add(bs, secret, -1, 1, false, NULL, NULL, &error_abort));
    }
    assert_slots(bs, "01234567");
    g_assert_false(bdrv_keyslot_add(bs, "pw8", -1, 1, false, NULL, NULL, &err));
    assert_error(&err, "keyslot");
    g_assert_false(bdrv_keyslot_add(bs, "pw8", 8, 1, false, NULL, NULL, &err));
    assert_error(&err, "keyslot 8");
    g_assert_true(bdrv_keyslot_remove(bs, 3, NULL, false, NULL, NULL, &error_abort));
    g_assert_true(bdrv_keyslot_remove(bs, -1, "pw6", false, NULL, NULL, &error_abort));
    assert_slots(bs, "012457");
    g_assert_true(bdrv_keyslot_change(bs, "pw1", "pw9", -1, 1, false, NULL, NULL, &error_abort));
    g_assert_false(opens_with("keys.luks", "pw1"));
    g_assert_true(opens_with("keys.luks", "pw9"));
    g_assert_false(bdrv_keyslot_change(bs, "pw1", "pw8", -1, 1, false, NULL, NULL, &err));
    assert_error(&err, "password");
    bdrv_co_unref(bs);

    /* Metadata only: removing and changing passwords needs no volume key; adding gets it from a password. */
    bs = open_volume("keys.luks", "", BDRV_O_NO_IO, &error_abort);
    g_assert_false(bdrv_keyslot_add(bs, "pw8", -1, 1, false, NULL, NULL, &err));
    assert_error(&err, "without a password");
    g_assert_true(bdrv_keyslot_remove(bs, 0, NULL, false, NULL, NULL, &error_abort));
    assert_amend(bs, "state=active,new-secret=pw8,secret=pw9,iter-time=1", false, NULL);
    g_assert_true(opens_with("keys.luks", "pw8"));
    bdrv_co_unref(bs);

    bs = open_volume("keys.luks", ",read-only=on", BDRV_O_NO_IO, &error_abort);
    g_assert_false(bdrv_keyslot_remove(bs, 2, NULL, false, NULL, NULL, &err));
    assert_error(&err, "read-only");
    bdrv_co_unref(bs);
}

static void coroutine_fn header_entry(void *opaque)
{
    g_autoptr(Error) err = NULL;
    uint8_t zeroes[4096] = { 0 };

    make_volume("head.luks", "");
    BlockDriverState *bs = open_volume("head.luks", "", BDRV_O_NO_IO, &error_abort);
    g_autoptr(SecretBuffer) backup = bdrv_header_backup(bs, &error_abort);
    g_autoptr(GBytes) data = scratch_read("head.luks");
    g_assert_cmpint(backup->len, ==, g_bytes_get_size(data) - TEST_SIZE);
    g_assert_cmpint(memcmp(backup->data, g_bytes_get_data(data, NULL), backup->len), ==, 0);
    bdrv_co_unref(bs);

    /* A lost header is restored. */
    scratch_write("head.luks", 0, zeroes, sizeof(zeroes));
    assert_opens("head.luks", "", "");
    bs = open_volume("head.luks", "", BDRV_O_NO_IO | BDRV_O_DAMAGED, &error_abort);
    g_assert_false(bdrv_keyslot_remove(bs, 0, NULL, true, NULL, NULL, &err));
    assert_error(&err, "");
    g_assert_true(bdrv_header_restore(bs, backup, false, NULL, &error_abort));
    bdrv_co_unref(bs);
    assert_opens("head.luks", "", NULL);

    /* The header of another volume is refused, unless forced. */
    make_volume("other.luks", "");
    bs = open_volume("other.luks", "", BDRV_O_NO_IO | BDRV_O_DAMAGED, &error_abort);
    g_assert_false(bdrv_header_restore(bs, backup, false, NULL, &err));
    assert_error(&err, "UUID");
    g_assert_true(bdrv_header_restore(bs, backup, true, NULL, &error_abort));
    bdrv_co_unref(bs);
}

/* A reader of the payload allows changes to keyslots; a second writer is refused. */
static void coroutine_fn permissions_entry(void *opaque)
{
    g_autoptr(Error) err = NULL;

    make_volume("perm.luks", "");
    BlockBackend *reader = blk_new("reader", BLK_PERM_CONSISTENT_READ, BLK_PERM_ALL);
    BlockDriverState *bs = open_volume("perm.luks", ",read-only=on", 0, &error_abort);
    g_assert_true(blk_insert_bs(reader, bs, &error_abort));
    bdrv_co_unref(bs);

    bs = open_volume("perm.luks", "", 0, &error_abort);
    g_assert_true(bdrv_keyslot_add(bs, "pw1", -1, 1, false, NULL, NULL, &error_abort));
    g_assert_true(bdrv_keyslot_remove(bs, 1, NULL, false, NULL, NULL, &error_abort));
    bdrv_co_unref(bs);
    blk_co_unref(reader);

    BlockBackend *writer = open_volume_blk("perm.luks", "");
    g_assert_true(blk_set_perm(writer, BLK_PERM_CONSISTENT_READ | BLK_PERM_WRITE, BLK_PERM_ALL, &error_abort));
    bs = open_volume("perm.luks", "", 0, &error_abort);
    BlockBackend *second = blk_new("second", BLK_PERM_WRITE, BLK_PERM_ALL);
    g_assert_false(blk_insert_bs(second, bs, &err));
    assert_error(&err, "write");
    g_assert_false(bdrv_keyslot_add(bs, "pw1", -1, 1, false, NULL, NULL, &err));
    assert_error(&err, "write");
    blk_co_unref(second);
    bdrv_co_unref(bs);
    g_assert_true(bdrv_keyslot_add(blk_bs(writer), "pw1", -1, 1, false, NULL, NULL, &error_abort));
    blk_co_unref(writer);
}

static void coroutine_fn slow_change(void *opaque)
{
    BlockDriverState *bs = opaque;

    g_assert_true(bdrv_keyslot_add(bs, "pw1", -1, 200, false, NULL, NULL, &error_abort));
    bdrv_co_unref(bs);
}

/* While the header is being changed, nobody else may write the volume; another change of the same node waits. */
static void coroutine_fn exclusive_entry(void *opaque)
{
    g_autoptr(Error) err = NULL;

    make_volume("excl.luks", "");
    BlockDriverState *bs = open_volume("excl.luks", "", 0, &error_abort);
    BlockDriverState *other = open_volume("excl.luks", "", 0, &error_abort);
    BlockBackend *writer = blk_new("writer", BLK_PERM_WRITE, BLK_PERM_ALL);

    qemu_coroutine_enter(qemu_coroutine_create(slow_change, bdrv_ref(bs)));
    g_assert_false(blk_insert_bs(writer, other, &err));
    assert_error(&err, "write");
    g_assert_false(bdrv_keyslot_add(other, "pw2", -1, 1, false, NULL, NULL, &err));
    assert_error(&err, "write");
    g_assert_true(bdrv_keyslot_add(bs, "pw3", -1, 1, false, NULL, NULL, &error_abort));
    assert_slots(bs, "012");
    g_assert_true(blk_insert_bs(writer, other, &error_abort));
    blk_co_unref(writer);
    bdrv_co_unref(other);
    bdrv_co_unref(bs);
}

typedef struct Change {
    BlockDriverState *bs;
    Job *job;
    bool done;
    bool ok;
} Change;

static void coroutine_fn run_change(void *opaque)
{
    Change *c = opaque;
    g_autoptr(Error) err = NULL;

    c->ok = bdrv_keyslot_remove(c->bs, 1, NULL, false, NULL, c->job, &err);
    g_assert_cmpint(c->ok, ==, err == NULL);
    c->done = true;
}

/* Requests to the header also wait while the node is drained. */
static void coroutine_fn drain_entry(void *opaque)
{
    Change c = { 0 };

    make_volume("drain.luks", "");
    c.bs = open_volume("drain.luks", "", 0, &error_abort);
    g_assert_true(bdrv_keyslot_add(c.bs, "pw1", -1, 1, false, NULL, NULL, &error_abort));
    bdrv_co_drained_begin(c.bs);
    qemu_coroutine_enter(qemu_coroutine_create(run_change, &c));
    co_sleep_ns(50 * SCALE_MS);
    g_assert_false(c.done);
    assert_slots(c.bs, "01");
    bdrv_co_drained_end(c.bs);
    while (!c.done) {
        co_sleep_ns(SCALE_MS);
    }
    g_assert_true(c.ok);
    assert_slots(c.bs, "0");
    bdrv_co_unref(c.bs);
}

/* A job's progress reaches its total; a job cancelled before it starts changes nothing. */
static void coroutine_fn job_entry(void *opaque)
{
    static const JobDriver driver = { .instance_size = sizeof(Job), .type = JOB_TYPE_KEYSLOT };
    Job job = { .driver = &driver, .refcnt = 1, .status = JOB_STATUS_RUNNING };
    Change c = { .job = &job };

    make_volume("job.luks", "");
    c.bs = open_volume("job.luks", "", 0, &error_abort);
    g_assert_true(bdrv_keyslot_add(c.bs, "pw1", -1, 1, false, NULL, NULL, &error_abort));
    job.cancelled = true;
    run_change(&c);
    g_assert_false(c.ok);
    assert_slots(c.bs, "01");
    job.cancelled = false;
    run_change(&c);
    g_assert_true(c.ok);
    assert_slots(c.bs, "0");
    g_assert_cmpint(job.progress_total, >, 0);
    g_assert_cmpint(job.progress_current, ==, job.progress_total);
    bdrv_co_unref(c.bs);
}

static void coroutine_fn measure_entry(void *opaque)
{
    const BlockDriver *drv = bdrv_find_driver(BLOCKDEV_DRIVER_LUKS);
    BlockdevCreateOptions options = { .driver = BLOCKDEV_DRIVER_LUKS };
    g_autoptr(Error) err = NULL;

    g_autoptr(BlockMeasureInfo) info = drv->bdrv_measure(&options, 1 * GiB, &error_abort);
    g_assert_cmpint(info->required, ==, 1 * GiB + 2068480);
    g_assert_null(drv->bdrv_measure(&options, BDRV_MAX_LENGTH, &err));
    assert_error(&err, "too large");
}

int main(int argc, char **argv)
{
    luks_node_init(&argc, &argv);
    luks_node_add("/luks/driver/open", open_entry);
    luks_node_add("/luks/driver/probe", probe_entry);
    luks_node_add("/luks/driver/info", info_entry);
    luks_node_add("/luks/driver/create-errors", create_errors_entry);
    luks_node_add("/luks/driver/detached", detached_entry);
    luks_node_add("/luks/driver/amend", amend_entry);
    luks_node_add("/luks/driver/keyslot", keyslot_entry);
    luks_node_add("/luks/driver/header", header_entry);
    luks_node_add("/luks/driver/permissions", permissions_entry);
    luks_node_add("/luks/driver/exclusive", exclusive_entry);
    luks_node_add("/luks/driver/drain", drain_entry);
    luks_node_add("/luks/driver/job", job_entry);
    luks_node_add("/luks/driver/measure", measure_entry);
    return luks_node_run();
}
