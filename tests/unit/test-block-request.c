/*
 * Requests and drivers: the contract between them, with a driver that a test controls
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include <sys/resource.h>

#include "block/dirty-bitmap.h"
#include "block/graph/graph_int.h"
#include "block/io/io_int.h"
#include "fake-driver.h"
#include "qapi/qapi.h"

/* The contract of drivers: each case violates it, which must end the program. */

static int coroutine_fn positive_hook(FakeOp op, int64_t offset, int64_t bytes, BdrvRequestFlags flags)
{
    return bytes;
}

typedef enum Broken {
    BROKEN_NONE,
    BROKEN_RESULT,
    BROKEN_STATUS_NOTHING,
    BROKEN_STATUS_TOO_MUCH,
    BROKEN_STATUS_UNALIGNED,
    BROKEN_STATUS_NO_FILE,
    BROKEN_STATUS_ITSELF,
    BROKEN_STATUS_FLAGS,
    BROKEN_OPEN,
    BROKEN_NOT_IN_FLIGHT,
    BROKEN_RANGE,
    BROKEN_ALIGNMENT,
    BROKEN_MAX_TRANSFER,
    BROKEN_QIOV,
    BROKEN_READ_FLAGS,
    BROKEN_WRITE_FLAGS,
    BROKEN_READ_ONLY,
    BROKEN_INACTIVE,
    BROKEN_CLOSE,
    BROKEN_REOPEN,
    BROKEN_PERM,
    BROKEN_THREAD,
    BROKEN__MAX,
} Broken;

static void coroutine_fn ask_status(BlockBackend *blk, int status, int64_t pnum)
{
    int64_t n;

    fake.status = status;
    fake.pnum = pnum;
    blk_co_block_status(blk, 0, 8192, &n);
}

/* A driver that violates the contract. */
static void coroutine_fn break_as_driver(BlockBackend *blk, Broken what, uint8_t *buf)
{
    switch (what) {
    case BROKEN_RESULT:
        fake_hook = positive_hook;
        blk_co_pread(blk, 0, 512, buf);
        break;
    case BROKEN_STATUS_NOTHING:
        ask_status(blk, BDRV_BLOCK_DATA, 0);
        break;
    case BROKEN_STATUS_TOO_MUCH:
        ask_status(blk, BDRV_BLOCK_DATA, 8704);
        break;
    case BROKEN_STATUS_UNALIGNED:
        ask_status(blk, BDRV_BLOCK_DATA, 513);
        break;
    case BROKEN_STATUS_NO_FILE:
        ask_status(blk, BDRV_BLOCK_DATA | BDRV_BLOCK_OFFSET_VALID, 512);
        break;
    case BROKEN_STATUS_ITSELF:
        fake.file = blk_bs(blk);
        ask_status(blk, BDRV_BLOCK_RECURSE, 512);
        break;
    case BROKEN_STATUS_FLAGS:
        ask_status(blk, BDRV_BLOCK_EOF, 512);
        break;
    case BROKEN_OPEN:
        fake.open_fails = true;
        fake_open_blk("driver=null-co");
        break;
    default:
        break;
    }
}

static gpointer drain_elsewhere(gpointer bs)
{
    bdrv_driver_drain_begin(bs);
    return NULL;
}

/* A caller that violates the contract. */
static void coroutine_fn break_as_caller(BlockBackend *blk, Broken what, uint8_t *buf)
{
    BlockDriverState *bs = blk_bs(blk);
    int64_t length = bdrv_getlength(bs);
    QEMUIOVector qiov;

    qemu_iovec_init_buf(&qiov, buf, 512);
    bs->in_flight += what != BROKEN_NOT_IN_FLIGHT;
    switch (what) {
    case BROKEN_NOT_IN_FLIGHT:
        bdrv_driver_preadv(bs, 0, 512, &qiov, 0);
        break;
    case BROKEN_RANGE:
        bdrv_driver_preadv(bs, length, 512, &qiov, 0);
        break;
    case BROKEN_ALIGNMENT:
        bdrv_driver_preadv(bs, 1, 512, &qiov, 0);
        break;
    case BROKEN_MAX_TRANSFER:
        qiov.size = 8192;
        bdrv_driver_preadv(bs, 0, 8192, &qiov, 0);
        break;
    case BROKEN_QIOV:
        bdrv_driver_preadv(bs, 0, 1024, &qiov, 0);
        break;
    case BROKEN_READ_FLAGS:
        bdrv_driver_preadv(bs, 0, 512, &qiov, BDRV_REQ_FUA);
        break;
    case BROKEN_WRITE_FLAGS:
        bdrv_driver_pwritev(bs, 0, 512, &qiov, BDRV_REQ_OWN_BUFFER);
        break;
    case BROKEN_READ_ONLY:
        bs->read_only = true;
        bdrv_driver_pdiscard(bs, 0, 512);
        break;
    case BROKEN_INACTIVE:
        bs->inactive = true;
        bdrv_driver_pwrite_zeroes(bs, 0, 512, 0);
        break;
    case BROKEN_CLOSE:
        bdrv_driver_close(bs);
        break;
    case BROKEN_REOPEN:
        bdrv_driver_reopen_end(&(BDRVReopenState){ .bs = bs, .prepared = true }, true);
        break;
    case BROKEN_PERM:
        bdrv_driver_set_perm(bs, 0, BLK_PERM_ALL);
        break;
    case BROKEN_THREAD:
        g_thread_join(g_thread_new("other", drain_elsewhere, bs));
        break;
    default:
        break;
    }
    bs->in_flight -= what != BROKEN_NOT_IN_FLIGHT;
}

static void coroutine_fn boundary_entry(void *opaque)
{
    Broken what = GPOINTER_TO_INT(opaque);
    g_autofree uint8_t *buf = g_malloc(8192);

    fake.alignment = 512;
    fake.max_transfer = 4096;
    BlockBackend *blk = fake_open_blk("driver=null-co");
    break_as_driver(blk, what, buf);
    break_as_caller(blk, what, buf);
    blk_co_unref(blk);
    fake_reset();
}

static void test_boundary(void)
{
    if (g_test_subprocess()) {
        const struct rlimit none = { 0 };

        setrlimit(RLIMIT_CORE, &none);
        aio_context_run(boundary_entry, GINT_TO_POINTER(atoi(g_getenv("BROKEN"))));
        return;
    }
    for (int what = 0; what < BROKEN__MAX; what++) {
        g_autofree char *value = g_strdup_printf("%d", what);

        g_setenv("BROKEN", value, true);
        g_test_trap_subprocess(NULL, 0, 0);
        if (what == BROKEN_NONE) {
            g_test_trap_assert_passed();
        } else {
            g_test_trap_assert_failed();
            g_test_trap_assert_stderr(what == BROKEN_PERM ? "*lock.c*Assertion*" : "*driver.c*Assertion*");
        }
    }
}

/* What users can cause is an error: a node may become inactive under a user that was allowed to write. */
static void coroutine_fn refused_entry(void *opaque)
{
    BlockBackend *blk = fake_open_blk("driver=null-co,discard=unmap");
    BlockDriverState *bs = blk_bs(blk);
    uint8_t byte = 0;

    for (int i = 0; i < 2; i++) {
        bs->inactive = i == 0;
        bs->read_only = i == 1;
        g_assert_cmpint(blk_co_pwrite(blk, 0, 1, &byte, 0), ==, -EPERM);
        g_assert_cmpint(blk_co_pwrite_zeroes(blk, 0, 512, 0), ==, -EPERM);
        g_assert_cmpint(blk_co_pdiscard(blk, 0, 512), ==, -EPERM);
        g_assert_cmpint(blk_co_pread(blk, 0, 1, &byte), ==, 0);
    }
    g_assert_cmpstr(fake_calls->str, ==, "rr");
    bs->read_only = false;
    blk_co_unref(blk);
}

static void test_refused(void)
{
    aio_context_run(refused_entry, NULL);
}

/* A user that may only write unchanged data says so with each write, down to the storage. */
static void coroutine_fn unchanged_entry(void *opaque)
{
    fake.alignment = 512;
    BlockBackend *blk = fake_open_blk("driver=raw,detect-zeroes=on,file.driver=null-co");
    BlockBackend *reader = blk_new("reader", BLK_PERM_CONSISTENT_READ, BLK_PERM_ALL & ~BLK_PERM_WRITE);
    uint8_t buf[1024] = { 1 }, zeroes[1024] = { 0 };

    g_assert_true(blk_set_perm(blk, BLK_PERM_WRITE_UNCHANGED, BLK_PERM_ALL, &error_abort));
    g_assert_true(blk_insert_bs(reader, blk_bs(blk), &error_abort));
    g_assert_cmpint(blk_co_pwrite(blk, 0, 512, buf, 0), ==, -EPERM);
    g_assert_cmpint(blk_co_pwrite_zeroes(blk, 0, 512, 0), ==, -EPERM);
    g_assert_cmpint(blk_co_pdiscard(blk, 0, 512), ==, -EPERM);
    g_assert_cmpstr(fake_calls->str, ==, "");
    g_assert_cmpint(blk_co_pwrite(blk, 0, 512, buf, BDRV_REQ_WRITE_UNCHANGED), ==, 0);
    g_assert_cmpstr(fake_calls->str, ==, "w");
    g_assert_cmpint(blk_co_pwrite(blk, 1, 512, buf, BDRV_REQ_WRITE_UNCHANGED | BDRV_REQ_FUA), ==, 0);
    g_assert_cmpstr(fake_calls->str, ==, "wrrW");
    /* With zeroes, and with zeroes that are written out, in whole blocks or not. */
    g_assert_cmpint(blk_co_pwrite(blk, 0, 1024, zeroes, BDRV_REQ_WRITE_UNCHANGED), ==, 0);
    g_assert_cmpint(blk_co_pwrite_zeroes(blk, 0, 1024, BDRV_REQ_WRITE_UNCHANGED), ==, 0);
    g_assert_cmpint(blk_co_pwrite_zeroes(blk, 1, 1024, BDRV_REQ_WRITE_UNCHANGED), ==, 0);
    g_assert_cmpstr(fake_calls->str, ==, "wrrWwwrwrww");
    /* A user that may change data may also leave it unchanged. */
    g_assert_true(blk_set_perm(reader, BLK_PERM_CONSISTENT_READ, BLK_PERM_ALL, &error_abort));
    g_assert_true(blk_set_perm(blk, BLK_PERM_WRITE, BLK_PERM_ALL, &error_abort));
    g_assert_cmpint(blk_co_pwrite(blk, 0, 512, buf, BDRV_REQ_WRITE_UNCHANGED), ==, 0);
    blk_co_unref(reader);
    blk_co_unref(blk);
    fake_reset();
}

/* Not beyond the end of the node if that is within a block, and not after reads or discards. */
static void coroutine_fn highest_entry(void *opaque)
{
    fake.alignment = 512;
    BlockBackend *blk = fake_open_blk("driver=null-co,size=1000,discard=unmap");
    uint8_t buf[1000] = { 0 };

    g_assert_cmpint(blk_co_pread(blk, 0, 1000, buf), ==, 0);
    g_assert_cmpint(blk_co_pdiscard(blk, 0, 512), ==, 0);
    g_assert_cmpint(bdrv_get_wr_highest_offset(blk_bs(blk)), ==, 0);
    g_assert_cmpint(blk_co_pwrite(blk, 0, 512, buf, 0), ==, 0);
    g_assert_cmpint(bdrv_get_wr_highest_offset(blk_bs(blk)), ==, 512);
    g_assert_cmpint(blk_co_pwrite(blk, 900, 100, buf, 0), ==, 0);
    g_assert_cmpint(bdrv_get_wr_highest_offset(blk_bs(blk)), ==, 1000);
    blk_co_unref(blk);
    fake_reset();
}

static void test_highest(void)
{
    aio_context_run(highest_entry, NULL);
}

static void test_unchanged(void)
{
    aio_context_run(unchanged_entry, NULL);
}

/* Storage that has lost earlier writes, and reports that once. */
static struct {
    bool lost;              /* data was lost, which has not been reported yet */
    bool full;              /* every write fails */
} disk;

static int coroutine_fn disk_hook(FakeOp op, int64_t offset, int64_t bytes, BdrvRequestFlags flags)
{
    bool syncs = op == FAKE_FLUSH || flags & BDRV_REQ_FUA;

    if (disk.full && (op == FAKE_WRITE || op == FAKE_ZEROES)) {
        return -ENOSPC;
    }
    if (syncs && disk.lost) {
        disk.lost = false;
        return -EIO;
    }
    return 0;
}

static bool coroutine_fn reopen(const char *text, Error **errp)
{
    g_autoptr(json_object) json = json_object_new_array();
    g_autoptr(BlockdevOptionsList) list = NULL;

    json_object_array_add(json, keyval_parse(text, NULL, NULL, &error_abort));
    list = QAPI_FROM_JSON(BlockdevOptionsList, json, QAPI_INPUT_KEYVAL, &error_abort);
    return bdrv_co_reopen(list, errp);
}

static void coroutine_fn flush_error_entry(void *opaque)
{
    static const char storage[] = "driver=null-co,node-name=s";
    BlockBackend *blk = fake_open_blk("driver=raw,node-name=f,file.driver=null-co,file.node-name=s");
    g_autoptr(Error) err = NULL;
    uint8_t byte = 0;

    fake_hook = disk_hook;
    for (int who = 0; who < 3; who++) {
        /* No matter which request sees it first: a write, a zero write, or a flush. */
        g_assert_cmpint(blk_co_pwrite(blk, 0, 1, &byte, 0), ==, 0);
        disk.lost = true;
        g_assert_cmpint(who == 0 ? blk_co_pwrite(blk, 0, 1, &byte, BDRV_REQ_FUA) :
                        who == 1 ? bdrv_co_pwrite_zeroes(blk_bs(blk)->file, 0, 512, BDRV_REQ_FUA) : blk_co_flush(blk),
                        ==, -EIO);
        g_assert_false(disk.lost);
        g_assert_cmpint(blk_co_flush(blk), ==, -EIO);
        g_assert_cmpint(blk_co_pwrite(blk, 0, 1, &byte, 0), ==, 0);
        g_assert_cmpint(blk_co_flush(blk), ==, -EIO);
        /* Reopening a node above does not help: the storage itself has to be reopened. */
        g_assert_false(reopen("driver=raw,node-name=f,file=s", &err));
        g_assert_nonnull(strstr(error_get_pretty(err), "could not flush"));
        g_clear_pointer(&err, error_free);
        g_assert_true(reopen(storage, &error_abort));
        g_assert_cmpint(blk_co_flush(blk), ==, 0);
    }
    /* The failure of a write says nothing about others. */
    g_assert_cmpint(blk_co_pwrite(blk, 0, 1, &byte, 0), ==, 0);
    disk.full = true;
    g_assert_cmpint(blk_co_pwrite(blk, 0, 1, &byte, BDRV_REQ_FUA), ==, -ENOSPC);
    disk.full = false;
    g_assert_cmpint(blk_co_flush(blk), ==, 0);
    /* Reopening sees the error first, and fails once. */
    g_assert_cmpint(blk_co_pwrite(blk, 0, 1, &byte, 0), ==, 0);
    disk.lost = true;
    g_assert_false(reopen(storage, NULL));
    g_assert_cmpint(blk_co_flush(blk), ==, -EIO);
    g_assert_true(reopen(storage, &error_abort));
    g_assert_cmpint(blk_co_flush(blk), ==, 0);
    blk_co_unref(blk);
    fake_reset();
}

static void test_flush_error(void)
{
    aio_context_run(flush_error_entry, NULL);
}

/* Zeroes with FUA that are written out, because the driver lacks zero writes, are flushed. */
static int coroutine_fn no_zeroes_hook(FakeOp op, int64_t offset, int64_t bytes, BdrvRequestFlags flags)
{
    return op == FAKE_ZEROES ? -ENOTSUP : 0;
}

static void coroutine_fn zeroes_fua_entry(void *opaque)
{
    BlockBackend *blk = fake_open_blk("driver=null-co");

    fake_hook = no_zeroes_hook;
    g_assert_cmpint(blk_co_pwrite_zeroes(blk, 0, 512, BDRV_REQ_FUA), ==, 0);
    g_assert_cmpstr(fake_calls->str, ==, "Zwf");
    blk_co_unref(blk);
    fake_reset();
}

static void test_zeroes_fua(void)
{
    aio_context_run(zeroes_fua_entry, NULL);
}

/* Ranges of many TiB, and at the end of a node of maximum length. */
static struct {
    int64_t start;
    int64_t end;            /* end of the last request, where the next one continues */
    uint64_t requests;
} sum;

static int coroutine_fn sum_hook(FakeOp op, int64_t offset, int64_t bytes, BdrvRequestFlags flags)
{
    if (op == FAKE_READ || op == FAKE_FLUSH) {
        return 0;
    }
    sum.start = sum.requests++ ? sum.start : offset;
    g_assert_true(sum.requests == 1 || offset == sum.end);
    sum.end = offset + bytes;
    return 0;
}

static void coroutine_fn check_sum(int ret, int64_t start, int64_t end)
{
    g_assert_cmpint(ret, ==, 0);
    g_assert_cmpint(sum.start, ==, start);
    g_assert_cmpint(sum.end, ==, end);
    memset(&sum, 0, sizeof(sum));
}

static void coroutine_fn huge_entry(void *opaque)
{
    g_autofree char *options = g_strdup_printf("driver=null-co,discard=unmap,size=%" PRId64, BDRV_MAX_LENGTH);
    const int64_t end = BDRV_MAX_LENGTH;
    uint8_t byte = 0;

    fake.alignment = 4096;
    fake.zeroes_alignment = BDRV_MAX_ALIGNMENT;
    fake_hook = sum_hook;
    fake_silent = true;
    BlockBackend *blk = fake_open_blk(options);
    check_sum(blk_co_pwrite_zeroes(blk, TiB, 9 * TiB, 0), TiB, 10 * TiB);
    check_sum(blk_co_pdiscard(blk, TiB - 1, 9 * TiB), TiB, 10 * TiB - GiB);
    check_sum(blk_co_pwrite_zeroes(blk, end - 9 * TiB, 9 * TiB, 0), end - 9 * TiB, end);
    check_sum(blk_co_pwrite_zeroes(blk, end - 8192, 8192, 0), end - 8192, end);
    check_sum(blk_co_pdiscard(blk, end - 2 * GiB + 1, 2 * GiB - 1), end - GiB, end);
    check_sum(blk_co_pdiscard(blk, end - 1, 1), 0, 0);
    check_sum(blk_co_pwrite(blk, end - 1, 1, &byte, 0), end - 4096, end);
    g_assert_cmpint(blk_co_pwrite_zeroes(blk, 1, INT64_MAX, 0), ==, -EIO);
    g_assert_cmpint(blk_co_pdiscard(blk, INT64_MAX, INT64_MAX), ==, -EIO);
    g_assert_cmpint(blk_co_pread(blk, end - 1, 2, &byte), ==, -EIO);
    g_assert_false(blk_co_truncate(blk, INT64_MAX, true, PREALLOC_MODE_OFF, NULL, NULL));
    blk_co_unref(blk);
    fake_reset();
}

static void test_huge(void)
{
    aio_context_run(huge_entry, NULL);
}

/* A request whose client goes while the driver handles its first piece, or before that. */
typedef struct Abandoned {
    BlockBackend *blk;
    const char *op;
    int ret;
} Abandoned;

static bool abandon_before;

static int coroutine_fn abandon_hook(FakeOp op, int64_t offset, int64_t bytes, BdrvRequestFlags flags)
{
    qemu_co_abandon(qemu_coroutine_self());
    return flags & BDRV_REQ_FUA ? -EIO : 0;
}

static int coroutine_fn abandon_no_zeroes_hook(FakeOp op, int64_t offset, int64_t bytes, BdrvRequestFlags flags)
{
    qemu_co_cancel(qemu_coroutine_self());
    return op == FAKE_ZEROES ? -ENOTSUP : abandon_hook(op, offset, bytes, flags);
}

static void coroutine_fn abandoned_entry(void *opaque)
{
    Abandoned *a = opaque;
    g_autofree uint8_t *buf = g_malloc(2 * MiB);
    int64_t pnum;

    memset(buf, 1, 2 * MiB);
    if (abandon_before) {
        qemu_co_abandon(qemu_coroutine_self());
    }
    switch (*a->op) {
    case 'r':
        a->ret = blk_co_pread(a->blk, 0, 2 * MiB, buf);
        break;
    case 'w':
        a->ret = blk_co_pwrite(a->blk, 0, 2 * MiB, buf, 0);
        break;
    case 'W':
        a->ret = blk_co_pwrite(a->blk, 0, 512, buf, BDRV_REQ_FUA);
        break;
    case 'm':       /* less than a block is read, modified and written */
        a->ret = blk_co_pwrite(a->blk, 1, 1, buf, 0);
        break;
    case 'z':
        a->ret = blk_co_pwrite_zeroes(a->blk, 0, GiB, 0);
        break;
    case 'd':
        a->ret = blk_co_pdiscard(a->blk, 0, GiB);
        break;
    case 'f':
        a->ret = blk_co_flush(a->blk);
        break;
    case 's':
        a->ret = blk_co_block_status(a->blk, 0, GiB, &pnum);
        break;
    }
}

/* Let a client make a request: its result, and what the driver saw in fake_calls. */
static int coroutine_fn abandon(BlockBackend *blk, const char *op)
{
    Abandoned a = { .blk = blk, .op = op, .ret = 1 };

    g_string_truncate(fake_calls, 0);
    qemu_coroutine_enter(qemu_coroutine_create(abandoned_entry, &a));
    while (a.ret == 1) {
        co_sleep_ns(SCALE_MS);
    }
    return a.ret;
}

/* Nothing more begins; what was done counts, and keeps nobody else out. */
static void coroutine_fn abandon_entry(void *opaque)
{
    fake.alignment = 512;
    fake.max_transfer = MiB;
    BlockBackend *blk = fake_open_blk("driver=null-co,size=1G,discard=unmap");
    static const char *const ops[] = { "r", "w", "m", "z", "d", "f", "s" };
    g_assert_cmpint(blk_co_pwrite_zeroes(blk, 0, 512, 0), ==, 0);
    abandon_before = true;
    for (size_t i = 0; i < G_N_ELEMENTS(ops); i++) {
        g_assert_cmpint(abandon(blk, ops[i]), ==, -ECANCELED);
        g_assert_cmpstr(fake_calls->str, ==, "");
    }
    abandon_before = false;
    fake_hook = abandon_hook;
    g_assert_cmpint(abandon(blk, "r"), ==, -ECANCELED);
    g_assert_cmpstr(fake_calls->str, ==, "r");
    g_assert_cmpint(abandon(blk, "m"), ==, -ECANCELED);
    g_assert_cmpstr(fake_calls->str, ==, "r");
    for (size_t i = 0; i < 2; i++) {
        BdrvDirtyBitmap *bitmap = bdrv_create_dirty_bitmap(blk_bs(blk), 512, "b", &error_abort);

        g_assert_cmpint(abandon(blk, i ? "z" : "w"), ==, -ECANCELED);
        g_assert_cmpstr(fake_calls->str, ==, i ? "z" : "w");
        g_assert_cmpint(bdrv_get_dirty_count(bitmap), ==, i ? GiB : 2 * MiB);
        bdrv_release_dirty_bitmap(bitmap);
        /* What was written before the end of the request is not lost on the next flush. */
        fake_hook = NULL;
        g_assert_cmpint(blk_co_flush(blk), ==, 0);
        g_assert_cmpstr(fake_calls->str, ==, i ? "zf" : "wf");
        fake_hook = abandon_hook;
    }
    g_assert_cmpint(abandon(blk, "d"), ==, -ECANCELED);
    g_assert_cmpstr(fake_calls->str, ==, "d");
    BdrvRangeLock *lock = bdrv_co_range_lock(blk_bs(blk), 0, GiB);
    bdrv_range_unlock(lock);
    /* A coroutine that is only cancelled goes on: the zeroes are written out. */
    fake_hook = abandon_no_zeroes_hook;
    g_assert_cmpint(abandon(blk, "z"), ==, -ECANCELED);
    g_assert_cmpstr(fake_calls->str, ==, "zw");
    /* A failed FUA write is repeated without FUA even then, or the flush error would be lost. */
    fake_hook = abandon_hook;
    g_assert_cmpint(abandon(blk, "W"), ==, -EIO);
    g_assert_cmpstr(fake_calls->str, ==, "Ww");
    fake_hook = NULL;
    g_assert_cmpint(blk_co_flush(blk), ==, -EIO);
    blk_co_unref(blk);
    fake_reset();
}

static void test_abandon(void)
{
    aio_context_run(abandon_entry, NULL);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    fake_calls = g_string_new(NULL);
    g_test_add_func("/request/boundary", test_boundary);
    g_test_add_func("/request/refused", test_refused);
    g_test_add_func("/request/unchanged", test_unchanged);
    g_test_add_func("/request/highest-offset", test_highest);
    g_test_add_func("/request/flush-error", test_flush_error);
    g_test_add_func("/request/zeroes-fua", test_zeroes_fua);
    g_test_add_func("/request/huge", test_huge);
    g_test_add_func("/request/abandon", test_abandon);
    int ret = g_test_run();
    g_string_free(fake_calls, true);
    return ret;
}
