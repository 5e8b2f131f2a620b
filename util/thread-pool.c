/*
 * Worker threads: GLib's pools, and coroutines that wait for them
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "util/aio.h"
#include "util/thread-pool.h"

#define IO_THREADS_MAX 64

/* A coroutine that waits for pieces of work. */
typedef struct WorkGroup {
    ThreadPoolFunc *func;
    Coroutine *co;
    gint pending;       /* atomic */
} WorkGroup;

typedef struct Work {
    WorkGroup *group;
    void *opaque;
    int ret;
} Work;

static GMutex pools_lock;
static GThreadPool *pools[THREAD_POOL__MAX];
static Work no_work;

unsigned thread_pool_cpu_threads(void)
{
    static gsize threads;

    /* Asked for every request, while finding out means reading files of the kernel. */
    if (g_once_init_enter(&threads)) {
        g_once_init_leave(&threads, g_get_num_processors());
    }
    return threads;
}

static void work_run(gpointer data, gpointer unused)
{
    Work *work = data;
    WorkGroup *group = work->group;

    if (work == &no_work) {
        return;
    }
    work->ret = group->func(work->opaque);
    if (g_atomic_int_dec_and_test(&group->pending)) {
        aio_co_schedule(group->co);
    }
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

/*
 * Whether a thread will run what is pushed. Pools start threads on demand and stop idle ones; if the system allows no
 * more threads, work would stay queued forever.
 */
static bool has_threads(GThreadPool *pool)
{
    if (g_thread_pool_get_num_threads(pool) == 0) {
        if (g_thread_pool_unprocessed(pool) == 0) {
            g_thread_pool_push(pool, &no_work, NULL);
        } else {
            g_thread_pool_set_max_threads(pool, g_thread_pool_get_max_threads(pool), NULL);
        }
    }
    return g_thread_pool_get_num_threads(pool) > 0;
}

static void coroutine_fn run_here(ThreadPoolFunc *func, Work *work, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        work[i].ret = func(work[i].opaque);
        /* As if the work had run on another thread. */
        aio_co_yield();
    }
}

static void coroutine_fn run_on_threads(GThreadPool *pool, ThreadPoolFunc *func, Work *work, unsigned n)
{
    WorkGroup group = { .func = func, .co = qemu_coroutine_self(), .pending = n };

    for (unsigned i = 0; i < n; i++) {
        work[i].group = &group;
        /* An error only means that no further thread was started: the work is queued. */
        g_thread_pool_push(pool, &work[i], NULL);
    }
    qemu_coroutine_yield();
}

/* Run the @n pieces of work at @work, and return once the last of them has ended. */
static int coroutine_fn run_group(ThreadPoolKind kind, ThreadPoolFunc *func, Work *work, unsigned n)
{
    GThreadPool *pool = pool_get(kind);

    if (has_threads(pool)) {
        run_on_threads(pool, func, work, n);
    } else {
        run_here(func, work, n);
    }
    for (unsigned i = 0; i < n; i++) {
        if (work[i].ret) {
            return work[i].ret;
        }
    }
    return 0;
}

int coroutine_mixed_fn thread_pool_submit_co(ThreadPoolKind kind, ThreadPoolFunc *func, void *opaque)
{
    Work work = { .opaque = opaque };

    return qemu_in_coroutine() ? run_group(kind, func, &work, 1) : func(opaque);
}

int coroutine_fn thread_pool_map_co(ThreadPoolKind kind, ThreadPoolFunc *func, void *items, size_t item_size,
                                    unsigned n)
{
    g_autofree Work *work = g_new0(Work, n);

    for (unsigned i = 0; i < n; i++) {
        work[i].opaque = (char *)items + i * item_size;
    }
    return n ? run_group(kind, func, work, n) : 0;
}

/* Work that its coroutine may give up. It belongs to the coroutine, then to the thread. */
typedef struct CancellableWork {
    ThreadPoolFunc *func;
    void *opaque;
    GDestroyNotify free;
    CoSleep sleep;      /* the thread claims it at its end, unless the coroutine was cancelled */
    int ret;
} CancellableWork;

/* What the coroutine that waits keeps for itself. */
typedef struct CancellableWait {
    CancellableWork *work;
    bool given_up;
} CancellableWait;

static gpointer cancellable_work_run(gpointer opaque)
{
    CancellableWork *work = opaque;

    work->ret = work->func(work->opaque);
    Coroutine *co = qemu_co_sleep_claim(&work->sleep);
    if (co) {
        aio_co_schedule(co);
    } else {
        work->free(work->opaque);
        g_free(work);
    }
    return NULL;
}

static void give_up(void *opaque)
{
    CancellableWait *wait = opaque;
    Coroutine *co = qemu_co_sleep_claim(&wait->work->sleep);

    if (co) {
        wait->given_up = true;
        aio_co_schedule(co);
    }
}

int coroutine_fn thread_run_co_cancellable(ThreadPoolFunc *func, void *opaque, GDestroyNotify free)
{
    CancellableWork *work = g_new(CancellableWork, 1);
    CancellableWait wait = { .work = work };

    *work = (CancellableWork){ .func = func, .opaque = opaque, .free = free };
    if (!qemu_co_cancel_begin(give_up, &wait)) {
        free(opaque);
        g_free(work);
        return -ECANCELED;
    }
    g_atomic_pointer_set(&work->sleep.co, qemu_coroutine_self());
    GThread *thread = g_thread_try_new("cancellable", cancellable_work_run, work, NULL);
    if (thread) {
        g_thread_unref(thread);
    } else {
        cancellable_work_run(work);
    }
    qemu_coroutine_yield();
    qemu_co_cancel_end();
    int ret = -ECANCELED;
    if (!wait.given_up) {
        ret = work->ret;
        g_free(work);
    }
    return ret;
}

void thread_pool_cleanup(void)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&pools_lock);

    for (ThreadPoolKind i = 0; i < THREAD_POOL__MAX; i++) {
        if (pools[i]) {
            /* The queue holds no real work any more. */
            g_thread_pool_free(pools[i], TRUE, TRUE);
            pools[i] = NULL;
        }
    }
    g_thread_pool_stop_unused_threads();
}
