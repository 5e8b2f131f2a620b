/*
 * A link to a LUN: a session that is replaced when it is lost
 *
 * A request whose session is lost is repeated on the next one, until RETRY_NS after its own first loss, or until it has
 * lost MAX_LOSSES sessions: so a request that kills the target every time fails in the end. Requests that arrive while
 * there is no session wait until RETRY_NS after the loss. Repeating a write is safe: its completion was not reported,
 * overlapping writes in flight have no order, and the new session has the identity (ISID) of the old one, which makes
 * the target abort what is left of it.
 *
 * Writes that were not flushed may be lost with a target, which no other request would report: flushes fail from then
 * on.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include "block/drivers/iscsi.h"
#include "block/io/io_int.h"
#include "util/aio.h"

/* How long a request waits for a new session. */
#define RETRY_NS (20 * NANOSECONDS_PER_SECOND)

/* Sessions that a request may lose: what kills the target each time would do so for ever. */
#define MAX_LOSSES 5
/* Between two messages about losses. */
#define QUIET_NS (10 * NANOSECONDS_PER_SECOND)

/* From one attempt to connect to the next, doubled each time. */
#define MIN_PAUSE_NS (100 * SCALE_MS)
#define MAX_PAUSE_NS NANOSECONDS_PER_SECOND

typedef struct LinkWaiter {
    CoSleep sleep;
    bool cancelled;
    struct LinkWaiter *next;
} LinkWaiter;

struct ISCSILink {
    BlockDriverState *bs;
    const ISCSITarget *target;
    ISCSILunInfo lun;           /* what the node relies on */

    GMutex lock;
    ISCSISession *session;
    unsigned users;             /* requests on @session */
    bool lost;                  /* @session is, since @lost_ns */
    int64_t lost_ns;
    char *why;                  /* the last attempt failed; NULL: reported, or none has failed */
    LinkWaiter *waiters;        /* requests that wait for a session, or to be repeated */
    bool connecting;            /* a coroutine of the main loop is */
    bool closing;
    CoSleep pause;              /* of that coroutine */
    CoQueue ended;              /* who waits for its end */
    uint64_t done;              /* counts changes that the target has acknowledged, */
    uint64_t flushed;           /* and how many of them it has flushed */
};

ISCSILink *iscsi_link_new(BlockDriverState *bs, const ISCSITarget *target, ISCSISession *session)
{
    ISCSILink *l = g_new0(ISCSILink, 1);

    l->bs = bs;
    l->target = target;
    l->lun = session->lun;
    l->session = session;
    g_mutex_init(&l->lock);
    qemu_co_queue_init(&l->ended);
    return l;
}

const ISCSILunInfo *iscsi_link_get_lun(const ISCSILink *l)
{
    return &l->lun;
}

static void link_wake_waiters(ISCSILink *l, bool cancel)
{
    for (LinkWaiter *w = l->waiters; w; w = w->next) {
        w->cancelled |= cancel;
        qemu_co_sleep_wake(&w->sleep);
    }
}

/* Whether the node can go on with the LUN as it is now; false with @errp. */
static bool link_check_lun(const ISCSILink *l, const ISCSILunInfo *new, Error **errp)
{
    const ISCSILunInfo *old = &l->lun;

    if (strcmp(new->identity, old->identity) != 0) {
        error_setg(errp, "The LUN is not the same as before");
    } else if (new->block_size != old->block_size) {
        error_setg(errp, "The LUN has other block sizes than before");
    } else if (new->blocks < old->blocks) {
        error_setg(errp, "The LUN has shrunk from %" PRIu64 " to %" PRIu64 " blocks", old->blocks, new->blocks);
    } else if (new->read_only && !l->bs->read_only) {
        error_setg(errp, "The LUN has become read-only");
    } else {
        return true;
    }
    error_prepend(errp, "iSCSI LUN '%s': ", l->target->name);
    return false;
}

/* A request fails for lack of a session: report the reason, once. With the lock held. */
static void link_report_failure(ISCSILink *l)
{
    if (l->why) {
        warn_report("could not connect again: %s", l->why);
        g_clear_pointer(&l->why, g_free);
    }
}

static bool link_connecting_cancelled(void *opaque)
{
    ISCSILink *l = opaque;

    return l->closing || bdrv_must_not_wait();
}

static ISCSISession *coroutine_fn link_reconnect(ISCSILink *l, Error **errp)
{
    ISCSISession *s = iscsi_session_new(l->target, ISCSI_CONNECT_TIMEOUT_NS, link_connecting_cancelled, l, errp);

    if (s) {
        s->quiet_until_ns = l->lost_ns + QUIET_NS;
    }
    if (s && !link_check_lun(l, &s->lun, errp)) {
        iscsi_session_free(s);
        return NULL;
    }
    return s;
}

/* Use @s instead of the lost one; NULL: none could be made. With the lock held. */
static void link_end_connecting(ISCSILink *l, ISCSISession *s)
{
    if (s && l->done != l->flushed) {
        bdrv_set_flush_error(l->bs, -EIO);
    }
    if (s) {
        l->session = s;
        l->lost = false;
    }
    l->connecting = false;
    link_wake_waiters(l, false);
    qemu_co_queue_restart_all(&l->ended);
}

/* Replace the session: one attempt, and more while requests wait for it. */
static void coroutine_fn link_connect_entry(void *opaque)
{
    ISCSILink *l = opaque;
    int64_t pause_ns = MIN_PAUSE_NS;

    iscsi_session_free(g_steal_pointer(&l->session));
    for (;;) {
        Error *err = NULL;
        ISCSISession *s = link_reconnect(l, &err);

        g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&l->lock);
        g_free(l->why);
        l->why = err ? g_strdup(error_get_pretty(err)) : NULL;
        error_free(err);
        if (!s && l->waiters && !link_connecting_cancelled(l)) {
            co_sleep_ns_wakeable(&l->pause, pause_ns, &l->lock);
            pause_ns = MIN(2 * pause_ns, MAX_PAUSE_NS);
        }
        if (s || !l->waiters || link_connecting_cancelled(l)) {
            link_end_connecting(l, s);
            break;
        }
    }
}

void coroutine_fn iscsi_link_free(ISCSILink *l)
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
    iscsi_session_free(l->session);
    g_mutex_clear(&l->lock);
    g_free(l->why);
    g_free(l);
}

/* Wait @ns, or until something changes, or the request is cancelled. With the lock held: 0 or -ECANCELED. */
static int coroutine_fn link_wait(ISCSILink *l, int64_t ns)
{
    LinkWaiter w = { .cancelled = false };

    if (!qemu_co_cancel_begin_sleep(&w.sleep)) {
        return -ECANCELED;
    }
    w.next = l->waiters;
    l->waiters = &w;
    co_sleep_ns_wakeable(&w.sleep, ns, &l->lock);
    qemu_co_cancel_end();
    for (LinkWaiter **p = &l->waiters; *p; p = &(*p)->next) {
        if (*p == &w) {
            *p = w.next;
            break;
        }
    }
    if (!l->waiters) {
        /* No need for another attempt to connect. */
        qemu_co_sleep_wake(&l->pause);
    }
    return w.cancelled || qemu_co_is_cancelled() ? -ECANCELED : 0;
}

/* Wait for a session until @end. With the lock held: 0 or -errno. */
static int coroutine_fn link_wait_connected(ISCSILink *l, int64_t end)
{
    int64_t now = qemu_clock_get_ns();

    if (now >= end || bdrv_must_not_delay(l->bs)) {
        link_report_failure(l);
        return -EIO;
    }
    return link_wait(l, end - now);
}

/*
 * Begin a request: a session to use, or NULL with the reason in *@ret. *@end is when the request has waited long
 * enough; 0: it has not waited.
 */
static ISCSISession *coroutine_fn link_begin_request(ISCSILink *l, int64_t *end, uint64_t *done, int *ret)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&l->lock);

    *ret = bdrv_must_not_wait() ? -ECANCELED : 0;
    if (*ret == 0 && *end && qemu_clock_get_ns() >= *end) {
        *ret = -EIO;
    }
    while (*ret == 0 && l->lost) {
        if (!l->connecting && l->users == 0) {
            l->connecting = true;
            aio_co_start(qemu_get_aio_context(), link_connect_entry, l);
        }
        *ret = link_wait_connected(l, *end ?: l->lost_ns + RETRY_NS);
    }
    l->users += *ret == 0;
    *done = l->done;
    return *ret == 0 ? l->session : NULL;
}

/* @r has ended; when it began, the target had acknowledged @done changes. */
static void link_end_request(ISCSILink *l, const ISCSIRequest *r, uint64_t done)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&l->lock);

    l->users--;
    if (r->lost && !l->lost) {
        l->lost = true;
        l->lost_ns = qemu_clock_get_ns();
    }
    if (r->lost && l->users == 0) {
        link_wake_waiters(l, false);
    }
    if (r->ret == 0 && r->flush && iscsi_request_result(r) == 0) {
        l->flushed = MAX(l->flushed, done);
    } else if (r->ret == 0 && r->unflushed) {
        /* Also one that has failed: it may have changed a part. */
        l->done++;
    }
}

/* As iscsi_link_co_request(), without repetitions that the LUN asks for. */
static int coroutine_fn link_request_once(ISCSILink *l, ISCSIRequest *r)
{
    ISCSISession *s;
    int64_t end = 0;
    uint64_t done;
    int ret;

    for (unsigned losses = 0; (s = link_begin_request(l, &end, &done, &ret)); ) {
        iscsi_session_co_request(s, r);
        link_end_request(l, r, done);
        if (!r->lost || r->ret == -ECANCELED || r->ret == -ETIMEDOUT || ++losses == MAX_LOSSES) {
            return r->ret;
        }
        end = end ?: qemu_clock_get_ns() + RETRY_NS;
        if (losses > 1) {
            g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&l->lock);

            ret = link_wait(l, MIN_PAUSE_NS << (losses - 1));
            if (ret < 0) {
                break;
            }
        }
    }
    r->ret = ret;
    r->lost = true;
    return ret;
}

int coroutine_fn iscsi_link_co_request(ISCSILink *l, ISCSIRequest *r)
{
    int64_t pause_ns;

    for (unsigned attempt = 0; ; attempt++) {
        int ret = link_request_once(l, r);

        if (ret < 0 || !iscsi_should_retry(r, attempt, &pause_ns) || (pause_ns && bdrv_must_not_delay(l->bs))) {
            return ret < 0 ? ret : iscsi_request_result(r);
        }
        if (pause_ns) {
            g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&l->lock);

            ret = bdrv_must_not_wait() ? -ECANCELED : link_wait(l, pause_ns);
            if (ret < 0) {
                return ret;
            }
        }
    }
}

void iscsi_link_cancel(ISCSILink *l)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&l->lock);

    if (l->session && !l->connecting) {
        iscsi_session_cancel(l->session);
    }
    link_wake_waiters(l, true);
}

void iscsi_link_drain(ISCSILink *l)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&l->lock);

    link_wake_waiters(l, false);
}
