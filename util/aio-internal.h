/*
 * Inside AioContext: what its parts share
 *
 *     aio-context.c       the loop, bottom halves, timers; waiting in epoll
 *     aio-uring.c         waiting in an io_uring, and requests to it
 *     aio-coroutine.c     coroutines that wake, sleep, and begin in a loop
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef UTIL_AIO_INTERNAL_H
#define UTIL_AIO_INTERNAL_H

#include "util/aio.h"

typedef struct FdHandler FdHandler;

/* One direction of a descriptor in the ring: a request that completes once it is readable, or writable. */
typedef struct FdPoll {
    FdHandler *handler;
    bool listed;            /* is to be armed, or disarmed */
    bool armed;             /* with the kernel: its completion is still to come */
    struct FdPoll *next;    /* listed */
} FdPoll;

struct FdHandler {
    int fd;
    AioHandler *read;
    AioHandler *write;
    void *opaque;
    bool deleted;           /* freed once nothing refers to it: the dispatch under way, or the ring */
    FdPoll polls[2];        /* to read, to write; of aio-uring.c */
};

typedef struct AioUring AioUring;

typedef struct BottomHalf {
    AioHandler *cb;
    void *opaque;
    struct BottomHalf *next;
} BottomHalf;

struct AioContext {
    gint refcount;
    gint waiting;           /* atomic: sleeps, or is about to, and has to be woken */
    int epoll_fd;
    int event_fd;
    GHashTable *handlers;   /* fd -> FdHandler */
    GPtrArray *deleted;     /* FdHandlers to free */
    GSequence *timers;      /* armed ones, soonest first */
    gint max_batch;         /* atomic */

    /* Made with the first request; the loop then waits in it, and no more in epoll. */
    AioUring *uring;
    int uring_errno;        /* why there is none, if that was tried */

    GMutex bh_lock;
    BottomHalf *bh_first;
    BottomHalf **bh_last;
};

/* This thread runs the loop @ctx. */
bool aio_context_is_current(const AioContext *ctx);

/* A ring for @ctx: 0 or -errno. */
int aio_uring_new(AioContext *ctx, AioUring **uring);
void aio_uring_free(AioUring *u);

/* The callbacks of @h have changed, or it is being removed. */
void aio_uring_update_handler(AioUring *u, FdHandler *h);

/*
 * Hand over what is queued, wait up to @timeout_ns (-1: without end) for a completion, and dispatch all there are.
 * Returns whether anything was called.
 */
bool aio_uring_poll(AioUring *u, int64_t timeout_ns);

#endif
