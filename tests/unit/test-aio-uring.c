/*
 * Event loops with io_uring: requests, descriptors, wake-ups, and a kernel that refuses
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include <dlfcn.h>
#include <liburing.h>
#include <sys/socket.h>

#include "util/aio.h"
#include "util/iothread.h"
#include "util/thread-pool.h"

static int refuse_setup;        /* errno with which creating a ring fails */
static int refuse_submits;      /* this many calls of io_uring_submit() fail */

/* These replace the library's functions. */
int io_uring_queue_init_params(unsigned entries, struct io_uring *ring, struct io_uring_params *p)
{
    typeof(io_uring_queue_init_params) *real = dlsym(RTLD_NEXT, "io_uring_queue_init_params");

    return refuse_setup ? -refuse_setup : real(entries, ring, p);
}

int io_uring_submit(struct io_uring *ring)
{
    typeof(io_uring_submit) *real = dlsym(RTLD_NEXT, "io_uring_submit");

    return refuse_submits > 0 && refuse_submits-- ? -EAGAIN : real(ring);
}

typedef struct ReadRequest {
    int fd;
    char byte;
} ReadRequest;

static void prep_read(struct io_uring_sqe *sqe, void *opaque)
{
    ReadRequest *req = opaque;

    io_uring_prep_read(sqe, req->fd, &req->byte, 1, 0);
}

static void prep_nop(struct io_uring_sqe *sqe, void *opaque)
{
    io_uring_prep_nop(sqe);
}

/* Run @test in an event loop of its own, with a ring. */
static gpointer run_thread(gpointer test)
{
    AioContext *ctx = aio_context_new(&error_abort);

    aio_context_set_current(ctx);
    if (aio_setup_io_uring() == 0) {
        aio_context_run((CoroutineEntry *)test, NULL);
    } else {
        g_test_skip("io_uring is not available");
    }
    aio_context_set_current(NULL);
    aio_context_unref(ctx);
    return NULL;
}

static void run(gconstpointer test)
{
    g_thread_join(g_thread_new("loop", run_thread, (gpointer)test));
}

static void coroutine_fn result_entry(void *opaque)
{
    g_auto_fd int fd = open("/dev/zero", O_RDONLY);
    ReadRequest good = { .fd = fd, .byte = 'x' }, bad = { .fd = -1 };

    g_assert_cmpint(aio_co_uring(prep_read, &good, 0), ==, 1);
    g_assert_cmpint(good.byte, ==, 0);
    g_assert_cmpint(aio_co_uring(prep_read, &bad, 0), ==, -EBADF);
}

#define MANY 1000

static void coroutine_fn one_of_many(void *opaque)
{
    int *left = opaque;

    g_assert_cmpint(aio_co_uring(prep_nop, NULL, *left % 3), ==, 0);
    --*left;
}

/* More requests than the ring holds. */
static void coroutine_fn many_entry(void *opaque)
{
    int left = MANY;

    for (int i = 0; i < MANY; i++) {
        qemu_coroutine_enter(qemu_coroutine_create(one_of_many, &left));
    }
    while (left > 0) {
        co_sleep_ns(SCALE_MS);
    }
}

/* The kernel rejects submissions: the request is submitted later. */
static void coroutine_fn refused_entry(void *opaque)
{
    refuse_submits = 1;
    g_assert_cmpint(aio_co_uring(prep_nop, NULL, 1), ==, 0);
    g_assert_cmpint(refuse_submits, ==, 0);

    /* The same with a full queue. */
    refuse_submits = 300;
    many_entry(NULL);
    refuse_submits = 0;
}

static void coroutine_fn batch_entry(void *opaque)
{
    aio_context_set_max_batch(qemu_get_current_aio_context(), 1);
    refuse_submits = 1;
    g_assert_cmpint(aio_co_uring(prep_nop, NULL, 0), ==, 0);
    g_assert_cmpint(refuse_submits, ==, 0);
}

typedef struct Watch {
    int fds[2];
    int n_read, n_write;
    int limit;          /* remove the handler after so many calls of one kind */
} Watch;

static void watch_init(Watch *w)
{
    *w = (Watch){ .limit = INT_MAX };
    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, w->fds), ==, 0);
}

static void watch_stop(Watch *w)
{
    aio_set_fd_handler(qemu_get_current_aio_context(), w->fds[0], NULL, NULL, NULL);
}

static void watch_read(void *opaque)
{
    Watch *w = opaque;

    if (++w->n_read == w->limit) {
        watch_stop(w);
    }
}

static void watch_write(void *opaque)
{
    Watch *w = opaque;

    if (++w->n_write == w->limit) {
        watch_stop(w);
    }
}

/* A descriptor that stays ready is reported until its handler is removed. */
static void coroutine_fn level_entry(void *opaque)
{
    AioContext *ctx = qemu_get_current_aio_context();
    Watch w;

    watch_init(&w);
    aio_set_fd_handler(ctx, w.fds[0], watch_read, NULL, &w);
    co_sleep_ns(10 * SCALE_MS);
    g_assert_cmpint(w.n_read, ==, 0);
    g_assert_cmpint(send(w.fds[1], "xy", 2, 0), ==, 2);
    while (w.n_read < 10) {
        co_sleep_ns(SCALE_MS);
    }
    g_assert_cmpint(w.n_write, ==, 0);

    /* Both directions, one of them, none. */
    aio_set_fd_handler(ctx, w.fds[0], watch_read, watch_write, &w);
    w.n_read = 0;
    while (w.n_read < 10 || w.n_write < 10) {
        co_sleep_ns(SCALE_MS);
    }
    aio_set_fd_handler(ctx, w.fds[0], NULL, watch_write, &w);
    w.n_read = w.n_write = 0;
    while (w.n_write < 10) {
        co_sleep_ns(SCALE_MS);
    }
    g_assert_cmpint(w.n_read, ==, 0);
    watch_stop(&w);
    w.n_write = 0;
    co_sleep_ns(10 * SCALE_MS);
    g_assert_cmpint(w.n_read + w.n_write, ==, 0);
    close(w.fds[0]);
    close(w.fds[1]);
}

/* A callback removes its handler, while the other direction is watched and ready as well. */
static void coroutine_fn remove_entry(void *opaque)
{
    for (int i = 0; i < 100; i++) {
        Watch w;

        watch_init(&w);
        w.limit = 1 + i % 3;
        g_assert_cmpint(send(w.fds[1], "x", 1, 0), ==, 1);
        aio_set_fd_handler(qemu_get_current_aio_context(), w.fds[0], watch_read, watch_write, &w);
        while (w.n_read < w.limit && w.n_write < w.limit) {
            co_sleep_ns(1);
        }
        co_sleep_ns(1);
        g_assert_cmpint(MAX(w.n_read, w.n_write), ==, w.limit);
        close(w.fds[0]);
        close(w.fds[1]);
    }
}

/* Without a handler, the ring no longer keeps the file open, and the descriptor may be reused for another file. */
static void coroutine_fn close_entry(void *opaque)
{
    AioContext *ctx = qemu_get_current_aio_context();
    Watch w, other;
    char byte;

    watch_init(&w);
    aio_set_fd_handler(ctx, w.fds[0], watch_read, NULL, &w);
    co_sleep_ns(SCALE_MS);
    watch_stop(&w);
    close(w.fds[0]);
    g_assert_cmpint(recv(w.fds[1], &byte, 1, 0), ==, 0);

    watch_init(&other);
    g_assert_cmpint(other.fds[0], ==, w.fds[0]);
    aio_set_fd_handler(ctx, other.fds[0], watch_read, NULL, &other);
    g_assert_cmpint(send(other.fds[1], "x", 1, 0), ==, 1);
    while (!other.n_read) {
        co_sleep_ns(SCALE_MS);
    }
    g_assert_cmpint(w.n_read, ==, 0);
    watch_stop(&other);
    close(other.fds[0]);
    close(other.fds[1]);
    close(w.fds[1]);
}

static void coroutine_fn sleep_entry(void *opaque)
{
    int64_t start = qemu_clock_get_ns();

    co_sleep_ns(20 * SCALE_MS);
    g_assert_cmpint(qemu_clock_get_ns() - start, >=, 20 * SCALE_MS);
}

static int work(void *opaque)
{
    return 42;
}

/* Descriptors that were watched before the ring was created are then watched by it. */
static void test_late(void)
{
    g_autoptr(AioContext) ctx = aio_context_new(&error_abort);
    Watch w;

    aio_context_set_current(ctx);
    watch_init(&w);
    aio_set_fd_handler(ctx, w.fds[0], watch_read, NULL, &w);
    g_assert_false(aio_poll(ctx, false));
    if (aio_setup_io_uring() < 0) {
        g_test_skip("io_uring is not available");
    }
    g_assert_false(aio_poll(ctx, false));
    g_assert_cmpint(send(w.fds[1], "x", 1, 0), ==, 1);
    aio_poll(ctx, true);
    g_assert_cmpint(w.n_read, ==, 1);
    watch_stop(&w);
    aio_context_set_current(NULL);
    close(w.fds[0]);
    close(w.fds[1]);
}

/* Work that other threads finish wakes a loop that sleeps in its ring, or is about to. */
static void coroutine_fn wake_entry(void *opaque)
{
    for (int i = 0; i < 2000; i++) {
        g_assert_cmpint(thread_pool_submit_co(THREAD_POOL_CPU, work, NULL), ==, 42);
        if (i % 2) {
            g_assert_cmpint(aio_co_uring(prep_nop, NULL, 0), ==, 0);
        }
    }
}

/* If creating a ring is forbidden, the loop works without one. */
static void coroutine_fn forbidden_entry(void *opaque)
{
    refuse_setup = EPERM;
    g_assert_cmpint(aio_setup_io_uring(), ==, -EPERM);
    refuse_setup = 0;
    g_assert_cmpint(aio_setup_io_uring(), ==, -EPERM);
    level_entry(NULL);
    sleep_entry(NULL);
}

static gpointer forbidden_thread(gpointer unused)
{
    g_autoptr(AioContext) ctx = aio_context_new(&error_abort);

    aio_context_set_current(ctx);
    aio_context_run(forbidden_entry, NULL);
    return NULL;
}

static void test_forbidden(void)
{
    g_thread_join(g_thread_new("loop", forbidden_thread, NULL));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_data_func("/uring/result", result_entry, run);
    g_test_add_data_func("/uring/many", many_entry, run);
    g_test_add_data_func("/uring/refused", refused_entry, run);
    g_test_add_data_func("/uring/max-batch", batch_entry, run);
    g_test_add_data_func("/uring/fd/level", level_entry, run);
    g_test_add_data_func("/uring/fd/remove", remove_entry, run);
    g_test_add_data_func("/uring/fd/close", close_entry, run);
    g_test_add_func("/uring/fd/late", test_late);
    g_test_add_data_func("/uring/sleep", sleep_entry, run);
    g_test_add_data_func("/uring/wake", wake_entry, run);
    g_test_add_func("/uring/forbidden", test_forbidden);
    int ret = g_test_run();
    thread_pool_cleanup();
    return ret;
}
