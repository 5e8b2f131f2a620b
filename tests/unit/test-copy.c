/*
 * BlockCopy: contents, holes, errors, cancel, pause, speed, ranges, and a source that others write to
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include "copy-setup.h"

/* Whole volumes */

typedef struct Case {
    uint32_t alignment;
    BlockCopyOptions options;
} Case;

static void coroutine_fn whole_entry(void *opaque)
{
    const Case *t = opaque;
    const BlockCopyOptions *o = &t->options;
    int64_t total;
    Setup s;

    memory_alignment = t->alignment;
    memory_sparse = true;
    setup_init(&s, SIZE);
    g_autofree uint8_t *expected = g_memdup2(s.target_data, SIZE);
    memcpy(expected + o->target_offset, s.source_data + o->source_offset, o->bytes);
    setup_copy(&s, *o);

    g_assert_true(block_copy_co_estimate(s.copy, NULL, &total, &error_abort));
    job_progress_set_remaining(s.job, total);
    g_assert_true(job_run_co(s.job, &error_abort));
    g_assert_cmpuint(s.job->progress_current, ==, total ?: 1);
    g_assert_cmpuint(s.job->progress_total, ==, total ?: 1);

    g_assert_cmpmem(s.target_data, SIZE, expected, SIZE);
    if (!o->source_offset && o->write_zeroes) {
        /* Known zeroes are not read; everything else is, once. */
        g_assert_cmpint(s.source_state->bytes_read, ==, total);
    }
    g_assert_cmpint(s.target_state->bytes_zeroed > 0, ==, o->write_zeroes && o->bytes);
    if (!o->write_zeroes) {
        g_assert_cmpint(total, ==, o->bytes);
    }
    setup_cleanup(&s);
}

static void test_whole(void)
{
    static const Case cases[] = {
        { 1, { .workers = 1, .bytes = SIZE } },
        { 512, { .workers = 8, .chunk_bytes = 65536, .bytes = SIZE, .write_zeroes = true } },
        { 512, { .workers = 3, .chunk_bytes = 65536, .bytes = SIZE, .write_zeroes = true, .sparse_bytes = 4096 } },
        { 512, { .workers = 8, .chunk_bytes = 65536, .source_offset = 512, .target_offset = 1024,
                 .bytes = SIZE - 1024, .write_zeroes = true, .sparse_bytes = 4096 } },
        { 4096, { .workers = 16, .chunk_bytes = 32768, .source_offset = 1024, .target_offset = 512,
                  .bytes = SIZE - 9000, .write_zeroes = true, .sparse_bytes = 512 } },
        { 4096, { .workers = 5, .chunk_bytes = 10000, .target_offset = 512, .bytes = SIZE - 512 } },
        { 1, { .workers = 16, .chunk_bytes = 4096, .source_offset = 777, .target_offset = 1313,
               .bytes = SIZE - 1313, .write_zeroes = true, .sparse_bytes = 1024 } },
        { 512, { .workers = 8, .write_zeroes = true } },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        aio_context_run(whole_entry, (void *)&cases[i]);
    }
}

static void coroutine_fn zero_target_entry(void *opaque)
{
    Setup s;

    memory_sparse = true;
    setup_init(&s, SIZE);
    memset(s.target_data, 0, SIZE);
    setup_copy(&s, (BlockCopyOptions){
        .bytes = SIZE, .workers = 8, .chunk_bytes = 65536, .write_zeroes = true, .sparse_bytes = 4096,
        .target_is_zero = true,
    });
    g_assert_true(block_copy_co_run(s.copy, NULL, &error_abort));
    assert_copied(&s);
    g_assert_cmpint(s.target_state->bytes_zeroed, ==, 0);
    g_assert_cmpint(s.target_state->bytes_written, <, SIZE);
    setup_cleanup(&s);
}

static void test_zero_target(void)
{
    aio_context_run(zero_target_entry, NULL);
}

/* Callbacks that write, and recover from failed reads. */

typedef struct Sink {
    uint8_t *data;
    int recovered;
} Sink;

static int coroutine_fn sink_write(void *opaque, int64_t offset, int64_t bytes, void *buf)
{
    Sink *sink = opaque;

    memcpy(sink->data + offset, buf, bytes);
    return 0;
}

static bool coroutine_fn sink_recover(void *opaque, int64_t offset, int64_t bytes, void *buf, int ret)
{
    Sink *sink = opaque;

    g_assert_cmpint(ret, ==, -EIO);
    memset(buf, 0xab, bytes);
    sink->recovered++;
    return true;
}

static void coroutine_fn ops_entry(void *opaque)
{
    const BlockCopyOps ops = { .write = sink_write, .recover = sink_recover };
    Sink sink = { .data = g_malloc0(SIZE) };
    Setup s;

    setup_init(&s, SIZE);
    memory_bad_byte = 3 * 65536 + 5;
    memory_read_failures = 1;
    setup_copy(&s, (BlockCopyOptions){
        .bytes = SIZE, .workers = 4, .chunk_bytes = 65536, .write_zeroes = true, .ops = &ops, .opaque = &sink,
    });
    g_assert_true(block_copy_co_run(s.copy, NULL, &error_abort));
    memset(s.source_data + 3 * 65536, 0xab, 65536);
    g_assert_cmpmem(sink.data, SIZE, s.source_data, SIZE);
    g_assert_cmpint(sink.recovered, ==, 1);
    g_free(sink.data);
    setup_cleanup(&s);
}

static void test_ops(void)
{
    aio_context_run(ops_entry, NULL);
}

/* Errors, and stopping a job */

static void coroutine_fn error_entry(void *opaque)
{
    bool write = opaque;
    g_autoptr(Error) err = NULL;
    Setup s;

    setup_init(&s, SIZE);
    memory_bad_byte = SIZE / 2;
    *(write ? &memory_write_failures : &memory_read_failures) = 1;
    memory_latency_ns = SCALE_MS / 10;
    setup_copy(&s, (BlockCopyOptions){ .bytes = SIZE, .workers = 8, .chunk_bytes = 65536 });
    g_assert_false(block_copy_co_run(s.copy, NULL, &err));
    g_autofree char *expected = g_strdup_printf("error while %s at byte 2097152: Input/output error",
                                                write ? "writing" : "reading");
    g_assert_cmpstr(error_get_pretty(err), ==, expected);
    g_assert_cmpint(s.target_state->bytes_written, <, SIZE);
    setup_cleanup(&s);
}

static void test_error(void)
{
    aio_context_run(error_entry, (void *)true);
    aio_context_run(error_entry, NULL);
}

static void coroutine_fn retry_entry(void *opaque)
{
    BlockdevOnError policy = GPOINTER_TO_INT(opaque);
    int paused = 0;
    Setup s;

    setup_init(&s, SIZE);
    memory_bad_byte = SIZE / 2;
    memory_write_failures = 2;
    memory_read_failures = 1;
    setup_bitmap_copy(&s, GRANULE, (BlockCopyOptions){
        .workers = 8, .chunk_bytes = 2 * GRANULE, .on_source_error = policy, .on_target_error = policy,
    });
    job_start(s.job);
    while (s.job->status != JOB_STATUS_CONCLUDED) {
        if (s.job->status == JOB_STATUS_PAUSED) {
            paused++;
            g_assert_cmpint(bdrv_get_dirty_count(s.bitmap), >=, GRANULE);
            g_assert_true(job_user_resume(s.job, &error_abort));
        }
        co_sleep_ns(SCALE_MS / 10);
    }
    g_assert_null(s.job->err);
    g_assert_cmpint(paused, ==, policy == BLOCKDEV_ON_ERROR_STOP ? 3 : 0);
    g_assert_cmpint(memory_write_failures + memory_read_failures, ==, 0);
    assert_copied(&s);
    g_assert_cmpuint(s.job->progress_current, ==, SIZE);
    g_assert_cmpuint(s.job->progress_total, ==, SIZE);
    setup_cleanup(&s);
}

static void test_retry(void)
{
    aio_context_run(retry_entry, GINT_TO_POINTER(BLOCKDEV_ON_ERROR_IGNORE));
    aio_context_run(retry_entry, GINT_TO_POINTER(BLOCKDEV_ON_ERROR_STOP));
}

/* An error is reported at once; what was not copied is still dirty. */
static void coroutine_fn report_entry(void *opaque)
{
    int64_t start, bytes, missing = 0;
    g_autoptr(Error) err = NULL;
    Setup s;

    setup_init(&s, SIZE);
    memory_bad_byte = SIZE / 2;
    memory_write_failures = 1;
    setup_bitmap_copy(&s, GRANULE, (BlockCopyOptions){
        .workers = 4, .chunk_bytes = GRANULE, .on_target_error = BLOCKDEV_ON_ERROR_ENOSPC,
    });
    g_assert_false(job_run_co(s.job, &err));
    g_assert_nonnull(strstr(error_get_pretty(err), "error while writing at byte"));
    while (bdrv_dirty_bitmap_next_dirty_area(s.bitmap, 0, SIZE, SIZE, &start, &bytes)) {
        memcpy(s.target_data + start, s.source_data + start, bytes);
        bdrv_reset_dirty_bitmap(s.bitmap, start, bytes);
        missing += bytes;
    }
    g_assert_cmpint(missing, >=, GRANULE);
    assert_copied(&s);
    setup_cleanup(&s);
}

static void test_report(void)
{
    aio_context_run(report_entry, NULL);
}

/* Paused, then cancelled or completed. */
static void coroutine_fn pause_entry(void *opaque)
{
    bool cancel = opaque;
    Setup s;

    setup_init(&s, SIZE);
    memory_latency_ns = SCALE_MS;
    setup_copy(&s, (BlockCopyOptions){ .bytes = SIZE, .workers = 4, .chunk_bytes = 32768 });
    job_start(s.job);
    while (!s.target_state->bytes_written) {
        co_sleep_ns(SCALE_MS / 10);
    }
    g_assert_true(job_user_pause(s.job, &error_abort));
    wait_for(s.job, JOB_STATUS_PAUSED);
    g_assert_cmpint(s.source_state->busy + s.target_state->busy, ==, 0);
    int64_t written = s.target_state->bytes_written;
    co_sleep_ns(10 * SCALE_MS);
    g_assert_cmpint(s.target_state->bytes_written, ==, written);
    if (cancel) {
        g_assert_true(job_user_cancel(s.job, true, &error_abort));
    } else {
        g_assert_true(job_user_resume(s.job, &error_abort));
    }
    wait_for(s.job, JOB_STATUS_CONCLUDED);
    if (cancel) {
        g_assert_nonnull(strstr(error_get_pretty(s.job->err), "cancel"));
        g_assert_cmpint(s.target_state->bytes_written, ==, written);
    } else {
        g_assert_null(s.job->err);
        assert_copied(&s);
    }
    setup_cleanup(&s);
}

static void test_pause(void)
{
    aio_context_run(pause_entry, NULL);
    aio_context_run(pause_entry, (void *)true);
}

/* Workers share the speed limit. Pausing and resuming reach workers that wait for it. */
static void coroutine_fn speed_entry(void *opaque)
{
    int64_t start_ns = qemu_clock_get_ns();
    double seconds;
    Setup s;

    setup_init(&s, SIZE);
    setup_copy(&s, (BlockCopyOptions){ .bytes = SIZE, .workers = 8, .chunk_bytes = 65536 });
    g_assert_true(job_set_speed(s.job, 2 * MiB, &error_abort));
    job_start(s.job);
    co_sleep_ns(250 * SCALE_MS);
    seconds = (double)(qemu_clock_get_ns() - start_ns) / NANOSECONDS_PER_SECOND;
    g_assert_cmpint(s.target_state->bytes_written, >, 0);
    g_assert_cmpint(s.target_state->bytes_written, <, 2 * MiB * seconds + 1 * MiB);
    g_assert_true(job_set_speed(s.job, 1, &error_abort));
    co_sleep_ns(50 * SCALE_MS);
    g_assert_true(job_user_pause(s.job, &error_abort));
    wait_for(s.job, JOB_STATUS_PAUSED);
    g_assert_true(job_set_speed(s.job, 0, &error_abort));
    g_assert_true(job_user_resume(s.job, &error_abort));
    wait_for(s.job, JOB_STATUS_CONCLUDED);
    g_assert_null(s.job->err);
    assert_copied(&s);
    setup_cleanup(&s);
}

static void test_speed(void)
{
    aio_context_run(speed_entry, NULL);
}

/* Ranges */

typedef struct RangeUser {
    BlockCopy *copy;
    int64_t offset;
    int64_t bytes;
    char name;
    GString *order;
    bool *release;      /* the holder of the range waits for this */
    int *pending;
} RangeUser;

static void coroutine_fn range_entry(void *opaque)
{
    RangeUser *u = opaque;
    BlockCopyRange range;

    block_copy_co_range_begin(u->copy, &range, u->offset, u->bytes);
    g_string_append_c(u->order, u->name);
    while (!*u->release) {
        co_sleep_ns(SCALE_MS / 10);
    }
    block_copy_range_end(&range);
    --*u->pending;
}

static void coroutine_fn ranges_entry(void *opaque)
{
    bool release[4] = { false };
    GString *order = g_string_new(NULL);
    int pending = 4;
    Setup s;

    setup_init(&s, SIZE);
    setup_bitmap_copy(&s, GRANULE, (BlockCopyOptions){ .workers = 4 });
    /* b waits for a; c for b, although it does not overlap a; d for none. */
    RangeUser users[] = {
        { s.copy, 0, 1000, 'a', order, &release[0], &pending },
        { s.copy, 900, 1000, 'b', order, &release[1], &pending },
        { s.copy, 1800, 1000, 'c', order, &release[2], &pending },
        { s.copy, 2800, 1000, 'd', order, &release[3], &pending },
    };
    for (size_t i = 0; i < G_N_ELEMENTS(users); i++) {
        qemu_coroutine_enter(qemu_coroutine_create(range_entry, &users[i]));
    }
    g_assert_cmpstr(order->str, ==, "ad");

    /* Locked ranges are not copied. */
    job_start(s.job);
    co_sleep_ns(5 * SCALE_MS);
    g_assert_cmpint(s.target_data[0] + s.target_data[3000], ==, 2 * 0x55);
    release[0] = true;
    while (order->len < 3) {
        co_sleep_ns(SCALE_MS / 10);
    }
    co_sleep_ns(5 * SCALE_MS);
    g_assert_cmpstr(order->str, ==, "adb");
    release[3] = true;
    co_sleep_ns(5 * SCALE_MS);
    g_assert_cmpint(s.target_data[0], ==, 0x55);
    release[1] = release[2] = true;
    wait_for(s.job, JOB_STATUS_CONCLUDED);
    g_assert_cmpstr(order->str, ==, "adbc");
    g_assert_cmpint(pending, ==, 0);
    assert_copied(&s);
    g_string_free(order, TRUE);
    setup_cleanup(&s);
}

static void test_ranges(void)
{
    aio_context_run(ranges_entry, NULL);
}

/* While the engine waits for a range, its holder cleans it. */
static void coroutine_fn cleaned_entry(void *opaque)
{
    BlockCopyRange range;
    Setup s;

    setup_init(&s, SIZE);
    setup_bitmap_copy(&s, GRANULE, (BlockCopyOptions){ .workers = 4, .chunk_bytes = GRANULE });
    block_copy_co_range_begin(s.copy, &range, GRANULE, GRANULE);
    job_start(s.job);
    co_sleep_ns(5 * SCALE_MS);
    /* As a mirror does after writing to both volumes. */
    bdrv_reset_dirty_bitmap(s.bitmap, GRANULE, GRANULE);
    block_copy_range_end(&range);
    wait_for(s.job, JOB_STATUS_CONCLUDED);
    g_assert_cmpint(s.target_data[GRANULE], ==, 0x55);
    g_assert_cmpint(s.target_data[2 * GRANULE - 1], ==, 0x55);
    memcpy(s.target_data + GRANULE, s.source_data + GRANULE, GRANULE);
    assert_copied(&s);
    setup_cleanup(&s);
}

static void test_cleaned(void)
{
    aio_context_run(cleaned_entry, NULL);
}

/* Data that becomes dirty during the last pieces is read again, by all workers. */
static void coroutine_fn late_entry(void *opaque)
{
    int most_busy = 0;
    Setup s;

    memory_sparse = true;
    memory_latency_ns = 5 * SCALE_MS;
    setup_init(&s, SIZE);
    memset(s.source_data, 0, SIZE);
    setup_bitmap_copy(&s, GRANULE, (BlockCopyOptions){
        .workers = 4, .chunk_bytes = GRANULE, .write_zeroes = true,
    });
    job_start(s.job);
    while (!s.target_state->busy) {
        co_sleep_ns(SCALE_MS / 10);
    }
    /* All of it is being zeroed. */
    g_assert_cmpint(bdrv_get_dirty_count(s.bitmap), ==, 0);
    memset(s.source_data + SIZE / 2, 7, SIZE / 2);
    bdrv_set_dirty(blk_bs(s.source), SIZE / 2, SIZE / 2);
    while (s.job->status != JOB_STATUS_CONCLUDED) {
        most_busy = MAX(most_busy, s.source_state->busy);
        co_sleep_ns(SCALE_MS / 2);
    }
    g_assert_cmpint(most_busy, >, 1);
    assert_copied(&s);
    g_assert_cmpuint(s.job->progress_current, ==, SIZE + SIZE / 2);
    setup_cleanup(&s);
}

static void test_late(void)
{
    aio_context_run(late_entry, NULL);
}

/* Copying while threads write */

#define WRITERS 3
#define WRITES 700

typedef enum Mode {
    BACKGROUND,         /* the bitmap collects writes */
    WRITE_BLOCKING,     /* writers write to both volumes */
    BEFORE_WRITE,       /* writers save what they overwrite */
} Mode;

typedef struct Writers {
    Setup s;
    Mode mode;
    int running;        /* atomic */
} Writers;

static void coroutine_fn write_once(Writers *w, int64_t offset, int64_t bytes, const void *buf)
{
    BlockCopyRange range;

    if (w->mode == BEFORE_WRITE) {
        g_assert_cmpint(block_copy_co_range(w->s.copy, offset, bytes), ==, 0);
    } else if (w->mode == WRITE_BLOCKING) {
        block_copy_co_range_begin(w->s.copy, &range, offset, bytes);
        g_assert_cmpint(blk_co_pwrite(w->s.target, offset, bytes, buf, 0), ==, 0);
    }
    g_assert_cmpint(blk_co_pwrite(w->s.source, offset, bytes, buf, 0), ==, 0);
    if (w->mode == WRITE_BLOCKING) {
        block_copy_range_end(&range);
    }
}

static void coroutine_fn writer_entry(void *opaque)
{
    Writers *w = opaque;
    g_autoptr(GRand) rand = g_rand_new();
    g_autofree uint8_t *buf = g_malloc(20000);

    for (int i = 0; i < WRITES; i++) {
        int64_t bytes = g_rand_int_range(rand, 1, 20000);

        memset(buf, g_rand_boolean(rand) ? g_rand_int(rand) : 0, bytes);
        write_once(w, g_rand_int_range(rand, 0, SIZE - bytes), bytes, buf);
        co_sleep_ns(SCALE_MS / 20);     /* leave the bitmap clean now and then */
    }
    g_atomic_int_add(&w->running, -1);
}

/* Run the copy until the threads are done, and once more. */
static void coroutine_fn copy_under_load(Writers *w)
{
    int runs = 0;

    for (int running = WRITERS; running; runs++) {
        running = g_atomic_int_get(&w->running);
        g_assert_true(block_copy_co_run(w->s.copy, NULL, &error_abort));
        co_sleep_ns(SCALE_MS / 10);
    }
    g_test_message("%d runs", runs);
}

typedef struct LoadCase {
    Mode mode;
    int64_t granularity;
    int64_t chunk_bytes;
    bool sparse;
} LoadCase;

static void coroutine_fn load_entry(void *opaque)
{
    const LoadCase *t = opaque;
    Writers w = { .mode = t->mode, .running = WRITERS };
    IOThread *threads[WRITERS];

    memory_sparse = t->sparse;
    memory_alignment = 512;
    setup_init(&w.s, SIZE);
    g_autofree uint8_t *before = g_memdup2(w.s.source_data, SIZE);
    setup_bitmap_copy(&w.s, t->granularity, (BlockCopyOptions){
        .workers = 4, .chunk_bytes = t->chunk_bytes, .write_zeroes = t->sparse, .sparse_bytes = t->sparse ? 4096 : 0,
    });
    if (t->mode != BACKGROUND) {
        bdrv_disable_dirty_bitmap(w.s.bitmap);
    }
    for (int i = 0; i < WRITERS; i++) {
        threads[i] = iothread_new("test", &error_abort);
        aio_co_start(iothread_get_aio_context(threads[i]), writer_entry, &w);
    }
    copy_under_load(&w);

    g_assert_cmpint(bdrv_get_dirty_count(w.s.bitmap), ==, 0);
    g_assert_cmpmem(w.s.target_data, SIZE, t->mode == BEFORE_WRITE ? before : w.s.source_data, SIZE);
    for (int i = 0; i < WRITERS; i++) {
        iothread_unref(threads[i]);
    }
    setup_cleanup(&w.s);
}

static void test_load(gconstpointer opaque)
{
    const Mode mode = GPOINTER_TO_INT(opaque);
    const LoadCase cases[] = {
        { mode, 4096, 32768, false }, { mode, 65536, 16384, true }, { mode, 512, 0, true },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        aio_context_run(load_entry, (void *)&cases[i]);
    }
}

/* A range that could not be saved stays dirty, and can be saved later. */
static void coroutine_fn before_write_error_entry(void *opaque)
{
    const int64_t size = 1000000, last = ROUND_DOWN(size, GRANULE);
    Setup s;

    setup_init(&s, size);
    setup_bitmap_copy(&s, GRANULE, (BlockCopyOptions){ .workers = 1 });
    bdrv_disable_dirty_bitmap(s.bitmap);
    memory_bad_byte = 70000;
    memory_write_failures = 1;
    g_assert_cmpint(block_copy_co_range(s.copy, GRANULE - 6, 10), ==, -EIO);
    g_assert_cmpint(bdrv_get_dirty_count(s.bitmap), ==, size);
    g_assert_cmpint(block_copy_co_range(s.copy, GRANULE - 6, 10), ==, 0);
    g_assert_cmpint(bdrv_get_dirty_count(s.bitmap), ==, size - 2 * GRANULE);
    g_assert_cmpint(block_copy_co_range(s.copy, size - 1, 1), ==, 0);
    g_assert_cmpint(bdrv_get_dirty_count(s.bitmap), ==, last - 2 * GRANULE);
    g_assert_cmpmem(s.target_data, 2 * GRANULE, s.source_data, 2 * GRANULE);
    g_assert_cmpint(s.target_data[2 * GRANULE], ==, 0x55);
    g_assert_cmpmem(s.target_data + last, size - last, s.source_data + last, size - last);

    /* Saved data is not copied again. */
    g_autofree uint8_t *before = g_memdup2(s.source_data, size);
    memset(s.source_data, 0x77, 2 * GRANULE);
    g_assert_cmpint(block_copy_co_range(s.copy, 0, 2 * GRANULE), ==, 0);
    g_assert_true(block_copy_co_run(s.copy, NULL, &error_abort));
    g_assert_cmpmem(s.target_data, size, before, size);
    setup_cleanup(&s);
}

static void test_before_write_error(void)
{
    aio_context_run(before_write_error_entry, NULL);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/copy/whole", test_whole);
    g_test_add_func("/copy/zero-target", test_zero_target);
    g_test_add_func("/copy/ops", test_ops);
    g_test_add_func("/copy/error", test_error);
    g_test_add_func("/copy/retry", test_retry);
    g_test_add_func("/copy/report", test_report);
    g_test_add_func("/copy/pause", test_pause);
    g_test_add_func("/copy/speed", test_speed);
    g_test_add_func("/copy/ranges", test_ranges);
    g_test_add_func("/copy/cleaned", test_cleaned);
    g_test_add_func("/copy/late", test_late);
    g_test_add_data_func("/copy/background", GINT_TO_POINTER(BACKGROUND), test_load);
    g_test_add_data_func("/copy/write-blocking", GINT_TO_POINTER(WRITE_BLOCKING), test_load);
    g_test_add_data_func("/copy/before-write", GINT_TO_POINTER(BEFORE_WRITE), test_load);
    g_test_add_func("/copy/before-write-error", test_before_write_error);
    return g_test_run();
}
