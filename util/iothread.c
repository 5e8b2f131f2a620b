/*
 * IOThread: a thread that runs an event loop of its own
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include <semaphore.h>

#include "util/iothread.h"

struct IOThread {
    gint refcnt;            /* atomic */
    GThread *thread;
    AioContext *ctx;
    sem_t started;
    pid_t thread_id;        /* once started */
    bool stop;              /* set by a bottom half, read by the loop: both in the thread */
};

static void iothread_free(IOThread *iothread)
{
    aio_context_unref(iothread->ctx);
    sem_destroy(&iothread->started);
    g_free(iothread);
}

static gpointer iothread_run(gpointer opaque)
{
    IOThread *iothread = opaque;

    iothread->thread_id = gettid();
    sem_post(&iothread->started);
    aio_context_set_current(iothread->ctx);
    while (!iothread->stop) {
        aio_poll(iothread->ctx, true);
    }
    /* Run what was scheduled before the end. */
    while (aio_poll(iothread->ctx, false)) {
    }
    return NULL;
}

IOThread *iothread_new(const char *name, Error **errp)
{
    AioContext *ctx = aio_context_new(errp);
    g_autoptr(GError) gerr = NULL;

    if (!ctx) {
        return NULL;
    }
    IOThread *iothread = g_new0(IOThread, 1);
    iothread->refcnt = 1;
    iothread->ctx = ctx;
    sem_init(&iothread->started, 0, 0);
    iothread->thread = g_thread_try_new(name, iothread_run, iothread, &gerr);
    if (!iothread->thread) {
        error_setg(errp, "Could not start a thread: %s", gerr->message);
        iothread_free(iothread);
        return NULL;
    }
    (void)RETRY_ON_EINTR(sem_wait(&iothread->started));
    return iothread;
}

IOThread *iothread_ref(IOThread *iothread)
{
    g_atomic_int_inc(&iothread->refcnt);
    return iothread;
}

static void stop(void *opaque)
{
    IOThread *iothread = opaque;

    iothread->stop = true;
}

void iothread_unref(IOThread *iothread)
{
    if (!iothread || !g_atomic_int_dec_and_test(&iothread->refcnt)) {
        return;
    }
    aio_bh_schedule_oneshot(iothread->ctx, stop, iothread);
    g_thread_join(iothread->thread);
    iothread_free(iothread);
}

bool iothread_is_shared(const IOThread *iothread)
{
    return g_atomic_int_get(&iothread->refcnt) > 1;
}

pid_t iothread_get_thread_id(const IOThread *iothread)
{
    return iothread->thread_id;
}

AioContext *iothread_get_aio_context(const IOThread *iothread)
{
    return iothread->ctx;
}
