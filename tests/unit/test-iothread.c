/*
 * I/O threads: coroutines run there, wait there, and hand results back
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "util/iothread.h"

#define THREADS 4
#define TASKS 50

typedef struct Task {
    AioContext *ctx;
    bool wrong_loop;
    int *left;
} Task;

static void task_done(void *opaque)
{
    Task *task = opaque;

    g_assert_true(qemu_get_current_aio_context() == qemu_get_aio_context());
    --*task->left;
}

static void coroutine_fn task_run(void *opaque)
{
    Task *task = opaque;

    task->wrong_loop = qemu_get_current_aio_context() != task->ctx;
    co_sleep_ns(SCALE_MS);
    task->wrong_loop |= qemu_get_current_aio_context() != task->ctx;
    aio_bh_schedule_oneshot(qemu_get_aio_context(), task_done, task);
}

static void test_tasks(void)
{
    IOThread *threads[THREADS];
    Task tasks[TASKS];
    int left = TASKS;

    for (int i = 0; i < THREADS; i++) {
        threads[i] = iothread_new("test", &error_abort);
    }
    for (int i = 0; i < TASKS; i++) {
        tasks[i] = (Task){ .ctx = iothread_get_aio_context(threads[i % THREADS]), .left = &left };
        aio_co_start(tasks[i].ctx, task_run, &tasks[i]);
    }
    while (left > 0) {
        aio_poll(qemu_get_aio_context(), true);
    }
    for (int i = 0; i < TASKS; i++) {
        g_assert_false(tasks[i].wrong_loop);
    }
    for (int i = 0; i < THREADS; i++) {
        iothread_unref(threads[i]);
    }
}

static void count(void *opaque)
{
    ++*(int *)opaque;
}

/* What was scheduled before the last reference went has run when the thread has ended. */
static void test_last_unref(void)
{
    for (int i = 0; i < 200; i++) {
        IOThread *iothread = iothread_new("test", &error_abort);
        int n = 0;

        iothread_unref(iothread_ref(iothread));
        for (int j = 0; j < 10; j++) {
            aio_bh_schedule_oneshot(iothread_get_aio_context(iothread), count, &n);
        }
        iothread_unref(iothread);
        g_assert_cmpint(n, ==, 10);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    aio_context_set_current(qemu_get_aio_context());
    g_test_add_func("/iothread/tasks", test_tasks);
    g_test_add_func("/iothread/last-unref", test_last_unref);
    return g_test_run();
}
