/*
 * Requests that exclude others: serialising ones, and range locks
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include "fake-driver.h"
#include "util/iothread.h"

/* Duration of each request. */
#define LATENCY_NS (2 * SCALE_MS)

static gint busy;           /* requests in the driver */
static gint max_busy;

static int coroutine_fn slow_hook(FakeOp op, int64_t offset, int64_t bytes, BdrvRequestFlags flags)
{
    gint n = g_atomic_int_add(&busy, 1) + 1;

    while (n > g_atomic_int_get(&max_busy)) {
        g_atomic_int_set(&max_busy, n);
    }
    co_sleep_ns(LATENCY_NS);
    g_atomic_int_add(&busy, -1);
    return 0;
}

/* An actor makes a request or takes a lock, and logs when it begins and ends. */
typedef struct Actor {
    BlockBackend *blk;
    char name;
    enum { READ, WRITE, ZEROES, DISCARD, LOCK } what;
    int64_t offset;
    int64_t bytes;
    BdrvRequestFlags flags;
    GString *log;           /* name at the end of a request; of a lock when it is taken, in capitals at its end */
    int *running;
} Actor;

static void coroutine_fn hold_lock(const Actor *a)
{
    BdrvRangeLock *lock = bdrv_co_range_lock(blk_bs(a->blk), a->offset, a->bytes);

    g_string_append_c(a->log, a->name);
    co_sleep_ns(3 * LATENCY_NS);
    g_string_append_c(a->log, g_ascii_toupper(a->name));
    bdrv_range_unlock(lock);
}

static void coroutine_fn actor_run(void *opaque)
{
    Actor *a = opaque;
    g_autofree uint8_t *buf = g_malloc0(a->bytes);
    QEMUIOVector qiov;

    qemu_iovec_init_buf(&qiov, buf, a->bytes);
    switch (a->what) {
    case READ:
        g_assert_cmpint(blk_co_preadv(a->blk, a->offset, a->bytes, &qiov, a->flags), ==, 0);
        break;
    case WRITE:
        g_assert_cmpint(blk_co_pwritev(a->blk, a->offset, a->bytes, &qiov, a->flags), ==, 0);
        break;
    case ZEROES:
        g_assert_cmpint(blk_co_pwrite_zeroes(a->blk, a->offset, a->bytes, a->flags), ==, 0);
        break;
    case DISCARD:
        g_assert_cmpint(blk_co_pdiscard(a->blk, a->offset, a->bytes), ==, 0);
        break;
    case LOCK:
        hold_lock(a);
        break;
    }
    if (a->what != LOCK) {
        g_string_append_c(a->log, a->name);
    }
    --*a->running;
}

/* Start all actors at once, in this order. Returns the order in which they end. */
static char *coroutine_fn run_actors(BlockBackend *blk, Actor *actors, size_t n)
{
    g_autoptr(GString) log = g_string_new(NULL);
    int running = n;

    max_busy = 0;
    for (size_t i = 0; i < n; i++) {
        actors[i].blk = blk;
        actors[i].log = log;
        actors[i].running = &running;
        qemu_coroutine_enter(qemu_coroutine_create(actor_run, &actors[i]));
    }
    while (running) {
        co_sleep_ns(LATENCY_NS / 10);
    }
    return g_string_free(g_steal_pointer(&log), false);
}

#define RUN_ACTORS(blk, ...)                                        \
    ({                                                              \
        Actor actors_[] = { __VA_ARGS__ };                          \
        run_actors(blk, actors_, G_N_ELEMENTS(actors_));            \
    })

static BlockBackend *coroutine_fn open_slow(void)
{
    fake.alignment = 512;
    fake_hook = slow_hook;
    return fake_open_blk("driver=null-co,discard=unmap");
}

static void coroutine_fn close_slow(BlockBackend *blk)
{
    blk_co_unref(blk);
    fake_reset();
}

static void coroutine_fn serialising_entry(void *opaque)
{
    BlockBackend *blk = open_slow();
    const BdrvRequestFlags flag = BDRV_REQ_SERIALISING;

    /* Without the flag they run at the same time. */
    g_free(RUN_ACTORS(blk, { .name = 'a', .what = WRITE, .bytes = 1024 },
                      { .name = 'b', .what = READ, .bytes = 1024 }));
    g_assert_cmpint(max_busy, ==, 2);
    for (int what = READ; what <= ZEROES; what++) {
        g_autofree char *first = RUN_ACTORS(blk, { .name = 'a', .what = what, .bytes = 1024, .flags = flag },
                                            { .name = 'b', .what = WRITE, .offset = 512, .bytes = 512 });
        g_assert_cmpstr(first, ==, "ab");
        g_assert_cmpint(max_busy, ==, 1);
        g_autofree char *second = RUN_ACTORS(blk, { .name = 'a', .what = READ, .offset = 512, .bytes = 512 },
                                             { .name = 'b', .what = what, .bytes = 1024, .flags = flag });
        g_assert_cmpstr(second, ==, "ab");
        g_assert_cmpint(max_busy, ==, 1);
        g_free(RUN_ACTORS(blk, { .name = 'a', .what = what, .bytes = 1024, .flags = flag },
                          { .name = 'b', .what = WRITE, .offset = 1024, .bytes = 512 }));
        g_assert_cmpint(max_busy, ==, 2);
    }
    close_slow(blk);
}

static void test_serialising(void)
{
    aio_context_run(serialising_entry, NULL);
}

static void coroutine_fn lock_entry(void *opaque)
{
    BlockBackend *blk = open_slow();

    /* A write that came earlier ends first, and one that comes later waits. Reads and other ranges are not affected. */
    g_autofree char *order = RUN_ACTORS(blk, { .name = 'w', .what = WRITE, .bytes = 512 },
                                        { .name = 'l', .what = LOCK, .bytes = 1024 },
                                        { .name = 'r', .what = READ, .bytes = 512 },
                                        { .name = 'x', .what = WRITE, .offset = 1024, .bytes = 512 },
                                        { .name = 'z', .what = ZEROES, .bytes = 512 },
                                        { .name = 'd', .what = DISCARD, .offset = 512, .bytes = 512 });
    g_assert_true(strchr(order, 'l') > strchr(order, 'w'));
    g_assert_true(strchr(order, 'r') < strchr(order, 'L'));
    g_assert_true(strchr(order, 'x') < strchr(order, 'L'));
    g_assert_true(strchr(order, 'z') > strchr(order, 'L'));
    g_assert_true(strchr(order, 'd') > strchr(order, 'L'));

    /* First come, first served: a second lock before a write that came later, although the write could run. */
    g_autofree char *fair = RUN_ACTORS(blk, { .name = 'k', .what = LOCK, .bytes = 1024 },
                                       { .name = 'l', .what = LOCK, .offset = 512, .bytes = 1024 },
                                       { .name = 'w', .what = WRITE, .offset = 1024, .bytes = 512 });
    g_assert_cmpstr(fair, ==, "kKlLw");
    close_slow(blk);
}

static void test_lock(void)
{
    aio_context_run(lock_entry, NULL);
}

/* The owner of the lock reads and writes there, ahead of waiters: here a write that fills up a block. */
static void coroutine_fn owner_entry(void *opaque)
{
    BlockBackend *blk = open_slow();
    g_autoptr(GString) log = g_string_new(NULL);
    uint8_t buf[1024] = { 0 };
    int running = 1;
    Actor other = { blk, 'w', WRITE, 1000, 100, 0, log, &running };

    BdrvRangeLock *lock = bdrv_co_range_lock(blk_bs(blk), 100, 1000);   /* 0 to 1536 */
    qemu_coroutine_enter(qemu_coroutine_create(actor_run, &other));
    g_assert_cmpint(blk_co_pread(blk, 0, 1024, buf), ==, 0);
    g_assert_cmpint(blk_co_pwrite(blk, 512, 1024, buf, BDRV_REQ_SERIALISING), ==, 0);
    g_assert_cmpint(blk_co_pwrite_zeroes(blk, 0, 512, 0), ==, 0);
    g_assert_cmpint(blk_co_pwrite(blk, 10, 10, buf, 0), ==, 0);
    g_assert_cmpstr(log->str, ==, "");
    g_assert_cmpint(running, ==, 1);
    bdrv_range_unlock(lock);
    while (running) {
        co_sleep_ns(LATENCY_NS);
    }
    close_slow(blk);
}

static void test_owner(void)
{
    aio_context_run(owner_entry, NULL);
}

/* One of several threads that take turns counting. */
typedef struct Counter {
    BlockBackend *blk;
    unsigned *count;        /* protected by the range lock only: ThreadSanitizer watches */
    gint *running;
} Counter;

#define ROUNDS 200

static void coroutine_fn counter_run(void *opaque)
{
    Counter *c = opaque;
    uint8_t buf[512] = { 0 };

    for (int i = 0; i < ROUNDS; i++) {
        BdrvRangeLock *lock = bdrv_co_range_lock(blk_bs(c->blk), i % 4 * 512, 2048);

        ++*c->count;
        if (i % 16 == 0) {
            g_assert_cmpint(blk_co_pwrite(c->blk, 1536, 512, buf, 0), ==, 0);
        }
        bdrv_range_unlock(lock);
        g_assert_cmpint(blk_co_pwrite(c->blk, i % 8 * 512 + 1, 100, buf, 0), ==, 0);
    }
    g_atomic_int_add(c->running, -1);
}

static int coroutine_fn quick_hook(FakeOp op, int64_t offset, int64_t bytes, BdrvRequestFlags flags)
{
    if (op == FAKE_WRITE) {
        co_sleep_ns(1);
    }
    return 0;
}

static void coroutine_fn threads_entry(void *opaque)
{
    IOThread *threads[3];
    Counter counters[6];
    gint running = G_N_ELEMENTS(counters);
    unsigned count = 0;

    fake.alignment = 512;
    fake_hook = quick_hook;
    fake_silent = true;
    BlockBackend *blk = fake_open_blk("driver=null-co");
    for (size_t i = 0; i < G_N_ELEMENTS(threads); i++) {
        threads[i] = iothread_new("test", &error_abort);
    }
    for (size_t i = 0; i < G_N_ELEMENTS(counters); i++) {
        counters[i] = (Counter){ blk, &count, &running };
        aio_co_start(iothread_get_aio_context(threads[i % 3]), counter_run, &counters[i]);
    }
    while (g_atomic_int_get(&running)) {
        co_sleep_ns(SCALE_MS);
        g_assert_cmpint(bdrv_get_wr_highest_offset(blk_bs(blk)), <=, 4096);
    }
    g_assert_cmpint(bdrv_get_wr_highest_offset(blk_bs(blk)), ==, 4096);
    g_assert_cmpuint(count, ==, G_N_ELEMENTS(counters) * ROUNDS);
    for (size_t i = 0; i < G_N_ELEMENTS(threads); i++) {
        iothread_unref(threads[i]);
    }
    blk_co_unref(blk);
    fake_reset();
}

static void test_threads(void)
{
    aio_context_run(threads_entry, NULL);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    fake_calls = g_string_new(NULL);
    g_test_add_func("/lock/serialising", test_serialising);
    g_test_add_func("/lock/range", test_lock);
    g_test_add_func("/lock/owner", test_owner);
    g_test_add_func("/lock/threads", test_threads);
    int ret = g_test_run();
    g_string_free(fake_calls, true);
    return ret;
}
