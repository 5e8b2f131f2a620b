/*
 * Formatting existing volumes with LUKS: what is refused, what is kept, and what opens afterwards
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "config-host.h"

#include <json-c/json.h>

#include "luks-node.h"
#include "qapi/json.h"
#include "qapi/keyval.h"
#include "qapi/qapi.h"

#define HEADER_BYTES 2068480

static BlockDriverState *coroutine_fn open_file(const char *name)
{
    g_autofree char *text = file_options("", name);
    g_autoptr(json_object) json = keyval_parse(text, NULL, NULL, &error_abort);

    return bdrv_co_open(NULL, json, 0, &error_abort);
}

static bool coroutine_fn format(const char *name, const char *header, const char *secret, bool force,
                                Error **errp)
{
    BlockDriverState *file = open_file(name);
    BlockDriverState *header_bs = header ? open_file(header) : NULL;
    BlockdevFormatOptions options = {
        .driver = BLOCKDEV_DRIVER_LUKS,
        .u.luks = { .key_secret = (char *)secret, .has_iter_time = true, .iter_time = 1 },
    };
    bool ok = bdrv_format(file, header_bs, &options, force, NULL, errp);

    bdrv_co_unref(header_bs);
    bdrv_co_unref(file);
    return ok;
}

static void coroutine_fn assert_length(const char *name, const char *options, int64_t want)
{
    BlockDriverState *bs = open_volume(name, options, 0, &error_abort);

    g_assert_cmpint(bdrv_getlength(bs), ==, want);
    bdrv_co_unref(bs);
}

static void assert_unchanged(const char *name, GBytes *before)
{
    g_autoptr(GBytes) now = scratch_read(name);

    g_assert_true(g_bytes_equal(before, now));
}

static void coroutine_fn in_place_entry(void *opaque)
{
    g_autoptr(Error) err = NULL;

    scratch_file("vol.img", 8 * MiB);
    g_assert_true(format("vol.img", NULL, "pw0", false, &error_abort));
    assert_length("vol.img", "", 8 * MiB - HEADER_BYTES);
    g_autoptr(GBytes) first = scratch_read("vol.img");
    g_assert_cmpint(g_bytes_get_size(first), ==, 8 * MiB);

    /* It now has a signature. */
    g_assert_false(format("vol.img", NULL, "pw0", false, &err));
    assert_error(&err, "LUKS version 1");
    assert_unchanged("vol.img", first);
    g_assert_true(format("vol.img", NULL, "pw0", true, &error_abort));
    assert_length("vol.img", "", 8 * MiB - HEADER_BYTES);
}

static void coroutine_fn errors_entry(void *opaque)
{
    g_autoptr(Error) err = NULL;

    scratch_file("small.img", HEADER_BYTES);
    g_autoptr(GBytes) small = scratch_read("small.img");
    g_assert_false(format("small.img", NULL, "pw0", false, &err));
    assert_error(&err, "too small");
    g_assert_false(format("small.img", NULL, NULL, false, &err));
    assert_error(&err, "key-secret");
    g_assert_false(format("small.img", NULL, "nobody", false, &err));
    assert_error(&err, "nobody");
    g_assert_false(format("small.img", "small.img", "pw0", false, &err));
    assert_error(&err, "");
    assert_unchanged("small.img", small);

    /* In use. */
    make_volume("used.luks", "");
    BlockBackend *user = open_volume_blk("used.luks", "");
    g_autoptr(GBytes) used = scratch_read("used.luks");
    g_assert_false(format("used.luks", NULL, "pw0", true, &err));
    assert_error(&err, "lock");
    assert_unchanged("used.luks", used);
    BlockdevFormatOptions options = { .driver = BLOCKDEV_DRIVER_LUKS, .u.luks.key_secret = (char *)"pw0" };
    g_assert_false(bdrv_format(blk_bs(user)->file->bs, NULL, &options, true, NULL, &err));
    assert_error(&err, bdrv_get_display_name(blk_bs(user)));
    options.driver = BLOCKDEV_DRIVER_RAW;
    g_assert_false(bdrv_format(blk_bs(user)->file->bs, NULL, &options, true, NULL, &err));
    assert_error(&err, "raw");
    blk_co_unref(user);
}

/* With a detached header, the volume keeps its size, but loses its old signature. */
static void coroutine_fn detached_entry(void *opaque)
{
    g_autofree char *path = scratch_path("fs.img");
    g_autofree char *with_header = file_options("header.", "hdr.img");
    g_autofree char *option = g_strconcat(",", with_header, NULL);
    g_autofree char *mkfs = g_strdup_printf("mkfs.ext4 -q -F %s", path);
    g_autoptr(Error) err = NULL;
    int status;

#ifndef CONFIG_BLKID
    g_test_skip("only libblkid recognises a file system");
    return;
#endif
    scratch_file("fs.img", 4 * MiB);
    scratch_file("hdr.img", 0);
    if (!g_spawn_command_line_sync(mkfs, NULL, NULL, &status, NULL) || status != 0) {
        g_test_skip("mkfs.ext4 is missing");
        return;
    }
    g_autoptr(GBytes) before = scratch_read("fs.img");
    g_assert_false(format("fs.img", "hdr.img", "pw0", false, &err));
    assert_error(&err, "ext4");
    assert_unchanged("fs.img", before);
    BlockDriverState *bs = open_file("fs.img");
    g_assert_false(bdrv_check_overwrite(bs, false, &err));
    assert_error(&err, "ext4");
    g_assert_true(bdrv_check_overwrite(bs, true, &error_abort));
    bdrv_co_unref(bs);

    g_assert_true(format("fs.img", "hdr.img", "pw0", true, &error_abort));
    assert_length("fs.img", option, 4 * MiB);
    bs = open_file("fs.img");
    g_assert_true(bdrv_check_overwrite(bs, false, &error_abort));
    bdrv_co_unref(bs);
    bs = open_file("hdr.img");
    g_assert_false(bdrv_check_overwrite(bs, true, &err));
    assert_error(&err, "LUKS version 1");
    bdrv_co_unref(bs);
}

int main(int argc, char **argv)
{
    luks_node_init(&argc, &argv);
    luks_node_add("/luks/format/in-place", in_place_entry);
    luks_node_add("/luks/format/errors", errors_entry);
    luks_node_add("/luks/format/detached", detached_entry);
    return luks_node_run();
}
