/*
 * Worker threads for what would block an event loop: system calls without an asynchronous form, and
 * computation.
 *
 *     static int hash_it(void *opaque) { ...; return 0; }
 *
 *     int ret = thread_pool_submit_co(THREAD_POOL_CPU, hash_it, &job);   // other coroutines run meanwhile
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef UTIL_THREAD_POOL_H
#define UTIL_THREAD_POOL_H

#include "util/coroutine.h"

typedef int ThreadPoolFunc(void *opaque);

typedef enum ThreadPoolKind {
    THREAD_POOL_IO,     /* up to 64 threads, for calls that wait */
    THREAD_POOL_CPU,    /* as many threads as the machine has processors, for computation that others wait for */
    THREAD_POOL_LONG,   /* as many again, for computation that takes longer */
    THREAD_POOL__MAX,
} ThreadPoolKind;

/*
 * Run @func(@opaque) on a worker and return its result. Outside of a coroutine, or if no thread can be started, run it
 * here.
 */
int coroutine_mixed_fn thread_pool_submit_co(ThreadPoolKind kind, ThreadPoolFunc *func, void *opaque);

/*
 * Run @func on each of the @n items of @item_size bytes at @items, in parallel. Returns when all have ended: the first
 * result in the array that is not 0, or 0. If no thread can be started, one after the other.
 */
int coroutine_fn thread_pool_map_co(ThreadPoolKind kind, ThreadPoolFunc *func, void *items, size_t item_size,
                                    unsigned n);

/*
 * Run @func(@opaque), which may take long and cannot be stopped, on a thread of its own, and return its result. Returns
 * -ECANCELED if the coroutine is cancelled (qemu_co_cancel()): @func then continues, maybe while the program ends,
 * followed by @free(@opaque). If no thread can be started, @func runs in this one. It never returns -ECANCELED.
 */
int coroutine_fn thread_run_co_cancellable(ThreadPoolFunc *func, void *opaque, GDestroyNotify free);

/* The number of threads of THREAD_POOL_CPU. */
unsigned thread_pool_cpu_threads(void);

/* End all worker threads; for programs about to exit. No work may be under way. */
void thread_pool_cleanup(void);

#endif
