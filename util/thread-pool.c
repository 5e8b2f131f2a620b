/*
 * Worker threads: GLib's pools, and coroutines that wait for them
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "util/aio.h"
#include "util/thread-pool.h"

#define IO_THREADS_MAX 64

typedef struct Work {
    ThreadPoolFunc *func;
    void *opaque;
    int ret;
    Coroutine *co;
} Work;

static GMutex pools_lock;
static GThreadPool *pools[2];

unsigned thread_pool_cpu_threads(void)
{
    return g_get_num_processors();
}

static void work_run(gpointer data, gpointer unused)
{
    Work *work = data;

    work->ret = work->func(work->opaque);
    aio_co_schedule(work->co);
}

static GThreadPool *pool_get(ThreadPoolKind kind)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&pools_lock);

    if (!pools[kind]) {
        int max = kind == THREAD_POOL_IO ? IO_THREADS_MAX : (int)thread_pool_cpu_threads();
        pools[kind] = g_thread_pool_new(work_run, NULL, max, FALSE, NULL);
    }
    return pools[kind];
}

int coroutine_mixed_fn thread_pool_submit_co(ThreadPoolKind kind, ThreadPoolFunc *func, void *opaque)
{
    if (!qemu_in_coroutine()) {
        return func(opaque);
    }

    Work work = { .func = func, .opaque = opaque, .co = qemu_coroutine_self() };

    /* An error means that no new thread could be started: the work is queued all the same. */
    g_thread_pool_push(pool_get(kind), &work, NULL);
    qemu_coroutine_yield();
    return work.ret;
}

void thread_pool_cleanup(void)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&pools_lock);

    for (size_t i = 0; i < G_N_ELEMENTS(pools); i++) {
        if (pools[i]) {
            g_thread_pool_free(pools[i], FALSE, TRUE);
            pools[i] = NULL;
        }
    }
    g_thread_pool_stop_unused_threads();
}
