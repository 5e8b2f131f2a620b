/*
 * Dirty bitmaps: ranges, counting, searching, what sets bits, merging, undoing, and copying while several threads write
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include <json-c/json.h>

#include "block/block-backend.h"
#include "block/dirty-bitmap.h"
#include "memory-driver.h"
#include "qapi/json.h"
#include "qapi/keyval.h"

static BlockBackend *coroutine_fn open_blk(int64_t bytes)
{
    g_autofree char *text = g_strdup_printf("driver=null-co,size=%" PRId64, bytes);
    g_autoptr(json_object) options = keyval_parse(text, NULL, NULL, &error_abort);

    return blk_co_new_open("test", NULL, options, 0, BLK_PERM_ALL, BLK_PERM_ALL, &error_abort);
}

/* A model of a bitmap: one byte for each byte of the node. */
typedef struct Model {
    bool *dirty;
    int64_t length;
    int64_t granularity;
} Model;

static void model_change(Model *m, int64_t offset, int64_t bytes, bool dirty)
{
    int64_t start = ROUND_DOWN(offset, m->granularity);
    int64_t end = MIN(ROUND_UP(offset + bytes, m->granularity), m->length);

    for (int64_t i = start; bytes && offset < m->length && i < end; i++) {
        m->dirty[i] = dirty;
    }
}

static void model_check(const Model *m, const BdrvDirtyBitmap *bitmap)
{
    int64_t count = 0, start, bytes, pos = g_test_rand_int_range(0, m->length);
    int64_t end = g_test_rand_int_range(0, m->length + 1000), max = g_test_rand_int_range(1, m->length + 1);

    for (int64_t i = 0; i < m->length; i++) {
        count += m->dirty[i];
    }
    g_assert_cmpint(bdrv_get_dirty_count(bitmap), ==, count);

    while (bdrv_dirty_bitmap_next_dirty_area(bitmap, pos, end, max, &start, &bytes)) {
        for (; pos < start; pos++) {
            g_assert_false(m->dirty[pos]);
        }
        g_assert_cmpint(bytes, >, 0);
        g_assert_cmpint(bytes, <=, max);
        for (; pos < start + bytes; pos++) {
            g_assert_true(m->dirty[pos]);
        }
        /* Not shorter than necessary. */
        g_assert_true(bytes == max || pos == MIN(end, m->length) || !m->dirty[pos]);
    }
    for (; pos < MIN(end, m->length); pos++) {
        g_assert_false(m->dirty[pos]);
    }
}

static void coroutine_fn random_entry(void *opaque)
{
    Model m = { .length = g_test_rand_int_range(1, 20000), .granularity = 1 << g_test_rand_int_range(0, 13) };
    BlockBackend *blk = open_blk(m.length);
    BdrvDirtyBitmap *bitmap = bdrv_create_dirty_bitmap(blk_bs(blk), m.granularity, NULL, &error_abort);

    m.dirty = g_new0(bool, m.length);
    model_check(&m, bitmap);
    for (int i = 0; i < 100; i++) {
        int64_t offset = g_test_rand_int_range(0, m.length + 100), bytes = g_test_rand_int_range(0, m.length);

        if (g_test_rand_bit()) {
            bdrv_set_dirty_bitmap(bitmap, offset, bytes);
            model_change(&m, offset, bytes, true);
        } else {
            offset = ROUND_DOWN(offset, m.granularity);
            bytes = ROUND_UP(bytes / 2, m.granularity);
            bdrv_reset_dirty_bitmap(bitmap, offset, bytes);
            model_change(&m, offset, bytes, false);
        }
        model_check(&m, bitmap);
    }
    bdrv_release_dirty_bitmap(bitmap);
    g_free(m.dirty);
    blk_co_unref(blk);
}

static void test_random(void)
{
    for (int i = 0; i < 10; i++) {
        aio_context_run(random_entry, NULL);
    }
}

/* All dirty ranges as "START+BYTES ..."; then clear them. */
static char *take_all(BdrvDirtyBitmap *bitmap)
{
    GString *text = g_string_new(NULL);
    int64_t start, bytes;

    while (bdrv_dirty_bitmap_next_dirty_area(bitmap, 0, INT64_MAX, INT64_MAX, &start, &bytes)) {
        g_string_append_printf(text, "%s%" PRId64 "+%" PRId64, text->len ? " " : "", start, bytes);
        bdrv_reset_dirty_bitmap(bitmap, start, bytes);
    }
    g_assert_cmpint(bdrv_get_dirty_count(bitmap), ==, 0);
    return g_string_free(text, FALSE);
}

#define ASSERT_DIRTY(bitmap, expected)                      \
    do {                                                    \
        g_autofree char *text_ = take_all(bitmap);          \
        g_assert_cmpstr(text_, ==, expected);               \
    } while (0)

static void coroutine_fn requests_entry(void *opaque)
{
    BlockBackend *blk = open_blk(100000);
    BdrvDirtyBitmap *fine = bdrv_create_dirty_bitmap(blk_bs(blk), 512, "fine", &error_abort);
    BdrvDirtyBitmap *coarse = bdrv_create_dirty_bitmap(blk_bs(blk), 65536, NULL, &error_abort);
    uint8_t buf[4096] = { 1 };

    g_assert_cmpint(blk_co_pread(blk, 0, sizeof(buf), buf), ==, 0);
    g_assert_cmpint(blk_co_flush(blk), ==, 0);
    ASSERT_DIRTY(fine, "");
    g_assert_cmpint(blk_co_pwrite(blk, 1000, 100, buf, 0), ==, 0);
    ASSERT_DIRTY(fine, "512+1024");
    ASSERT_DIRTY(coarse, "0+65536");
    g_assert_cmpint(blk_co_pwrite_zeroes(blk, 99000, 1000, 0), ==, 0);
    ASSERT_DIRTY(fine, "98816+1184");
    ASSERT_DIRTY(coarse, "65536+34464");

    /* A failed write may have changed something. */
    memory_bad_byte = 5000;
    memory_write_failures = 1;
    g_assert_cmpint(blk_co_pwrite(blk, 4096, 4096, buf, 0), ==, -EIO);
    ASSERT_DIRTY(fine, "4096+4096");
    ASSERT_DIRTY(coarse, "0+65536");

    bdrv_disable_dirty_bitmap(fine);
    g_assert_cmpint(blk_co_pwrite(blk, 0, 1, buf, 0), ==, 0);
    ASSERT_DIRTY(fine, "");
    ASSERT_DIRTY(coarse, "0+65536");
    bdrv_set_dirty_bitmap(fine, 0, 1);
    ASSERT_DIRTY(fine, "0+512");
    bdrv_enable_dirty_bitmap(fine);
    g_assert_cmpint(blk_co_pwrite(blk, 0, 1, buf, 0), ==, 0);
    ASSERT_DIRTY(fine, "0+512");
    bdrv_release_dirty_bitmap(coarse);
    blk_co_unref(blk);      /* the other one is freed with its node */
}

static void test_requests(void)
{
    aio_context_run(requests_entry, NULL);
}

static void coroutine_fn discard_entry(void *opaque)
{
    g_autoptr(json_object) options = keyval_parse("driver=null-co,size=65536,discard=unmap", NULL, NULL, &error_abort);
    BlockBackend *blk = blk_co_new_open("test", NULL, options, 0, BLK_PERM_ALL, BLK_PERM_ALL, &error_abort);
    BdrvDirtyBitmap *bitmap = bdrv_create_dirty_bitmap(blk_bs(blk), 512, NULL, &error_abort);

    g_assert_cmpint(blk_co_pdiscard(blk, 1024, 2048), ==, 0);
    ASSERT_DIRTY(bitmap, "1024+2048");
    bdrv_release_dirty_bitmap(bitmap);
    blk_co_unref(blk);
}

static void test_discard(void)
{
    aio_context_run(discard_entry, NULL);
}

static void coroutine_fn resize_entry(void *opaque)
{
    BlockBackend *blk = open_blk(10000);
    BdrvDirtyBitmap *bitmap = bdrv_create_dirty_bitmap(blk_bs(blk), 4096, NULL, &error_abort);
    g_autoptr(Error) err = NULL;

    bdrv_set_dirty_bitmap(bitmap, 0, 10000);
    g_assert_true(blk_co_truncate(blk, 5000, true, PREALLOC_MODE_OFF, NULL, &error_abort));
    g_assert_cmpint(bdrv_get_dirty_count(bitmap), ==, 5000);
    ASSERT_DIRTY(bitmap, "0+5000");
    g_assert_true(blk_co_truncate(blk, 9000, true, PREALLOC_MODE_OFF, NULL, &error_abort));
    ASSERT_DIRTY(bitmap, "4096+4904");
    g_assert_true(blk_co_truncate(blk, 1000000, true, PREALLOC_MODE_OFF, NULL, &error_abort));
    ASSERT_DIRTY(bitmap, "8192+991808");
    g_assert_true(blk_co_truncate(blk, 0, true, PREALLOC_MODE_OFF, NULL, &error_abort));
    ASSERT_DIRTY(bitmap, "");

    memory_length = INT64_C(1) << 60;
    g_assert_false(blk_co_truncate(blk, INT64_C(1) << 60, true, PREALLOC_MODE_OFF, NULL, &err));
    g_assert_nonnull(strstr(error_get_pretty(err), "not enough memory for a dirty bitmap"));
    memory_length = 0;
    bdrv_release_dirty_bitmap(bitmap);
    blk_co_unref(blk);
}

static void test_resize(void)
{
    aio_context_run(resize_entry, NULL);
}

#define HUGE_LENGTH ((INT64_C(1) << 56) + 100)

static void coroutine_fn huge_entry(void *opaque)
{
    memory_length = HUGE_LENGTH;
    BlockBackend *blk = open_blk(0);
    uint32_t granularity = UINT32_C(1) << 31;
    g_autoptr(Error) err = NULL;
    int64_t start, bytes;

    g_assert_null(bdrv_create_dirty_bitmap(blk_bs(blk), 512, "b", &err));
    g_assert_nonnull(strstr(error_get_pretty(err), "not enough memory"));
    BdrvDirtyBitmap *bitmap = bdrv_create_dirty_bitmap(blk_bs(blk), granularity, "b", &error_abort);
    g_clear_pointer(&err, error_free);
    g_assert_null(bdrv_create_dirty_bitmap(blk_bs(blk), granularity, "b", &err));
    g_assert_cmpstr(error_get_pretty(err), ==, "Bitmap already exists: b");

    bdrv_set_dirty_bitmap(bitmap, HUGE_LENGTH - 1, INT64_MAX);
    g_assert_cmpint(bdrv_get_dirty_count(bitmap), ==, HUGE_LENGTH % granularity);
    g_assert_true(bdrv_dirty_bitmap_next_dirty_area(bitmap, 1, INT64_MAX, INT64_MAX, &start, &bytes));
    g_assert_cmpint(start, ==, ROUND_DOWN(HUGE_LENGTH, granularity));
    g_assert_cmpint(bytes, ==, HUGE_LENGTH % granularity);
    bdrv_set_dirty_bitmap(bitmap, 0, INT64_MAX);
    g_assert_cmpint(bdrv_get_dirty_count(bitmap), ==, HUGE_LENGTH);
    bdrv_reset_dirty_bitmap(bitmap, 0, INT64_MAX);
    g_assert_cmpint(bdrv_get_dirty_count(bitmap), ==, 0);
    blk_co_unref(blk);
    memory_length = 0;
}

static void test_huge(void)
{
    aio_context_run(huge_entry, NULL);
}

static void coroutine_fn merge_entry(void *opaque)
{
    int64_t length = g_test_rand_int_range(1, 200000);
    BlockBackend *blk = open_blk(length), *other = open_blk(length);
    BlockDriverState *src_bs = g_test_rand_bit() ? blk_bs(blk) : blk_bs(other);
    Model src_model = { .length = length, .granularity = 1 << g_test_rand_int_range(0, 13) };
    Model dest_model = { .length = length, .granularity = 1 << g_test_rand_int_range(0, 13) };
    BdrvDirtyBitmap *src = bdrv_create_dirty_bitmap(src_bs, src_model.granularity, NULL, &error_abort);
    BdrvDirtyBitmap *dest = bdrv_create_dirty_bitmap(blk_bs(blk), dest_model.granularity, NULL, &error_abort);

    src_model.dirty = g_new0(bool, length);
    dest_model.dirty = g_new0(bool, length);
    for (int i = 0; i < 8; i++) {
        int64_t offset = g_test_rand_int_range(0, length), bytes = g_test_rand_int_range(0, length / 8 + 1);

        bdrv_set_dirty_bitmap(i < 4 ? src : dest, offset, bytes);
        model_change(i < 4 ? &src_model : &dest_model, offset, bytes, true);
    }
    for (int64_t i = 0; i < length; i++) {
        model_change(&dest_model, i, src_model.dirty[i], true);
    }
    g_assert_true(bdrv_dirty_bitmap_check_merge(dest, src, &error_abort));
    bdrv_merge_dirty_bitmap(dest, src);
    model_check(&dest_model, dest);
    model_check(&src_model, src);
    bdrv_release_dirty_bitmap(src);
    bdrv_release_dirty_bitmap(dest);
    g_free(src_model.dirty);
    g_free(dest_model.dirty);
    blk_co_unref(blk);
    blk_co_unref(other);
}

static void test_merge(void)
{
    for (int i = 0; i < 30; i++) {
        aio_context_run(merge_entry, NULL);
    }
}

/* Restored, a bitmap has the bits from before and those of later writes, and follows a new length. */
static void coroutine_fn restore_entry(void *opaque)
{
    BlockBackend *blk = open_blk(100000);
    BdrvDirtyBitmap *bitmap = bdrv_create_dirty_bitmap(blk_bs(blk), 512, "b", &error_abort);

    bdrv_set_dirty_bitmap(bitmap, 1024, 512);
    BdrvDirtyBitmap *clone = bdrv_clone_dirty_bitmap(bitmap, &error_abort);
    bdrv_clear_dirty_bitmap(bitmap);
    bdrv_set_dirty_bitmap(bitmap, 8192, 512);
    bdrv_disable_dirty_bitmap(bitmap);
    g_assert_cmpint(blk_co_pwrite_zeroes(blk, 4096, 512, 0), ==, 0);
    g_assert_true(blk_co_truncate(blk, 150000, true, PREALLOC_MODE_OFF, NULL, &error_abort));
    g_assert_cmpint(blk_co_pwrite_zeroes(blk, 5120, 512, 0), ==, 0);
    bdrv_restore_dirty_bitmap(bitmap, clone);
    g_assert_true(bdrv_dirty_bitmap_enabled(bitmap));
    ASSERT_DIRTY(bitmap, "1024+512 4096+512 5120+512 99840+50160");

    bdrv_disable_dirty_bitmap(bitmap);
    clone = bdrv_clone_dirty_bitmap(bitmap, &error_abort);
    bdrv_enable_dirty_bitmap(bitmap);
    g_assert_cmpint(blk_co_pwrite_zeroes(blk, 4096, 512, 0), ==, 0);
    bdrv_restore_dirty_bitmap(bitmap, clone);
    g_assert_false(bdrv_dirty_bitmap_enabled(bitmap));
    ASSERT_DIRTY(bitmap, "");
    blk_co_unref(blk);
}

static void test_restore(void)
{
    aio_context_run(restore_entry, NULL);
}

static void coroutine_fn busy_entry(void *opaque)
{
    BlockBackend *blk = open_blk(100000);
    BdrvDirtyBitmap *bitmap = bdrv_create_dirty_bitmap(blk_bs(blk), 512, "b", &error_abort);
    g_autoptr(Error) err = NULL;

    g_assert_true(bdrv_find_dirty_bitmap(blk_bs(blk), "b") == bitmap);
    g_assert_null(bdrv_find_dirty_bitmap(blk_bs(blk), "c"));
    g_assert_true(bdrv_dirty_bitmap_check(bitmap, &error_abort));
    bdrv_dirty_bitmap_set_busy(bitmap, "job 'j'");
    g_assert_false(bdrv_dirty_bitmap_check(bitmap, &err));
    g_assert_cmpstr(error_get_pretty(err), ==, "Bitmap 'b' is currently in use by job 'j' and cannot be used");
    g_assert_false(bdrv_check_no_busy_bitmap(blk_bs(blk), NULL));
    bdrv_co_dirty_bitmap_unset_busy(bitmap);
    g_assert_true(bdrv_dirty_bitmap_check(bitmap, &error_abort));
    g_assert_true(bdrv_check_no_busy_bitmap(blk_bs(blk), NULL));
    blk_co_unref(blk);
}

static void test_busy(void)
{
    aio_context_run(busy_entry, NULL);
}

#define WRITERS 3
#define PASSES 50
#define SIZE (1 * MiB)

typedef struct Writers {
    BlockBackend *blk;
    bool stop;          /* atomic */
    int running;        /* atomic */
} Writers;

static void coroutine_fn writer_entry(void *opaque)
{
    Writers *w = opaque;
    g_autoptr(GRand) rand = g_rand_new();
    uint8_t buf[5000];

    while (!qatomic_read(&w->stop)) {
        int64_t offset = g_rand_int_range(rand, 0, SIZE - sizeof(buf));

        memset(buf, g_rand_int(rand), sizeof(buf));
        g_assert_cmpint(blk_co_pwrite(w->blk, offset, g_rand_int_range(rand, 1, sizeof(buf)), buf, 0), ==, 0);
    }
    g_atomic_int_add(&w->running, -1);
}

/* Three threads write while another one copies: in the end nothing is missed. */
static void coroutine_fn threads_entry(void *opaque)
{
    Writers w = { .blk = open_blk(SIZE), .running = WRITERS };
    g_autofree uint8_t *copy = g_malloc0(SIZE), *now = g_malloc0(SIZE);
    IOThread *threads[WRITERS];
    int64_t start, bytes, copied = 0;
    int running = WRITERS;

    for (int i = 0; i < WRITERS; i++) {
        threads[i] = iothread_new("test", &error_abort);
        aio_co_start(iothread_get_aio_context(threads[i]), writer_entry, &w);
    }
    co_sleep_ns(SCALE_MS);
    /* Created while they write. */
    BdrvDirtyBitmap *bitmap = bdrv_create_dirty_bitmap(blk_bs(w.blk), 4096, NULL, &error_abort);
    bdrv_set_dirty_bitmap(bitmap, 0, SIZE);
    for (int pass = 0; running; pass++) {
        qatomic_set(&w.stop, pass >= PASSES);
        running = g_atomic_int_get(&w.running);
        while (bdrv_dirty_bitmap_next_dirty_area(bitmap, 0, SIZE, 64 * KiB, &start, &bytes)) {
            bdrv_reset_dirty_bitmap(bitmap, start, bytes);
            g_assert_cmpint(blk_co_pread(w.blk, start, bytes, copy + start), ==, 0);
            copied += bytes;
        }
        co_sleep_ns(SCALE_MS / 10);
    }
    g_assert_cmpint(copied, >, SIZE);
    g_assert_cmpint(blk_co_pread(w.blk, 0, SIZE, now), ==, 0);
    g_assert_cmpmem(copy, SIZE, now, SIZE);
    for (int i = 0; i < WRITERS; i++) {
        iothread_unref(threads[i]);
    }
    bdrv_release_dirty_bitmap(bitmap);
    blk_co_unref(w.blk);
}

static void test_threads(void)
{
    for (int i = 0; i < 3; i++) {
        aio_context_run(threads_entry, NULL);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/dirty-bitmap/random", test_random);
    g_test_add_func("/dirty-bitmap/requests", test_requests);
    g_test_add_func("/dirty-bitmap/discard", test_discard);
    g_test_add_func("/dirty-bitmap/resize", test_resize);
    g_test_add_func("/dirty-bitmap/huge", test_huge);
    g_test_add_func("/dirty-bitmap/merge", test_merge);
    g_test_add_func("/dirty-bitmap/restore", test_restore);
    g_test_add_func("/dirty-bitmap/busy", test_busy);
    g_test_add_func("/dirty-bitmap/threads", test_threads);
    return g_test_run();
}
