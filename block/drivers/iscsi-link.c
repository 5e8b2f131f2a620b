/*
 * A link to a LUN: a session that is replaced when it is lost
 *
 * A request whose session is lost is repeated on the next one, until RETRY_NS after its own first loss, or until it has
 * lost MAX_LOSSES sessions. So a request that kills the target every time fails in the end. Requests that arrive while
 * there is no session wait until RETRY_NS after the loss. Repeating a write is safe: its completion was not reported,
 * overlapping writes in flight have no order, and the new session has the identity (ISID) of the old one, which makes
 * the target abort commands of the old session.
 *
 * Writes that were not flushed may be lost with a target, which no other request would report. So flushes fail from
 * then on.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include "block/drivers/iscsi.h"
#include "block/drivers/link.h"
#include "block/io/io_int.h"

/* How long a request waits for a new session. */
#define RETRY_NS (20 * NANOSECONDS_PER_SECOND)

/* Maximum number of sessions that a request may lose: a request that kills the target would do so forever. */
#define MAX_LOSSES 5
/* Minimum time between two messages about losses. */
#define QUIET_NS (10 * NANOSECONDS_PER_SECOND)

struct ISCSILink {
    BdrvLink base;
    const ISCSITarget *target;
    ISCSILunInfo lun;           /* what the node relies on, from its opening */

    /* With base.lock held. */
    ISCSISession *session;
    unsigned users;             /* requests on @session */
    bool lost;                  /* @session was lost, at base.lost_ns */
    uint64_t done;              /* counts changes that the target has acknowledged, */
    uint64_t flushed;           /* and how many of them it has flushed */
};

/* Whether the node can use the LUN as it is now; false with @errp. */
static bool link_check_lun(const ISCSILink *l, const ISCSILunInfo *new, Error **errp)
{
    const ISCSILunInfo *old = &l->lun;

    if (strcmp(new->identity, old->identity) != 0) {
        error_setg(errp, "The LUN is not the same as before");
    } else if (new->block_size != old->block_size) {
        error_setg(errp, "The LUN has other block sizes than before");
    } else if (new->blocks < old->blocks) {
        error_setg(errp, "The LUN has shrunk from %" PRIu64 " to %" PRIu64 " blocks", old->blocks, new->blocks);
    } else if (new->read_only && !l->base.bs->read_only) {
        error_setg(errp, "The LUN has become read-only");
    } else {
        return true;
    }
    error_prepend(errp, "iSCSI LUN '%s': ", l->target->name);
    return false;
}

static bool link_ready(BdrvLink *base)
{
    ISCSILink *l = container_of(base, ISCSILink, base);

    if (l->lost && l->users == 0) {
        bdrv_link_start(base);
    }
    return !l->lost;
}

static void *coroutine_fn link_connect(BdrvLink *base, Error **errp)
{
    ISCSILink *l = container_of(base, ISCSILink, base);

    iscsi_session_free(g_steal_pointer(&l->session));
    ISCSISession *s = iscsi_session_new(l->target, ISCSI_CONNECT_TIMEOUT_NS, bdrv_link_is_closing, base, errp);
    if (s) {
        s->quiet_until_ns = base->lost_ns + QUIET_NS;
    }
    if (s && !link_check_lun(l, &s->lun, errp)) {
        iscsi_session_free(s);
        return NULL;
    }
    return s;
}

static void link_use(BdrvLink *base, void *session)
{
    ISCSILink *l = container_of(base, ISCSILink, base);

    if (session && l->done != l->flushed) {
        bdrv_set_flush_error(base->bs, -EIO);
        l->flushed = l->done;
    }
    if (session) {
        l->session = session;
        l->lost = false;
    }
}

static const BdrvLinkOps link_ops = { .ready = link_ready, .connect = link_connect, .use = link_use };

ISCSILink *iscsi_link_new(BlockDriverState *bs, const ISCSITarget *target, ISCSISession *session)
{
    ISCSILink *l = g_new0(ISCSILink, 1);

    bdrv_link_init(&l->base, &link_ops, bs, RETRY_NS);
    l->target = target;
    l->lun = session->lun;
    l->session = session;
    return l;
}

void coroutine_fn iscsi_link_free(ISCSILink *l)
{
    if (l) {
        bdrv_link_close(&l->base);
        iscsi_session_free(l->session);
        bdrv_link_destroy(&l->base);
        g_free(l);
    }
}

/*
 * Begin a request: a session to use, or NULL with the reason in *@ret. *@done: the changes that the target has
 * acknowledged; @end: as in bdrv_link_begin_request().
 */
static ISCSISession *coroutine_fn link_begin_request(ISCSILink *l, int64_t end, uint64_t *done, int *ret)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&l->base.lock);

    *ret = bdrv_link_begin_request(&l->base, end);
    l->users += *ret == 0;
    *done = l->done;
    return *ret == 0 ? l->session : NULL;
}

/* @r has ended; when it began, the target had acknowledged @done changes. */
static void link_end_request(ISCSILink *l, const ISCSIRequest *r, uint64_t done)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&l->base.lock);

    l->users--;
    if (r->lost && !l->lost) {
        l->lost = true;
        l->base.lost_ns = qemu_clock_get_ns();
    }
    if (l->lost && l->users == 0) {
        /* Also where this request, the last one, got its answer before the loss. */
        bdrv_link_wake(&l->base, false);
    }
    if (r->ret == 0 && r->flush && iscsi_request_result(r) == 0) {
        l->flushed = MAX(l->flushed, done);
    } else if (r->ret == 0 && r->unflushed) {
        /* Even if it has failed: it may have changed some of the data. */
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

    for (unsigned losses = 0; (s = link_begin_request(l, end, &done, &ret)); ) {
        iscsi_session_co_request(s, r);
        link_end_request(l, r, done);
        if (!r->lost || r->ret == -ECANCELED || r->ret == -ETIMEDOUT || ++losses == MAX_LOSSES) {
            return r->ret;
        }
        end = end ?: qemu_clock_get_ns() + RETRY_NS;
        if (losses > 1) {
            g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&l->base.lock);

            ret = bdrv_link_wait(&l->base, BDRV_LINK_MIN_PAUSE_NS << (losses - 1));
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

        if (ret < 0 || !iscsi_should_retry(r, attempt, &pause_ns) || (pause_ns && bdrv_must_not_delay(l->base.bs))) {
            return ret < 0 ? ret : iscsi_request_result(r);
        }
        if (pause_ns) {
            g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&l->base.lock);

            ret = bdrv_must_not_wait() ? -ECANCELED : bdrv_link_wait(&l->base, pause_ns);
            if (ret < 0) {
                return ret;
            }
        }
    }
}

void iscsi_link_cancel(ISCSILink *l)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&l->base.lock);

    if (l->session && !l->base.connecting) {
        iscsi_session_cancel(l->session);
    }
    bdrv_link_wake(&l->base, true);
}

void iscsi_link_drain(ISCSILink *l)
{
    bdrv_link_drain(&l->base);
}
