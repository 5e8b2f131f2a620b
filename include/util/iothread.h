/*
 * IOThread: a thread that runs an event loop of its own
 *
 *     IOThread *t = iothread_new("iothread0");
 *     aio_bh_schedule_oneshot(iothread_get_aio_context(t), start, job);       // start(job) runs there
 *     ...
 *     iothread_unref(t);
 *
 * Every user of the thread holds a reference. The last unref waits for the thread to end, so it must be on another
 * thread, and nothing may be left in the loop.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef UTIL_IOTHREAD_H
#define UTIL_IOTHREAD_H

#include "util/aio.h"
#include "util/error.h"

typedef struct IOThread IOThread;

/* Start a thread; @name is shown in lists of threads. NULL with @errp if the system has no more threads. */
IOThread *iothread_new(const char *name, Error **errp);
IOThread *iothread_ref(IOThread *iothread);
void iothread_unref(IOThread *iothread);
/* Whether others than the caller hold a reference. */
bool iothread_is_shared(const IOThread *iothread);
/* The kernel's number, as in /proc. */
pid_t iothread_get_thread_id(const IOThread *iothread);
AioContext *iothread_get_aio_context(const IOThread *iothread);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(IOThread, iothread_unref)

#endif
