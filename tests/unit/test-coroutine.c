/*
 * Coroutines, queues, mutexes, timers and worker threads
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include <dlfcn.h>
#include <pthread.h>

#include "util/aio.h"
#include "util/thread-pool.h"

static void coroutine_fn count_to_three(void *opaque)
{
    int *n = opaque;

    for (int i = 0; i < 3; i++) {
        ++*n;
        qemu_coroutine_yield();
    }
}

static void test_yield(void)
{
    int n = 0;
    Coroutine *co = qemu_coroutine_create(count_to_three, &n);

    for (int i = 1; i <= 3; i++) {
        qemu_coroutine_enter(co);
        g_assert_cmpint(n, ==, i);
    }
    qemu_coroutine_enter(co);
    g_assert_false(qemu_in_coroutine());
}

static void coroutine_fn many_leaf(void *opaque)
{
    co_sleep_ns(1);
    ++*(int *)opaque;
}

static void coroutine_fn many(void *opaque)
{
    for (int i = 0; i < 500; i++) {
        qemu_coroutine_enter(qemu_coroutine_create(many_leaf, opaque));
    }
    while (*(int *)opaque < 500) {
        co_sleep_ns(SCALE_MS);
    }
}

/* More than the pool keeps, twice: reused ones work like new ones. */
static void test_many(void)
{
    for (int round = 0; round < 2; round++) {
        int n = 0;
        aio_context_run(many, &n);
        g_assert_cmpint(n, ==, 500);
    }
}

static void coroutine_fn sleep_entry(void *opaque)
{
    int64_t start = qemu_clock_get_ns();

    co_sleep_ns(20 * SCALE_MS);
    *(int64_t *)opaque = qemu_clock_get_ns() - start;
}

static void test_sleep(void)
{
    int64_t ns = 0;

    aio_context_run(sleep_entry, &ns);
    g_assert_cmpint(ns, >=, 20 * SCALE_MS);
}

static void coroutine_fn short_sleeps_entry(void *opaque)
{
    for (int i = 0; i < 2000; i++) {
        co_sleep_ns(i % 500);
    }
}

/* The time may expire between two looks at the clock. */
static void test_short_sleeps(void)
{
    aio_context_run(short_sleeps_entry, NULL);
}

static void wake(void *opaque)
{
    qemu_co_sleep_wake(opaque);
}

/* The sleeper is woken just as its time expires: it resumes once. */
static void coroutine_fn both_entry(void *opaque)
{
    CoSleep sleep = { NULL };
    AioTimer *timer = aio_timer_new(qemu_get_current_aio_context(), wake, &sleep);

    for (int i = 0; i < 10; i++) {
        aio_timer_mod_ns(timer, qemu_clock_get_ns());
        co_sleep_ns_wakeable(&sleep, 1, NULL);
        int64_t start = qemu_clock_get_ns();
        co_sleep_ns(5 * SCALE_MS);
        g_assert_cmpint(qemu_clock_get_ns() - start, >=, 5 * SCALE_MS);
        ++*(int *)opaque;
    }
    aio_timer_free(timer);
}

static void test_sleep_both(void)
{
    int n = 0;

    aio_context_run(both_entry, &n);
    g_assert_cmpint(n, ==, 10);
}

typedef struct Shared {
    CoMutex mutex;
    int inside;
    int done;
    GThread *thread;
} Shared;

static int work(void *opaque)
{
    Shared *s = opaque;

    g_assert_true(g_thread_self() != s->thread);
    g_usleep(1000);
    return 42;
}

static void coroutine_fn locked_work(void *opaque)
{
    Shared *s = opaque;

    {
        QEMU_CO_LOCK_GUARD(&s->mutex);
        g_assert_cmpint(s->inside++, ==, 0);
        g_assert_cmpint(thread_pool_submit_co(THREAD_POOL_CPU, work, s), ==, 42);
        s->inside--;
    }
    s->done++;
}

static void coroutine_fn mutex_entry(void *opaque)
{
    Shared *s = opaque;

    for (int i = 0; i < 10; i++) {
        qemu_coroutine_enter(qemu_coroutine_create(locked_work, s));
    }
    while (s->done < 10) {
        co_sleep_ns(SCALE_MS);
    }
}

static void test_mutex(void)
{
    Shared s = { .thread = g_thread_self() };

    qemu_co_mutex_init(&s.mutex);
    aio_context_run(mutex_entry, &s);
    qemu_co_mutex_cleanup(&s.mutex);
}

typedef struct Waiting {
    CoMutex mutex;
    CoSleep sleep[3];
    GString *order;     /* who got the mutex, in lower case if the wait was ended */
} Waiting;

static void coroutine_fn wait_wakeable(Waiting *w, int i)
{
    bool locked = qemu_co_mutex_lock_wakeable(&w->mutex, &w->sleep[i]);

    g_string_append_c(w->order, (locked ? 'A' : 'a') + i);
    if (locked) {
        qemu_co_mutex_unlock(&w->mutex);
    }
}

static void coroutine_fn wait_a(void *opaque)
{
    wait_wakeable(opaque, 0);
}

static void coroutine_fn wait_b(void *opaque)
{
    wait_wakeable(opaque, 1);
}

static void coroutine_fn wait_c(void *opaque)
{
    wait_wakeable(opaque, 2);
}

static void coroutine_fn wakeable_entry(void *opaque)
{
    Waiting *w = opaque;

    qemu_co_mutex_lock(&w->mutex);
    qemu_co_sleep_wake(&w->sleep[0]);       /* nobody waits yet */
    qemu_coroutine_enter(qemu_coroutine_create(wait_a, w));
    qemu_coroutine_enter(qemu_coroutine_create(wait_b, w));
    qemu_coroutine_enter(qemu_coroutine_create(wait_c, w));
    co_sleep_ns(SCALE_MS);
    g_assert_cmpstr(w->order->str, ==, "");
    qemu_co_sleep_wake(&w->sleep[1]);
    co_sleep_ns(SCALE_MS);
    g_assert_cmpstr(w->order->str, ==, "b");
    /* In the same iteration as the hand-over: the mutex goes to the next waiter. */
    qemu_co_sleep_wake(&w->sleep[0]);
    qemu_co_mutex_unlock(&w->mutex);
    qemu_co_sleep_wake(&w->sleep[2]);       /* too late */
    co_sleep_ns(SCALE_MS);
    g_assert_cmpstr(w->order->str, ==, "baC");
    qemu_co_mutex_lock(&w->mutex);
    qemu_co_mutex_unlock(&w->mutex);
}

/* A wait for a mutex can be ended; others get the mutex in order. */
static void test_mutex_wakeable(void)
{
    Waiting w = { .order = g_string_new(NULL) };

    qemu_co_mutex_init(&w.mutex);
    aio_context_run(wakeable_entry, &w);
    qemu_co_mutex_cleanup(&w.mutex);
    g_string_free(w.order, TRUE);
}

typedef struct Item {
    int in;
    int out;
} Item;

static int square(void *opaque)
{
    Item *item = opaque;

    item->out = item->in * item->in;
    return item->in == 7 || item->in == 9 ? -item->in : 0;
}

static void coroutine_fn map_entry(void *opaque)
{
    Item items[40];

    for (int i = 0; i < 40; i++) {
        items[i] = (Item){ .in = i };
    }
    g_assert_cmpint(thread_pool_map_co(THREAD_POOL_CPU, square, items, sizeof(Item), 0), ==, 0);
    g_assert_cmpint(thread_pool_map_co(THREAD_POOL_CPU, square, items, sizeof(Item), 7), ==, 0);
    g_assert_cmpint(thread_pool_map_co(THREAD_POOL_CPU, square, items, sizeof(Item), 40), ==, -7);
    for (int i = 0; i < 40; i++) {
        g_assert_cmpint(items[i].out, ==, i * i);
    }
}

static void test_map(void)
{
    aio_context_run(map_entry, NULL);
}

static bool no_threads;

/* Replaces the C library's function: the system has no more threads if the test says so. */
int pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*start)(void *), void *arg)
{
    typeof(pthread_create) *real = dlsym(RTLD_NEXT, "pthread_create");

    return no_threads ? EAGAIN : real(thread, attr, start, arg);
}

static int which_thread(void *opaque)
{
    *(GThread **)opaque = g_thread_self();
    return 42;
}

/* Work runs even without a thread, and on threads as soon as they are available. */
static void coroutine_fn no_threads_entry(void *opaque)
{
    GThread *thread = NULL;

    for (int i = 0; i < 2; i++) {
        no_threads = i == 0;
        map_entry(NULL);
        g_assert_cmpint(thread_pool_submit_co(THREAD_POOL_CPU, which_thread, &thread), ==, 42);
        g_assert_true((thread == g_thread_self()) == no_threads);
    }
}

static void test_no_threads(void)
{
    /* without it, nothing would empty the queue */
    no_threads = true;
    aio_context_run(map_entry, NULL);
    thread_pool_cleanup();

    aio_context_run(no_threads_entry, NULL);
}

static void on_readable(void *opaque)
{
    aio_co_wake(opaque);
}

static void coroutine_fn wait_for_pipe(void *opaque)
{
    int *fds = opaque;
    AioContext *ctx = qemu_get_current_aio_context();
    char byte = 'x';

    aio_set_fd_handler(ctx, fds[0], on_readable, NULL, qemu_coroutine_self());
    g_assert_cmpint(write(fds[1], &byte, 1), ==, 1);
    qemu_coroutine_yield();
    aio_set_fd_handler(ctx, fds[0], NULL, NULL, NULL);
    g_assert_cmpint(read(fds[0], &byte, 1), ==, 1);
}

static void test_fd(void)
{
    int fds[2];

    g_assert_cmpint(pipe(fds), ==, 0);
    aio_context_run(wait_for_pipe, fds);
    close(fds[0]);
    close(fds[1]);
}

/* Waits for a pipe, then sleeps "forever"; counts how many of both ended. */
static void coroutine_fn wait_twice(void *opaque)
{
    int *pipe_fds = opaque;

    pipe_fds[1] = qemu_co_wait_readable(pipe_fds[0]);
    pipe_fds[1] += co_sleep_ns_cancellable(pipe_fds[1] ? 1000 * NANOSECONDS_PER_SECOND : 1);
}

/* Cancel it before it waits, while it waits for the pipe, and while it sleeps; then reuse the coroutine. */
static void coroutine_fn cancel_main(void *opaque)
{
    for (int when = 0; when < 3; when++) {
        int fds[2];
        g_assert_cmpint(pipe(fds), ==, 0);
        int arg[2] = { fds[0], -1 };
        Coroutine *co = qemu_coroutine_create(wait_twice, arg);

        if (when == 0) {
            qemu_co_cancel(co);
        }
        qemu_coroutine_enter(co);
        if (when == 2) {
            g_assert_cmpint(write(fds[1], "x", 1), ==, 1);
            co_sleep_ns(10 * SCALE_MS);
            g_assert_cmpint(arg[1], ==, 1);
        }
        if (when > 0) {
            qemu_co_cancel(co);
            qemu_co_cancel(co);
            co_sleep_ns(10 * SCALE_MS);
        }
        g_assert_cmpint(arg[1], ==, when == 2);
        close(fds[0]);
        close(fds[1]);
    }
    g_assert_false(qemu_co_is_cancelled());
    g_assert_true(co_sleep_ns_cancellable(1));
}

static void test_cancel(void)
{
    aio_context_run(cancel_main, NULL);
    g_assert_false(qemu_co_is_cancelled());
}

static void coroutine_fn sleep_a_while(void *slept)
{
    *(bool *)slept = co_sleep_ns_cancellable(NANOSECONDS_PER_SECOND / 5);
}

static bool stop_at_second_call(void *calls)
{
    return ++*(int *)calls == 2;
}

static void coroutine_fn do_nothing(void *opaque)
{
}

static void coroutine_fn run_limited_main(void *opaque)
{
    bool slept = true;
    int calls = 0;

    g_assert_cmpint(aio_co_run_limited(do_nothing, NULL, 1, stop_at_second_call, &calls), ==, 0);
    g_assert_cmpint(calls, ==, 0);
    g_assert_cmpint(aio_co_run_limited(sleep_a_while, &slept, 0, stop_at_second_call, &calls), ==, -ECANCELED);
    g_assert_cmpint(calls, ==, 2);
    g_assert_false(slept);
    slept = true;
    g_assert_cmpint(aio_co_run_limited(sleep_a_while, &slept, SCALE_MS, NULL, NULL), ==, -ETIMEDOUT);
    g_assert_false(slept);
    g_assert_cmpint(aio_co_run_limited(sleep_a_while, &slept, 0, NULL, NULL), ==, 0);
    g_assert_true(slept);
    g_assert_false(qemu_co_is_cancelled());
}

static void test_run_limited(void)
{
    aio_context_run(run_limited_main, NULL);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    /* first, because other tests leave threads that GLib would reuse */
    g_test_add_func("/coroutine/no-threads", test_no_threads);
    g_test_add_func("/coroutine/yield", test_yield);
    g_test_add_func("/coroutine/many", test_many);
    g_test_add_func("/coroutine/sleep", test_sleep);
    g_test_add_func("/coroutine/sleep/short", test_short_sleeps);
    g_test_add_func("/coroutine/sleep/both", test_sleep_both);
    g_test_add_func("/coroutine/cancel", test_cancel);
    g_test_add_func("/coroutine/run-limited", test_run_limited);
    g_test_add_func("/coroutine/mutex-and-workers", test_mutex);
    g_test_add_func("/coroutine/mutex/wakeable", test_mutex_wakeable);
    g_test_add_func("/coroutine/map", test_map);
    g_test_add_func("/aio/fd", test_fd);
    int ret = g_test_run();
    thread_pool_cleanup();
    return ret;
}
