/*
 * The NBD server: listening, and managing clients
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include <sys/socket.h>

#include "block/export/nbd/nbd-int.h"
#include "block/graph/graph_int.h"
#include "block/nbd.h"
#include "io/sockets.h"
#include "util/aio.h"

#define DEFAULT_HANDSHAKE_SECONDS 10
#define DEFAULT_MAX_CONNECTIONS 100

typedef struct NBDServer {
    NetListener *listener;      /* NULL while the server stops */
    bool accepting;
    QCryptoTLSCreds *tls_creds;
    char *tls_authz;
    unsigned max_connections;   /* 0: no limit */
    int64_t handshake_ns;       /* 0: no limit */
    GPtrArray *clients;         /* of NBDClient, each a reference */
    CoQueue client_gone;
} NBDServer;

static NBDServer *server;
static void (*client_hook)(bool served, unsigned remaining);

void nbd_server_set_client_hook(void (*hook)(bool served, unsigned remaining))
{
    client_hook = hook;
}

bool nbd_server_is_running(void)
{
    return server && server->listener;
}

QCryptoTLSCreds *nbd_server_tls_creds(void)
{
    return server->tls_creds;
}

const char *nbd_server_tls_authz(void)
{
    return server->tls_authz;
}

unsigned nbd_server_max_connections(void)
{
    return server->max_connections;
}

static void client_unref(void *opaque)
{
    NBDClient *client = opaque;

    if (!g_atomic_int_dec_and_test(&client->refcnt)) {
        return;
    }
    io_channel_unref(client->ch);
    if (client->exp) {
        blk_exp_unref(&client->exp->common);
    }
    iothread_unref(client->iothread);
    qemu_co_mutex_cleanup(&client->send_lock);
    g_free(client->ahead);
    g_free(client);
}

static void abandon_in_ctx(void *opaque)
{
    NBDClient *client = opaque;

    nbd_client_abandon(client);
    aio_bh_schedule_oneshot(qemu_get_aio_context(), client_unref, client);
}

/* The client's coroutine then sees the end of the connection, and ends. */
static void client_disconnect(NBDClient *client)
{
    if (client->ctx == qemu_get_aio_context()) {
        nbd_client_abandon(client);
    } else {
        g_atomic_int_inc(&client->refcnt);
        aio_bh_schedule_oneshot(client->ctx, abandon_in_ctx, client);
    }
}

static void client_handshake_timeout(void *opaque)
{
    io_channel_shutdown(((NBDClient *)opaque)->ch);
}

static void coroutine_fn client_co_start(void *opaque)
{
    NBDClient *client = opaque;
    AioTimer *timer = aio_timer_new(client->ctx, client_handshake_timeout, client);

    if (server->handshake_ns) {
        aio_timer_mod_ns(timer, qemu_clock_get_ns() + server->handshake_ns);
    }
    bool chosen = nbd_handshake(client);
    aio_timer_free(timer);
    if (!chosen) {
        nbd_client_done(client);
        return;
    }
    io_channel_detach(client->ch);
    if (client->exp->common.iothread) {
        client->iothread = iothread_ref(client->exp->common.iothread);
        client->ctx = iothread_get_aio_context(client->iothread);
    }
    aio_co_start(client->ctx, nbd_transmission, client);
}

/* Accept as long as the limit allows more clients. Others wait in the kernel's backlog. */
static void server_update_accepting(void);

static void server_new_client(IOChannel *ch, void *opaque)
{
    NBDClient *client = g_new0(NBDClient, 1);

    client->refcnt = 1;
    client->ch = ch;
    client->ctx = qemu_get_aio_context();
    qemu_co_mutex_init(&client->send_lock);
    qemu_co_queue_init(&client->receiver);
    g_queue_init(&client->requests);
    g_ptr_array_add(server->clients, client);
    server_update_accepting();
    qemu_coroutine_enter(qemu_coroutine_create(client_co_start, client));
}

static void server_update_accepting(void)
{
    bool accept = !server->max_connections || server->clients->len < server->max_connections;

    if (server->listener && accept != server->accepting) {
        server->accepting = accept;
        net_listener_set_client_func(server->listener, accept ? server_new_client : NULL, NULL);
    }
}

void nbd_client_done(NBDClient *client)
{
    bool served = client->exp;

    g_ptr_array_remove(server->clients, client);
    client_unref(client);
    server_update_accepting();
    if (client_hook) {
        client_hook(served, server->clients->len);
    }
    qemu_co_queue_restart_all(&server->client_gone);
}

void nbd_server_disconnect(NBDExport *exp)
{
    for (guint i = 0; server && i < server->clients->len; i++) {
        NBDClient *client = g_ptr_array_index(server->clients, i);

        if (client->exp == exp) {
            client_disconnect(client);
        }
    }
}

static void server_free(NBDServer *s)
{
    net_listener_free(s->listener);
    qcrypto_tls_creds_unref(s->tls_creds);
    g_free(s->tls_authz);
    g_ptr_array_unref(s->clients);
    g_free(s);
}

bool coroutine_fn nbd_server_start(const NbdServerOptions *options, Error **errp)
{
    if (server) {
        error_setg(errp, "The NBD server is already running");
        return false;
    }
    server = g_new0(NBDServer, 1);
    server->clients = g_ptr_array_new();
    qemu_co_queue_init(&server->client_gone);
    server->max_connections = options->has_max_connections ? options->max_connections : DEFAULT_MAX_CONNECTIONS;
    server->handshake_ns = NANOSECONDS_PER_SECOND * (options->has_handshake_max_seconds
                                                     ? options->handshake_max_seconds
                                                     : DEFAULT_HANDSHAKE_SECONDS);
    server->tls_authz = g_strdup(options->tls_authz);
    if (qcrypto_tls_options_lookup(options->tls_creds, options->tls_authz, QCRYPTO_TLS_CREDS_ENDPOINT_SERVER,
                                   &server->tls_creds, errp)) {
        server->listener = net_listener_open(options->addr, SOMAXCONN, errp);
    }
    if (!server->listener) {
        server_free(g_steal_pointer(&server));
        return false;
    }
    server_update_accepting();
    return true;
}

/* Whether clients of @addr reach our server. */
static bool coroutine_fn server_is_at(const SocketAddress *addr)
{
    g_autoptr(GArray) names = nbd_server_is_running() ? socket_resolve(addr, false, NULL) : NULL;
    bool found = false;

    for (guint i = 0; !found && names && nbd_server_is_running() && i < names->len; i++) {
        found = net_listener_is_at(server->listener, &g_array_index(names, SocketName, i));
    }
    return found;
}

/* The node that we export as @name; NULL: none. */
static BlockDriverState *find_exported(const char *name)
{
    NBDExport *exp = nbd_export_find(name);

    return exp ? blk_bs(exp->common.blk) : NULL;
}

bool coroutine_fn nbd_server_check_no_loop(BlockDriverState *bs, BlockDriverState *other, Error **errp)
{
    GPtrArray *nodes = bdrv_get_nodes();
    bool ok = true;

    for (guint i = 0; ok && i < nodes->len; i++) {
        BlockDriverState *node = g_ptr_array_index(nodes, i);
        const BlockdevOptionsNbd *o = &node->options->u.nbd;
        bool is_client = node->drv->driver == BLOCKDEV_DRIVER_NBD && bdrv_is_below(node, bs);
        BlockDriverState *exported = is_client ? find_exported(o->export ?: "") : NULL;

        if (exported && (bdrv_is_below(other, exported) || bdrv_is_below(exported, other))) {
            bdrv_ref(exported);
            /* Last, since looking up a name takes time. */
            ok = !server_is_at(o->server);
            if (!ok) {
                error_setg(errp, "it is an export of node '%s' by this daemon", bdrv_get_display_name(exported));
            }
            bdrv_co_unref(exported);
        }
    }
    bdrv_co_put_nodes(nodes);
    return ok;
}

void coroutine_fn nbd_server_stop(void)
{
    if (!nbd_server_is_running()) {
        return;
    }
    net_listener_free(g_steal_pointer(&server->listener));
    for (guint i = 0; i < server->clients->len; i++) {
        client_disconnect(g_ptr_array_index(server->clients, i));
    }
    blk_exp_close_all_type(BLOCK_EXPORT_TYPE_NBD);
    while (server->clients->len > 0) {
        qemu_co_queue_wait(&server->client_gone, NULL);
    }
    server_free(g_steal_pointer(&server));
}
