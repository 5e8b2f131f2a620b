/*
 * A link to a server: waiting for a connection, and replacing one that is lost
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include "block/drivers/link.h"
#include "block/io/io_int.h"

#define MAX_PAUSE_NS NANOSECONDS_PER_SECOND

struct BdrvLinkWaiter {
    CoSleep sleep;
    bool cancelled;
    BdrvLinkWaiter *next;
};

void bdrv_link_init(BdrvLink *l, const BdrvLinkOps *ops, BlockDriverState *bs, int64_t delay_ns)
{
    l->ops = ops;
    l->bs = bs;
    l->delay_ns = delay_ns;
    g_mutex_init(&l->lock);
    qemu_co_queue_init(&l->ended);
}

void coroutine_fn bdrv_link_close(BdrvLink *l)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&l->lock);

    l->closing = true;
    qemu_co_sleep_wake(&l->pause);
    while (l->connecting) {
        qemu_co_queue_wait(&l->ended, &l->lock);
    }
}

void bdrv_link_destroy(BdrvLink *l)
{
    g_mutex_clear(&l->lock);
    g_free(l->why);
}

bool bdrv_link_is_closing(void *opaque)
{
    BdrvLink *l = opaque;

    return l->closing || bdrv_must_not_wait();
}

void bdrv_link_wake(BdrvLink *l, bool cancel)
{
    for (BdrvLinkWaiter *w = l->waiters; w; w = w->next) {
        w->cancelled |= cancel;
        qemu_co_sleep_wake(&w->sleep);
    }
}

void bdrv_link_drain(BdrvLink *l)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&l->lock);

    bdrv_link_wake(l, false);
}

/* One attempt, and more while requests wait for a connection. */
static void coroutine_fn link_connect_entry(void *opaque)
{
    BdrvLink *l = opaque;
    int64_t pause_ns = BDRV_LINK_MIN_PAUSE_NS;

    for (bool ended = false; !ended; ) {
        Error *err = NULL;
        void *conn = l->ops->connect(l, &err);

        g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&l->lock);
        g_free(l->why);
        l->why = err ? g_strdup(error_get_pretty(err)) : NULL;
        error_free(err);
        if (!conn && l->waiters && !bdrv_link_is_closing(l)) {
            co_sleep_ns_wakeable(&l->pause, pause_ns, &l->lock);
            pause_ns = MIN(2 * pause_ns, MAX_PAUSE_NS);
        }
        ended = conn || !l->waiters || bdrv_link_is_closing(l);
        if (ended) {
            l->connecting = false;
            l->ops->use(l, conn);
            bdrv_link_wake(l, false);
            qemu_co_queue_restart_all(&l->ended);
        }
    }
}

void bdrv_link_start(BdrvLink *l)
{
    if (!l->connecting) {
        l->connecting = true;
        aio_co_start(qemu_get_aio_context(), link_connect_entry, l);
    }
}

int coroutine_fn bdrv_link_wait(BdrvLink *l, int64_t ns)
{
    BdrvLinkWaiter w = { .cancelled = false };

    if (!qemu_co_cancel_begin_sleep(&w.sleep)) {
        return -ECANCELED;
    }
    w.next = l->waiters;
    l->waiters = &w;
    co_sleep_ns_wakeable(&w.sleep, ns, &l->lock);
    qemu_co_cancel_end();
    for (BdrvLinkWaiter **p = &l->waiters; *p; p = &(*p)->next) {
        if (*p == &w) {
            *p = w.next;
            break;
        }
    }
    if (!l->waiters) {
        /* No need for another attempt. */
        qemu_co_sleep_wake(&l->pause);
    }
    return w.cancelled || qemu_co_is_cancelled() ? -ECANCELED : 0;
}

/* A request fails for lack of a connection: report the reason, once. */
static int link_fail(BdrvLink *l)
{
    if (l->why) {
        warn_report("could not reconnect: %s", l->why);
        g_clear_pointer(&l->why, g_free);
    }
    return -EIO;
}

int coroutine_fn bdrv_link_begin_request(BdrvLink *l, int64_t end)
{
    int ret = bdrv_must_not_wait() ? -ECANCELED : end && qemu_clock_get_ns() >= end ? -EIO : 0;

    while (ret == 0 && !l->ops->ready(l)) {
        int64_t left_ns = (end ?: l->lost_ns + l->delay_ns) - qemu_clock_get_ns();

        ret = left_ns <= 0 || bdrv_must_not_delay(l->bs) ? link_fail(l) : bdrv_link_wait(l, left_ns);
    }
    return ret;
}
