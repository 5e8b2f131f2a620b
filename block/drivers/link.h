/*
 * A link to a server: how a driver waits for a connection, and makes a new one when that is lost
 *
 * Requests that find no connection wait, while one coroutine of the main loop tries to connect: once, and again after
 * growing pauses, as long as requests wait. A driver embeds BdrvLink in its own structure, beside its connections:
 *
 *     static const BdrvLinkOps my_ops = { .ready = my_ready, .connect = my_connect, .use = my_use };
 *
 *     int64_t end = 0;
 *     for (;;) {
 *         g_mutex_lock(&l->base.lock);
 *         ret = bdrv_link_begin_request(&l->base, end);
 *         g_mutex_unlock(&l->base.lock);
 *         if (ret < 0 || (ret = my_request(l)) != -ENOTCONN) {     // which sets base.lost_ns when it fails so
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
     * One attempt to connect, which ends once bdrv_link_is_closing() is true: a connection, or NULL with @errp. Frees
     * the lost connection first. Main loop.
     */
    void *coroutine_fn (*connect)(BdrvLink *l, Error **errp);
    /* From now on, use @conn; NULL: there were no more attempts. With the lock held; main loop. */
    void (*use)(BdrvLink *l, void *conn);
} BdrvLinkOps;

struct BdrvLink {
    const BdrvLinkOps *ops;
    BlockDriverState *bs;
    int64_t delay_ns;           /* how long requests wait for a connection */

    GMutex lock;                /* for what follows, and for what the driver adds */
    int64_t lost_ns;            /* when the last connection was lost. Set by the driver */
    char *why;                  /* the last attempt failed; NULL: reported, or none has failed */
    bool connecting;            /* a coroutine of the main loop is */
    bool closing;
    BdrvLinkWaiter *waiters;
    CoSleep pause;              /* of that coroutine */
    CoQueue ended;              /* who waits for its end */
};

void bdrv_link_init(BdrvLink *l, const BdrvLinkOps *ops, BlockDriverState *bs, int64_t delay_ns);

/* No more attempts: returns when none runs. No request is in flight. Main thread. */
void coroutine_fn bdrv_link_close(BdrvLink *l);

/* Free what bdrv_link_init() made. */
void bdrv_link_destroy(BdrvLink *l);

/* Connect, unless that is going on. With the lock held. */
void bdrv_link_start(BdrvLink *l);

/* Whether an attempt must end: bdrv_must_not_wait(), or the link is closed. @opaque: the BdrvLink. Main thread. */
bool bdrv_link_is_closing(void *opaque);

/*
 * Wait until a connection can be used: 0 or -errno. @end is when a request has waited long enough that has lost a
 * connection before; 0: it has not, and waits until @l->delay_ns after the last loss. With the lock held.
 */
int coroutine_fn bdrv_link_begin_request(BdrvLink *l, int64_t end);

/* Wait @ns, or until something changes, or the request is cancelled: 0 or -ECANCELED. With the lock held. */
int coroutine_fn bdrv_link_wait(BdrvLink *l, int64_t ns);

/* Let all requests that wait look again; @cancel: end with -ECANCELED. With the lock held. */
void bdrv_link_wake(BdrvLink *l, bool cancel);

/* For bdrv_drain_begin: requests that wait fail, unless there is a connection by now. */
void bdrv_link_drain(BdrvLink *l);

#endif
