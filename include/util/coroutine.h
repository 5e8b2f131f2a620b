/*
 * Coroutine: functions that can wait without blocking their thread
 *
 * A coroutine_fn may call qemu_coroutine_yield() or anything that does; its caller must be one, too. The owner of the
 * coroutine resumes it: on the same thread with qemu_coroutine_enter(), from any thread with aio_co_wake(), which makes
 * it continue in its own event loop.
 *
 *     static void coroutine_fn hello(void *opaque)
 *     {
 *         co_sleep_ns(NANOSECONDS_PER_SECOND);
 *         puts("one second later");
 *     }
 *
 *     aio_context_run(hello, NULL);      // creates, enters, and polls the event loop until it has ended
 *
 * A coroutine belongs to one thread from its first entry to its end.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef UTIL_COROUTINE_H
#define UTIL_COROUTINE_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

/* Must run in a coroutine. */
#define coroutine_fn
/* Yields in a coroutine; blocks the thread outside of one. */
#define coroutine_mixed_fn

typedef struct Coroutine Coroutine;
typedef struct AioContext AioContext;
typedef struct CoSleep CoSleep;     /* util/aio.h */
typedef void coroutine_fn CoroutineEntry(void *opaque);

/* Create a coroutine that runs @entry(@opaque) when first entered. It frees itself when @entry returns. */
Coroutine *qemu_coroutine_create(CoroutineEntry *entry, void *opaque);

/* Run @co on this thread until it yields or ends. Must not be running already. */
void qemu_coroutine_enter(Coroutine *co);

/* Return control to the caller that entered this coroutine; returns when it is entered again. */
void coroutine_fn qemu_coroutine_yield(void);

Coroutine *coroutine_fn qemu_coroutine_self(void);
bool qemu_in_coroutine(void);

/*
 * Cancelling. A coroutine that waits for something that may never come, such as a writer for a pipe or a peer that
 * answers, can be told to give up. The code that waits like that provides a function that ends the wait:
 *
 *     if (qemu_co_cancel_begin(end_wait, &something)) {
 *         ...                                 // qemu_co_cancel() calls end_wait(&something)
 *         qemu_co_cancel_end();
 *     }
 *     if (qemu_co_is_cancelled()) {
 *         error_setg(errp, "Operation was cancelled");
 *
 * A coroutine stays cancelled to its end. All functions are for the thread of the coroutine.
 */
typedef void CoroutineCancelFunc(void *opaque);

/* False if this coroutine is cancelled already. @func must not enter it directly: aio_co_schedule() does not. */
bool coroutine_fn qemu_co_cancel_begin(CoroutineCancelFunc *func, void *opaque);
void coroutine_fn qemu_co_cancel_end(void);
bool coroutine_mixed_fn qemu_co_is_cancelled(void);
/* Like qemu_co_cancel_begin(), for a wait that is @sleep. */
bool coroutine_fn qemu_co_cancel_begin_sleep(CoSleep *sleep);

/* Cancel @co, which has not ended. Once is enough. */
void qemu_co_cancel(Coroutine *co);

/*
 * Cancel @co, whose requests to nodes nobody waits for any more: block/io then fails them with -ECANCELED, between one
 * piece and the next (docs/data-path.md). Those of a coroutine that was only cancelled are carried out. For coroutines
 * that serve a client; what must not end half-way, such as a change of metadata, runs in one that nobody abandons.
 */
void qemu_co_abandon(Coroutine *co);
bool qemu_co_is_abandoned(const Coroutine *co);

/* The event loop that @co was first entered in. */
AioContext *qemu_coroutine_get_aio_context(Coroutine *co);

/*
 * CoQueue: coroutines that wait for a condition, and are woken in order of arrival. All users are on one thread, or
 * hold the mutex that they pass to the wait.
 */
typedef struct CoWaiter CoWaiter;
typedef struct CoQueue {
    CoWaiter *first;
    CoWaiter **last;
} CoQueue;

void qemu_co_queue_init(CoQueue *queue);

/* Wait; @lock (may be NULL) is released while waiting and held again on return. */
void coroutine_fn qemu_co_queue_wait(CoQueue *queue, GMutex *lock);

/* Wake the first waiter, in its own event loop; false if there is none. */
bool qemu_co_queue_next(CoQueue *queue);
void qemu_co_queue_restart_all(CoQueue *queue);
bool qemu_co_queue_empty(const CoQueue *queue);

/* CoMutex: mutual exclusion between coroutines of any threads, first come, first served. */
typedef struct CoMutexWaiter CoMutexWaiter;
typedef struct CoMutex {
    GMutex lock;
    CoMutexWaiter *waiters;     /* longest wait first */
    Coroutine *holder;
} CoMutex;

void qemu_co_mutex_init(CoMutex *mutex);
void qemu_co_mutex_cleanup(CoMutex *mutex);
void coroutine_fn qemu_co_mutex_lock(CoMutex *mutex);

/*
 * Lock @mutex, unless qemu_co_sleep_wake(@sleep) ends the wait for it: then return false, without the lock. As with a
 * sleep, waking does nothing before the wait has begun, so first check the condition that the waker sets:
 *
 *     while (!qemu_co_mutex_lock_wakeable(&s->lock, &job->sleep)) {
 *         if (!job_pause_point(job, errp)) {
 *             return false;
 *         }
 *     }
 */
bool coroutine_fn qemu_co_mutex_lock_wakeable(CoMutex *mutex, CoSleep *sleep);

void coroutine_fn qemu_co_mutex_unlock(CoMutex *mutex);

static inline CoMutex *co_mutex_auto_lock(CoMutex *mutex)
{
    qemu_co_mutex_lock(mutex);
    return mutex;
}

static inline void co_mutex_auto_unlock(CoMutex **mutex)
{
    qemu_co_mutex_unlock(*mutex);
}

/* Hold @mutex to the end of the scope. */
#define QEMU_CO_LOCK_GUARD(mutex)                                               \
    __attribute__((cleanup(co_mutex_auto_unlock), unused))                      \
    CoMutex *G_PASTE(co_guard_, __COUNTER__) = co_mutex_auto_lock(mutex)

#endif
