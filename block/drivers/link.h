/*
 * A link to a server: waiting for a connection, and replacing one that is lost
 *
 * While there is no connection, requests wait, and one coroutine of the main loop tries to connect, with growing
 * pauses, as long as requests wait. A driver embeds BdrvLink in its own structure, beside its connections:
 *
 *     static const BdrvLinkOps my_ops = { .ready = my_ready, .connect = my_connect, .use = my_use };
 *
 *     int64_t end = 0;
 *     for (;;) {
 *         g_mutex_lock(&l->base.lock);
 *         ret = bdrv_link_begin_request(&l->base, end);
 *         g_mutex_unlock(&l->base.lock);
 *         if (ret < 0 || (ret = my_request(l)) != -ENOTCONN) {     // sets base.lost_ns
 *             return ret;
 *         }
 *         end = end ?: qemu_clock_get_ns() + l->base.delay_ns;
 *     }
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef BLOCK_DRIVERS_LINK_H
#define BLOCK_DRIVERS_LINK_H

#include "block/block_int.h"
#include "util/aio.h"

/* The first pause between two attempts, doubled each time. */
#define BDRV_LINK_MIN_PAUSE_NS (100 * SCALE_MS)

typedef struct BdrvLink BdrvLink;
typedef struct BdrvLinkWaiter BdrvLinkWaiter;

typedef struct BdrvLinkOps {
    /* Whether a request can use a connection; if not, call bdrv_link_start() where possible. With the lock held. */
    bool (*ready)(BdrvLink *l);
    /*
     * Free the lost connection, and try to connect once: a connection, or NULL with @errp. Return early once
     * bdrv_link_is_closing() is true. Main loop.
     */
    void *coroutine_fn (*connect)(BdrvLink *l, Error **errp);
    /* Use @conn from now on; NULL: no further attempt will be made. With the lock held; main loop. */
    void (*use)(BdrvLink *l, void *conn);
} BdrvLinkOps;

struct BdrvLink {
    const BdrvLinkOps *ops;
    BlockDriverState *bs;
    int64_t delay_ns;           /* how long requests wait for a connection */

    GMutex lock;                /* protects the fields below, and those that the driver adds */
    int64_t lost_ns;            /* when the last connection was lost. Set by the driver */
    char *why;                  /* why the last attempt failed; NULL: it did not, or that was reported */
    bool connecting;            /* a coroutine of the main loop is trying to connect */
    bool closing;
    BdrvLinkWaiter *waiters;
    CoSleep pause;              /* of that coroutine */
    CoQueue ended;              /* waits for that coroutine to end */
};

void bdrv_link_init(BdrvLink *l, const BdrvLinkOps *ops, BlockDriverState *bs, int64_t delay_ns);

/* Stop trying to connect, and wait for an attempt to end. No request is in flight. Main thread. */
void coroutine_fn bdrv_link_close(BdrvLink *l);

/* Undo bdrv_link_init(). */
void bdrv_link_destroy(BdrvLink *l);

/* Start trying to connect, unless that is in progress. With the lock held. */
void bdrv_link_start(BdrvLink *l);

/* Whether an attempt must end: bdrv_must_not_wait(), or the link is closed. @opaque: the BdrvLink. Main thread. */
bool bdrv_link_is_closing(void *opaque);

/*
 * Wait until a connection can be used: 0 or -errno. A request that has lost a connection before waits until the time
 * @end. If @end is 0, it waits until @l->delay_ns after the last loss. With the lock held.
 */
int coroutine_fn bdrv_link_begin_request(BdrvLink *l, int64_t end);

/* Wait @ns, or until something changes, or the request is cancelled: 0 or -ECANCELED. With the lock held. */
int coroutine_fn bdrv_link_wait(BdrvLink *l, int64_t ns);

/* Make all waiting requests check again; @cancel: make them end with -ECANCELED. With the lock held. */
void bdrv_link_wake(BdrvLink *l, bool cancel);

/* For bdrv_drain_begin: waiting requests fail, unless there is a connection by now. */
void bdrv_link_drain(BdrvLink *l);

#endif
