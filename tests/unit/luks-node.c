/*
 * LUKS nodes over files in a scratch directory, for tests of the luks driver
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include <glib/gstdio.h>
#include <json-c/json.h>

#include "crypto/object.h"
#include "luks-node.h"
#include "qapi/json.h"
#include "qapi/keyval.h"
#include "qapi/qapi.h"
#include "util/aio.h"
#include "util/thread-pool.h"

static char *scratch;

void luks_node_init(int *argc, char ***argv)
{
    g_test_init(argc, argv, NULL);
    scratch = g_dir_make_tmp("luks-node-XXXXXX", NULL);
    g_assert_nonnull(scratch);
    for (int i = 0; i < 10; i++) {
        g_autofree char *arg = g_strdup_printf("secret,id=pw%d,data=password number %d", i, i);
        user_creatable_parse(arg, &error_abort);
    }
}

static void run_entry(gconstpointer entry)
{
    aio_context_run((CoroutineEntry *)entry, NULL);
}

void luks_node_add(const char *path, CoroutineEntry *entry)
{
    g_test_add_data_func(path, entry, run_entry);
}

static void cleanup(void)
{
    GDir *dir = g_dir_open(scratch, 0, NULL);
    const char *name;

    while ((name = g_dir_read_name(dir))) {
        g_autofree char *path = scratch_path(name);
        g_unlink(path);
    }
    g_dir_close(dir);
    g_rmdir(scratch);
    g_free(scratch);
    user_creatable_cleanup();
    thread_pool_cleanup();
}

int luks_node_run(void)
{
    int ret = g_test_run();

    cleanup();
    return ret;
}

char *scratch_path(const char *name)
{
    return g_build_filename(scratch, name, NULL);
}

void scratch_file(const char *name, int64_t bytes)
{
    g_autofree char *path = scratch_path(name);

    g_assert_true(g_file_set_contents(path, "", 0, NULL));
    g_assert_cmpint(truncate(path, bytes), ==, 0);
}

GBytes *scratch_read(const char *name)
{
    g_autofree char *path = scratch_path(name);
    char *data;
    gsize len;

    g_assert_true(g_file_get_contents(path, &data, &len, NULL));
    return g_bytes_new_take(data, len);
}

void scratch_write(const char *name, int64_t offset, const void *buf, size_t bytes)
{
    g_autofree char *path = scratch_path(name);
    g_auto_fd int fd = open(path, O_WRONLY);

    g_assert_cmpint(pwrite(fd, buf, bytes, offset), ==, bytes);
}

char *file_options(const char *prefix, const char *name)
{
    g_autofree char *path = scratch_path(name);

    return g_strdup_printf("%sdriver=file,%sfilename=%s", prefix, prefix, path);
}

void coroutine_fn make_volume(const char *name, const char *options)
{
    g_autofree char *file = file_options("file.", name);
    g_autofree char *text = g_strdup_printf("driver=luks,size=%d,key-secret=pw0,iter-time=1,%s%s",
                                            (int)TEST_SIZE, file, options);
    g_autoptr(json_object) json = keyval_parse(text, NULL, NULL, &error_abort);
    g_autoptr(BlockdevCreateOptions) create = QAPI_FROM_JSON(BlockdevCreateOptions, json, QAPI_INPUT_KEYVAL,
                                                             &error_abort);

    scratch_file(name, 0);
    bdrv_create(create, NULL, &error_abort);
}

BlockDriverState *coroutine_fn open_volume(const char *name, const char *options, BdrvOpenFlags flags,
                                           Error **errp)
{
    g_autofree char *file = file_options("file.", name);
    g_autofree char *text = g_strdup_printf("driver=luks,%s%s%s", file,
                                            flags & BDRV_O_NO_IO ? "" : ",key-secret=pw0", options);
    g_autoptr(json_object) json = keyval_parse(text, NULL, NULL, &error_abort);

    return bdrv_co_open(NULL, json, flags, errp);
}

BlockBackend *coroutine_fn open_volume_blk(const char *name, const char *options)
{
    BlockDriverState *bs = open_volume(name, options, 0, &error_abort);
    BlockBackend *blk = blk_new("test", BLK_PERM_CONSISTENT_READ | BLK_PERM_WRITE | BLK_PERM_RESIZE,
                                BLK_PERM_ALL);

    blk_insert_bs(blk, bs, &error_abort);
    bdrv_co_unref(bs);
    return blk;
}

void assert_error(Error **err, const char *text)
{
    g_assert_nonnull(*err);
    if (!strstr(error_get_pretty(*err), text)) {
        g_error("expected an error with '%s', got '%s'", text, error_get_pretty(*err));
    }
    error_free(*err);
    *err = NULL;
}
