/*
 * IOThread: a thread that runs an event loop of its own
 *
 *     IOThread *t = iothread_new("iothread0");
 *     aio_bh_schedule_oneshot(iothread_get_aio_context(t), start, job);       // start(job) runs there
 *     ...
 *     iothread_unref(t);
 *
 * Whoever has something running there holds a reference. The last unref waits for the thread to end, so it
 * comes from another thread; nothing may be left in the loop then.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef UTIL_IOTHREAD_H
#define UTIL_IOTHREAD_H

#include "util/aio.h"
#include "util/error.h"

typedef struct IOThread IOThread;

/* @name shows up in lists of threads. NULL with @errp where the system has no more threads. */
IOThread *iothread_new(const char *name, Error **errp);
IOThread *iothread_ref(IOThread *iothread);
void iothread_unref(IOThread *iothread);
/* Whether anybody but the caller holds a reference. */
bool iothread_is_shared(const IOThread *iothread);
/* As the kernel numbers it, in /proc say. */
pid_t iothread_get_thread_id(const IOThread *iothread);
AioContext *iothread_get_aio_context(const IOThread *iothread);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(IOThread, iothread_unref)

#endif
