/*
 * file, raw and null-co through the graph: data, holes, length, preallocation, read-only, locks, creation
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include <glib/gstdio.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "block/block-backend.h"
#include "block/drivers/file.h"
#include "qapi/keyval.h"
#include "qapi/qapi.h"
#include "util/aio.h"
#include "util/thread-pool.h"

#define SIZE (1 * MiB)

static char *dir;           /* of this test run, on the file system of TMPDIR */

static char *path_of(const char *name)
{
    return g_build_filename(dir, name, NULL);
}

/* A file of @bytes bytes, all of value @byte. */
static char *make_file(const char *name, size_t bytes, int byte)
{
    char *path = path_of(name);
    g_autofree char *data = g_malloc(MAX(bytes, 1));

    memset(data, byte, bytes);
    g_assert_true(g_file_set_contents(path, data, bytes, NULL));
    return path;
}

static int64_t file_length(const char *path)
{
    struct stat st;

    return stat(path, &st) < 0 ? -1 : st.st_size;
}

static BlockBackend *coroutine_fn open_as(uint64_t perm, uint64_t shared, Error **errp, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    g_autofree char *text = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    g_autoptr(json_object) options = keyval_parse(text, NULL, NULL, &error_abort);
    return blk_co_new_open("test", NULL, options, 0, perm, shared, errp);
}

#define open_all(...) open_as(BLK_PERM_ALL, BLK_PERM_ALL, &error_abort, __VA_ARGS__)
#define open_read(...) open_as(BLK_PERM_CONSISTENT_READ, BLK_PERM_ALL, &error_abort, __VA_ARGS__)

static void assert_error(Error **err, const char *text)
{
    g_assert_nonnull(*err);
    if (!strstr(error_get_pretty(*err), text)) {
        g_error("'%s' is not in '%s'", text, error_get_pretty(*err));
    }
    g_clear_pointer(err, error_free);
}

static void coroutine_fn assert_bytes(BlockBackend *blk, int64_t offset, int64_t bytes, int byte)
{
    g_autofree uint8_t *buf = g_malloc(bytes);

    memset(buf, byte ^ 0xff, bytes);
    g_assert_cmpint(blk_co_pread(blk, offset, bytes, buf), ==, 0);
    for (int64_t i = 0; i < bytes; i++) {
        g_assert_cmphex(buf[i], ==, byte);
    }
}

typedef struct ReadOp {
    BlockBackend *blk;
    int64_t offset;
    int *pending;
} ReadOp;

static void coroutine_fn read_op(void *opaque)
{
    ReadOp *op = opaque;

    assert_bytes(op->blk, op->offset, 4096, op->offset / 4096 % 251);
    --*op->pending;
}

/* Reads and writes of all sizes, alone and many at once; @opts chooses how they reach the kernel. */
static void coroutine_fn check_data(const char *opts)
{
    g_autofree char *path = make_file("data", SIZE + 100, 0x11);
    BlockBackend *blk = open_all("driver=file,filename=%s%s", path, opts);
    g_autofree uint8_t *buf = g_malloc(SIZE);
    ReadOp ops[256];
    int pending = 0;

    g_assert_cmpint(blk_getlength(blk), ==, SIZE + 100);
    assert_bytes(blk, SIZE, 100, 0x11);
    g_assert_cmpint(blk_co_pread(blk, SIZE, 101, buf), ==, -EIO);

    /* The last, odd block: the file must not grow. */
    memset(buf, 0x22, 300);
    g_assert_cmpint(blk_co_pwrite(blk, SIZE - 200, 300, buf, BDRV_REQ_FUA), ==, 0);
    assert_bytes(blk, SIZE - 200, 300, 0x22);
    assert_bytes(blk, SIZE - 5000, 4800, 0x11);
    g_assert_cmpint(file_length(path), ==, SIZE + 100);

    for (int64_t pos = 0; pos < SIZE; pos += 4096) {
        memset(buf + pos, pos / 4096 % 251, 4096);
    }
    g_assert_cmpint(blk_co_pwrite(blk, 0, SIZE, buf, 0), ==, 0);
    g_assert_cmpint(blk_co_flush(blk), ==, 0);
    for (int i = 0; i < 256; i++) {
        ops[i] = (ReadOp){ blk, i * 4096, &pending };
        pending++;
        qemu_coroutine_enter(qemu_coroutine_create(read_op, &ops[i]));
    }
    while (pending) {
        co_sleep_ns(SCALE_MS / 10);
    }
    memset(buf, 0, SIZE);
    g_assert_cmpint(blk_co_pread(blk, 0, SIZE, buf), ==, 0);
    for (int64_t pos = 0; pos < SIZE; pos++) {
        g_assert_cmphex(buf[pos], ==, pos / 4096 % 251);
    }

    /* Memory that is not aligned, in areas that are not. */
    QEMUIOVector qiov;
    qemu_iovec_init(&qiov, 2);
    qemu_iovec_add(&qiov, buf + 1, 3);
    qemu_iovec_add(&qiov, buf + 5, 8189);
    g_assert_cmpint(blk_co_preadv(blk, 4096, 8192, &qiov), ==, 0);
    qemu_iovec_destroy(&qiov);
    g_assert_cmphex(buf[3], ==, 1);
    g_assert_cmphex(buf[5 + 4093], ==, 2);

    /* Another program cuts the file short: what is gone reads as zeroes. */
    g_assert_cmpint(truncate(path, 8192), ==, 0);
    assert_bytes(blk, 8192, 8192, 0);
    assert_bytes(blk, 4096, 4096, 1);
    blk_co_unref(blk);
    g_unlink(path);
}

static bool direct_works(void)
{
    g_autofree char *path = make_file("direct", 4096, 0);
    int fd = open(path, O_RDWR | O_DIRECT);

    if (fd >= 0) {
        close(fd);
    }
    g_unlink(path);
    return fd >= 0;
}

static void coroutine_fn data_entry(void *opaque)
{
    check_data(opaque);
}

static void test_data(gconstpointer opts)
{
    if (strstr(opts, "io_uring") && file_uring_probe() < 0) {
        g_test_skip("io_uring is not available");
        return;
    }
    if (strstr(opts, "direct") && !direct_works()) {
        g_test_skip("no O_DIRECT here");
        return;
    }
    aio_context_run(data_entry, (void *)opts);
}

static void coroutine_fn check_status(BlockBackend *blk, int64_t offset, int64_t bytes, int want)
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

static void coroutine_fn holes_entry(void *opaque)
{
    g_autofree char *path = make_file("holes", SIZE, 0x33);
    BlockBackend *blk = open_all("driver=file,filename=%s,discard=unmap", path);
    int fd = open(path, O_RDONLY);
    int64_t hole = lseek(fd, 0, SEEK_HOLE);

    g_assert_cmpint(hole, ==, SIZE);
    check_status(blk, 0, SIZE, BDRV_BLOCK_DATA);
    g_assert_cmpint(blk_co_pdiscard(blk, 64 * KiB, 64 * KiB), ==, 0);
    assert_bytes(blk, 64 * KiB - 1, 1, 0x33);
    assert_bytes(blk, 64 * KiB, 64 * KiB, 0);
    assert_bytes(blk, 128 * KiB, 1, 0x33);
    if (lseek(fd, 0, SEEK_HOLE) == 64 * KiB) {
        check_status(blk, 0, 64 * KiB, BDRV_BLOCK_DATA);
        check_status(blk, 64 * KiB, 64 * KiB, BDRV_BLOCK_ZERO);
        check_status(blk, 128 * KiB, 64 * KiB, BDRV_BLOCK_DATA);
    }
    /* Zeroes that must take space, then zeroes that need not; odd ends. */
    g_assert_cmpint(blk_co_pwrite_zeroes(blk, 200001, 99999, 0), ==, 0);
    assert_bytes(blk, 200001, 99999, 0);
    assert_bytes(blk, 200000, 1, 0x33);
    assert_bytes(blk, 300000, 1, 0x33);
    g_assert_cmpint(blk_co_pwrite_zeroes(blk, 512 * KiB, 512 * KiB, BDRV_REQ_MAY_UNMAP), ==, 0);
    assert_bytes(blk, 512 * KiB, 512 * KiB, 0);
    check_status(blk, 512 * KiB, 512 * KiB, BDRV_BLOCK_ZERO);
    g_assert_cmpint(file_length(path), ==, SIZE);
    g_assert_cmpint(bdrv_co_get_allocated_file_size(blk_bs(blk)), <=, SIZE - 448 * KiB);
    blk_co_unref(blk);

    /* Without discard=unmap nothing is given back. */
    blk = open_all("driver=file,filename=%s", path);
    g_assert_cmpint(blk_co_pdiscard(blk, 0, 64 * KiB), ==, 0);
    assert_bytes(blk, 0, 64 * KiB, 0x33);
    blk_co_unref(blk);
    close(fd);
    g_unlink(path);
}

static void coroutine_fn resize_entry(void *opaque)
{
    g_autofree char *path = make_file("resize", 1000, 0x44);
    BlockBackend *blk = open_all("driver=file,filename=%s", path);
    g_autoptr(Error) err = NULL;

    g_assert_true(blk_co_truncate(blk, SIZE + 1, true, PREALLOC_MODE_OFF, &error_abort));
    g_assert_cmpint(blk_getlength(blk), ==, SIZE + 1);
    assert_bytes(blk, 0, 1000, 0x44);
    assert_bytes(blk, 1000, 9000, 0);
    g_assert_cmpint(bdrv_co_get_allocated_file_size(blk_bs(blk)), <, SIZE);

    g_assert_true(blk_co_truncate(blk, 2 * SIZE, true, PREALLOC_MODE_FALLOC, &error_abort));
    g_assert_cmpint(bdrv_co_get_allocated_file_size(blk_bs(blk)), >=, SIZE - 8192);
    assert_bytes(blk, SIZE, SIZE, 0);
    g_assert_true(blk_co_truncate(blk, 3 * SIZE, true, PREALLOC_MODE_FULL, &error_abort));
    check_status(blk, 2 * SIZE, SIZE, BDRV_BLOCK_DATA);

    g_assert_false(blk_co_truncate(blk, SIZE, true, PREALLOC_MODE_FULL, &err));
    assert_error(&err, "shrinking");
    g_assert_false(blk_co_truncate(blk, 4 * SIZE, true, PREALLOC_MODE_METADATA, &err));
    assert_error(&err, "Unsupported preallocation mode 'metadata'");
    /* More than there is anywhere: the old length comes back. */
    g_assert_false(blk_co_truncate(blk, INT64_C(1) << 60, true, PREALLOC_MODE_FALLOC, &err));
    assert_error(&err, "preallocate");
    g_assert_cmpint(file_length(path), ==, 3 * SIZE);
    g_assert_true(blk_co_truncate(blk, 10, true, PREALLOC_MODE_OFF, &error_abort));
    g_assert_cmpint(file_length(path), ==, 10);
    blk_co_unref(blk);
    g_unlink(path);
}

static void coroutine_fn open_entry(void *opaque)
{
    g_autofree char *path = make_file("open", 4096, 0);
    g_autofree char *fifo = path_of("fifo");
    g_autoptr(Error) err = NULL;

    g_assert_null(open_as(0, BLK_PERM_ALL, &err, "driver=file,filename=%s/none", dir));
    assert_error(&err, "Could not open");
    g_assert_null(open_as(0, BLK_PERM_ALL, &err, "driver=file,filename=,read-only=on"));
    assert_error(&err, "requires a file name");
    g_assert_null(open_as(0, BLK_PERM_ALL, &err, "driver=file,read-only=on,filename=%s", dir));
    assert_error(&err, "to be a regular file");
    g_assert_null(open_as(0, BLK_PERM_ALL, &err, "driver=file,filename=/dev/null"));
    assert_error(&err, "to be a regular file");
    g_assert_null(open_as(0, BLK_PERM_ALL, &err, "driver=host_device,filename=%s", path));
    assert_error(&err, "character or block device");
    g_assert_cmpint(mkfifo(fifo, 0600), ==, 0);
    g_assert_null(open_as(0, BLK_PERM_ALL, &err, "driver=file,read-only=on,filename=%s", fifo));
    assert_error(&err, "to be a regular file");
    g_unlink(fifo);
    g_assert_null(open_as(0, BLK_PERM_ALL, &err, "driver=file,filename=%s,aio=native", path));
    assert_error(&err, "aio=native");
    g_assert_null(open_as(0, BLK_PERM_ALL, &err, "driver=file,filename=%s,aio-max-batch=-1", path));
    assert_error(&err, "aio-max-batch");

    /* The prefix, and a node without it. */
    g_autofree char *prefixed = g_strconcat("file:", path, NULL);
    BlockDriverState *bs = bdrv_co_open(prefixed, NULL, 0, &error_abort);
    g_assert_cmpstr(bs->drv->format_name, ==, "raw");
    g_assert_cmpstr(bs->file->bs->drv->format_name, ==, "file");
    g_assert_cmpstr(bs->filename, ==, path);
    bdrv_co_unref(bs);
    g_unlink(path);
}

/* Root may write to a file of mode 0444, too, but not to one of these. */
static void coroutine_fn read_only_entry(void *opaque)
{
    g_autoptr(Error) err = NULL;
    const char *file = "/sys/kernel/uevent_seqnum";

    if (file_length(file) < 0) {
        g_test_skip("no sysfs here");
        return;
    }
    BlockBackend *blk = open_as(BLK_PERM_CONSISTENT_READ, BLK_PERM_ALL, &err,
                                "driver=file,filename=%s,locking=off", file);
    g_assert_null(blk);
    assert_error(&err, "Could not open '/sys/kernel");
    blk = open_read("driver=file,filename=%s,locking=off,auto-read-only=on", file);
    g_assert_true(blk_bs(blk)->read_only);
    blk_co_unref(blk);
}

static void coroutine_fn locks_entry(void *opaque)
{
    g_autofree char *path = make_file("locks", 4096, 0);
    g_autoptr(Error) err = NULL;
    const uint64_t shared = BLK_PERM_ALL & ~(BLK_PERM_WRITE | BLK_PERM_RESIZE);
    const uint64_t rw = BLK_PERM_CONSISTENT_READ | BLK_PERM_WRITE;

    BlockBackend *a = open_as(rw, shared, &error_abort, "driver=file,filename=%s", path);
    g_assert_null(open_as(rw, BLK_PERM_ALL, &err, "driver=file,filename=%s", path));
    g_assert_cmpstr(error_get_pretty(err), ==, "Failed to get \"write\" lock");
    g_autofree char *hint = g_strdup_printf("Is another process using the image [%s]?", path);
    g_assert_cmpstr(error_get_hint(err), ==, hint);
    g_clear_pointer(&err, error_free);

    /* A reader that shares writes gets along, one that does not does not. */
    BlockBackend *b = open_read("driver=file,filename=%s,read-only=on", path);
    g_assert_false(blk_set_perm(b, BLK_PERM_CONSISTENT_READ, shared, &err));
    g_assert_cmpstr(error_get_pretty(err), ==, "Failed to get shared \"write\" lock");
    g_clear_pointer(&err, error_free);

    /* The refused try has left nothing behind: the writer may do everything again. */
    g_assert_true(blk_set_perm(a, rw | BLK_PERM_RESIZE, shared, &error_abort));
    g_assert_true(blk_set_perm(a, BLK_PERM_CONSISTENT_READ, BLK_PERM_ALL, &error_abort));
    g_assert_true(blk_set_perm(b, BLK_PERM_CONSISTENT_READ, shared, &error_abort));
    g_assert_false(blk_set_perm(a, rw, BLK_PERM_ALL, &err));
    assert_error(&err, "Failed to get \"write\" lock");

    /* locking=off looks at nothing. */
    BlockBackend *c = open_as(rw, shared, &error_abort, "driver=file,filename=%s,locking=off", path);
    blk_co_unref(c);
    blk_co_unref(b);
    blk_co_unref(a);
    a = open_as(BLK_PERM_ALL, 0, &error_abort, "driver=file,filename=%s,locking=on", path);
    blk_co_unref(a);
    g_unlink(path);
}

#define QEMU_IO "/usr/bin/qemu-io"

/* What QEMU's program says of opening @path; NULL: it could. */
static char *qemu_io_error(const char *path, const char *opts)
{
    g_autofree char *cmd = g_strdup_printf(QEMU_IO " %s -f raw -c length %s", opts, path);
    g_autofree char *out = NULL;
    char *text = NULL;
    int status;

    g_assert_true(g_spawn_command_line_sync(cmd, &out, &text, &status, NULL));
    if (status == 0) {
        g_clear_pointer(&text, g_free);
    }
    return text;
}

/* QEMU's programs see our locks and we see theirs. */
static void coroutine_fn qemu_locks_entry(void *opaque)
{
    g_autofree char *path = make_file("qemu-locks", 4096, 0);
    g_autoptr(Error) err = NULL;
    const uint64_t rw = BLK_PERM_CONSISTENT_READ | BLK_PERM_WRITE;

    if (g_access(QEMU_IO, X_OK) < 0) {
        g_test_skip("no " QEMU_IO);
        return;
    }
    BlockBackend *blk = open_as(rw, BLK_PERM_ALL & ~BLK_PERM_WRITE, &error_abort,
                                "driver=file,filename=%s", path);
    g_autofree char *said = qemu_io_error(path, "");
    g_assert_nonnull(said);
    g_assert_nonnull(strstr(said, "lock"));
    g_assert_nonnull(strstr(said, "Is another process using the image"));
    g_assert_null(qemu_io_error(path, "-r -U"));
    blk_co_unref(blk);
    g_assert_null(qemu_io_error(path, ""));

    GPid pid;
    int in, out;
    char *argv[] = { (char *)QEMU_IO, (char *)"-f", (char *)"raw", path, NULL };
    g_autofree char *answer = g_malloc0(64);
    g_assert_true(g_spawn_async_with_pipes(NULL, argv, NULL, G_SPAWN_DO_NOT_REAP_CHILD, NULL, NULL, &pid,
                                           &in, &out, NULL, NULL));
    g_assert_cmpint(write(in, "length\n", 7), ==, 7);
    g_assert_cmpint(read(out, answer, 63), >, 0);      /* it has opened the image */

    g_assert_null(open_as(rw, BLK_PERM_ALL & ~BLK_PERM_WRITE, &err, "driver=file,filename=%s", path));
    assert_error(&err, "Failed to get shared \"write\" lock");
    blk = open_as(BLK_PERM_CONSISTENT_READ, BLK_PERM_ALL, &error_abort,
                  "driver=file,filename=%s,read-only=on,force-share=on", path);
    blk_co_unref(blk);
    close(in);
    g_assert_cmpint(waitpid(pid, NULL, 0), ==, pid);
    close(out);
    blk = open_as(rw, BLK_PERM_ALL, &error_abort, "driver=file,filename=%s", path);
    blk_co_unref(blk);
    g_unlink(path);
}

static bool coroutine_fn create_file(const char *path, uint64_t size, PreallocMode prealloc, Error **errp)
{
    BlockdevCreateOptions o = {
        .driver = BLOCKDEV_DRIVER_FILE,
        .u.file = { .filename = (char *)path, .size = size, .has_preallocation = true,
                    .preallocation = prealloc },
    };

    return bdrv_find_driver(BLOCKDEV_DRIVER_FILE)->bdrv_co_create(&o, NULL, errp);
}

static void coroutine_fn create_entry(void *opaque)
{
    g_autofree char *path = path_of("create");
    g_autoptr(Error) err = NULL;
    struct stat st;
    mode_t mask = umask(027);

    g_assert_true(create_file(path, SIZE, PREALLOC_MODE_OFF, &error_abort));
    umask(mask);
    g_assert_cmpint(stat(path, &st), ==, 0);
    g_assert_cmphex(st.st_mode & 07777, ==, 0640);
    g_assert_cmpint(st.st_size, ==, SIZE);

    /* In use: refused, and left as it was. */
    BlockBackend *blk = open_as(BLK_PERM_CONSISTENT_READ, BLK_PERM_ALL & ~BLK_PERM_RESIZE, &error_abort,
                                "driver=file,filename=%s", path);
    g_assert_false(create_file(path, 1, PREALLOC_MODE_OFF, &err));
    assert_error(&err, "Failed to get \"resize\" lock");
    g_assert_cmpint(file_length(path), ==, SIZE);
    blk_co_unref(blk);

    g_assert_true(create_file(path, 2 * SIZE, PREALLOC_MODE_FULL, &error_abort));
    g_assert_cmpint(stat(path, &st), ==, 0);
    g_assert_cmpint(st.st_blocks * 512, >=, 2 * SIZE);
    g_assert_true(create_file(path, 2 * SIZE, PREALLOC_MODE_FALLOC, &error_abort));
    g_assert_cmpint(stat(path, &st), ==, 0);
    g_assert_cmpint(st.st_blocks * 512, >=, 2 * SIZE);

    /* What was there stays when it goes wrong, what was not does not. */
    g_assert_false(create_file(path, INT64_C(1) << 60, PREALLOC_MODE_FALLOC, &err));
    assert_error(&err, "preallocate");
    g_assert_cmpint(file_length(path), >=, 0);
    g_unlink(path);
    g_assert_false(create_file(path, INT64_C(1) << 60, PREALLOC_MODE_FALLOC, &err));
    assert_error(&err, "preallocate");
    g_assert_cmpint(file_length(path), ==, -1);
    g_assert_false(create_file(dir, 1, PREALLOC_MODE_OFF, &err));
    assert_error(&err, "Could not create");
    g_assert_false(create_file("/dev/null", 1, PREALLOC_MODE_OFF, &err));
    assert_error(&err, "to be a regular file");
    g_assert_false(create_file(path, UINT64_MAX, PREALLOC_MODE_OFF, &err));
    assert_error(&err, "too large");
    g_assert_cmpint(file_length(path), ==, -1);
}

/* What @cmd prints, without the newline at its end; NULL: it failed. */
static char *output_of(const char *fmt, ...)
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

static void coroutine_fn enospc_entry(void *opaque)
{
    g_autofree char *mnt = path_of("small");
    g_autofree char *path = g_build_filename(mnt, "file", NULL);
    g_autoptr(Error) err = NULL;

    g_mkdir(mnt, 0700);
    g_autofree char *mounted = output_of("mount -t tmpfs -o size=2M none %s", mnt);
    if (!mounted) {
        g_rmdir(mnt);
        g_test_skip("cannot mount a tmpfs");
        return;
    }
    g_assert_false(create_file(path, 4 * MiB, PREALLOC_MODE_FULL, &err));
    assert_error(&err, "No space left on device");
    g_assert_cmpint(file_length(path), ==, -1);

    g_assert_true(create_file(path, 1 * MiB, PREALLOC_MODE_FULL, &error_abort));
    BlockBackend *blk = open_all("driver=file,filename=%s", path);
    g_assert_false(blk_co_truncate(blk, 4 * MiB, true, PREALLOC_MODE_FALLOC, &err));
    assert_error(&err, "No space left on device");
    g_assert_cmpint(file_length(path), ==, 1 * MiB);
    g_assert_cmpint(blk_getlength(blk), ==, 1 * MiB);

    /* A sparse file that can be written in part only. */
    g_assert_true(blk_co_truncate(blk, 4 * MiB, true, PREALLOC_MODE_OFF, &error_abort));
    g_autofree void *buf = g_malloc0(4 * MiB);
    g_assert_cmpint(blk_co_pwrite(blk, 0, 4 * MiB, buf, 0), ==, -ENOSPC);
    blk_co_unref(blk);
    g_autofree char *unmounted = output_of("umount %s", mnt);
    g_assert_nonnull(unmounted);
    g_rmdir(mnt);
}

/* A device of 512 byte sectors over a file. */
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

        g_assert_false(blk_co_truncate(blk, 2 * SIZE, true, PREALLOC_MODE_OFF, &err));
        assert_error(&err, "Cannot grow device files");
        g_assert_false(blk_co_truncate(blk, SIZE / 2, true, PREALLOC_MODE_OFF, &err));
        assert_error(&err, "Cannot resize device files");
        g_assert_true(blk_co_truncate(blk, SIZE / 2, false, PREALLOC_MODE_OFF, &error_abort));
        g_assert_cmpint(blk_getlength(blk), ==, SIZE);
        blk_co_unref(blk);
    }
    g_autofree char *gone = output_of("losetup -d %s", dev);
    g_assert_nonnull(gone);
    g_unlink(path);
}

/* A window that ends within the last block of a device whose blocks are larger. */
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
    g_assert_false(blk_co_truncate(blk, 2048, true, PREALLOC_MODE_OFF, &err));
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
    g_assert_true(blk_co_truncate(blk, 10000, true, PREALLOC_MODE_OFF, &error_abort));
    g_assert_cmpint(blk_getlength(blk), ==, 10000);
    blk_co_unref(blk);

    blk = open_all("driver=raw,offset=1000,file.driver=file,file.filename=%s", path);
    g_assert_cmpint(blk_getlength(blk), ==, 9000);
    g_assert_true(blk_co_truncate(blk, 100, true, PREALLOC_MODE_OFF, &error_abort));
    g_assert_cmpint(file_length(path), ==, 1100);
    blk_co_unref(blk);

    static const char *const bad[][2] = {
        { "offset=-1", "expects a size" },
        { "offset=9223372036854775808", "offset is too large" },
        { "size=9223372036854775808", "size is too large" },
        { "size=100", "not multiple of 512" },
        { "offset=1101", "cannot be greater" },
        { "offset=600,size=512", "smaller or equal" },
        { "offset=9223372036854775807", "cannot be greater" },
    };
    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_assert_null(open_as(0, BLK_PERM_ALL, &err, "driver=raw,%s,file.driver=file,file.filename=%s",
                              bad[i][0], path));
        assert_error(&err, bad[i][1]);
    }
    g_unlink(path);
}

static void coroutine_fn null_entry(void *opaque)
{
    g_autoptr(Error) err = NULL;
    uint8_t byte = 1;

    BlockBackend *blk = open_all("driver=null-co,read-zeroes=on,latency-ns=2000000");
    g_assert_cmpint(blk_getlength(blk), ==, GiB);
    int64_t start = qemu_clock_get_ns();
    g_assert_cmpint(blk_co_pwrite(blk, GiB - 1, 1, &byte, 0), ==, 0);
    g_assert_cmpint(qemu_clock_get_ns() - start, >=, 2000000);
    assert_bytes(blk, GiB - 4096, 4096, 0);
    check_status(blk, 0, GiB, BDRV_BLOCK_ZERO);
    blk_co_unref(blk);
    blk = open_all("driver=null-co,size=0");
    g_assert_cmpint(blk_getlength(blk), ==, 0);
    blk_co_unref(blk);
    g_assert_null(open_as(0, BLK_PERM_ALL, &err, "driver=null-co,size=9223372036854775807"));
    assert_error(&err, "too large");
}

static gpointer thread_entry(gpointer path)
{
    AioContext *ctx = aio_context_new();

    aio_context_set_current(ctx);
    aio_context_run(data_entry, path);
    aio_context_set_current(NULL);
    aio_context_unref(ctx);
    return NULL;
}

/* On a loop of its own, which takes its ring with it when it goes. */
static void test_thread(void)
{
    g_thread_join(g_thread_new("loop", thread_entry, (gpointer)""));
}

static void run(gconstpointer entry)
{
    aio_context_run((CoroutineEntry *)entry, NULL);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    dir = g_dir_make_tmp("test-file-driver-XXXXXX", NULL);
    g_test_add_data_func("/file/data", "", test_data);
    g_test_add_data_func("/file/data/threads", ",aio=threads", test_data);
    g_test_add_data_func("/file/data/io_uring", ",aio=io_uring,aio-max-batch=3", test_data);
    g_test_add_data_func("/file/data/threads/direct", ",aio=threads,cache.direct=on", test_data);
    g_test_add_data_func("/file/data/io_uring/direct", ",aio=io_uring,cache.direct=on", test_data);
    g_test_add_func("/file/data/thread", test_thread);
    g_test_add_data_func("/file/holes", holes_entry, run);
    g_test_add_data_func("/file/resize", resize_entry, run);
    g_test_add_data_func("/file/open", open_entry, run);
    g_test_add_data_func("/file/read-only", read_only_entry, run);
    g_test_add_data_func("/file/locks", locks_entry, run);
    g_test_add_data_func("/file/locks/qemu", qemu_locks_entry, run);
    g_test_add_data_func("/file/create", create_entry, run);
    g_test_add_data_func("/file/enospc", enospc_entry, run);
    g_test_add_data_func("/host_device", host_device_entry, run);
    g_test_add_data_func("/raw", raw_entry, run);
    g_test_add_data_func("/raw/block", raw_block_entry, run);
    g_test_add_data_func("/null-co", null_entry, run);
    int ret = g_test_run();
    thread_pool_cleanup();
    g_rmdir(dir);
    g_free(dir);
    return ret;
}
