/*
 * BlockCopy below a filter: draining, and the end of a copy
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "block/graph/graph_int.h"
#include "copy-setup.h"

static BlockBackend *coroutine_fn open_filter(Setup *s)
{
    g_autofree char *text = g_strdup_printf("driver=raw,file=%s", bdrv_get_node_name(blk_bs(s->source)));
    g_autoptr(json_object) options = keyval_parse(text, NULL, NULL, &error_abort);

    return blk_co_new_open("filter", NULL, options, 0, BLK_PERM_ALL, BLK_PERM_ALL, &error_abort);
}

/* With a filter above the source, a drained section of the source waits for copies, and holds none back half-way. */

typedef struct FilterWriter {
    BlockBackend *filter;
    BlockCopy *copy;
} FilterWriter;

static void coroutine_fn filter_writer_entry(void *opaque)
{
    FilterWriter *w = opaque;

    for (int i = 0; i < 8; i++) {
        g_assert_cmpint(block_copy_co_range(w->copy, i * GRANULE, GRANULE), ==, 0);
    }
    bdrv_dec_in_flight(blk_bs(w->filter));
}

static void coroutine_fn filter_entry(void *opaque)
{
    Setup s;

    setup_init(&s, SIZE);
    BlockBackend *filter = open_filter(&s);
    setup_bitmap_copy(&s, GRANULE, (BlockCopyOptions){
        .filter = blk_bs(filter), .workers = 4, .chunk_bytes = GRANULE,
    });
    FilterWriter writer = { .filter = filter, .copy = s.copy };
    memory_latency_ns = 2 * SCALE_MS;
    job_start(s.job);
    co_sleep_ns(SCALE_MS);
    bdrv_inc_in_flight(blk_bs(filter));
    aio_co_start(qemu_get_aio_context(), filter_writer_entry, &writer);
    co_sleep_ns(3 * SCALE_MS);

    bdrv_co_drained_begin(blk_bs(s.source));
    g_assert_cmpint(s.source_state->busy + s.target_state->busy, ==, 0);
    int64_t bytes_read = s.source_state->bytes_read;
    g_assert_cmpint(bytes_read, >=, 8 * GRANULE);
    g_assert_cmpint(s.target_state->bytes_written, ==, bytes_read);
    co_sleep_ns(20 * SCALE_MS);
    g_assert_cmpint(s.source_state->bytes_read, ==, bytes_read);
    g_assert_true(block_copy_range_is_done(s.copy, 0, 8 * GRANULE));
    g_assert_false(block_copy_range_is_done(s.copy, SIZE - GRANULE, GRANULE));
    bdrv_co_drained_end(blk_bs(s.source));

    wait_for(s.job, JOB_STATUS_CONCLUDED);
    assert_copied(&s);
    blk_co_unref(filter);
    setup_cleanup(&s);
}

static void test_filter(void)
{
    aio_context_run(filter_entry, NULL);
}

/* With @writers_wait, drained sections of both volumes at once do the same. */

static void coroutine_fn locking_writer_entry(void *opaque)
{
    FilterWriter *w = opaque;
    BlockCopyRange range;

    for (int i = 0; i < 8; i++) {
        block_copy_co_range_begin(w->copy, &range, i * GRANULE, GRANULE);
        block_copy_range_end(&range);
    }
    bdrv_dec_in_flight(blk_bs(w->filter));
}

static void coroutine_fn writers_wait_entry(void *opaque)
{
    Setup s;

    setup_init(&s, SIZE);
    BlockBackend *filter = open_filter(&s);
    setup_bitmap_copy(&s, GRANULE, (BlockCopyOptions){
        .writers_wait = true, .workers = 4, .chunk_bytes = GRANULE,
    });
    FilterWriter writer = { .filter = filter, .copy = s.copy };
    memory_latency_ns = 2 * SCALE_MS;
    job_start(s.job);
    co_sleep_ns(SCALE_MS);
    bdrv_inc_in_flight(blk_bs(filter));
    aio_co_start(qemu_get_aio_context(), locking_writer_entry, &writer);

    bdrv_co_drained_begin(blk_bs(s.target));
    bdrv_co_drained_begin(blk_bs(s.source));
    int64_t bytes_read = s.source_state->bytes_read;
    g_assert_cmpint(bytes_read, >, 0);
    g_assert_cmpint(s.target_state->bytes_written, ==, bytes_read);
    co_sleep_ns(20 * SCALE_MS);
    g_assert_cmpint(s.source_state->bytes_read, ==, bytes_read);
    bdrv_co_drained_end(blk_bs(s.target));
    co_sleep_ns(20 * SCALE_MS);
    g_assert_cmpint(s.source_state->bytes_read, ==, bytes_read);
    bdrv_co_drained_end(blk_bs(s.source));

    wait_for(s.job, JOB_STATUS_CONCLUDED);
    assert_copied(&s);
    blk_co_unref(filter);
    setup_cleanup(&s);
}

static void test_writers_wait(void)
{
    aio_context_run(writers_wait_entry, NULL);
}

static void coroutine_fn stop_entry(void *opaque)
{
    Setup s;
    Error *err = NULL;

    setup_init(&s, SIZE);
    setup_bitmap_copy(&s, GRANULE, (BlockCopyOptions){ .workers = 4, .chunk_bytes = GRANULE });
    g_assert_true(job_set_speed(s.job, 1, &error_abort));
    job_start(s.job);
    co_sleep_ns(SCALE_MS);
    error_setg(&err, "stop it");
    block_copy_stop(s.copy, err);
    wait_for(s.job, JOB_STATUS_CONCLUDED);
    g_assert_cmpstr(error_get_pretty(s.job->err), ==, "stop it");
    setup_cleanup(&s);
}

static void test_stop(void)
{
    aio_context_run(stop_entry, NULL);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/copy-filter/drain", test_filter);
    g_test_add_func("/copy-filter/writers-wait", test_writers_wait);
    g_test_add_func("/copy-filter/stop", test_stop);
    return g_test_run();
}
