/*
 * A link to an NBD server: a connection that is replaced when it is lost
 *
 * A request whose connection is lost is repeated on the next one, until reconnect-delay seconds after its own first
 * loss: so a request that kills the server every time fails in the end. Requests that arrive while there is no
 * connection wait until as long after the loss. Repeating a write is safe: its completion was not reported, and
 * overlapping writes in flight have no order.
 *
 * Writes that were not flushed may be lost with a server, which no other request would report: flushes fail from then
 * on.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include "block/drivers/nbd.h"
#include "block/io/io_int.h"
#include "util/aio.h"

/* From one attempt to connect to the next, doubled each time. */
#define MIN_PAUSE_NS (100 * SCALE_MS)
#define MAX_PAUSE_NS NANOSECONDS_PER_SECOND

typedef struct LinkWaiter {
    CoSleep sleep;
    bool cancelled;
    struct LinkWaiter *next;
} LinkWaiter;

struct NBDLink {
    BlockDriverState *bs;
    const NBDServer *server;
    int64_t delay_ns;
    NBDExportInfo info;         /* what the node relies on */

    GMutex lock;
    NBDConnection *conn;
    unsigned users;             /* requests on @conn */
    bool lost;                  /* @conn is, since @lost_ns */
    int64_t lost_ns;
    char *why;                  /* the last attempt failed; NULL: reported, or none has failed */
    LinkWaiter *waiters;        /* requests that wait for a connection */
    bool connecting;            /* a coroutine of the main loop is */
    bool closing;
    CoSleep pause;              /* of that coroutine */
    CoQueue ended;              /* who waits for its end */
    uint64_t done;              /* counts changes that the server has acknowledged, */
    uint64_t flushed;           /* and how many of them it has flushed */
};

NBDLink *nbd_link_new(BlockDriverState *bs, const NBDServer *server, NBDConnection *conn, int64_t delay_ns)
{
    NBDLink *l = g_new0(NBDLink, 1);

    l->bs = bs;
    l->server = server;
    l->delay_ns = delay_ns;
    l->info = *nbd_connection_get_info(conn);
    l->conn = conn;
    g_mutex_init(&l->lock);
    qemu_co_queue_init(&l->ended);
    return l;
}

static void wake_waiters(NBDLink *l, bool cancel)
{
    for (LinkWaiter *w = l->waiters; w; w = w->next) {
        w->cancelled |= cancel;
        qemu_co_sleep_wake(&w->sleep);
    }
}

/* Whether the node can go on with the export as it is now; false with @errp. */
static bool check_info(const NBDLink *l, const NBDExportInfo *new, Error **errp)
{
    const NBDExportInfo *old = &l->info;

    if (new->size < old->size) {
        error_setg(errp, "The export has shrunk from %" PRId64 " to %" PRId64 " bytes", old->size, new->size);
    } else if (new->read_only && !l->bs->read_only) {
        error_setg(errp, "The export has become read-only");
    } else if (new->min_block > old->min_block || new->max_block < old->max_block) {
        error_setg(errp, "The export has other block sizes than before");
    } else if (old->can_flush > new->can_flush || old->can_fua > new->can_fua || old->can_trim > new->can_trim ||
               old->can_zero > new->can_zero || old->can_fast_zero > new->can_fast_zero ||
               old->has_context > new->has_context) {
        error_setg(errp, "The export can do less than before");
    } else {
        return true;
    }
    error_prepend(errp, "NBD server '%s': ", l->server->name);
    return false;
}

/* A request fails for lack of a connection: report the reason, once. With the lock held. */
static void report_failure(NBDLink *l)
{
    if (l->why) {
        warn_report("could not connect again: %s", l->why);
        g_clear_pointer(&l->why, g_free);
    }
}

static bool connecting_cancelled(void *opaque)
{
    NBDLink *l = opaque;

    return l->closing || bdrv_must_not_wait();
}

static NBDConnection *coroutine_fn reconnect(NBDLink *l, Error **errp)
{
    NBDConnection *conn = nbd_connection_new(l->server, NBD_CONNECT_TIMEOUT_NS, connecting_cancelled, l, errp);

    if (conn && !check_info(l, nbd_connection_get_info(conn), errp)) {
        nbd_connection_free(conn);
        return NULL;
    }
    return conn;
}

/* Use @conn instead of the lost one; NULL: none could be made. With the lock held. */
static void end_connecting(NBDLink *l, NBDConnection *conn)
{
    if (conn && l->done != l->flushed) {
        bdrv_set_flush_error(l->bs, -EIO);
    }
    if (conn) {
        l->conn = conn;
        l->lost = false;
    }
    l->connecting = false;
    wake_waiters(l, false);
    qemu_co_queue_restart_all(&l->ended);
}

/* Replace the connection: one attempt, and more while requests wait for it. */
static void coroutine_fn connect_entry(void *opaque)
{
    NBDLink *l = opaque;
    int64_t pause_ns = MIN_PAUSE_NS;

    nbd_connection_free(g_steal_pointer(&l->conn));
    for (;;) {
        Error *err = NULL;
        NBDConnection *conn = reconnect(l, &err);

        g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&l->lock);
        g_free(l->why);
        l->why = err ? g_strdup(error_get_pretty(err)) : NULL;
        error_free(err);
        if (!conn && l->waiters && !connecting_cancelled(l)) {
            co_sleep_ns_wakeable(&l->pause, pause_ns, &l->lock);
            pause_ns = MIN(2 * pause_ns, MAX_PAUSE_NS);
        }
        if (conn || !l->waiters || connecting_cancelled(l)) {
            end_connecting(l, conn);
            break;
        }
    }
}

void coroutine_fn nbd_link_free(NBDLink *l)
{
    if (!l) {
        return;
    }
    g_mutex_lock(&l->lock);
    l->closing = true;
    qemu_co_sleep_wake(&l->pause);
    while (l->connecting) {
        qemu_co_queue_wait(&l->ended, &l->lock);
    }
    g_mutex_unlock(&l->lock);
    nbd_connection_free(l->conn);
    g_mutex_clear(&l->lock);
    g_free(l->why);
    g_free(l);
}

/* Wait for a connection until @end, or until the request is cancelled. With the lock held: 0 or -errno. */
static int coroutine_fn wait_connected(NBDLink *l, int64_t end)
{
    LinkWaiter w = { .cancelled = false };
    int64_t now = qemu_clock_get_ns();

    if (now >= end || bdrv_must_not_delay(l->bs)) {
        report_failure(l);
        return -EIO;
    }
    if (!qemu_co_cancel_begin_sleep(&w.sleep)) {
        return -ECANCELED;
    }
    w.next = l->waiters;
    l->waiters = &w;
    co_sleep_ns_wakeable(&w.sleep, end - now, &l->lock);
    qemu_co_cancel_end();
    for (LinkWaiter **p = &l->waiters; *p; p = &(*p)->next) {
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

/*
 * Begin a request: a connection to use, or NULL with the reason in *@ret. *@end is when the request has waited long
 * enough; 0: it has not waited.
 */
static NBDConnection *coroutine_fn begin_request(NBDLink *l, int64_t *end, int *ret)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&l->lock);

    *ret = bdrv_must_not_wait() ? -ECANCELED : 0;
    if (*ret == 0 && *end && qemu_clock_get_ns() >= *end) {
        *ret = -EIO;
    }
    while (*ret == 0 && l->lost) {
        if (!l->connecting && l->users == 0) {
            l->connecting = true;
            aio_co_start(qemu_get_aio_context(), connect_entry, l);
        }
        *ret = wait_connected(l, *end ?: l->lost_ns + l->delay_ns);
    }
    l->users += *ret == 0;
    return *ret == 0 ? l->conn : NULL;
}

/* @r has ended; when it began, the server had acknowledged @done changes. */
static void end_request(NBDLink *l, const NBDRequest *r, uint64_t done)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&l->lock);

    l->users--;
    if (r->lost && !l->lost) {
        l->lost = true;
        l->lost_ns = qemu_clock_get_ns();
    }
    if (r->lost && l->users == 0) {
        wake_waiters(l, false);
    }
    if (r->ret == 0 && r->type == NBD_REQUEST_FLUSH) {
        l->flushed = MAX(l->flushed, done);
    } else if (r->ret == 0 && r->unflushed) {
        l->done++;
    }
}

static uint64_t changes_done(NBDLink *l)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&l->lock);

    return l->done;
}

int coroutine_fn nbd_link_co_request(NBDLink *l, NBDRequest *r)
{
    NBDConnection *conn;
    int64_t end = 0;
    int ret;

    while ((conn = begin_request(l, &end, &ret))) {
        uint64_t done = changes_done(l);

        nbd_connection_co_request(conn, r);
        end_request(l, r, done);
        if (!r->lost || r->ret == -ECANCELED) {
            return r->ret;
        }
        end = end ?: qemu_clock_get_ns() + l->delay_ns;
    }
    r->lost = true;
    return ret;
}

void nbd_link_cancel(NBDLink *l)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&l->lock);

    if (l->conn && !l->connecting) {
        nbd_connection_cancel(l->conn);
    }
    wake_waiters(l, true);
}

void nbd_link_drain(NBDLink *l)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&l->lock);

    wake_waiters(l, false);
}
