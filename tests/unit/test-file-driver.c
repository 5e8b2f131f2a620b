/*
 * The file driver: data, holes, length, preallocation, read-only, locks, creation
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include <glib/gstdio.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "block/block-backend.h"
#include "block/drivers/file-erase.h"
#include "block/drivers/file.h"
#include "file-node.h"
#include "util/aio.h"
#include "util/thread-pool.h"

#define SIZE (1 * MiB)

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

/* Reads and writes of all sizes, one or many at once. */
static void coroutine_fn check_requests(BlockBackend *blk, const char *path)
{
    g_autofree uint8_t *buf = g_malloc(SIZE);
    ReadOp ops[256];
    int pending = 0;

    /* The last sector is incomplete. */
    g_assert_cmpint(blk_getlength(blk), ==, SIZE + 512);
    assert_bytes(blk, SIZE, 100, 0x11);
    assert_bytes(blk, SIZE + 100, 412, 0);
    g_assert_cmpint(blk_co_pread(blk, SIZE, 513, buf), ==, -EIO);

    /* The last block: the file does not grow beyond its last sector. */
    memset(buf, 0x22, 300);
    g_assert_cmpint(blk_co_pwrite(blk, SIZE - 200, 300, buf, BDRV_REQ_FUA), ==, 0);
    assert_bytes(blk, SIZE - 200, 300, 0x22);
    assert_bytes(blk, SIZE - 5000, 4800, 0x11);
    g_assert_cmpint(file_length(path), ==, blk_bs(blk)->bl.request_alignment > 1 ? SIZE + 512 : SIZE + 100);
    g_assert_cmpint(blk_co_pwrite(blk, SIZE + 200, 10, buf, 0), ==, 0);
    g_assert_cmpint(file_length(path), >=, SIZE + 210);
    assert_bytes(blk, SIZE + 100, 100, 0);
    assert_bytes(blk, SIZE + 200, 10, 0x22);

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

    /* Unaligned memory, in unaligned buffers. */
    QEMUIOVector qiov;
    qemu_iovec_init(&qiov, 2);
    qemu_iovec_add(&qiov, buf + 1, 3);
    qemu_iovec_add(&qiov, buf + 5, 8189);
    g_assert_cmpint(blk_co_preadv(blk, 4096, 8192, &qiov, 0), ==, 0);
    qemu_iovec_destroy(&qiov);
    g_assert_cmphex(buf[3], ==, 1);
    g_assert_cmphex(buf[5 + 4093], ==, 2);

    /* Another program truncates the file: the missing part reads as zeroes. */
    g_assert_cmpint(truncate(path, 8192), ==, 0);
    assert_bytes(blk, 8192, 8192, 0);
    assert_bytes(blk, 4096, 4096, 1);
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

/* @opaque chooses how requests reach the kernel. */
static void coroutine_fn data_entry(void *opaque)
{
    g_autofree char *path = make_file("data", SIZE + 100, 0x11);
    BlockBackend *blk = open_all("driver=file,filename=%s%s", path, (const char *)opaque);

    check_requests(blk, path);
    blk_co_unref(blk);
    g_unlink(path);
}

static void test_data(gconstpointer opts)
{
    if (strstr(opts, "io_uring") && aio_setup_io_uring() < 0) {
        g_test_skip("io_uring is not available");
        return;
    }
    if (strstr(opts, "direct") && !direct_works()) {
        g_test_skip("no O_DIRECT here");
        return;
    }
    aio_context_run(data_entry, (void *)opts);
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
    /* Zeroes that must be allocated, then zeroes that need not; unaligned ends. */
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

    /* Without discard=unmap nothing is deallocated. */
    blk = open_all("driver=file,filename=%s", path);
    g_assert_cmpint(blk_co_pdiscard(blk, 0, 64 * KiB), ==, 0);
    assert_bytes(blk, 0, 64 * KiB, 0x33);
    blk_co_unref(blk);
    close(fd);
    g_unlink(path);
}

typedef struct LengthQuery {
    BlockDriverState *bs;
    int64_t length;     /* 0: not known yet */
} LengthQuery;

static void coroutine_fn length_query_entry(void *opaque)
{
    LengthQuery *q = opaque;

    q->length = q->bs->drv->bdrv_co_getlength(q->bs);
}

/* A file system may take long to answer, and the loop must not wait for it. */
static void coroutine_fn length_entry(void *opaque)
{
    g_autofree char *path = make_file("length", SIZE, 0x44);
    BlockBackend *blk = open_all("driver=file,filename=%s", path);
    LengthQuery q = { .bs = blk_bs(blk) };

    qemu_coroutine_enter(qemu_coroutine_create(length_query_entry, &q));
    g_assert_cmpint(q.length, ==, 0);
    while (!q.length) {
        co_sleep_ns(NANOSECONDS_PER_SECOND / 1000);
    }
    g_assert_cmpint(q.length, ==, SIZE);
    blk_co_unref(blk);
    g_unlink(path);
}

static void coroutine_fn resize_entry(void *opaque)
{
    g_autofree char *path = make_file("resize", 1000, 0x44);
    BlockBackend *blk = open_all("driver=file,filename=%s", path);
    g_autoptr(Error) err = NULL;

    g_assert_true(blk_co_truncate(blk, SIZE + 1, true, PREALLOC_MODE_OFF, NULL, &error_abort));
    g_assert_cmpint(file_length(path), ==, SIZE + 1);
    g_assert_cmpint(blk_getlength(blk), ==, SIZE + 512);
    assert_bytes(blk, 0, 1000, 0x44);
    assert_bytes(blk, 1000, 9000, 0);
    g_assert_cmpint(bdrv_co_get_allocated_file_size(blk_bs(blk)), <, SIZE);

    g_assert_true(blk_co_truncate(blk, 2 * SIZE, true, PREALLOC_MODE_FALLOC, NULL, &error_abort));
    g_assert_cmpint(bdrv_co_get_allocated_file_size(blk_bs(blk)), >=, SIZE - 8192);
    assert_bytes(blk, SIZE, SIZE, 0);
    g_assert_true(blk_co_truncate(blk, 3 * SIZE, true, PREALLOC_MODE_FULL, NULL, &error_abort));
    check_status(blk, 2 * SIZE, SIZE, BDRV_BLOCK_DATA);

    g_assert_false(blk_co_truncate(blk, SIZE, true, PREALLOC_MODE_FULL, NULL, &err));
    assert_error(&err, "shrinking");
    g_assert_false(blk_co_truncate(blk, 4 * SIZE, true, PREALLOC_MODE_METADATA, NULL, &err));
    assert_error(&err, "Unsupported preallocation mode 'metadata'");
    /* More than any disk has: the old length is restored. */
    g_assert_false(blk_co_truncate(blk, INT64_C(1) << 60, true, PREALLOC_MODE_FALLOC, NULL, &err));
    assert_error(&err, "preallocate");
    g_assert_cmpint(file_length(path), ==, 3 * SIZE);
    g_assert_true(blk_co_truncate(blk, 10, true, PREALLOC_MODE_OFF, NULL, &error_abort));
    g_assert_cmpint(file_length(path), ==, 10);
    blk_co_unref(blk);
    g_unlink(path);
}

static void coroutine_fn open_entry(void *opaque)
{
    g_autofree char *path = make_file("open", 4096, 0);
    g_autofree char *fifo = path_of("fifo");
    g_autoptr(Error) err = NULL;

    g_assert_null(open_as(0, BLK_PERM_ALL, &err, "driver=file,filename=%s/none", test_dir));
    assert_error(&err, "Could not open");
    g_assert_null(open_as(0, BLK_PERM_ALL, &err, "driver=file,filename=,read-only=on"));
    assert_error(&err, "requires a file name");
    g_assert_null(open_as(0, BLK_PERM_ALL, &err, "driver=file,read-only=on,filename=%s", test_dir));
    assert_error(&err, "to be a regular file");
    g_assert_null(open_as(0, BLK_PERM_ALL, &err, "driver=file,filename=/dev/null"));
    assert_error(&err, "to be a regular file");
    g_assert_null(open_as(0, BLK_PERM_ALL, &err, "driver=host_device,filename=%s", path));
    assert_error(&err, "character or block device");
    g_assert_cmpint(mkfifo(fifo, 0600), ==, 0);
    g_assert_null(open_as(0, BLK_PERM_ALL, &err, "driver=file,read-only=on,filename=%s", fifo));
    assert_error(&err, "to be a regular file");
    g_assert_null(open_as(0, BLK_PERM_ALL, &err, "driver=file,filename=%s", fifo));
    assert_error(&err, "to be a regular file");
    g_unlink(fifo);
    g_assert_null(open_as(0, BLK_PERM_ALL, &err, "driver=file,filename=%s,aio=native", path));
    assert_error(&err, "requires cache.direct=on");
    g_assert_null(open_as(0, BLK_PERM_ALL, &err, "driver=file,filename=%s,aio-max-batch=-1", path));
    assert_error(&err, "aio-max-batch");

    /* A filename with the prefix, and without. */
    g_autofree char *prefixed = g_strconcat("file:", path, NULL);
    BlockDriverState *bs = bdrv_co_open(prefixed, NULL, 0, &error_abort);
    g_assert_cmpstr(bs->drv->format_name, ==, "raw");
    g_assert_cmpstr(bs->file->bs->drv->format_name, ==, "file");
    g_assert_cmpstr(bs->filename, ==, path);
    bdrv_co_unref(bs);
    g_unlink(path);
}

typedef struct Look {
    BlockDriverState *bs;
    BdrvEraseInfo info;
    bool done;
} Look;

static gint looks;          /* how often the examination has called fstat() */
static GMutex look_lock;    /* held: examinations wait there */
static ino_t looked_at;

static int slow_fstat(int fd, struct stat *st)
{
    g_atomic_int_inc(&looks);
    g_mutex_lock(&look_lock);
    int ret = fstat(fd, st);
    looked_at = ret == 0 ? st->st_ino : 0;
    g_mutex_unlock(&look_lock);
    return ret;
}

static void coroutine_fn look(void *opaque)
{
    Look *l = opaque;

    l->bs->drv->bdrv_co_erase_info(l->bs, 0, 4096, &l->info);
    l->done = true;
}

/* While erase examines a file, the node is reopened, and its descriptor is reused for another file. */
static void coroutine_fn erase_reopen_entry(void *opaque)
{
    g_autofree char *path = make_file("erase", 4096, 0x11);
    BlockBackend *blk = open_read("driver=file,filename=%s,read-only=on,node-name=erase", path);
    Look l = { .bs = blk_bs(blk), .info = { .notes = g_ptr_array_new_with_free_func(g_free) } };
    EraseHost host = erase_host;
    struct stat st;
    int others[16];

    g_assert_cmpint(stat(path, &st), ==, 0);
    erase_host.fstat = slow_fstat;
    g_mutex_lock(&look_lock);
    qemu_coroutine_enter(qemu_coroutine_create(look, &l));
    while (g_atomic_int_get(&looks) == 0) {
        co_sleep_ns(SCALE_MS);
    }
    g_autoptr(BlockdevOptions) options = QAPI_CLONE(BlockdevOptions, l.bs->options);
    options->has_read_only = true;
    options->read_only = false;
    BlockdevOptionsList list = { .n = 1, .items = (BlockdevOptions *[]){ options } };
    g_assert_true(bdrv_co_reopen(&list, &error_abort));
    for (size_t i = 0; i < G_N_ELEMENTS(others); i++) {
        others[i] = open("/dev/zero", O_RDONLY);
    }
    g_mutex_unlock(&look_lock);
    while (!l.done) {
        co_sleep_ns(SCALE_MS);
    }
    g_assert_cmpuint(looked_at, ==, st.st_ino);
    for (size_t i = 0; i < G_N_ELEMENTS(others); i++) {
        close(others[i]);
    }
    erase_host = host;
    g_ptr_array_unref(l.info.notes);
    blk_co_unref(blk);
    g_unlink(path);
}

/* Root can write to a file of mode 0444, too, but not to these. */
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
    g_autofree char *message = g_strdup_printf("Failed to get \"write\" lock of '%s'", path);
    g_assert_cmpstr(error_get_pretty(err), ==, message);
    g_autofree char *hint = g_strdup_printf("Is another process using the image [%s]?\n", path);
    g_assert_cmpstr(error_get_hint(err), ==, hint);
    g_clear_pointer(&err, error_free);

    /* A reader that shares writes is accepted, one that does not is refused. */
    BlockBackend *b = open_read("driver=file,filename=%s,read-only=on", path);
    g_assert_false(blk_set_perm(b, BLK_PERM_CONSISTENT_READ, shared, &err));
    assert_error(&err, "Failed to get shared \"write\" lock of");

    /* The refused attempt has left nothing behind: the writer may do everything again. */
    g_assert_true(blk_set_perm(a, rw | BLK_PERM_RESIZE, shared, &error_abort));
    g_assert_true(blk_set_perm(a, BLK_PERM_CONSISTENT_READ, BLK_PERM_ALL, &error_abort));
    g_assert_true(blk_set_perm(b, BLK_PERM_CONSISTENT_READ, shared, &error_abort));
    g_assert_false(blk_set_perm(a, rw, BLK_PERM_ALL, &err));
    assert_error(&err, "Failed to get \"write\" lock");

    /* locking=off ignores all locks. */
    BlockBackend *c = open_as(rw, shared, &error_abort, "driver=file,filename=%s,locking=off", path);
    blk_co_unref(c);
    blk_co_unref(b);
    blk_co_unref(a);
    a = open_as(BLK_PERM_ALL, 0, &error_abort, "driver=file,filename=%s,locking=on", path);
    blk_co_unref(a);
    g_unlink(path);
}

#define QEMU_IO "/usr/bin/qemu-io"

/* The error of QEMU's program for opening @path; NULL if it could. */
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

/* QEMU's programs see our locks, and we see theirs. */
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

    /* In use: refused and unchanged. */
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

    /* On failure, a file that existed stays, and a new one is removed. */
    g_assert_false(create_file(path, INT64_C(1) << 60, PREALLOC_MODE_FALLOC, &err));
    assert_error(&err, "preallocate");
    g_assert_cmpint(file_length(path), >=, 0);
    g_unlink(path);
    g_assert_false(create_file(path, INT64_C(1) << 60, PREALLOC_MODE_FALLOC, &err));
    assert_error(&err, "preallocate");
    g_assert_cmpint(file_length(path), ==, -1);
    g_assert_false(create_file(test_dir, 1, PREALLOC_MODE_OFF, &err));
    assert_error(&err, "Could not create");
    g_assert_false(create_file("/dev/null", 1, PREALLOC_MODE_OFF, &err));
    assert_error(&err, "to be a regular file");
    g_assert_false(create_file(path, UINT64_MAX, PREALLOC_MODE_OFF, &err));
    assert_error(&err, "too large");
    g_assert_cmpint(file_length(path), ==, -1);
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
    g_assert_false(blk_co_truncate(blk, 4 * MiB, true, PREALLOC_MODE_FALLOC, NULL, &err));
    assert_error(&err, "No space left on device");
    g_assert_cmpint(file_length(path), ==, 1 * MiB);
    g_assert_cmpint(blk_getlength(blk), ==, 1 * MiB);

    /* A sparse file that can only be written in part. */
    g_assert_true(blk_co_truncate(blk, 4 * MiB, true, PREALLOC_MODE_OFF, NULL, &error_abort));
    g_autofree void *buf = g_malloc0(4 * MiB);
    g_assert_cmpint(blk_co_pwrite(blk, 0, 4 * MiB, buf, 0), ==, -ENOSPC);
    blk_co_unref(blk);
    g_autofree char *unmounted = output_of("umount %s", mnt);
    g_assert_nonnull(unmounted);
    g_rmdir(mnt);
}

typedef struct ThreadTest {
    char *path;
    BlockBackend *blk;
} ThreadTest;

static void coroutine_fn thread_open(void *opaque)
{
    ThreadTest *t = opaque;

    t->path = make_file("data", SIZE + 100, 0x11);
    t->blk = open_all("driver=file,filename=%s", t->path);
}

static void coroutine_fn thread_requests(void *opaque)
{
    ThreadTest *t = opaque;

    check_requests(t->blk, t->path);
}

static void coroutine_fn thread_close(void *opaque)
{
    ThreadTest *t = opaque;

    blk_co_unref(t->blk);
    g_unlink(t->path);
    g_free(t->path);
}

static gpointer thread_entry(gpointer opaque)
{
    AioContext *ctx = aio_context_new(&error_abort);

    aio_context_set_current(ctx);
    aio_context_run(thread_requests, opaque);
    aio_context_set_current(NULL);
    aio_context_unref(ctx);
    return NULL;
}

/* On an event loop of its own, which frees its ring. */
static void test_thread(void)
{
    ThreadTest t;

    aio_context_run(thread_open, &t);
    g_thread_join(g_thread_new("loop", thread_entry, &t));
    aio_context_run(thread_close, &t);
}

static void run(gconstpointer entry)
{
    aio_context_run((CoroutineEntry *)entry, NULL);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    test_dir = g_dir_make_tmp("test-file-driver-XXXXXX", NULL);
    g_test_add_data_func("/file/data", "", test_data);
    g_test_add_data_func("/file/data/threads", ",aio=threads", test_data);
    g_test_add_data_func("/file/data/native", ",aio=native,cache.direct=on", test_data);
    g_test_add_data_func("/file/data/io_uring", ",aio=io_uring,aio-max-batch=3", test_data);
    g_test_add_data_func("/file/data/threads/direct", ",aio=threads,cache.direct=on", test_data);
    g_test_add_data_func("/file/data/io_uring/direct", ",aio=io_uring,cache.direct=on", test_data);
    g_test_add_func("/file/data/thread", test_thread);
    g_test_add_data_func("/file/holes", holes_entry, run);
    g_test_add_data_func("/file/length", length_entry, run);
    g_test_add_data_func("/file/resize", resize_entry, run);
    g_test_add_data_func("/file/open", open_entry, run);
    g_test_add_data_func("/file/read-only", read_only_entry, run);
    g_test_add_data_func("/file/erase-while-reopened", erase_reopen_entry, run);
    g_test_add_data_func("/file/locks", locks_entry, run);
    g_test_add_data_func("/file/locks/qemu", qemu_locks_entry, run);
    g_test_add_data_func("/file/create", create_entry, run);
    g_test_add_data_func("/file/enospc", enospc_entry, run);
    int ret = g_test_run();
    thread_pool_cleanup();
    g_rmdir(test_dir);
    g_free(test_dir);
    return ret;
}
