/*
 * CoQueue and CoMutex: coroutines that wait for each other
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "util/aio.h"
#include "util/coroutine.h"

struct CoWaiter {
    Coroutine *co;
    CoWaiter *next;
};

void qemu_co_queue_init(CoQueue *queue)
{
    queue->first = NULL;
    queue->last = &queue->first;
}

void coroutine_fn qemu_co_queue_wait(CoQueue *queue, GMutex *lock)
{
    CoWaiter waiter = { .co = qemu_coroutine_self() };

    *queue->last = &waiter;
    queue->last = &waiter.next;
    if (lock) {
        g_mutex_unlock(lock);
    }
    qemu_coroutine_yield();
    if (lock) {
        g_mutex_lock(lock);
    }
}

bool qemu_co_queue_next(CoQueue *queue)
{
    CoWaiter *waiter = queue->first;

    if (!waiter) {
        return false;
    }
    queue->first = waiter->next;
    if (!queue->first) {
        queue->last = &queue->first;
    }
    /* Never at once: the caller may hold the mutex, or change what it still reads. */
    aio_co_schedule(waiter->co);
    return true;
}

void qemu_co_queue_restart_all(CoQueue *queue)
{
    while (qemu_co_queue_next(queue)) {
        /* all of them */
    }
}

bool qemu_co_queue_empty(const CoQueue *queue)
{
    return !queue->first;
}

struct CoMutexWaiter {
    CoSleep *sleep;     /* claimed by the holder or by whoever ends the wait, who resumes the waiter */
    CoMutexWaiter *next;
};

void qemu_co_mutex_init(CoMutex *mutex)
{
    g_mutex_init(&mutex->lock);
    mutex->waiters = NULL;
    mutex->holder = NULL;
}

void qemu_co_mutex_cleanup(CoMutex *mutex)
{
    assert(!mutex->holder);
    g_mutex_clear(&mutex->lock);
}

static void waiter_append(CoMutex *mutex, CoMutexWaiter *waiter)
{
    CoMutexWaiter **last = &mutex->waiters;

    while (*last) {
        last = &(*last)->next;
    }
    *last = waiter;
}

static void waiter_remove(CoMutex *mutex, CoMutexWaiter *waiter)
{
    for (CoMutexWaiter **p = &mutex->waiters; *p; p = &(*p)->next) {
        if (*p == waiter) {
            *p = waiter->next;
            return;
        }
    }
}

bool coroutine_fn qemu_co_mutex_lock_wakeable(CoMutex *mutex, CoSleep *sleep)
{
    Coroutine *self = qemu_coroutine_self();
    CoMutexWaiter waiter = { .sleep = sleep };
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&mutex->lock);

    if (!mutex->holder) {
        mutex->holder = self;
        return true;
    }
    g_atomic_pointer_set(&sleep->co, self);
    waiter_append(mutex, &waiter);
    g_mutex_unlock(&mutex->lock);
    qemu_coroutine_yield();
    g_mutex_lock(&mutex->lock);
    /* Already out of the list where the lock was handed over. */
    waiter_remove(mutex, &waiter);
    return mutex->holder == self;
}

void coroutine_fn qemu_co_mutex_lock(CoMutex *mutex)
{
    CoSleep sleep = { NULL };
    bool locked = qemu_co_mutex_lock_wakeable(mutex, &sleep);

    assert(locked);
}

void coroutine_fn qemu_co_mutex_unlock(CoMutex *mutex)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&mutex->lock);

    assert(mutex->holder == qemu_coroutine_self());
    mutex->holder = NULL;
    while (mutex->waiters && !mutex->holder) {
        Coroutine *co = qemu_co_sleep_claim(mutex->waiters->sleep);

        /* Skip a waiter whose wait was just ended: it is about to resume. */
        mutex->waiters = mutex->waiters->next;
        if (co) {
            mutex->holder = co;
            aio_co_schedule(co);
        }
    }
}
