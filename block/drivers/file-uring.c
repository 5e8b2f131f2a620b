/*
 * io_uring for the file driver: one ring for each event loop
 *
 * Requests that coroutines make in one round of the loop are handed to the kernel together at its end. The
 * loop watches the ring's descriptor for completions.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "block/drivers/file.h"
#include "util/aio.h"

#ifdef CONFIG_IO_URING
#include <liburing.h>

#ifdef CONFIG_VALGRIND
#include <valgrind/memcheck.h>
#endif

#define RING_ENTRIES 128

typedef struct FileRing {
    struct io_uring ring;
    AioContext *ctx;
    unsigned queued;            /* not yet handed to the kernel */
    bool submit_scheduled;
} FileRing;

/* Marks a loop in which no ring could be made. */
static FileRing no_ring;

static void ring_free(void *opaque)
{
    FileRing *r = opaque;

    if (r != &no_ring) {
        aio_set_fd_handler(r->ctx, r->ring.ring_fd, NULL, NULL, NULL);
        io_uring_queue_exit(&r->ring);
        g_free(r);
    }
}

/* Go on with those whose requests have completed. They may queue new ones, but not come back here. */
static void ring_complete(void *opaque)
{
    FileRing *r = opaque;
    struct io_uring_cqe *cqe;

    while (io_uring_peek_cqe(&r->ring, &cqe) == 0) {
        FileRequest *req = io_uring_cqe_get_data(cqe);

        req->ret = cqe->res;
        io_uring_cqe_seen(&r->ring, cqe);
        aio_co_wake(req->co);
    }
}

static void ring_submit(FileRing *r)
{
    int ret = io_uring_submit(&r->ring);

    if (ret > 0) {
        r->queued -= MIN((unsigned)ret, r->queued);
    }
}

static void ring_schedule_submit(FileRing *r);

static void ring_submit_bh(void *opaque)
{
    FileRing *r = opaque;

    r->submit_scheduled = false;
    ring_submit(r);
    /* What the page cache could answer is complete already. */
    ring_complete(r);
    if (r->queued > 0) {
        ring_schedule_submit(r);
    }
}

static void ring_schedule_submit(FileRing *r)
{
    if (!r->submit_scheduled) {
        r->submit_scheduled = true;
        aio_bh_schedule_oneshot(r->ctx, ring_submit_bh, r);
    }
}

/* The ring of this thread's loop; NULL where none could be made. */
static FileRing *ring_get(void)
{
    AioContext *ctx = qemu_get_current_aio_context();
    FileRing *r = aio_context_get_engine(ctx);

    if (!r) {
        r = g_new0(FileRing, 1);
        r->ctx = ctx;
        if (io_uring_queue_init(RING_ENTRIES, &r->ring, 0) < 0) {
            g_free(r);
            r = &no_ring;
        } else {
            aio_set_fd_handler(ctx, r->ring.ring_fd, ring_complete, NULL, r);
        }
        aio_context_set_engine(ctx, r, ring_free);
    }
    return r == &no_ring ? NULL : r;
}

/* Valgrind does not see what the kernel wrote into memory for the ring. */
static void tell_valgrind(const FileRequest *req)
{
#ifdef CONFIG_VALGRIND
    ssize_t left = req->write ? 0 : req->ret;

    for (int i = 0; left > 0 && i < req->niov; i++) {
        size_t n = MIN((size_t)left, req->iov[i].iov_len);

        VALGRIND_MAKE_MEM_DEFINED(req->iov[i].iov_base, n);
        left -= n;
    }
#endif
}

int coroutine_fn file_uring_transfer(FileRequest *req)
{
    FileRing *r = ring_get();
    struct io_uring_sqe *sqe = r ? io_uring_get_sqe(&r->ring) : NULL;

    if (r && !sqe) {
        ring_submit(r);
        sqe = io_uring_get_sqe(&r->ring);
    }
    if (!sqe) {
        return -EAGAIN;
    }
    if (req->write) {
        io_uring_prep_writev2(sqe, req->fd, req->iov, req->niov, req->offset, req->rwf_flags);
    } else {
        io_uring_prep_readv(sqe, req->fd, req->iov, req->niov, req->offset);
    }
    io_uring_sqe_set_data(sqe, req);
    req->co = qemu_coroutine_self();
    if (++r->queued >= req->max_batch) {
        ring_submit(r);
    } else {
        ring_schedule_submit(r);
    }
    qemu_coroutine_yield();
    tell_valgrind(req);
    return req->ret;
}

static int probe_once(void)
{
    struct io_uring ring;
    int ret = io_uring_queue_init(2, &ring, 0);

    if (ret < 0) {
        return ret;
    }
    struct io_uring_probe *probe = io_uring_get_probe_ring(&ring);
    bool usable = probe && io_uring_opcode_supported(probe, IORING_OP_READV) &&
                  io_uring_opcode_supported(probe, IORING_OP_WRITEV);
    io_uring_free_probe(probe);
    io_uring_queue_exit(&ring);
    return usable ? 0 : -ENOTSUP;
}

int file_uring_probe(void)
{
    static gsize once;
    static int result;

    if (g_once_init_enter(&once)) {
        result = probe_once();
        g_once_init_leave(&once, 1);
    }
    return result;
}

#else

int file_uring_probe(void)
{
    return -ENOTSUP;
}

int coroutine_fn file_uring_transfer(FileRequest *req)
{
    return -EAGAIN;
}

#endif
