/*
 * Coroutines and loops: waking, sleeping, starting
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include <poll.h>

#include "util/aio-internal.h"

/* How often aio_co_run_limited() looks whether to stop. */
#define STOP_POLL_NS (50 * SCALE_MS)

static void co_enter(void *co)
{
    qemu_coroutine_enter(co);
}

void aio_co_schedule(Coroutine *co)
{
    aio_bh_schedule_oneshot(qemu_coroutine_get_aio_context(co), co_enter, co);
}

void aio_co_wake(Coroutine *co)
{
    AioContext *ctx = qemu_coroutine_get_aio_context(co);

    if (!aio_context_is_current(ctx) || qemu_in_coroutine()) {
        aio_co_schedule(co);
    } else {
        qemu_coroutine_enter(co);
    }
}

void coroutine_fn aio_co_yield(void)
{
    aio_co_schedule(qemu_coroutine_self());
    qemu_coroutine_yield();
}

typedef struct Start {
    CoroutineEntry *entry;
    void *opaque;
} Start;

static void co_start(void *opaque)
{
    g_autofree Start *start = opaque;

    qemu_coroutine_enter(qemu_coroutine_create(start->entry, start->opaque));
}

void aio_co_start(AioContext *ctx, CoroutineEntry *entry, void *opaque)
{
    Start *start = g_new(Start, 1);

    *start = (Start){ .entry = entry, .opaque = opaque };
    aio_bh_schedule_oneshot(ctx, co_start, start);
}

typedef struct Visit {
    gint refcnt;            /* atomic: the visitor, and a cancel on its way */
    CoroutineEntry *entry;
    void *opaque;
    AioContext *ctx;
    Coroutine *visitor;
    Coroutine *co;          /* that runs @entry; NULL: no longer. Of the thread of @ctx */
    bool cancelled;         /* the visitor is, since before */
    bool abandoned;         /* the same, or a cancel on its way says so */
} Visit;

static void visit_unref(Visit *visit)
{
    if (g_atomic_int_dec_and_test(&visit->refcnt)) {
        g_free(visit);
    }
}

static void visit_cancel(Visit *visit)
{
    if (visit->abandoned) {
        qemu_co_abandon(visit->co);
    } else {
        qemu_co_cancel(visit->co);
    }
}

static void coroutine_fn visit_entry(void *opaque)
{
    Visit *visit = opaque;

    visit->co = qemu_coroutine_self();
    if (visit->cancelled) {
        visit_cancel(visit);
    }
    visit->entry(visit->opaque);
    visit->co = NULL;
    /* Frees @visit, soon. */
    aio_co_schedule(visit->visitor);
}

static void cancel_arrived(void *opaque)
{
    Visit *visit = opaque;

    if (visit->co) {
        visit_cancel(visit);
    }
    visit_unref(visit);
}

static void send_cancel(void *opaque)
{
    Visit *visit = opaque;

    g_atomic_int_inc(&visit->refcnt);
    visit->abandoned = qemu_co_is_abandoned(visit->visitor);
    aio_bh_schedule_oneshot(visit->ctx, cancel_arrived, visit);
}

void coroutine_fn aio_co_run_in(AioContext *ctx, CoroutineEntry *entry, void *opaque)
{
    Coroutine *self = qemu_coroutine_self();

    if (ctx == qemu_get_current_aio_context()) {
        entry(opaque);
        return;
    }
    Visit *visit = g_new(Visit, 1);
    *visit = (Visit){
        .refcnt = 1, .entry = entry, .opaque = opaque, .ctx = ctx, .visitor = self,
        .cancelled = !qemu_co_cancel_begin(send_cancel, visit), .abandoned = qemu_co_is_abandoned(self),
    };
    aio_co_start(ctx, visit_entry, visit);
    qemu_coroutine_yield();
    qemu_co_cancel_end();
    visit_unref(visit);
}

Coroutine *qemu_co_sleep_claim(CoSleep *sleep)
{
    return __atomic_exchange_n(&sleep->co, NULL, __ATOMIC_SEQ_CST);
}

static void sleep_over(void *opaque)
{
    Coroutine *co = qemu_co_sleep_claim(opaque);

    if (co) {
        qemu_coroutine_enter(co);
    }
}

void coroutine_fn co_sleep_ns_wakeable(CoSleep *sleep, int64_t ns, GMutex *lock)
{
    AioTimer *timer = aio_timer_new(qemu_get_current_aio_context(), sleep_over, sleep);

    aio_timer_mod_ns(timer, qemu_clock_get_ns() + ns);
    g_atomic_pointer_set(&sleep->co, qemu_coroutine_self());
    if (lock) {
        g_mutex_unlock(lock);
    }
    qemu_coroutine_yield();
    aio_timer_free(timer);
    if (lock) {
        g_mutex_lock(lock);
    }
}

void qemu_co_sleep_wake(CoSleep *sleep)
{
    Coroutine *co = qemu_co_sleep_claim(sleep);

    if (co) {
        aio_co_schedule(co);
    }
}

void coroutine_fn co_sleep_ns(int64_t ns)
{
    CoSleep sleep = { NULL };

    co_sleep_ns_wakeable(&sleep, ns, NULL);
}

static void end_sleep(void *sleep)
{
    qemu_co_sleep_wake(sleep);
}

bool coroutine_fn qemu_co_cancel_begin_sleep(CoSleep *sleep)
{
    return qemu_co_cancel_begin(end_sleep, sleep);
}

bool coroutine_fn co_sleep_ns_cancellable(int64_t ns)
{
    CoSleep sleep = { NULL };

    if (qemu_co_cancel_begin_sleep(&sleep)) {
        co_sleep_ns_wakeable(&sleep, ns, NULL);
        qemu_co_cancel_end();
    }
    return !qemu_co_is_cancelled();
}

bool coroutine_mixed_fn qemu_co_wait_readable(int fd)
{
    CoSleep sleep = { NULL };
    AioContext *ctx = qemu_get_current_aio_context();

    if (!qemu_in_coroutine()) {
        struct pollfd pfd = { .fd = fd, .events = POLLIN };

        while (poll(&pfd, 1, -1) < 0) {
            /* interrupted */
        }
        return true;
    }
    if (!qemu_co_cancel_begin_sleep(&sleep)) {
        return false;
    }
    sleep.co = qemu_coroutine_self();
    aio_set_fd_handler(ctx, fd, sleep_over, NULL, &sleep);
    qemu_coroutine_yield();
    aio_set_fd_handler(ctx, fd, NULL, NULL, NULL);
    qemu_co_cancel_end();
    return !qemu_co_is_cancelled();
}

typedef struct Run {
    CoroutineEntry *entry;
    void *opaque;
    bool done;
    CoSleep waiter;         /* of aio_co_run_limited() */
} Run;

static void coroutine_fn run_entry(void *opaque)
{
    Run *run = opaque;

    run->entry(run->opaque);
    run->done = true;
    qemu_co_sleep_wake(&run->waiter);
}

void aio_context_run(CoroutineEntry *entry, void *opaque)
{
    Run run = { .entry = entry, .opaque = opaque };
    AioContext *ctx = qemu_get_current_aio_context();

    assert(!qemu_in_coroutine());
    aio_context_set_current(ctx);
    qemu_coroutine_enter(qemu_coroutine_create(run_entry, &run));
    while (!run.done) {
        aio_poll(ctx, true);
    }
}

int coroutine_fn aio_co_run_limited(CoroutineEntry *entry, void *opaque, int64_t timeout_ns,
                                    bool (*stop)(void *opaque), void *stop_opaque)
{
    Run run = { .entry = entry, .opaque = opaque };
    int64_t end = timeout_ns ? qemu_clock_get_ns() + timeout_ns : INT64_MAX;
    Coroutine *co = qemu_coroutine_create(run_entry, &run);
    int ret = 0;

    qemu_coroutine_enter(co);
    while (!run.done) {
        co_sleep_ns_wakeable(&run.waiter, STOP_POLL_NS, NULL);
        if (!run.done && ret == 0) {
            ret = qemu_clock_get_ns() >= end ? -ETIMEDOUT : stop && stop(stop_opaque) ? -ECANCELED : 0;
            if (ret < 0) {
                qemu_co_cancel(co);
            }
        }
    }
    return ret;
}
