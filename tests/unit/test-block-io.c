/*
 * The graph and its requests over a driver in memory: alignment, splitting, overlap, permissions, draining
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include <json-c/json.h>

#include "block/block-backend.h"
#include "memory-driver.h"
#include "qapi/json.h"
#include "qapi/keyval.h"

static BlockDriverState *coroutine_fn open_node(const char *text, Error **errp)
{
    g_autoptr(json_object) options = keyval_parse(text, NULL, NULL, &error_abort);

    return bdrv_co_open(NULL, options, 0, errp);
}

static BlockBackend *coroutine_fn open_blk(const char *text)
{
    g_autoptr(json_object) options = keyval_parse(text, NULL, NULL, &error_abort);

    return blk_co_new_open("test", NULL, options, 0, BLK_PERM_ALL, BLK_PERM_ALL, &error_abort);
}

#define SIZE (64 * 1024)

typedef struct Op {
    BlockBackend *blk;
    int64_t offset;
    int64_t bytes;
    uint8_t byte;
    int *pending;
} Op;

static void coroutine_fn write_op(void *opaque)
{
    Op *op = opaque;
    g_autofree uint8_t *buf = g_malloc(op->bytes);
    QEMUIOVector qiov;

    memset(buf, op->byte, op->bytes);
    qemu_iovec_init(&qiov, 3);
    int64_t third = op->bytes / 3;
    qemu_iovec_add(&qiov, buf, third);
    qemu_iovec_add(&qiov, buf + third, third);
    qemu_iovec_add(&qiov, buf + 2 * third, op->bytes - 2 * third);
    g_assert_cmpint(blk_co_pwritev(op->blk, op->offset, op->bytes, &qiov, 0), ==, 0);
    qemu_iovec_destroy(&qiov);
    --*op->pending;
    g_free(op);
}

/* Adjacent ranges that share blocks are written at the same time: neither write may be lost. */
static void coroutine_fn unaligned_entry(void *opaque)
{
    g_autofree uint8_t *shadow = g_malloc0(SIZE);
    g_autofree uint8_t *buf = g_malloc(SIZE);
    BlockBackend *blk = open_blk("driver=null-co,size=65536");
    int pending = 0;
    int64_t bytes;

    for (int round = 0; round < 20; round++) {
        for (int64_t pos = 0; pos < SIZE; pos += bytes) {
            Op *op = g_new(Op, 1);

            bytes = g_test_rand_int_range(1, 3000);
            bytes = MIN(bytes, SIZE - pos);
            *op = (Op){ blk, pos, bytes, g_test_rand_int_range(0, 256), &pending };
            memset(shadow + pos, op->byte, bytes);
            pending++;
            qemu_coroutine_enter(qemu_coroutine_create(write_op, op));
        }
        while (pending) {
            co_sleep_ns(SCALE_MS / 10);
        }
        int64_t offset = g_test_rand_int_range(0, SIZE / 2);
        bytes = g_test_rand_int_range(1, SIZE / 2);
        g_assert_cmpint(blk_co_pwrite_zeroes(blk, offset, bytes, 0), ==, 0);
        memset(shadow + offset, 0, bytes);

        offset = g_test_rand_int_range(0, SIZE / 2);
        g_assert_cmpint(blk_co_pread(blk, offset, SIZE / 2, buf), ==, 0);
        g_assert_cmpmem(buf, SIZE / 2, shadow + offset, SIZE / 2);
        g_assert_cmpint(blk_co_pread(blk, 0, SIZE, buf), ==, 0);
        g_assert_cmpmem(buf, SIZE, shadow, SIZE);
    }
    blk_co_unref(blk);
}

static void test_unaligned(void)
{
    static const struct {
        uint32_t alignment;
        int64_t max_transfer;
        int max_iov;
    } cases[] = { { 1, 0, 0 }, { 512, 0, 0 }, { 4096, 8192, 0 }, { 512, 1024, 1 }, { 512, 0, 2 } };

    memory_latency_ns = 1;
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        memory_alignment = cases[i].alignment;
        memory_max_transfer = cases[i].max_transfer;
        memory_max_iov = cases[i].max_iov;
        aio_context_run(unaligned_entry, NULL);
    }
    memory_alignment = 1;
    memory_max_transfer = memory_latency_ns = memory_max_iov = 0;
}

static void coroutine_fn range_entry(void *opaque)
{
    BlockBackend *blk = open_blk("driver=null-co,size=65536");
    uint8_t buf[512];

    g_assert_cmpint(blk_co_pread(blk, SIZE - 512, 512, buf), ==, 0);
    g_assert_cmpint(blk_co_pread(blk, SIZE - 511, 512, buf), ==, -EIO);
    g_assert_cmpint(blk_co_pwrite(blk, SIZE, 512, buf, 0), ==, -EIO);
    g_assert_cmpint(blk_co_pread(blk, -1, 1, buf), ==, -EIO);
    g_assert_cmpint(blk_co_pread(blk, INT64_MAX, 1, buf), ==, -EIO);
    g_assert_true(blk_co_truncate(blk, 2 * SIZE, true, PREALLOC_MODE_OFF, NULL, &error_abort));
    g_assert_cmpint(blk_co_pwrite(blk, 2 * SIZE - 512, 512, buf, 0), ==, 0);
    g_assert_false(blk_co_truncate(blk, -1, true, PREALLOC_MODE_OFF, NULL, NULL));
    blk_co_unref(blk);
}

static void test_range(void)
{
    aio_context_run(range_entry, NULL);
}

static void coroutine_fn perm_entry(void *opaque)
{
    BlockDriverState *bs = open_node("driver=null-co,node-name=n0", &error_abort);
    BlockBackend *reader = blk_new("the reader", BLK_PERM_CONSISTENT_READ,
                                   BLK_PERM_ALL & ~BLK_PERM_WRITE);
    BlockBackend *writer = blk_new("the writer", BLK_PERM_WRITE, BLK_PERM_ALL);
    g_autoptr(Error) err = NULL;
    uint8_t byte = 0;

    g_assert_true(blk_insert_bs(reader, bs, &error_abort));
    g_assert_false(blk_insert_bs(writer, bs, &err));
    g_assert_nonnull(strstr(error_get_pretty(err), "the reader"));
    g_assert_nonnull(strstr(error_get_pretty(err), "the writer"));
    g_assert_nonnull(strstr(error_get_pretty(err), "n0"));
    g_assert_nonnull(strstr(error_get_pretty(err), "'write'"));
    g_assert_cmpint(blk_co_pwrite(reader, 0, 1, &byte, 0), ==, -EPERM);

    g_assert_true(blk_set_perm(reader, BLK_PERM_CONSISTENT_READ, BLK_PERM_ALL, &error_abort));
    g_assert_true(blk_insert_bs(writer, bs, &error_abort));
    g_assert_false(blk_set_perm(reader, BLK_PERM_CONSISTENT_READ, 0, NULL));
    g_assert_cmpint(blk_co_pwrite(writer, 0, 1, &byte, 0), ==, 0);
    g_assert_cmpint(blk_co_pread(writer, 0, 1, &byte), ==, -EPERM);
    blk_co_unref(reader);
    blk_co_unref(writer);
    bdrv_co_unref(bs);
    g_assert_null(bdrv_find_node("n0"));
}

static void test_perm(void)
{
    aio_context_run(perm_entry, NULL);
}

static void coroutine_fn names_entry(void *opaque)
{
    BlockDriverState *bs = open_node("driver=null-co,node-name=n0", &error_abort);
    static const char *const bad[] = { "driver=null-co,node-name=n0", "driver=null-co,node-name=0n",
                                       "driver=null-co,node-name=", "driver=null-co,size=x",
                                       "driver=null-co,nonsense=1", "driver=null-co,force-share=on" };

    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autoptr(Error) err = NULL;
        g_assert_null(open_node(bad[i], &err));
        g_assert_nonnull(err);
    }
    g_assert_true(bdrv_find_node("n0") == bs);
    bdrv_co_unref(bs);
}

/* A driver may have several protocols. */
static void test_protocols(void)
{
    static const char *const good[] = { "memory:", "memory+unix:///x?y", "memories:x:y" };
    static const char *const bad[] = { "memor:x", "memory+:x", "memoriess:x", ":x" };

    for (size_t i = 0; i < G_N_ELEMENTS(good); i++) {
        g_autoptr(json_object) options = bdrv_filename_to_options(good[i], &error_abort);
        struct json_object *driver;

        g_assert_true(json_object_object_get_ex(options, "driver", &driver));
        g_assert_cmpstr(json_object_get_string(driver), ==, "null-co");
    }
    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autoptr(Error) err = NULL;

        g_assert_null(bdrv_filename_to_options(bad[i], &err));
        g_assert_nonnull(strstr(error_get_pretty(err), "Unknown protocol"));
    }
}

static void test_names(void)
{
    aio_context_run(names_entry, NULL);
}

static void coroutine_fn drain_entry(void *opaque)
{
    BlockBackend *blk = open_blk("driver=null-co,size=65536");
    MemoryState *s = blk_bs(blk)->opaque;
    int pending = 2;
    Op *first = g_new(Op, 1), *second = g_new(Op, 1);

    *first = (Op){ blk, 0, 512, 1, &pending };
    *second = (Op){ blk, 0, 512, 2, &pending };
    qemu_coroutine_enter(qemu_coroutine_create(write_op, first));
    g_assert_cmpint(s->busy, ==, 1);
    bdrv_co_drained_begin(blk_bs(blk));
    g_assert_cmpint(s->busy, ==, 0);
    g_assert_cmpint(pending, ==, 1);
    /* A new request waits for the end of the section. */
    qemu_coroutine_enter(qemu_coroutine_create(write_op, second));
    co_sleep_ns(5 * memory_latency_ns);
    g_assert_cmpint(pending, ==, 1);
    g_assert_cmpint(s->data[0], ==, 1);
    bdrv_co_drained_end(blk_bs(blk));
    while (pending) {
        co_sleep_ns(SCALE_MS);
    }
    g_assert_cmpint(s->data[0], ==, 2);
    blk_co_unref(blk);
}

static void test_drain(void)
{
    memory_latency_ns = SCALE_MS;
    aio_context_run(drain_entry, NULL);
    memory_latency_ns = 0;
}

/*
 * Users are added and removed within drained sections: no request reaches the drained node, and no user remains
 * stopped.
 */
static void coroutine_fn drain_change_entry(void *opaque)
{
    BlockBackend *blk = open_blk("driver=null-co,node-name=n,size=65536");
    BlockDriverState *bs = blk_bs(blk);
    MemoryState *s = bs->opaque;
    int pending = 2;
    Op *op = g_new(Op, 1), *through_parent = g_new(Op, 1);

    bdrv_co_drained_begin(bs);
    BlockBackend *newcomer = blk_new("newcomer", BLK_PERM_WRITE, BLK_PERM_ALL);
    g_assert_true(blk_insert_bs(newcomer, bs, &error_abort));
    BlockDriverState *parent = open_node("driver=raw,file=n", &error_abort);
    BlockBackend *above = blk_new("above", BLK_PERM_WRITE, BLK_PERM_ALL);
    g_assert_true(blk_insert_bs(above, parent, &error_abort));
    *op = (Op){ newcomer, 0, 512, 1, &pending };
    *through_parent = (Op){ above, 512, 512, 2, &pending };
    qemu_coroutine_enter(qemu_coroutine_create(write_op, op));
    qemu_coroutine_enter(qemu_coroutine_create(write_op, through_parent));
    co_sleep_ns(5 * memory_latency_ns);
    g_assert_cmpint(pending, ==, 2);
    g_assert_cmpint(s->data[0] + s->data[512], ==, 0);
    g_assert_cmpint(parent->quiesce_counter, ==, 1);
    /* A second section continues above, and the first user is removed. */
    bdrv_co_drained_begin(parent);
    blk_co_unref(blk);
    bdrv_co_drained_end(bs);
    co_sleep_ns(5 * memory_latency_ns);
    g_assert_cmpint(bs->quiesce_counter, ==, 0);
    g_assert_cmpint(s->data[0], ==, 1);
    g_assert_cmpint(s->data[512], ==, 0);
    bdrv_co_drained_end(parent);
    while (pending) {
        co_sleep_ns(SCALE_MS);
    }
    g_assert_cmpint(s->data[512], ==, 2);
    g_assert_cmpint(bs->quiesce_counter + parent->quiesce_counter, ==, 0);
    bdrv_co_unref(parent);
    blk_co_unref(above);
    blk_co_unref(newcomer);
}

static void test_drain_change(void)
{
    memory_latency_ns = SCALE_MS;
    aio_context_run(drain_change_entry, NULL);
    memory_latency_ns = 0;
}

static void coroutine_fn flush_entry(void *opaque)
{
    BlockBackend *blk = open_blk("driver=null-co,size=65536");
    MemoryState *s = blk_bs(blk)->opaque;
    uint8_t byte = 1;

    g_assert_cmpint(blk_co_flush(blk), ==, 0);
    g_assert_cmpint(s->flushes, ==, 0);     /* nothing to flush */
    g_assert_cmpint(blk_co_pwrite(blk, 0, 1, &byte, 0), ==, 0);
    g_assert_cmpint(blk_co_flush(blk), ==, 0);
    g_assert_cmpint(blk_co_flush(blk), ==, 0);
    g_assert_cmpint(s->flushes, ==, 1);
    g_assert_cmpint(blk_co_pwrite(blk, 0, 1, &byte, BDRV_REQ_FUA), ==, 0);
    g_assert_cmpint(s->flushes, ==, 2);
    blk_co_unref(blk);
}

static void test_flush(void)
{
    aio_context_run(flush_entry, NULL);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/block/unaligned", test_unaligned);
    g_test_add_func("/block/range", test_range);
    g_test_add_func("/block/permissions", test_perm);
    g_test_add_func("/block/names", test_names);
    g_test_add_func("/block/protocols", test_protocols);
    g_test_add_func("/block/drain", test_drain);
    g_test_add_func("/block/drain-change", test_drain_change);
    g_test_add_func("/block/flush", test_flush);
    return g_test_run();
}
