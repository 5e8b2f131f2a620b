/*
 * host_device over a loop device, raw with and without a window, null-co and null-aio
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include <glib/gstdio.h>

#include "block/block_int.h"
#include "file-node.h"
#include "util/aio.h"
#include "util/iothread.h"
#include "util/thread-pool.h"

#define SIZE (1 * MiB)

/* A device with 512-byte sectors on a file. */
static void coroutine_fn host_device_entry(void *opaque)
{
    g_autofree char *path = make_file("device", SIZE, 0x77);
    g_autofree char *dev = output_of("losetup -f --show %s", path);
    g_autoptr(Error) err = NULL;
    BlockDriverState *bs;

    if (!dev) {
        g_test_skip("cannot make a loop device");
        g_unlink(path);
        return;
    }
    g_assert_null(open_as(0, BLK_PERM_ALL, &err, "driver=file,filename=%s", dev));
    assert_error(&err, "to be a regular file");
    g_assert_false(create_file(dev, SIZE, PREALLOC_MODE_OFF, &err));
    assert_error(&err, "to be a regular file");
    bs = bdrv_co_open(dev, NULL, 0, &error_abort);
    g_assert_cmpstr(bs->file->bs->drv->format_name, ==, "host_device");
    bdrv_co_unref(bs);

    for (int direct = 0; direct < 2; direct++) {
        BlockBackend *blk = open_all("driver=host_device,filename=%s,discard=unmap,cache.direct=%s", dev,
                                     direct ? "on" : "off");
        g_assert_cmpint(blk_getlength(blk), ==, SIZE);
        g_autofree uint8_t *buf = g_malloc(SIZE);
        memset(buf, 0x78, SIZE);
        g_assert_cmpint(blk_co_pwrite(blk, 0, SIZE, buf, 0), ==, 0);
        memset(buf, 0x79, SIZE);
        g_assert_cmpint(blk_co_pwrite(blk, 100001, 3, buf, BDRV_REQ_FUA), ==, 0);
        assert_bytes(blk, 100000, 1, 0x78);
        assert_bytes(blk, 100001, 3, 0x79);
        assert_bytes(blk, 100004, 1, 0x78);

        /* Sectors and odd ends. */
        g_assert_cmpint(blk_co_pwrite_zeroes(blk, 200001, 50000, 0), ==, 0);
        assert_bytes(blk, 200000, 1, 0x78);
        assert_bytes(blk, 200001, 50000, 0);
        assert_bytes(blk, 250001, 1, 0x78);
        g_assert_cmpint(blk_co_pwrite_zeroes(blk, 512 * KiB, 64 * KiB, BDRV_REQ_MAY_UNMAP), ==, 0);
        assert_bytes(blk, 512 * KiB, 64 * KiB, 0);
        g_assert_cmpint(blk_co_pdiscard(blk, 768 * KiB, 64 * KiB), ==, 0);
        assert_bytes(blk, 768 * KiB + 64 * KiB, 4096, 0x78);
        g_assert_cmpint(bdrv_co_secure_discard(blk_root(blk), 0, 4096), ==, -ENOTSUP);
        check_status(blk, 0, SIZE, BDRV_BLOCK_DATA);
        g_assert_cmpint(blk_co_flush(blk), ==, 0);

        g_assert_false(blk_co_truncate(blk, 2 * SIZE, true, PREALLOC_MODE_OFF, NULL, &err));
        assert_error(&err, "Cannot grow device files");
        g_assert_false(blk_co_truncate(blk, SIZE / 2, true, PREALLOC_MODE_OFF, NULL, &err));
        assert_error(&err, "Cannot resize device files");
        g_assert_true(blk_co_truncate(blk, SIZE / 2, false, PREALLOC_MODE_OFF, NULL, &error_abort));
        g_assert_cmpint(blk_getlength(blk), ==, SIZE);
        blk_co_unref(blk);
    }
    g_autofree char *gone = output_of("losetup -d %s", dev);
    g_assert_nonnull(gone);
    g_unlink(path);
}

/* The kernel allows opening a read-only device for writing, and fails each write. */
static void coroutine_fn read_only_device_entry(void *opaque)
{
    g_autofree char *path = make_file("read-only", SIZE, 0x77);
    g_autofree char *dev = output_of("losetup -r -f --show %s", path);
    g_autoptr(Error) err = NULL;

    if (!dev) {
        g_test_skip("cannot make a loop device");
        g_unlink(path);
        return;
    }
    g_assert_null(open_as(0, BLK_PERM_ALL, &err, "driver=host_device,filename=%s", dev));
    assert_error(&err, dev);
    BlockBackend *blk = open_read("driver=host_device,filename=%s,auto-read-only=on", dev);
    g_assert_true(blk_bs(blk)->read_only);
    assert_bytes(blk, 0, SIZE, 0x77);
    blk_co_unref(blk);
    blk = open_read("driver=host_device,filename=%s,read-only=on", dev);
    blk_co_unref(blk);
    g_autofree char *gone = output_of("losetup -d %s", dev);
    g_assert_nonnull(gone);
    g_unlink(path);
}

/* A window that ends within the last block of a device with larger blocks. */
static void coroutine_fn raw_block_entry(void *opaque)
{
    g_autofree char *path = make_file("blocks", SIZE, 0x77);
    g_autofree char *dev = output_of("losetup -f --show -b 4096 %s", path);
    uint8_t byte = 0x78;

    if (!dev) {
        g_test_skip("cannot make a loop device");
        g_unlink(path);
        return;
    }
    BlockBackend *blk = open_all("driver=raw,offset=%d,size=512,file.driver=host_device,"
                                 "file.cache.direct=on,file.filename=%s", (int)SIZE - 1024, dev);
    g_assert_cmpint(blk_bs(blk)->file->bs->bl.request_alignment, ==, 4096);
    g_assert_cmpint(blk_co_pwrite(blk, 511, 1, &byte, 0), ==, 0);
    assert_bytes(blk, 0, 511, 0x77);
    assert_bytes(blk, 511, 1, 0x78);
    blk_co_unref(blk);
    blk = open_read("driver=host_device,filename=%s,read-only=on", dev);
    assert_bytes(blk, SIZE - 512, 512, 0x77);
    blk_co_unref(blk);
    g_autofree char *gone = output_of("losetup -d %s", dev);
    g_assert_nonnull(gone);
    g_unlink(path);
}

static void coroutine_fn raw_entry(void *opaque)
{
    g_autofree char *path = make_file("raw", 8192, 0x55);
    g_autoptr(Error) err = NULL;
    uint8_t buf[2048];

    BlockBackend *blk = open_all("driver=raw,offset=700,size=1024,file.driver=file,file.filename=%s", path);
    g_assert_cmpint(blk_getlength(blk), ==, 1024);
    memset(buf, 0x66, sizeof(buf));
    g_assert_cmpint(blk_co_pwrite(blk, 0, 1025, buf, 0), ==, -EIO);
    g_assert_cmpint(blk_co_pwrite(blk, 0, 1024, buf, 0), ==, 0);
    g_assert_cmpint(blk_co_pwrite_zeroes(blk, 1000, 24, 0), ==, 0);
    g_assert_false(blk_co_truncate(blk, 2048, true, PREALLOC_MODE_OFF, NULL, &err));
    assert_error(&err, "Cannot resize fixed-size raw disks");
    int64_t pnum, map;
    BlockDriverState *file;
    g_assert_cmpint(bdrv_co_block_status(blk_bs(blk), 10, 100, &pnum, &map, &file), >=, BDRV_BLOCK_DATA);
    g_assert_cmpint(map, ==, 710);
    g_assert_cmpstr(file->drv->format_name, ==, "file");
    blk_co_unref(blk);

    blk = open_all("driver=raw,file.driver=file,file.filename=%s", path);
    assert_bytes(blk, 0, 700, 0x55);
    assert_bytes(blk, 700, 1000, 0x66);
    assert_bytes(blk, 1700, 24, 0);
    assert_bytes(blk, 1724, 8192 - 1724, 0x55);
    g_assert_true(blk_co_truncate(blk, 10000, true, PREALLOC_MODE_OFF, NULL, &error_abort));
    g_assert_cmpint(file_length(path), ==, 10000);
    g_assert_cmpint(blk_getlength(blk), ==, 10240);
    blk_co_unref(blk);

    blk = open_all("driver=raw,offset=1000,file.driver=file,file.filename=%s", path);
    g_assert_cmpint(blk_getlength(blk), ==, 9240);
    g_assert_true(blk_co_truncate(blk, 100, true, PREALLOC_MODE_OFF, NULL, &error_abort));
    g_assert_cmpint(file_length(path), ==, 1100);
    blk_co_unref(blk);

    static const char *const bad[][2] = {
        { "offset=-1", "expects a size" },
        { "offset=9223372036854775808", "offset is too large" },
        { "size=9223372036854775808", "size is too large" },
        { "size=100", "not multiple of 512" },
        { "offset=1537", "cannot be greater" },
        { "offset=1100,size=512", "smaller or equal" },
        { "offset=9223372036854775807", "cannot be greater" },
    };
    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_assert_null(open_as(0, BLK_PERM_ALL, &err, "driver=raw,%s,file.driver=file,file.filename=%s",
                              bad[i][0], path));
        assert_error(&err, bad[i][1]);
    }

    /* A child that is read-only. */
    blk = open_read("driver=raw,file.driver=file,file.filename=%s,file.read-only=on,auto-read-only=on", path);
    g_assert_true(blk_bs(blk)->read_only);
    blk_co_unref(blk);
    blk = open_read("driver=raw,file.driver=file,file.filename=%s,file.read-only=on", path);
    g_assert_false(blk_bs(blk)->read_only);
    blk_co_unref(blk);
    g_unlink(path);
}

static void coroutine_fn null_entry(void *opaque)
{
    g_autoptr(Error) err = NULL;
    uint8_t byte = 1;

    for (int aio = 0; aio < 2; aio++) {
        const char *driver = aio ? "null-aio" : "null-co";
        BlockBackend *blk = open_all("driver=%s,read-zeroes=on,latency-ns=2000000", driver);
        g_assert_cmpint(blk_getlength(blk), ==, GiB);
        int64_t start = qemu_clock_get_ns();
        g_assert_cmpint(blk_co_pwrite(blk, GiB - 1, 1, &byte, 0), ==, 0);
        g_assert_cmpint(qemu_clock_get_ns() - start, >=, 2000000);
        assert_bytes(blk, GiB - 4096, 4096, 0);
        check_status(blk, 0, GiB, BDRV_BLOCK_ZERO);
        blk_co_unref(blk);
        blk = open_all("driver=%s,size=0", driver);
        g_assert_cmpint(blk_getlength(blk), ==, 0);
        blk_co_unref(blk);
        g_assert_null(open_as(0, BLK_PERM_ALL, &err, "driver=%s,size=9223372036854775807", driver));
        assert_error(&err, "too large");

        g_autofree char *filename = g_strdup_printf("%s://", driver);
        BlockDriverState *bs = bdrv_co_open(filename, NULL, 0, &error_abort);
        g_assert_cmpstr(bs->file->bs->drv->format_name, ==, driver);
        g_assert_cmpstr(bs->filename, ==, filename);
        bdrv_co_unref(bs);
        g_autofree char *longer = g_strconcat(filename, "x", NULL);
        g_assert_null(bdrv_co_open(longer, NULL, 0, &err));
        assert_error(&err, filename);
    }
}

typedef struct Sleeper {
    BlockBackend *blk;
    gint *left;
    int ret;
} Sleeper;

static void coroutine_fn sleeper_entry(void *opaque)
{
    Sleeper *s = opaque;
    char byte;

    s->ret = blk_co_pread(s->blk, 0, 1, &byte);
    g_atomic_int_dec_and_test(s->left);
}

/* Requests that would take hours can be cancelled on all loops, unless others use the node that they wait in. */
static void coroutine_fn cancel_entry(void *opaque)
{
    IOThread *iothread = iothread_new("test", &error_abort);
    AioContext *loops[] = { qemu_get_aio_context(), iothread_get_aio_context(iothread) };
    BlockBackend *blk = open_all("driver=raw,file.driver=null-co,file.latency-ns=36000000000000,file.node-name=null");
    BlockDriverState *null = bdrv_find_node("null");
    Sleeper sleepers[4];
    gint left = G_N_ELEMENTS(sleepers);

    for (size_t i = 0; i < G_N_ELEMENTS(sleepers); i++) {
        sleepers[i] = (Sleeper){ .blk = blk, .left = &left };
        aio_co_start(loops[i % 2], sleeper_entry, &sleepers[i]);
    }
    while (g_atomic_int_get(&null->in_flight) < (int)G_N_ELEMENTS(sleepers)) {
        co_sleep_ns(SCALE_MS);
    }
    BlockBackend *other = open_read("driver=raw,file=null");
    bdrv_cancel_in_flight(blk_bs(blk));
    co_sleep_ns(50 * SCALE_MS);
    g_assert_cmpint(g_atomic_int_get(&left), ==, G_N_ELEMENTS(sleepers));
    blk_co_unref(other);
    for (int i = 0; g_atomic_int_get(&left) > 0 && i < 1000; i++) {
        bdrv_cancel_in_flight(blk_bs(blk));
        co_sleep_ns(SCALE_MS);
    }
    for (size_t i = 0; i < G_N_ELEMENTS(sleepers); i++) {
        g_assert_cmpint(sleepers[i].ret, ==, -ECANCELED);
    }
    blk_co_unref(blk);
    iothread_unref(iothread);
}

static void run(gconstpointer entry)
{
    aio_context_run((CoroutineEntry *)entry, NULL);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    test_dir = g_dir_make_tmp("test-raw-XXXXXX", NULL);
    g_test_add_data_func("/host_device", host_device_entry, run);
    g_test_add_data_func("/host_device/read-only", read_only_device_entry, run);
    g_test_add_data_func("/raw", raw_entry, run);
    g_test_add_data_func("/raw/block", raw_block_entry, run);
    g_test_add_data_func("/null-co", null_entry, run);
    g_test_add_data_func("/cancel-in-flight", cancel_entry, run);
    int ret = g_test_run();
    thread_pool_cleanup();
    g_rmdir(test_dir);
    g_free(test_dir);
    return ret;
}
