/*
 * AioContext: the loop, bottom halves and timers; waiting in epoll
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>

#include "util/aio-internal.h"

#define EVENTS_MAX 64

struct AioTimer {
    AioContext *ctx;
    AioHandler *cb;
    void *opaque;
    int64_t expire_ns;
    GSequenceIter *pos;     /* NULL while not armed */
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
    /* Another thread's ring can only be closed. */
    if (ctx->uring) {
        aio_uring_free(g_steal_pointer(&ctx->uring));
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

int aio_setup_io_uring(void)
{
    AioContext *ctx = qemu_get_current_aio_context();
    GHashTableIter iter;
    gpointer h;

    if (ctx->uring || ctx->uring_errno) {
        return -ctx->uring_errno;
    }
    ctx->uring_errno = -aio_uring_new(ctx, &ctx->uring);
    if (ctx->uring) {
        g_hash_table_iter_init(&iter, ctx->handlers);
        while (g_hash_table_iter_next(&iter, NULL, &h)) {
            aio_uring_update_handler(ctx->uring, h);
        }
    }
    return -ctx->uring_errno;
}

void aio_context_set_max_batch(AioContext *ctx, unsigned max_batch)
{
    g_atomic_int_set(&ctx->max_batch, max_batch);
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

bool aio_context_is_current(const AioContext *ctx)
{
    return ctx == current_context;
}

static FdHandler *handler_new(AioContext *ctx, int fd)
{
    FdHandler *h = g_new0(FdHandler, 1);

    h->fd = fd;
    g_hash_table_insert(ctx->handlers, GINT_TO_POINTER(fd), h);
    return h;
}

static void epoll_update_handler(AioContext *ctx, FdHandler *h, int op)
{
    struct epoll_event ev = {
        .events = (h->read ? EPOLLIN : 0) | (h->write ? EPOLLOUT : 0),
        .data.ptr = h,
    };
    int ret = epoll_ctl(ctx->epoll_fd, op, h->fd, &ev);

    assert(ret == 0 || op == EPOLL_CTL_DEL);
}

void aio_set_fd_handler(AioContext *ctx, int fd, AioHandler *read, AioHandler *write, void *opaque)
{
    FdHandler *h = g_hash_table_lookup(ctx->handlers, GINT_TO_POINTER(fd));
    int op = h ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;

    if (!read && !write) {
        if (!h) {
            return;
        }
        g_hash_table_remove(ctx->handlers, GINT_TO_POINTER(fd));
        h->deleted = true;
        g_ptr_array_add(ctx->deleted, h);
        op = EPOLL_CTL_DEL;
    } else if (!h) {
        h = handler_new(ctx, fd);
    }
    h->read = read;
    h->write = write;
    h->opaque = opaque;
    if (ctx->uring) {
        aio_uring_update_handler(ctx->uring, h);
    } else {
        epoll_update_handler(ctx, h, op);
    }
}

void aio_bh_schedule_oneshot(AioContext *ctx, AioHandler *cb, void *opaque)
{
    BottomHalf *bh = g_new(BottomHalf, 1);

    *bh = (BottomHalf){ .cb = cb, .opaque = opaque };
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&ctx->bh_lock);
    *ctx->bh_last = bh;
    ctx->bh_last = &bh->next;
    /*
     * Wake the loop unless another thread has; a loop that is awake looks for bottom halves before it sleeps. Under the
     * lock: once the loop has run @cb, @ctx may be gone.
     */
    if (ctx != current_context && g_atomic_int_compare_and_exchange(&ctx->waiting, 1, 0)) {
        uint64_t one = 1;

        (void)!write(ctx->event_fd, &one, sizeof(one));
    }
}

/* Run the bottom halves scheduled by now; those that they schedule wait for the next round. */
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

/* How long to wait, in nanoseconds; -1: without end. */
static int64_t wait_ns(AioContext *ctx, bool blocking)
{
    if (!blocking) {
        return 0;
    }
    /* Set before looking at bottom halves: from here on, adding one wakes us. */
    g_atomic_int_set(&ctx->waiting, 1);
    if (bottom_halves_pending(ctx)) {
        g_atomic_int_set(&ctx->waiting, 0);
        return 0;
    }
    if (g_sequence_is_empty(ctx->timers)) {
        return -1;
    }
    AioTimer *timer = g_sequence_get(g_sequence_get_begin_iter(ctx->timers));
    int64_t left_ns = timer->expire_ns - qemu_clock_get_ns();
    return MAX(left_ns, 0);
}

static bool epoll_poll(AioContext *ctx, int64_t timeout_ns)
{
    struct epoll_event events[EVENTS_MAX];
    int ms = timeout_ns < 0 ? -1 : (int)MIN(DIV_ROUND_UP(timeout_ns, SCALE_MS), INT_MAX);
    int n = epoll_wait(ctx->epoll_fd, events, EVENTS_MAX, ms);
    bool progress = false;

    g_atomic_int_set(&ctx->waiting, 0);
    for (int i = 0; i < n; i++) {
        FdHandler *h = events[i].data.ptr;
        uint32_t ready = events[i].events;

        if (ready & (EPOLLIN | EPOLLHUP | EPOLLERR) && h->read) {
            h->read(h->opaque);
            progress = true;
        }
        if (ready & (EPOLLOUT | EPOLLHUP | EPOLLERR) && h->write) {
            h->write(h->opaque);
            progress = true;
        }
    }
    return progress;
}

/* Free removed handlers that the ring has nothing to do with any more. */
static void free_deleted(AioContext *ctx)
{
    for (guint i = ctx->deleted->len; i > 0; i--) {
        const FdHandler *h = g_ptr_array_index(ctx->deleted, i - 1);

        if (!h->polls[0].armed && !h->polls[1].armed && !h->polls[0].listed && !h->polls[1].listed) {
            g_ptr_array_remove_index_fast(ctx->deleted, i - 1);
        }
    }
}

bool aio_poll(AioContext *ctx, bool blocking)
{
    int64_t timeout_ns = wait_ns(ctx, blocking);
    bool progress = ctx->uring ? aio_uring_poll(ctx->uring, timeout_ns) : epoll_poll(ctx, timeout_ns);

    free_deleted(ctx);
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
