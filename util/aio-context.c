/*
 * AioContext: an event loop over epoll
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>

#include "util/aio.h"

#define EVENTS_MAX 64

typedef struct FdHandler {
    int fd;
    AioHandler *read;
    AioHandler *write;
    void *opaque;
    bool deleted;           /* freed after the dispatch that may still see it */
} FdHandler;

typedef struct BottomHalf {
    AioHandler *cb;
    void *opaque;
    struct BottomHalf *next;
} BottomHalf;

struct AioTimer {
    AioContext *ctx;
    AioHandler *cb;
    void *opaque;
    int64_t expire_ns;
    GSequenceIter *pos;     /* NULL while not armed */
};

struct AioContext {
    gint refcount;
    int epoll_fd;
    int event_fd;
    GHashTable *handlers;   /* fd -> FdHandler */
    GPtrArray *deleted;     /* FdHandlers to free */
    GSequence *timers;      /* armed ones, soonest first */
    void *engine;
    GDestroyNotify engine_free;

    GMutex bh_lock;
    BottomHalf *bh_first;
    BottomHalf **bh_last;
};

static AioContext *main_context;
static __thread AioContext *current_context;

int64_t qemu_clock_get_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * NANOSECONDS_PER_SECOND + ts.tv_nsec;
}

static void event_fd_read(void *opaque)
{
    AioContext *ctx = opaque;
    uint64_t count;

    (void)!read(ctx->event_fd, &count, sizeof(count));
}

AioContext *aio_context_new(Error **errp)
{
    g_auto_fd int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    g_auto_fd int event_fd = epoll_fd < 0 ? -1 : eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

    if (event_fd < 0) {
        error_setg_errno(errp, errno, "Could not create an event loop");
        return NULL;
    }
    AioContext *ctx = g_new0(AioContext, 1);

    ctx->refcount = 1;
    ctx->epoll_fd = g_steal_auto_fd(&epoll_fd);
    ctx->event_fd = g_steal_auto_fd(&event_fd);
    ctx->handlers = g_hash_table_new(NULL, NULL);
    ctx->deleted = g_ptr_array_new_with_free_func(g_free);
    ctx->timers = g_sequence_new(NULL);
    g_mutex_init(&ctx->bh_lock);
    ctx->bh_last = &ctx->bh_first;
    aio_set_fd_handler(ctx, ctx->event_fd, event_fd_read, NULL, ctx);
    return ctx;
}

AioContext *aio_context_ref(AioContext *ctx)
{
    g_atomic_int_inc(&ctx->refcount);
    return ctx;
}

void aio_context_unref(AioContext *ctx)
{
    if (!ctx || !g_atomic_int_dec_and_test(&ctx->refcount)) {
        return;
    }
    assert(!ctx->bh_first && g_sequence_is_empty(ctx->timers));
    if (ctx->engine) {
        ctx->engine_free(ctx->engine);
    }
    aio_set_fd_handler(ctx, ctx->event_fd, NULL, NULL, NULL);
    assert(g_hash_table_size(ctx->handlers) == 0);
    g_hash_table_destroy(ctx->handlers);
    g_ptr_array_free(ctx->deleted, TRUE);
    g_sequence_free(ctx->timers);
    g_mutex_clear(&ctx->bh_lock);
    close(ctx->event_fd);
    close(ctx->epoll_fd);
    g_free(ctx);
}

void aio_context_set_engine(AioContext *ctx, void *engine, GDestroyNotify free)
{
    assert(!ctx->engine);
    ctx->engine = engine;
    ctx->engine_free = free;
}

void *aio_context_get_engine(AioContext *ctx)
{
    return ctx->engine;
}

AioContext *qemu_get_aio_context(void)
{
    static gsize once;

    if (g_once_init_enter(&once)) {
        main_context = aio_context_new(&error_abort);
        g_once_init_leave(&once, 1);
    }
    return main_context;
}

AioContext *qemu_get_current_aio_context(void)
{
    return current_context ? current_context : qemu_get_aio_context();
}

void aio_context_set_current(AioContext *ctx)
{
    current_context = ctx;
}

void aio_notify(AioContext *ctx)
{
    uint64_t one = 1;

    (void)!write(ctx->event_fd, &one, sizeof(one));
}

void aio_set_fd_handler(AioContext *ctx, int fd, AioHandler *read, AioHandler *write, void *opaque)
{
    FdHandler *h = g_hash_table_lookup(ctx->handlers, GINT_TO_POINTER(fd));
    struct epoll_event ev = { .events = (read ? EPOLLIN : 0) | (write ? EPOLLOUT : 0) };

    if (!read && !write) {
        if (h) {
            epoll_ctl(ctx->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
            g_hash_table_remove(ctx->handlers, GINT_TO_POINTER(fd));
            h->deleted = true;
            g_ptr_array_add(ctx->deleted, h);
        }
        return;
    }
    bool is_new = !h;
    if (is_new) {
        h = g_new0(FdHandler, 1);
        h->fd = fd;
        g_hash_table_insert(ctx->handlers, GINT_TO_POINTER(fd), h);
    }
    h->read = read;
    h->write = write;
    h->opaque = opaque;
    ev.data.ptr = h;
    int ret = epoll_ctl(ctx->epoll_fd, is_new ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, fd, &ev);
    assert(ret == 0);
}

void aio_bh_schedule_oneshot(AioContext *ctx, AioHandler *cb, void *opaque)
{
    BottomHalf *bh = g_new(BottomHalf, 1);

    *bh = (BottomHalf){ .cb = cb, .opaque = opaque };
    g_mutex_lock(&ctx->bh_lock);
    *ctx->bh_last = bh;
    ctx->bh_last = &bh->next;
    g_mutex_unlock(&ctx->bh_lock);
    if (ctx != current_context) {
        aio_notify(ctx);
    }
}

/* Run what is scheduled now; what that schedules waits for the next round. */
static bool run_bottom_halves(AioContext *ctx)
{
    g_mutex_lock(&ctx->bh_lock);
    BottomHalf *bh = ctx->bh_first;
    ctx->bh_first = NULL;
    ctx->bh_last = &ctx->bh_first;
    g_mutex_unlock(&ctx->bh_lock);

    if (!bh) {
        return false;
    }
    while (bh) {
        BottomHalf *next = bh->next;
        bh->cb(bh->opaque);
        g_free(bh);
        bh = next;
    }
    return true;
}

static bool bottom_halves_pending(AioContext *ctx)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&ctx->bh_lock);

    return ctx->bh_first;
}

static bool run_timers(AioContext *ctx)
{
    bool ran = false;
    int64_t now = qemu_clock_get_ns();

    while (!g_sequence_is_empty(ctx->timers)) {
        AioTimer *timer = g_sequence_get(g_sequence_get_begin_iter(ctx->timers));

        if (timer->expire_ns > now) {
            break;
        }
        aio_timer_del(timer);
        timer->cb(timer->opaque);
        ran = true;
    }
    return ran;
}

/* How long epoll may wait, in milliseconds. */
static int wait_ms(AioContext *ctx, bool blocking)
{
    if (!blocking || bottom_halves_pending(ctx)) {
        return 0;
    }
    if (g_sequence_is_empty(ctx->timers)) {
        return -1;
    }
    AioTimer *timer = g_sequence_get(g_sequence_get_begin_iter(ctx->timers));
    int64_t ns = timer->expire_ns - qemu_clock_get_ns();
    return ns <= 0 ? 0 : (int)MIN(DIV_ROUND_UP(ns, SCALE_MS), INT_MAX);
}

bool aio_poll(AioContext *ctx, bool blocking)
{
    struct epoll_event events[EVENTS_MAX];
    bool progress = false;

    int n = epoll_wait(ctx->epoll_fd, events, EVENTS_MAX, wait_ms(ctx, blocking));
    for (int i = 0; i < n; i++) {
        FdHandler *h = events[i].data.ptr;
        uint32_t ready = events[i].events;

        if (ready & (EPOLLIN | EPOLLHUP | EPOLLERR) && !h->deleted && h->read) {
            h->read(h->opaque);
            progress = true;
        }
        if (ready & (EPOLLOUT | EPOLLHUP | EPOLLERR) && !h->deleted && h->write) {
            h->write(h->opaque);
            progress = true;
        }
    }
    g_ptr_array_set_size(ctx->deleted, 0);
    progress |= run_bottom_halves(ctx);
    progress |= run_timers(ctx);
    return progress;
}

static gint timer_compare(gconstpointer a, gconstpointer b, gpointer unused)
{
    const AioTimer *ta = a, *tb = b;

    return ta->expire_ns < tb->expire_ns ? -1 : ta->expire_ns > tb->expire_ns;
}

AioTimer *aio_timer_new(AioContext *ctx, AioHandler *cb, void *opaque)
{
    AioTimer *timer = g_new0(AioTimer, 1);

    timer->ctx = ctx;
    timer->cb = cb;
    timer->opaque = opaque;
    return timer;
}

void aio_timer_mod_ns(AioTimer *timer, int64_t expire_ns)
{
    aio_timer_del(timer);
    timer->expire_ns = expire_ns;
    timer->pos = g_sequence_insert_sorted(timer->ctx->timers, timer, timer_compare, NULL);
}

void aio_timer_del(AioTimer *timer)
{
    if (timer->pos) {
        g_sequence_remove(timer->pos);
        timer->pos = NULL;
    }
}

void aio_timer_free(AioTimer *timer)
{
    aio_timer_del(timer);
    g_free(timer);
}

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

    if (ctx != current_context || qemu_in_coroutine()) {
        aio_co_schedule(co);
    } else {
        qemu_coroutine_enter(co);
    }
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

typedef struct Run {
    CoroutineEntry *entry;
    void *opaque;
    bool done;
} Run;

static void coroutine_fn run_entry(void *opaque)
{
    Run *run = opaque;

    run->entry(run->opaque);
    run->done = true;
}

void aio_context_run(CoroutineEntry *entry, void *opaque)
{
    Run run = { .entry = entry, .opaque = opaque };
    AioContext *ctx = qemu_get_current_aio_context();

    assert(!qemu_in_coroutine());
    current_context = ctx;
    qemu_coroutine_enter(qemu_coroutine_create(run_entry, &run));
    while (!run.done) {
        aio_poll(ctx, true);
    }
}
