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

void qemu_co_mutex_init(CoMutex *mutex)
{
    g_mutex_init(&mutex->lock);
    qemu_co_queue_init(&mutex->queue);
    mutex->holder = NULL;
}

void qemu_co_mutex_cleanup(CoMutex *mutex)
{
    assert(!mutex->holder);
    g_mutex_clear(&mutex->lock);
}

void coroutine_fn qemu_co_mutex_lock(CoMutex *mutex)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&mutex->lock);

    if (mutex->holder) {
        qemu_co_queue_wait(&mutex->queue, &mutex->lock);
        /* The previous holder handed it over. */
        assert(mutex->holder == qemu_coroutine_self());
    } else {
        mutex->holder = qemu_coroutine_self();
    }
}

bool coroutine_fn qemu_co_mutex_trylock(CoMutex *mutex)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&mutex->lock);

    if (mutex->holder) {
        return false;
    }
    mutex->holder = qemu_coroutine_self();
    return true;
}

void coroutine_fn qemu_co_mutex_unlock(CoMutex *mutex)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&mutex->lock);

    assert(mutex->holder == qemu_coroutine_self());
    mutex->holder = mutex->queue.first ? mutex->queue.first->co : NULL;
    qemu_co_queue_next(&mutex->queue);
}
