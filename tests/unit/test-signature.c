/*
 * Signatures: file systems and partition tables created by their programs, and the magics of images
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "config-host.h"

#include <glib/gstdio.h>

#include "block/block-backend.h"
#include "qapi/keyval.h"
#include "util/aio.h"
#include "util/thread-pool.h"

#define SIZE (16 * MiB)

static char *path;

static void coroutine_fn probe_entry(void *opaque)
{
    g_autofree char *text = g_strdup_printf("driver=file,filename=%s,read-only=on", path);
    g_autoptr(json_object) options = keyval_parse(text, NULL, NULL, &error_abort);
    BlockBackend *blk = blk_co_new_open("test", NULL, options, 0, BLK_PERM_CONSISTENT_READ, BLK_PERM_ALL,
                                        &error_abort);

    *(char **)opaque = bdrv_probe_signature(blk, &error_abort);
    blk_co_unref(blk);
}

static void expect(const char *want)
{
    g_autofree char *got = NULL;

    aio_context_run(probe_entry, &got);
    g_assert_cmpstr(got, ==, want);
}

static void make_empty(int64_t size)
{
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);

    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(ftruncate(fd, size), ==, 0);
    close(fd);
}

static void put(int64_t offset, const void *bytes, size_t len)
{
    int fd = open(path, O_RDWR);

    g_assert_cmpint(pwrite(fd, bytes, len, offset), ==, len);
    close(fd);
}

static void test_magics(void)
{
    static const struct {
        int64_t offset;
        const char *magic;
        size_t len;
        const char *want;
    } cases[] = {
        { 0, "LUKS\xba\xbe\0\1", 8, "LUKS version 1" },
        { 0, "LUKS\xba\xbe\0\2", 8, "LUKS version 2" },
        { 0, "LUKS\xba\xbe\0\7", 8, "LUKS of an unknown version" },
        { 0, "QFI\xfb", 4, "qcow2 image" },
        { 0, "KDMV", 4, "VMDK image" },
        { 0, "vhdxfile", 8, "VHDX image" },
        { 64, "\x7f\x10\xda\xbe", 4, "VDI image" },
        { SIZE - 512, "conectix", 8, "VHD image" },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        make_empty(SIZE);
        put(cases[i].offset, cases[i].magic, cases[i].len);
        expect(cases[i].want);
    }
}

static void test_nothing(void)
{
    static const int64_t sizes[] = { 0, 1, 7, 511, 512, 4096, 2 * MiB, 2 * MiB + 1, 3 * MiB, 8 * TiB };

    for (size_t i = 0; i < G_N_ELEMENTS(sizes); i++) {
        make_empty(sizes[i]);
        expect(NULL);
    }
}

/* Devices of odd length. */
static void test_odd_lengths(void)
{
    make_empty(0);
    put(0, "LUKS\xba\xbe", 6);
    expect("LUKS of an unknown version");
    make_empty(SIZE + 100);
    put(SIZE + 100 - 512, "koly\0\0\0\4\0\0\2\0", 12);
    expect("DMG image");
}

static void test_blkid(gconstpointer data)
{
#ifdef CONFIG_BLKID
    /* The command, then the expected result. */
    const char *const *what = data;
    g_autofree char *shell = g_strdup_printf("PATH=$PATH:/sbin:/usr/sbin; %s %s >/dev/null 2>&1", what[0],
                                             path);
    const char *argv[] = { "/bin/sh", "-c", shell, NULL };
    int status;

    make_empty(SIZE);
    g_assert_true(g_spawn_sync(NULL, (char **)argv, NULL, G_SPAWN_DEFAULT, NULL, NULL, NULL, NULL, &status,
                               NULL));
    if (status != 0) {
        g_test_skip(what[0]);
        return;
    }
    expect(what[1]);
#else
    g_test_skip("built without libblkid");
#endif
}

static const char *const ext4[] = { "mke2fs -q -F -t ext4", "ext4 file system" };
static const char *const swap[] = { "mkswap", "swap signature" };
static const char *const gpt[] = { "echo 'label: gpt' | sfdisk -q", "GPT partition table" };
static const char *const dos[] = { "echo 'label: dos' | sfdisk -q", "dos partition table" };
int main(int argc, char **argv)
{
    g_autofree char *dir = g_dir_make_tmp("test-signature-XXXXXX", NULL);

    path = g_build_filename(dir, "volume", NULL);
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/signature/magics", test_magics);
    g_test_add_func("/signature/nothing", test_nothing);
    g_test_add_func("/signature/odd-lengths", test_odd_lengths);
    g_test_add_data_func("/signature/ext4", ext4, test_blkid);
    g_test_add_data_func("/signature/swap", swap, test_blkid);
    g_test_add_data_func("/signature/gpt", gpt, test_blkid);
    g_test_add_data_func("/signature/dos", dos, test_blkid);
    int ret = g_test_run();
    thread_pool_cleanup();
    g_unlink(path);
    g_rmdir(dir);
    g_free(path);
    return ret;
}
