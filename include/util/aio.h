/*
 * AioContext: an event loop, at most one per thread
 *
 * The loop waits for file descriptors, timers and bottom halves (functions that other code, on any thread, asks it to
 * run). Coroutines wait in it with co_sleep_ns() and everything that ends in aio_co_wake().
 *
 *     static void coroutine_fn work(void *opaque) { ... }
 *
 *     int main(void)
 *     {
 *         aio_context_run(work, NULL);
 *     }
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef UTIL_AIO_H
#define UTIL_AIO_H

#include "util/coroutine.h"
#include "util/error.h"

#define NANOSECONDS_PER_SECOND INT64_C(1000000000)
#define SCALE_MS INT64_C(1000000)

typedef void AioHandler(void *opaque);

/* Create an event loop; NULL with @errp if there are no descriptors left. */
AioContext *aio_context_new(Error **errp);
AioContext *aio_context_ref(AioContext *ctx);
void aio_context_unref(AioContext *ctx);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(AioContext, aio_context_unref)

/* The loop of this thread: the one it runs, else the main loop, which is created on first use. */
AioContext *qemu_get_current_aio_context(void);
AioContext *qemu_get_aio_context(void);

/* Make @ctx this thread's loop (an I/O thread calls this first). */
void aio_context_set_current(AioContext *ctx);

/*
 * Run handlers that are ready; where @blocking, wait until at least one is. Returns whether any ran.
 * Only the thread of @ctx may call it, and not from within a handler.
 */
bool aio_poll(AioContext *ctx, bool blocking);

/* Call @read/@write when @fd is ready; both NULL removes @fd. From the thread of @ctx only. */
void aio_set_fd_handler(AioContext *ctx, int fd, AioHandler *read, AioHandler *write, void *opaque);

/* Run @cb(@opaque) once in @ctx, soon, and not from within this call. From any thread. */
void aio_bh_schedule_oneshot(AioContext *ctx, AioHandler *cb, void *opaque);

/* Resume @co in its own loop: at once if this is its thread and no coroutine runs, else soon. */
void aio_co_wake(Coroutine *co);

/* Like aio_co_wake(), but never at once. */
void aio_co_schedule(Coroutine *co);

/* Let the loop run other handlers, then continue. */
void coroutine_fn aio_co_yield(void);

/* Start @entry(@opaque) as a coroutine in @ctx, soon. From any thread. */
void aio_co_start(AioContext *ctx, CoroutineEntry *entry, void *opaque);

/*
 * Run @entry(@opaque), a coroutine function, in @ctx, and return once it has ended; a plain call where this is @ctx's
 * thread. How drivers call a library whose handle belongs to one loop: see docs/threads.md. Where the caller is
 * cancelled or abandoned, so is @entry.
 */
void coroutine_fn aio_co_run_in(AioContext *ctx, CoroutineEntry *entry, void *opaque);

/*
 * Run @entry(@opaque), a coroutine function, in this thread's loop, and return once it has ended. It is cancelled
 * (qemu_co_cancel()) after @timeout_ns (0: never), or when @stop(@stop_opaque), which is called several times a second
 * (NULL: not at all), returns true. Returns 0, or why it was cancelled, even if it succeeded: -ETIMEDOUT, -ECANCELED.
 */
int coroutine_fn aio_co_run_limited(CoroutineEntry *entry, void *opaque, int64_t timeout_ns,
                                    bool (*stop)(void *opaque), void *stop_opaque);

/*
 * Requests to the kernel through the loop's io_uring, from a coroutine. Requests made in one iteration of the loop are
 * submitted together, when the loop next waits.
 *
 *     static void prep_read(struct io_uring_sqe *sqe, void *opaque)
 *     {
 *         MyRequest *req = opaque;
 *
 *         io_uring_prep_readv(sqe, req->fd, req->iov, req->niov, req->offset);
 *     }
 *
 *     ret = aio_setup_io_uring() == 0 ? aio_co_uring(prep_read, req, 0) : read_by_other_means(req);
 */
struct io_uring_sqe;
typedef void AioPrepSqe(struct io_uring_sqe *sqe, void *opaque);

/*
 * Set up a ring for this thread's loop: 0, or -errno if that is not possible (the kernel lacks it, or it is forbidden,
 * as in many containers). Cheap after the first time.
 */
int aio_setup_io_uring(void);

/*
 * Submit the request that @prep(@opaque) describes (all but its user data), and wait for it. Returns its result, -errno
 * if it failed. Once @max_batch requests are queued they are submitted at once; 0: no limit. Needs a ring.
 */
int coroutine_fn aio_co_uring(AioPrepSqe *prep, void *opaque, unsigned max_batch);

/* Set an upper limit for @max_batch of all requests in @ctx; 0: none. From any thread. */
void aio_context_set_max_batch(AioContext *ctx, unsigned max_batch);

/* Timers: one-shot, in CLOCK_MONOTONIC nanoseconds. Thread of the loop only. */
typedef struct AioTimer AioTimer;
AioTimer *aio_timer_new(AioContext *ctx, AioHandler *cb, void *opaque);
void aio_timer_mod_ns(AioTimer *timer, int64_t expire_ns);
void aio_timer_del(AioTimer *timer);
void aio_timer_free(AioTimer *timer);
int64_t qemu_clock_get_ns(void);

/* Wait at least @ns nanoseconds. */
void coroutine_fn co_sleep_ns(int64_t ns);

/*
 * A sleep that can be ended early, by qemu_co_sleep_wake(), which does nothing if nobody sleeps. Both are on one
 * thread, or hold @lock (may be NULL), which is released during the sleep and held again on return.
 */
struct CoSleep {
    Coroutine *co;      /* the sleeper; whoever claims it resumes it. Atomic */
};
/* Claim the sleeper in order to resume it; NULL if there is none. */
Coroutine *qemu_co_sleep_claim(CoSleep *sleep);
void coroutine_fn co_sleep_ns_wakeable(CoSleep *sleep, int64_t ns, GMutex *lock);
void qemu_co_sleep_wake(CoSleep *sleep);

/* Wait at least @ns nanoseconds: true; false once the coroutine is cancelled (qemu_co_cancel()). */
bool coroutine_fn co_sleep_ns_cancellable(int64_t ns);

/* Wait until @fd, a pipe or a socket, can be read, or is at its end: true; false once the coroutine is cancelled. */
bool coroutine_mixed_fn qemu_co_wait_readable(int fd);

/* Run @entry(@opaque) as a coroutine in this thread's loop and poll the loop until it has ended. */
void aio_context_run(CoroutineEntry *entry, void *opaque);

#endif
