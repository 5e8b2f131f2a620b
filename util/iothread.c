/*
 * IOThread: a thread that runs an event loop of its own
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "util/iothread.h"

struct IOThread {
    gint refcnt;            /* atomic */
    GThread *thread;
    AioContext *ctx;
    bool stop;              /* set by a bottom half, read by the loop: both in the thread */
};

static gpointer iothread_run(gpointer opaque)
{
    IOThread *iothread = opaque;

    aio_context_set_current(iothread->ctx);
    while (!iothread->stop) {
        aio_poll(iothread->ctx, true);
    }
    /* What was scheduled before the end. */
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
    iothread->thread = g_thread_try_new(name, iothread_run, iothread, &gerr);
    if (!iothread->thread) {
        error_setg(errp, "Could not start a thread: %s", gerr->message);
        aio_context_unref(iothread->ctx);
        g_free(iothread);
        return NULL;
    }
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
    aio_context_unref(iothread->ctx);
    g_free(iothread);
}

AioContext *iothread_get_aio_context(const IOThread *iothread)
{
    return iothread->ctx;
}
