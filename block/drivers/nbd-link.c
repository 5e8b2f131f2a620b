/*
 * A link to an NBD server: connections that are replaced when they are lost
 *
 * The first connection is made when the node is opened; its home is the main loop. If the server allows several
 * connections (multi-conn), more are opened when all are busy. The home of each is a thread that connections of other
 * nodes share. A request goes to the connection with the least load.
 *
 * A request whose connection is lost is repeated on another one, until reconnect-delay seconds after its own first
 * loss. So a request that kills the server every time fails in the end. Requests that arrive while there is no
 * connection wait until reconnect-delay seconds after the last loss. Repeating a write is safe: its completion was not
 * reported, and overlapping writes in flight have no order.
 *
 * Writes that were not flushed may be lost with a server, which no other request would report. Only the connection that
 * acknowledged a write can tell whether its server is still running. So a flush goes to every connection with such
 * writes, and once one of those is lost, flushes fail.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include "block/drivers/link.h"
#include "block/drivers/nbd.h"
#include "block/graph/graph_int.h"
#include "block/io/io_int.h"

/* Maximum connections of a node, as in nbdcopy. */
#define MAX_CONNECTIONS 4
/* Delay after a further connection has failed: the server may not allow more clients. */
#define SPARE_PAUSE_NS (60 * NANOSECONDS_PER_SECOND)
/* What a request adds to the load of a connection, besides its data. */
#define REQUEST_COST_BYTES (32 * KiB)
/*
 * Requests from the main loop may load its own connection this much more than others, since reaching another loop takes
 * as long as a small request. Requests from other loops load it this much less, in order not to delay commands.
 */
#define MAIN_LOOP_BONUS_BYTES (4 * REQUEST_COST_BYTES)

typedef struct LinkSlot {
    NBDConnection *conn;        /* NULL: none */
    IOThread *home;             /* of @conn; NULL: the main loop. Main thread */
    bool lost;                  /* @conn is lost */
    unsigned users;             /* requests on @conn */
    int64_t load;               /* their cost in bytes */
    uint64_t done;              /* counts changes that the server has acknowledged here, */
    uint64_t flushed;           /* and how many of them it has flushed */
} LinkSlot;

struct NBDLink {
    BdrvLink base;
    const NBDServer *server;
    NBDExportInfo info;         /* what the node relies on, from its opening */

    /* With base.lock held. */
    LinkSlot slots[MAX_CONNECTIONS];
    int64_t spare_ns;           /* no further connection before this time */
    LinkSlot *connecting;       /* where base is opening one; NULL: it is not */
};

/* The home threads of further connections, of all nodes: one for each slot but the first. Main thread. */
static IOThread *homes[MAX_CONNECTIONS];

static IOThread *home_ref(unsigned i, Error **errp)
{
    g_autofree char *name = g_strdup_printf("nbd %u", i);

    return homes[i] ? iothread_ref(homes[i]) : (homes[i] = iothread_new(name, errp));
}

static void home_unref(unsigned i)
{
    bool last = !iothread_is_shared(homes[i]);

    iothread_unref(homes[i]);
    homes[i] = last ? NULL : homes[i];
}

static bool is_usable(const LinkSlot *slot)
{
    return slot->conn && !slot->lost;
}

/* The load of @slot as this thread counts it to choose one. With the lock held. */
static int64_t seen_load(const NBDLink *l, const LinkSlot *slot)
{
    bool on_main_loop = qemu_get_current_aio_context() == qemu_get_aio_context();

    return slot->load + (slot != l->slots ? 0 : on_main_loop ? -MAIN_LOOP_BONUS_BYTES : MAIN_LOOP_BONUS_BYTES);
}

/* The connection with the least load; NULL: there is none. With the lock held. */
static LinkSlot *choose_slot(NBDLink *l)
{
    LinkSlot *best = NULL;

    for (LinkSlot *slot = l->slots; slot < l->slots + MAX_CONNECTIONS; slot++) {
        if (is_usable(slot) && (!best || seen_load(l, slot) < seen_load(l, best))) {
            best = slot;
        }
    }
    return best;
}

/* Whether to try another connection for the requests in flight. With the lock held. */
static bool wants_more(const NBDLink *l)
{
    int64_t load = 0;
    unsigned users = 0, n = 0;
    bool multi_conn = true;

    for (const LinkSlot *slot = l->slots; slot < l->slots + MAX_CONNECTIONS; slot++) {
        if (is_usable(slot)) {
            load += slot->load;
            users += slot->users;
            multi_conn &= nbd_connection_get_info(slot->conn)->can_multi_conn;
            n++;
        }
    }
    return n < MAX_CONNECTIONS && multi_conn && users > n && load > n * MAIN_LOOP_BONUS_BYTES &&
           qemu_clock_get_ns() >= l->spare_ns;
}

static bool can_less(const NBDExportInfo *old, const NBDExportInfo *new)
{
    return old->can_flush > new->can_flush || old->can_fua > new->can_fua || old->can_trim > new->can_trim ||
           old->can_zero > new->can_zero || old->can_fast_zero > new->can_fast_zero ||
           old->has_context > new->has_context;
}

/* Whether the node can use the export as it is now; false with @errp. */
static bool check_info(NBDLink *l, const NBDExportInfo *new, Error **errp)
{
    const NBDExportInfo *old = &l->info;
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&l->base.lock);

    if (new->size < old->size) {
        error_setg(errp, "The export has shrunk from %" PRId64 " to %" PRId64 " bytes", old->size, new->size);
    } else if (new->read_only && !l->base.bs->read_only) {
        error_setg(errp, "The export has become read-only");
    } else if (new->min_block > old->min_block || new->max_block < old->max_block) {
        error_setg(errp, "The export has other block sizes than before");
    } else if (can_less(old, new)) {
        error_setg(errp, "The export can do less than before");
    } else if (!new->can_multi_conn && choose_slot(l)) {
        error_setg(errp, "The export can no longer be used through several connections");
    } else {
        return true;
    }
    error_prepend(errp, "NBD server '%s': ", l->server->name);
    return false;
}

/* Free @conn, which was that of @slot. */
static void coroutine_fn drop_connection(NBDLink *l, LinkSlot *slot, NBDConnection *conn)
{
    nbd_connection_free(conn);
    if (slot->home) {
        home_unref(slot - l->slots);
        slot->home = NULL;
    }
}

static NBDConnection *take_connection(NBDLink *l, LinkSlot *slot)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&l->base.lock);

    return g_steal_pointer(&slot->conn);
}

static void *coroutine_fn link_connect(BdrvLink *base, Error **errp)
{
    NBDLink *l = container_of(base, NBDLink, base);
    LinkSlot *slot = l->connecting;
    AioContext *ctx = qemu_get_aio_context();

    drop_connection(l, slot, take_connection(l, slot));
    if (slot != l->slots) {
        slot->home = home_ref(slot - l->slots, errp);
        if (!slot->home) {
            return NULL;
        }
        ctx = iothread_get_aio_context(slot->home);
    }
    NBDConnection *conn = nbd_connection_new(l->server, ctx, NBD_CONNECT_TIMEOUT_NS, bdrv_link_is_closing, base, errp);
    if (!conn || !check_info(l, nbd_connection_get_info(conn), errp)) {
        drop_connection(l, slot, conn);
        return NULL;
    }
    return conn;
}

/* Start connecting where there is no connection. With the lock held. */
static void start_connecting(NBDLink *l)
{
    for (LinkSlot *slot = l->slots; !l->connecting && slot < l->slots + MAX_CONNECTIONS; slot++) {
        if (!is_usable(slot) && slot->users == 0) {
            l->connecting = slot;
            bdrv_link_start(&l->base);
        }
    }
}

static void link_use(BdrvLink *base, void *conn)
{
    NBDLink *l = container_of(base, NBDLink, base);
    LinkSlot *slot = g_steal_pointer(&l->connecting);

    if (!conn) {
        l->spare_ns = qemu_clock_get_ns() + SPARE_PAUSE_NS;
    } else if (!choose_slot(l)) {
        l->spare_ns = 0;
    }
    slot->conn = conn;
    slot->lost = false;
    if (choose_slot(l)) {
        /* Requests do not fail if a further connection fails. */
        g_clear_pointer(&base->why, g_free);
    }
    if (wants_more(l)) {
        start_connecting(l);
    }
}

static bool link_ready(BdrvLink *base)
{
    NBDLink *l = container_of(base, NBDLink, base);
    bool ready = choose_slot(l);

    if (!ready) {
        start_connecting(l);
    }
    return ready;
}

static const BdrvLinkOps link_ops = { .ready = link_ready, .connect = link_connect, .use = link_use };

NBDLink *nbd_link_new(BlockDriverState *bs, const NBDServer *server, NBDConnection *conn, int64_t delay_ns)
{
    NBDLink *l = g_new0(NBDLink, 1);

    bdrv_link_init(&l->base, &link_ops, bs, delay_ns);
    l->server = server;
    l->info = *nbd_connection_get_info(conn);
    l->slots[0].conn = conn;
    return l;
}

void coroutine_fn nbd_link_free(NBDLink *l)
{
    if (!l) {
        return;
    }
    bdrv_link_close(&l->base);
    for (LinkSlot *slot = l->slots; slot < l->slots + MAX_CONNECTIONS; slot++) {
        drop_connection(l, slot, slot->conn);
    }
    bdrv_link_destroy(&l->base);
    g_free(l);
}

static int64_t request_cost(const NBDRequest *r)
{
    bool has_data = r->type == NBD_REQUEST_READ || r->type == NBD_REQUEST_WRITE;

    return REQUEST_COST_BYTES + (has_data ? r->bytes : 0);
}

/* Begin @r on the connection in @slot. With the lock held. */
static void use_slot(LinkSlot *slot, const NBDRequest *r)
{
    slot->users++;
    slot->load += request_cost(r);
}

/* Begin @r: a connection to use, or NULL with the reason in *@ret. @end: as in bdrv_link_begin_request(). */
static LinkSlot *coroutine_fn begin_request(NBDLink *l, const NBDRequest *r, int64_t end, int *ret)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&l->base.lock);

    *ret = bdrv_link_begin_request(&l->base, end);
    if (*ret < 0) {
        return NULL;
    }
    LinkSlot *slot = choose_slot(l);
    use_slot(slot, r);
    if (wants_more(l)) {
        start_connecting(l);
    }
    return slot;
}

/* Nothing more comes from the lost connection in @slot. With the lock held. */
static void settle_loss(NBDLink *l, LinkSlot *slot)
{
    if (slot->done != slot->flushed) {
        bdrv_set_flush_error(l->base.bs, -EIO);
        slot->flushed = slot->done;
    }
    /* It may still be open, to a server that shuts down and waits for its clients. */
    nbd_connection_cancel(slot->conn);
    bdrv_link_wake(&l->base, false);
}

static void end_request(NBDLink *l, LinkSlot *slot, const NBDRequest *r, uint64_t done)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&l->base.lock);

    slot->users--;
    slot->load -= request_cost(r);
    if (r->ret == 0 && r->type == NBD_REQUEST_FLUSH) {
        slot->flushed = MAX(slot->flushed, done);
    } else if (r->ret == 0 && r->unflushed) {
        slot->done++;
    }
    if (r->lost && !slot->lost) {
        slot->lost = true;
        l->base.lost_ns = qemu_clock_get_ns();
        l->spare_ns = l->base.lost_ns + SPARE_PAUSE_NS;
    }
    if (slot->lost && slot->users == 0) {
        settle_loss(l, slot);
    }
}

/* Make @r in @slot, where the server has acknowledged @done changes. */
static int coroutine_fn request_in_slot(NBDLink *l, LinkSlot *slot, NBDRequest *r, uint64_t done)
{
    nbd_connection_co_request(slot->conn, r);
    if (r->ret == -ESHUTDOWN && l->base.delay_ns > 0) {
        /* The server is about to end, and takes no more requests. Another may follow. */
        r->lost = true;
    }
    end_request(l, slot, r, done);
    return r->ret;
}

int coroutine_fn nbd_link_co_request(NBDLink *l, NBDRequest *r)
{
    LinkSlot *slot;
    int64_t end = 0;
    int ret;

    while ((slot = begin_request(l, r, end, &ret))) {
        ret = request_in_slot(l, slot, r, 0);
        if (!r->lost || ret == -ECANCELED) {
            return ret;
        }
        end = end ?: qemu_clock_get_ns() + l->base.delay_ns;
    }
    r->lost = true;
    return ret;
}

/* Flushes */

typedef struct LinkFlush {
    NBDLink *link;
    Coroutine *co;              /* waits for the others; NULL: not yet */
    unsigned running;
    int ret;                    /* of the first that failed */
} LinkFlush;

typedef struct SlotFlush {
    LinkFlush *flush;
    LinkSlot *slot;
    uint64_t done;
    NBDRequest request;
} SlotFlush;

static void coroutine_fn flush_slot_entry(void *opaque)
{
    SlotFlush *f = opaque;
    LinkFlush *flush = f->flush;
    int ret = request_in_slot(flush->link, f->slot, &f->request, f->done);

    flush->ret = flush->ret ?: ret;
    if (--flush->running == 0 && flush->co) {
        aio_co_wake(flush->co);
    }
}

/* Find the connections with changes to flush, and begin a request on each: how many. */
static unsigned begin_flushes(LinkFlush *flush, SlotFlush *flushes)
{
    NBDLink *l = flush->link;
    unsigned n = 0;
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&l->base.lock);

    for (LinkSlot *slot = l->slots; slot < l->slots + MAX_CONNECTIONS; slot++) {
        if (slot->done != slot->flushed) {
            flushes[n] = (SlotFlush){
                .flush = flush, .slot = slot, .done = slot->done, .request.type = NBD_REQUEST_FLUSH,
            };
            use_slot(slot, &flushes[n++].request);
        }
    }
    return n;
}

int coroutine_fn nbd_link_co_flush(NBDLink *l)
{
    NBDRequest r = { .type = NBD_REQUEST_FLUSH };
    LinkFlush flush = { .link = l };
    SlotFlush flushes[MAX_CONNECTIONS];
    unsigned n = begin_flushes(&flush, flushes);

    flush.running = n;
    for (unsigned i = 0; i < n; i++) {
        qemu_coroutine_enter(qemu_coroutine_create(flush_slot_entry, &flushes[i]));
    }
    if (flush.running) {
        flush.co = qemu_coroutine_self();
        qemu_coroutine_yield();
    }
    if (n == 0) {
        flush.ret = nbd_link_co_request(l, &r);
    }
    /* Changes may have been lost meanwhile, or as it began. */
    return flush.ret ?: bdrv_get_flush_error(l->base.bs);
}

void nbd_link_cancel(NBDLink *l)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&l->base.lock);

    for (LinkSlot *slot = l->slots; slot < l->slots + MAX_CONNECTIONS; slot++) {
        if (slot->conn) {
            nbd_connection_cancel(slot->conn);
        }
    }
    bdrv_link_wake(&l->base, true);
}

void nbd_link_drain(NBDLink *l)
{
    bdrv_link_drain(&l->base);
}
