/*
 * What tests of the file, host_device and raw drivers share
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include <sys/stat.h>

#include "block/block_int.h"
#include "file-node.h"
#include "qapi/keyval.h"

char *test_dir;

char *path_of(const char *name)
{
    return g_build_filename(test_dir, name, NULL);
}

char *make_file(const char *name, size_t bytes, int byte)
{
    char *path = path_of(name);
    g_autofree char *data = g_malloc(MAX(bytes, 1));

    memset(data, byte, bytes);
    g_assert_true(g_file_set_contents(path, data, bytes, NULL));
    return path;
}

int64_t file_length(const char *path)
{
    struct stat st;

    return stat(path, &st) < 0 ? -1 : st.st_size;
}

BlockBackend *coroutine_fn open_as(uint64_t perm, uint64_t shared, Error **errp, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    g_autofree char *text = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    g_autoptr(json_object) options = keyval_parse(text, NULL, NULL, &error_abort);
    return blk_co_new_open("test", NULL, options, 0, perm, shared, errp);
}

void assert_error(Error **err, const char *text)
{
    g_assert_nonnull(*err);
    if (!strstr(error_get_pretty(*err), text)) {
        g_error("'%s' is not in '%s'", text, error_get_pretty(*err));
    }
    g_clear_pointer(err, error_free);
}

void coroutine_fn assert_bytes(BlockBackend *blk, int64_t offset, int64_t bytes, int byte)
{
    g_autofree uint8_t *buf = g_malloc(bytes);

    memset(buf, byte ^ 0xff, bytes);
    g_assert_cmpint(blk_co_pread(blk, offset, bytes, buf), ==, 0);
    for (int64_t i = 0; i < bytes; i++) {
        g_assert_cmphex(buf[i], ==, byte);
    }
}

void coroutine_fn check_status(BlockBackend *blk, int64_t offset, int64_t bytes, int want)
{
    int64_t pnum, map;
    BlockDriverState *file;

    while (bytes > 0) {
        int ret = bdrv_co_block_status(blk_bs(blk), offset, bytes, &pnum, &map, &file);
        g_assert_cmpint(ret, >=, 0);
        g_assert_cmphex(ret & (BDRV_BLOCK_DATA | BDRV_BLOCK_ZERO), ==, want);
        g_assert_cmphex(ret & BDRV_BLOCK_OFFSET_VALID, ==, BDRV_BLOCK_OFFSET_VALID);
        g_assert_cmpint(map, ==, offset);
        g_assert_cmpint(pnum, <=, bytes);
        offset += pnum;
        bytes -= pnum;
    }
}

char *output_of(const char *fmt, ...)
{
    va_list ap;
    char *out = NULL;
    int status;

    va_start(ap, fmt);
    g_autofree char *cmd = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    const char *argv[] = { "/bin/sh", "-c", cmd, NULL };
    char *env[] = { (char *)"PATH=/bin:/usr/bin:/sbin:/usr/sbin", NULL };
    if (!g_spawn_sync(NULL, (char **)argv, env, G_SPAWN_STDERR_TO_DEV_NULL, NULL, NULL, &out, NULL, &status,
                      NULL) || status != 0) {
        g_clear_pointer(&out, g_free);
    }
    return out ? g_strchomp(out) : NULL;
}

bool coroutine_fn create_file(const char *path, uint64_t size, PreallocMode prealloc, Error **errp)
{
    BlockdevCreateOptions o = {
        .driver = BLOCKDEV_DRIVER_FILE,
        .u.file = { .filename = (char *)path, .size = size, .has_preallocation = true,
                    .preallocation = prealloc },
    };

    return bdrv_find_driver(BLOCKDEV_DRIVER_FILE)->bdrv_co_create(&o, NULL, errp);
}
