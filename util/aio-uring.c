/*
 * The io_uring of an event loop: the loop waits in it, and drivers hand their requests to it
 *
 * Requests made in one round of the loop are handed to the kernel together, in the system call that waits for the
 * next completion. Descriptors are watched by poll requests. A poll request completes once and is made again after
 * its callback has run, where the callback is still wanted: so a descriptor that remains readable is reported again.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "config-host.h"
#include "util/aio-internal.h"

#ifdef CONFIG_IO_URING
#include <liburing.h>
#include <poll.h>

#ifdef CONFIG_VALGRIND
#include <valgrind/valgrind.h>
#else
#define RUNNING_ON_VALGRIND 0
#endif

#define RING_ENTRIES 128
#define FEATURES_NEEDED (IORING_FEAT_NODROP | IORING_FEAT_EXT_ARG)

/* How long to wait before handing over again what the kernel had no memory for. */
#define RETRY_US 1000

/* Which of its two uses the user data of a completion has; requests and polls are aligned. */
#define TAG_POLL 1

typedef struct UringRequest {
    Coroutine *co;
    int ret;
} UringRequest;

struct AioUring {
    struct io_uring ring;
    AioContext *ctx;
    FdPoll *to_update;
};

static int ring_init(struct io_uring *ring)
{
    /* Completions are dealt with by the thread that waits for them, when it does: this saves interrupting it. */
    struct io_uring_params params = {
        .flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG,
    };
    int ret = io_uring_queue_init_params(RING_ENTRIES, ring, &params);

    if (ret == -EINVAL) {
        /* Before Linux 6.1 */
        params = (struct io_uring_params){ .flags = 0 };
        ret = io_uring_queue_init_params(RING_ENTRIES, ring, &params);
    }
    if (ret == 0 && (params.features & FEATURES_NEEDED) != FEATURES_NEEDED) {
        io_uring_queue_exit(ring);
        ret = -ENOSYS;
    }
    return ret;
}

int aio_uring_new(AioContext *ctx, AioUring **uring)
{
    g_autofree AioUring *u = g_new0(AioUring, 1);
    /* valgrind runs no other thread while one waits in io_uring_enter(). */
    int ret = RUNNING_ON_VALGRIND ? -ENOSYS : ring_init(&u->ring);

    if (ret == 0) {
        u->ctx = ctx;
        *uring = g_steal_pointer(&u);
    }
    return ret;
}

void aio_uring_free(AioUring *u)
{
    io_uring_queue_exit(&u->ring);
    g_free(u);
}

/* NULL where the queue is full and the kernel takes nothing at the moment. */
static struct io_uring_sqe *get_sqe(AioUring *u)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&u->ring);

    if (!sqe && io_uring_submit(&u->ring) > 0) {
        sqe = io_uring_get_sqe(&u->ring);
    }
    return sqe;
}

static AioHandler *poll_callback(const FdPoll *p)
{
    return p == &p->handler->polls[0] ? p->handler->read : p->handler->write;
}

static bool needs_update(const FdPoll *p)
{
    /* A direction that is no longer wanted stays armed: most are wanted again soon. */
    return p->armed ? p->handler->deleted : poll_callback(p) != NULL;
}

static void list_poll(AioUring *u, FdPoll *p)
{
    if (!p->listed && needs_update(p)) {
        p->listed = true;
        p->next = u->to_update;
        u->to_update = p;
    }
}

/* Queue requests that begin and end polls. */
static void update_polls(AioUring *u)
{
    struct io_uring_sqe *sqe;

    while (u->to_update) {
        FdPoll *p = u->to_update;

        if (needs_update(p)) {
            sqe = get_sqe(u);
            if (!sqe) {
                return;
            }
            if (p->armed) {
                io_uring_prep_poll_remove(sqe, (uintptr_t)p | TAG_POLL);
                io_uring_sqe_set_data64(sqe, 0);
            } else {
                io_uring_prep_poll_add(sqe, p->handler->fd, p == &p->handler->polls[0] ? POLLIN : POLLOUT);
                io_uring_sqe_set_data64(sqe, (uintptr_t)p | TAG_POLL);
                p->armed = true;
            }
        }
        u->to_update = p->next;
        p->listed = false;
    }
}

void aio_uring_update_handler(AioUring *u, FdHandler *h)
{
    for (size_t i = 0; i < G_N_ELEMENTS(h->polls); i++) {
        h->polls[i].handler = h;
        list_poll(u, &h->polls[i]);
    }
    if (h->deleted) {
        /* A poll request keeps the file open, even if the caller closes the descriptor next. */
        update_polls(u);
        io_uring_submit_and_get_events(&u->ring);
    }
}

/* Hand over what is queued, and wait. */
static void submit_and_wait(AioUring *u, int64_t timeout_ns)
{
    struct __kernel_timespec ts = {
        .tv_sec = timeout_ns / NANOSECONDS_PER_SECOND,
        .tv_nsec = timeout_ns % NANOSECONDS_PER_SECOND,
    };
    struct io_uring_cqe *cqe;
    int ret = 0;

    if (timeout_ns != 0) {
        ret = io_uring_submit_and_wait_timeout(&u->ring, &cqe, 1, timeout_ns < 0 ? NULL : &ts, NULL);
    } else if (io_uring_sq_ready(&u->ring) ||
               IO_URING_READ_ONCE(*u->ring.sq.kflags) & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW)) {
        ret = io_uring_submit_and_get_events(&u->ring);
    }
    if (ret < 0 && ret != -EINTR && ret != -ETIME && !io_uring_cq_ready(&u->ring)) {
        g_usleep(RETRY_US);
    }
}

/* Returns whether a callback ran. */
static bool dispatch_poll(AioUring *u, FdPoll *p)
{
    AioHandler *cb = poll_callback(p);

    p->armed = false;
    if (cb) {
        list_poll(u, p);
        /* May remove the handler. */
        cb(p->handler->opaque);
    }
    return cb;
}

bool aio_uring_poll(AioUring *u, int64_t timeout_ns)
{
    struct io_uring_cqe *cqe;
    bool progress = false;

    update_polls(u);
    submit_and_wait(u, timeout_ns);
    g_atomic_int_set(&u->ctx->waiting, 0);
    /* Only those that are complete now, so that nothing else starves. */
    for (unsigned n = io_uring_cq_ready(&u->ring); n > 0 && io_uring_peek_cqe(&u->ring, &cqe) == 0; n--) {
        uint64_t data = cqe->user_data;
        int ret = cqe->res;

        io_uring_cqe_seen(&u->ring, cqe);
        if (data & TAG_POLL) {
            progress |= dispatch_poll(u, (FdPoll *)(uintptr_t)(data - TAG_POLL));
        } else if (data) {
            UringRequest *req = (UringRequest *)(uintptr_t)data;

            req->ret = ret;
            aio_co_wake(req->co);
            progress = true;
        }
    }
    return progress;
}

int coroutine_fn aio_co_uring(AioPrepSqe *prep, void *opaque, unsigned max_batch)
{
    AioUring *u = qemu_get_current_aio_context()->uring;
    unsigned loop_max = g_atomic_int_get(&u->ctx->max_batch);
    UringRequest req = { .co = qemu_coroutine_self() };
    struct io_uring_sqe *sqe;

    while (!(sqe = get_sqe(u))) {
        aio_co_schedule(req.co);
        qemu_coroutine_yield();
    }
    prep(sqe, opaque);
    io_uring_sqe_set_data(sqe, &req);
    if (loop_max) {
        max_batch = max_batch ? MIN(max_batch, loop_max) : loop_max;
    }
    if (max_batch && io_uring_sq_ready(&u->ring) >= max_batch) {
        /* What fails here is handed over again by the loop. */
        io_uring_submit(&u->ring);
    }
    qemu_coroutine_yield();
    return req.ret;
}

#else

int aio_uring_new(AioContext *ctx, AioUring **uring)
{
    return -ENOSYS;
}

void aio_uring_free(AioUring *u)
{
}

void aio_uring_update_handler(AioUring *u, FdHandler *h)
{
}

bool aio_uring_poll(AioUring *u, int64_t timeout_ns)
{
    return false;
}

#endif
