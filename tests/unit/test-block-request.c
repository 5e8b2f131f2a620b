/*
 * Requests and drivers: what each side promises the other, over a driver that does as a test says
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include <json.h>
#include <sys/resource.h>

#include "block/block-backend.h"
#include "block/io/io_int.h"
#include "qapi/json.h"
#include "qapi/keyval.h"
#include "util/aio.h"

typedef enum FakeOp {
    FAKE_READ,
    FAKE_WRITE,
    FAKE_ZEROES,
    FAKE_DISCARD,
    FAKE_FLUSH,
} FakeOp;

/* What the driver is asked, and answers: 0 without a hook. */
static int coroutine_fn (*fake_hook)(FakeOp op, int64_t offset, int64_t bytes, BdrvRequestFlags flags);
static GString *fake_calls;     /* a letter for each request: r w z d f, capital with FUA */
static struct {
    uint32_t alignment;
    int64_t max_transfer;
    int status;
    int64_t pnum;
    BlockDriverState *file;
} fake;

static int coroutine_fn fake_call(FakeOp op, int64_t offset, int64_t bytes, BdrvRequestFlags flags)
{
    char letter = "rwzdf"[op];

    g_string_append_c(fake_calls, flags & BDRV_REQ_FUA ? g_ascii_toupper(letter) : letter);
    return fake_hook ? fake_hook(op, offset, bytes, flags) : 0;
}

static bool coroutine_fn fake_co_open(BlockDriverState *bs, Error **errp)
{
    bs->filename = g_strdup("fake");
    return true;
}

static void coroutine_fn fake_co_close(BlockDriverState *bs)
{
}

static int64_t coroutine_fn fake_co_getlength(BlockDriverState *bs)
{
    const BlockdevOptionsNull *o = &bs->options->u.null_co;

    return o->has_size ? (int64_t)o->size : 1 * MiB;
}

static void fake_refresh_limits(BlockDriverState *bs)
{
    bs->bl.request_alignment = fake.alignment ?: 1;
    bs->bl.max_transfer = fake.max_transfer;
}

static int coroutine_fn fake_co_preadv(BlockDriverState *bs, int64_t offset, int64_t bytes, QEMUIOVector *qiov,
                                       BdrvRequestFlags flags)
{
    return fake_call(FAKE_READ, offset, bytes, flags);
}

static int coroutine_fn fake_co_pwritev(BlockDriverState *bs, int64_t offset, int64_t bytes, QEMUIOVector *qiov,
                                        BdrvRequestFlags flags)
{
    return fake_call(FAKE_WRITE, offset, bytes, flags);
}

static int coroutine_fn fake_co_flush(BlockDriverState *bs)
{
    return fake_call(FAKE_FLUSH, 0, 0, 0);
}

static int coroutine_fn fake_co_pwrite_zeroes(BlockDriverState *bs, int64_t offset, int64_t bytes,
                                              BdrvRequestFlags flags)
{
    return fake_call(FAKE_ZEROES, offset, bytes, flags);
}

static int coroutine_fn fake_co_pdiscard(BlockDriverState *bs, int64_t offset, int64_t bytes)
{
    return fake_call(FAKE_DISCARD, offset, bytes, 0);
}

static int coroutine_fn fake_co_block_status(BlockDriverState *bs, int64_t offset, int64_t bytes, int64_t *pnum,
                                             int64_t *map, BlockDriverState **file)
{
    *pnum = fake.pnum;
    *file = fake.file;
    return fake.status;
}

static const BlockDriver fake_driver = {
    .format_name = "null-co",
    .driver = BLOCKDEV_DRIVER_NULL_CO,
    .is_protocol = true,
    .bdrv_co_open = fake_co_open,
    .bdrv_co_close = fake_co_close,
    .bdrv_co_getlength = fake_co_getlength,
    .bdrv_refresh_limits = fake_refresh_limits,
    .bdrv_co_preadv = fake_co_preadv,
    .bdrv_co_pwritev = fake_co_pwritev,
    .bdrv_co_flush = fake_co_flush,
    .supported_write_flags = BDRV_REQ_FUA,
    .supported_zero_flags = BDRV_REQ_FUA | BDRV_REQ_MAY_UNMAP,
    .bdrv_co_pwrite_zeroes = fake_co_pwrite_zeroes,
    .bdrv_co_pdiscard = fake_co_pdiscard,
    .bdrv_co_block_status = fake_co_block_status,
};

/* A node on top of another. */
static bool coroutine_fn filter_co_open(BlockDriverState *bs, Error **errp)
{
    return bdrv_co_open_child(bs, "file", bs->options->u.raw.file, BDRV_CHILD_FILTERED, errp);
}

static int coroutine_fn filter_co_preadv(BlockDriverState *bs, int64_t offset, int64_t bytes, QEMUIOVector *qiov,
                                         BdrvRequestFlags flags)
{
    return bdrv_co_preadv(bs->file, offset, bytes, qiov, flags);
}

static int coroutine_fn filter_co_pwritev(BlockDriverState *bs, int64_t offset, int64_t bytes, QEMUIOVector *qiov,
                                          BdrvRequestFlags flags)
{
    return bdrv_co_pwritev(bs->file, offset, bytes, qiov, flags);
}

static const BlockDriver filter_driver = {
    .format_name = "raw",
    .driver = BLOCKDEV_DRIVER_RAW,
    .is_filter = true,
    .bdrv_co_open = filter_co_open,
    .bdrv_co_preadv = filter_co_preadv,
    .bdrv_co_pwritev = filter_co_pwritev,
    .supported_write_flags = BDRV_REQ_FUA | BDRV_REQ_OWN_BUFFER | BDRV_REQ_WRITE_UNCHANGED,
};

const BlockDriver *bdrv_find_format(const char *format_name)
{
    return g_str_equal(format_name, "raw") ? &filter_driver : &fake_driver;
}

const BlockDriver *bdrv_find_driver(BlockdevDriver driver)
{
    return driver == BLOCKDEV_DRIVER_RAW ? &filter_driver : &fake_driver;
}

const BlockDriver *bdrv_probe_all(const uint8_t *buf, size_t len)
{
    return &fake_driver;
}

void bdrv_iterate_drivers(void (*fn)(const BlockDriver *drv, void *opaque), void *opaque)
{
    fn(&fake_driver, opaque);
}

static BlockBackend *coroutine_fn open_blk(const char *text)
{
    g_autoptr(json_object) options = keyval_parse(text, NULL, NULL, &error_abort);

    g_string_truncate(fake_calls, 0);
    return blk_co_new_open("test", NULL, options, 0, BLK_PERM_ALL, BLK_PERM_ALL, &error_abort);
}

static void reset_fake(void)
{
    memset(&fake, 0, sizeof(fake));
    fake_hook = NULL;
}

/* Promises of drivers, and to drivers: each case breaks one, which must end the program. */

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
    BROKEN_NOT_IN_FLIGHT,
    BROKEN_RANGE,
    BROKEN_ALIGNMENT,
    BROKEN_MAX_TRANSFER,
    BROKEN_QIOV,
    BROKEN_READ_FLAGS,
    BROKEN_WRITE_FLAGS,
    BROKEN_READ_ONLY,
    BROKEN_INACTIVE,
    BROKEN__MAX,
} Broken;

static void coroutine_fn ask_status(BlockBackend *blk, int status, int64_t pnum)
{
    int64_t n;

    fake.status = status;
    fake.pnum = pnum;
    blk_co_block_status(blk, 0, 8192, &n);
}

/* A driver that breaks its promises. */
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
    default:
        break;
    }
}

/* A caller that does. */
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
    BlockBackend *blk = open_blk("driver=null-co");
    break_as_driver(blk, what, buf);
    break_as_caller(blk, what, buf);
    blk_co_unref(blk);
    reset_fake();
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
            g_test_trap_assert_stderr("*driver.c*Assertion*");
        }
    }
}

/* What users can bring about is an error: a node may become inactive under a user that was allowed to write. */
static void coroutine_fn refused_entry(void *opaque)
{
    BlockBackend *blk = open_blk("driver=null-co,discard=unmap");
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

/* Who may only write what is there already says so with each write, down to the storage. */
static void coroutine_fn unchanged_entry(void *opaque)
{
    fake.alignment = 512;
    BlockBackend *blk = open_blk("driver=raw,detect-zeroes=on,file.driver=null-co");
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
    /* As zeroes, and zeroes that are written out, in whole blocks or not. */
    g_assert_cmpint(blk_co_pwrite(blk, 0, 1024, zeroes, BDRV_REQ_WRITE_UNCHANGED), ==, 0);
    g_assert_cmpint(blk_co_pwrite_zeroes(blk, 0, 1024, BDRV_REQ_WRITE_UNCHANGED), ==, 0);
    g_assert_cmpint(blk_co_pwrite_zeroes(blk, 1, 1024, BDRV_REQ_WRITE_UNCHANGED), ==, 0);
    g_assert_cmpstr(fake_calls->str, ==, "wrrWwwrwrww");
    /* Who may change data may, of course, leave it. */
    g_assert_true(blk_set_perm(reader, BLK_PERM_CONSISTENT_READ, BLK_PERM_ALL, &error_abort));
    g_assert_true(blk_set_perm(blk, BLK_PERM_WRITE, BLK_PERM_ALL, &error_abort));
    g_assert_cmpint(blk_co_pwrite(blk, 0, 512, buf, BDRV_REQ_WRITE_UNCHANGED), ==, 0);
    blk_co_unref(reader);
    blk_co_unref(blk);
    reset_fake();
}

static void test_unchanged(void)
{
    aio_context_run(unchanged_entry, NULL);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    fake_calls = g_string_new(NULL);
    g_test_add_func("/request/boundary", test_boundary);
    g_test_add_func("/request/refused", test_refused);
    g_test_add_func("/request/unchanged", test_unchanged);
    int ret = g_test_run();
    g_string_free(fake_calls, true);
    return ret;
}
