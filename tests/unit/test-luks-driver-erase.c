/*
 * Secure erase of LUKS nodes: what is destroyed, what is left, refusals, and the report
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include <json-c/json.h>

#include "luks-node.h"
#include "qapi/json.h"
#include "qapi/keyval.h"
#include "qapi/qapi.h"

#define HEADER_BYTES 2068480

static BlockDriverState *coroutine_fn open_options(const char *text)
{
    g_autoptr(json_object) json = keyval_parse(text, NULL, NULL, &error_abort);

    return bdrv_co_open(NULL, json, BDRV_O_NO_IO | BDRV_O_DAMAGED, &error_abort);
}

/* Erase the volume in @name, and check the report. */
static SecureEraseReport *coroutine_fn erase(const char *name, SecureEraseScope scope, unsigned passes)
{
    BlockDriverState *bs = open_volume(name, "", BDRV_O_NO_IO | BDRV_O_DAMAGED, &error_abort);
    SecureEraseReport *report = bdrv_secure_erase(bs, scope, passes, false, NULL, &error_abort);
    SecureEraseAssurance weakest = 0;

    g_assert_cmpint(report->scope, ==, scope);
    for (size_t i = 0; i < report->regions->n; i++) {
        g_assert_true(report->regions->items[i]->verified);
    }
    g_assert_cmpint(report->layers->n, ==, 2);
    g_assert_cmpstr(report->layers->items[0]->driver, ==, "luks");
    g_assert_cmpstr(report->layers->items[0]->node_name, ==, bs->node_name);
    g_assert_cmpstr(report->layers->items[1]->driver, ==, "file");
    g_assert_cmpstr(report->layers->items[1]->node_name, ==, bs->file->bs->node_name);
    for (size_t i = 0; i < report->layers->n; i++) {
        weakest = MAX(weakest, report->layers->items[i]->assurance);
    }
    g_assert_cmpint(report->assurance, ==, weakest);
    if (scope == SECURE_ERASE_SCOPE_KEY_MATERIAL) {
        g_autoptr(ImageInfo) info = bdrv_query_image_info(bs);
        for (int i = 0; info->format_specific && i < 8; i++) {
            g_assert_false(info->format_specific->u.luks.data->slots->items[i]->active);
        }
    }
    bdrv_co_unref(bs);
    return report;
}

/* Whether the bytes of two files differ in a range: all blocks of 512 must, or none may. */
static bool changed(GBytes *a, GBytes *b, size_t from, size_t to)
{
    const uint8_t *x = g_bytes_get_data(a, NULL), *y = g_bytes_get_data(b, NULL);
    bool first = memcmp(x + from, y + from, 512) != 0;

    g_assert_cmpint(g_bytes_get_size(a), ==, g_bytes_get_size(b));
    for (size_t i = from; i < to; i += 512) {
        g_assert_cmpint(memcmp(x + i, y + i, 512) != 0, ==, first);
    }
    return first;
}

static void assert_opens(const char *name, bool want)
{
    g_autoptr(Error) err = NULL;
    BlockDriverState *bs = open_volume(name, "", 0, &err);

    g_assert_cmpint(bs != NULL, ==, want);
    bdrv_co_unref(bs);
}

static void coroutine_fn key_material_entry(void *opaque)
{
    bool slots[8] = { false };

    make_volume("km.luks", "");
    g_autoptr(GBytes) before = scratch_read("km.luks");
    g_autoptr(SecureEraseReport) report = erase("km.luks", SECURE_ERASE_SCOPE_KEY_MATERIAL, 2);
    g_autoptr(GBytes) after = scratch_read("km.luks");

    for (size_t i = 0; i < report->regions->n; i++) {
        const SecureEraseRegion *r = report->regions->items[i];

        g_assert_cmpint(r->passes, ==, 2);
        g_assert_true(r->has_keyslot);
        slots[r->keyslot] = true;
        g_assert_true(changed(before, after, r->offset, r->offset + r->length));
    }
    for (int i = 0; i < 8; i++) {
        g_assert_true(slots[i]);
    }
    g_assert_false(changed(before, after, HEADER_BYTES, HEADER_BYTES + TEST_SIZE));
    g_assert_cmpint(memcmp(g_bytes_get_data(after, NULL), "LUKS\xba\xbe", 6), ==, 0);
    assert_opens("km.luks", false);

    /* The header is still valid, without keyslots. */
    BlockDriverState *bs = open_volume("km.luks", "", BDRV_O_NO_IO, &error_abort);
    g_autoptr(ImageInfo) info = bdrv_query_image_info(bs);
    for (int i = 0; i < 8; i++) {
        g_assert_false(info->format_specific->u.luks.data->slots->items[i]->active);
    }
    bdrv_co_unref(bs);
}

static void coroutine_fn header_entry(void *opaque)
{
    make_volume("hd.luks", "");
    g_autoptr(GBytes) before = scratch_read("hd.luks");
    g_autoptr(SecureEraseReport) report = erase("hd.luks", SECURE_ERASE_SCOPE_HEADER, 0);
    g_autoptr(GBytes) after = scratch_read("hd.luks");

    g_assert_true(changed(before, after, 0, HEADER_BYTES));
    g_assert_false(changed(before, after, HEADER_BYTES, HEADER_BYTES + TEST_SIZE));
    g_assert_cmpint(report->regions->items[0]->passes, ==, 3);
    assert_opens("hd.luks", false);
}

static void coroutine_fn image_entry(void *opaque)
{
    make_volume("im.luks", "");
    g_autoptr(GBytes) before = scratch_read("im.luks");
    g_autoptr(SecureEraseReport) report = erase("im.luks", SECURE_ERASE_SCOPE_IMAGE, 0);
    g_autoptr(GBytes) after = scratch_read("im.luks");
    const SecureEraseRegion *payload = report->regions->items[report->regions->n - 1];

    g_assert_true(changed(before, after, 0, HEADER_BYTES + TEST_SIZE));
    g_assert_cmpstr(payload->what, ==, "payload");
    g_assert_cmpint(payload->offset, ==, HEADER_BYTES);
    g_assert_cmpint(payload->length, ==, TEST_SIZE);
    g_assert_cmpint(payload->passes, ==, 1);
}

/* Damaged fields that make the header unusable do not protect the keys. */
static void coroutine_fn damaged_entry(void *opaque)
{
    make_volume("dm.luks", "");
    scratch_write("dm.luks", 8, "nonsense\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 22);
    scratch_write("dm.luks", 108, "\377\377\377\377", 4);
    assert_opens("dm.luks", false);
    g_autoptr(GBytes) before = scratch_read("dm.luks");
    g_autoptr(SecureEraseReport) report = erase("dm.luks", SECURE_ERASE_SCOPE_KEY_MATERIAL, 1);
    g_autoptr(GBytes) after = scratch_read("dm.luks");
    g_assert_true(changed(before, after, 4096, 4096 + 256000));
}

static void coroutine_fn refused_entry(void *opaque)
{
    g_autoptr(Error) err = NULL;

    make_volume("rf.luks", "");
    BlockBackend *writer = open_volume_blk("rf.luks", "");
    g_autoptr(GBytes) before = scratch_read("rf.luks");

    g_assert_null(bdrv_secure_erase(blk_bs(writer), SECURE_ERASE_SCOPE_HEADER, 1, false, NULL, &err));
    g_assert_nonnull(strstr(error_get_pretty(err), "test"));
    assert_error(&err, "write");
    g_autoptr(GBytes) same = scratch_read("rf.luks");
    g_assert_true(g_bytes_equal(before, same));
    g_assert_null(bdrv_secure_erase(blk_bs(writer), SECURE_ERASE_SCOPE_HEADER, 101, true, NULL, &err));
    assert_error(&err, "passes");

    g_autoptr(SecureEraseReport) report = bdrv_secure_erase(blk_bs(writer), SECURE_ERASE_SCOPE_HEADER, 1,
                                                            true, NULL, &error_abort);
    g_autoptr(GBytes) after = scratch_read("rf.luks");
    g_assert_true(changed(before, after, 0, HEADER_BYTES));
    blk_co_unref(writer);

    /* The header is gone. */
    BlockDriverState *bs = open_volume("rf.luks", "", BDRV_O_NO_IO | BDRV_O_DAMAGED, &error_abort);
    g_assert_null(bdrv_secure_erase(bs, SECURE_ERASE_SCOPE_HEADER, 1, true, NULL, &err));
    assert_error(&err, "LUKS");
    bdrv_co_unref(bs);
}

/* The layers of a volume, and of one in a window of a larger one. */
static void coroutine_fn layers_entry(void *opaque)
{
    g_autofree char *file = file_options("file.", "big.img");
    g_autofree char *window = g_strdup_printf("driver=raw,offset=1048576,node-name=window,%s", file);
    g_autoptr(GBytes) volume = NULL;

    make_volume("ly.luks", "");
    volume = scratch_read("ly.luks");
    scratch_file("big.img", 16 * MiB);
    scratch_write("big.img", 1 * MiB, g_bytes_get_data(volume, NULL), g_bytes_get_size(volume));
    g_autoptr(GBytes) before = scratch_read("big.img");

    BlockDriverState *bs = open_options(window);
    g_autoptr(SecureEraseReport) report = bdrv_secure_erase(bs, SECURE_ERASE_SCOPE_HEADER, 1, false, NULL,
                                                            &error_abort);
    g_assert_cmpint(report->layers->n, ==, 3);
    g_assert_cmpstr(report->layers->items[0]->driver, ==, "luks");
    g_assert_cmpstr(report->layers->items[1]->node_name, ==, "window");
    g_assert_cmpint(report->layers->items[1]->assurance, ==, SECURE_ERASE_ASSURANCE_OVERWRITTEN);
    g_assert_cmpstr(report->layers->items[2]->driver, ==, "file");
    bdrv_co_unref(bs);

    g_autoptr(GBytes) after = scratch_read("big.img");
    g_assert_false(changed(before, after, 0, 1 * MiB));
    g_assert_true(changed(before, after, 1 * MiB, 1 * MiB + HEADER_BYTES));
    g_assert_false(changed(before, after, 1 * MiB + HEADER_BYTES, 16 * MiB));
}

static void coroutine_fn detached_entry(void *opaque)
{
    g_autofree char *file = file_options("file.", "data.img");
    g_autofree char *header = file_options("header.", "head.img");
    g_autofree char *text = g_strdup_printf("driver=luks,%s,%s", file, header);
    g_autofree char *head = file_options("file.", "head.img");
    g_autofree char *alone = g_strconcat("driver=luks,", head, NULL);
    g_autofree char *create = g_strdup_printf("driver=luks,size=1M,key-secret=pw0,iter-time=1,%s,%s", file,
                                              header);
    g_autoptr(Error) err = NULL;

    scratch_file("data.img", 0);
    scratch_file("head.img", 0);
    g_autoptr(json_object) json = keyval_parse(create, NULL, NULL, &error_abort);
    g_autoptr(BlockdevCreateOptions) options = QAPI_FROM_JSON(BlockdevCreateOptions, json,
                                                              QAPI_INPUT_KEYVAL, &error_abort);
    g_assert_true(bdrv_create(options, NULL, &error_abort));

    g_autoptr(GBytes) head_before = scratch_read("head.img");
    g_autoptr(GBytes) data_before = scratch_read("data.img");
    BlockDriverState *bs = open_options(alone);
    g_assert_null(bdrv_secure_erase(bs, SECURE_ERASE_SCOPE_IMAGE, 1, false, NULL, &err));
    assert_error(&err, "another volume");
    bdrv_co_unref(bs);

    bs = open_options(text);
    g_autoptr(SecureEraseReport) report = bdrv_secure_erase(bs, SECURE_ERASE_SCOPE_IMAGE, 1, false, NULL,
                                                            &error_abort);
    g_assert_cmpint(report->layers->n, ==, 3);
    bdrv_co_unref(bs);
    g_autoptr(GBytes) head_after = scratch_read("head.img");
    g_autoptr(GBytes) data_after = scratch_read("data.img");
    g_assert_true(changed(head_before, head_after, 0, g_bytes_get_size(head_before)));
    g_assert_true(changed(data_before, data_after, 0, 1 * MiB));
}

int main(int argc, char **argv)
{
    luks_node_init(&argc, &argv);
    luks_node_add("/luks/erase/key-material", key_material_entry);
    luks_node_add("/luks/erase/header", header_entry);
    luks_node_add("/luks/erase/image", image_entry);
    luks_node_add("/luks/erase/damaged", damaged_entry);
    luks_node_add("/luks/erase/refused", refused_entry);
    luks_node_add("/luks/erase/layers", layers_entry);
    luks_node_add("/luks/erase/detached", detached_entry);
    return luks_node_run();
}
