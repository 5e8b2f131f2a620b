/*
 * Character devices on stream sockets: servers with one client at a time, and clients that reconnect
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "monitor/chardev/chardev-int.h"
#include "crypto/tls-creds.h"
#include "io/sockets.h"
#include "io/tls.h"
#include "util/aio.h"

/* How many clients may wait for their turn. */
#define CLIENTS_WAITING 16

/* Timeout of a TLS handshake, during which no other client is served. */
#define HANDSHAKE_NS (10 * NANOSECONDS_PER_SECOND)
/* Failed handshakes are reported at most once per interval. */
#define REPORT_INTERVAL_NS (1000 * SCALE_MS)

typedef struct SocketChardev {
    Chardev parent;
    NetListener *listener;      /* of a server */
    IOChannel *waiting;         /* a connection that the front end has not taken yet */

    QCryptoTLSCreds *tls_creds; /* NULL: no TLS */
    char *tls_authz;
    IOChannel *greeting;        /* the connection whose handshake is in progress */
    int64_t reported_ns;        /* when a refused client was last reported; 0: never */

    SocketAddress *addr;
    int64_t reconnect_ns;       /* of a client; 0: does not reconnect */

    Coroutine *busy;            /* in a handshake, or reconnecting */
    CoQueue idle;
    bool closing;
} SocketChardev;

/* The device whose first client the program waits for before it continues with its command line. */
static SocketChardev *awaited;
static CoQueue arrived = { .last = &arrived.first };

static SocketChardev *to_socket(Chardev *chr)
{
    return container_of(chr, SocketChardev, parent);
}

static void socket_hand_over(SocketChardev *s, IOChannel *ch)
{
    if (s->parent.opened) {
        chardev_connected(&s->parent, io_channel_ref(ch), ch);
    } else {
        assert(!s->waiting);
        s->waiting = ch;
        qemu_co_queue_restart_all(&arrived);
    }
}

/* The handshake timed out or was cancelled. */
static void socket_end_handshake(void *opaque)
{
    io_channel_shutdown(opaque);
}

/* Perform the TLS handshake, if TLS is used. Releases the channel on failure. */
static QCryptoTLSState coroutine_fn socket_handshake(SocketChardev *s, IOChannel *ch, Error **errp)
{
    if (!s->tls_creds) {
        return QCRYPTO_TLS_DONE;
    }
    const char *host = s->addr->type == SOCKET_ADDRESS_TYPE_INET ? s->addr->u.inet.host : NULL;
    AioTimer *timer = aio_timer_new(qemu_get_aio_context(), socket_end_handshake, ch);

    aio_timer_mod_ns(timer, qemu_clock_get_ns() + HANDSHAKE_NS);
    QCryptoTLSState state = QCRYPTO_TLS_FAILED;
    if (qemu_co_cancel_begin(socket_end_handshake, ch)) {
        state = io_channel_co_tls_handshake(ch, s->tls_creds, s->listener ? NULL : host, s->tls_authz, errp);
        qemu_co_cancel_end();
    } else {
        error_setg(errp, "Operation was cancelled");
    }
    aio_timer_free(timer);
    if (state != QCRYPTO_TLS_DONE) {
        io_channel_unref(ch);
    }
    return state;
}

static void socket_begin_busy(SocketChardev *s, CoroutineEntry *entry)
{
    s->busy = qemu_coroutine_create(entry, s);
    qemu_coroutine_enter(s->busy);
}

/* The coroutine of @s ends, with a connection or NULL. */
static void socket_end_busy(SocketChardev *s, IOChannel *ch)
{
    s->busy = NULL;
    if (ch && !s->closing) {
        socket_hand_over(s, ch);
    } else {
        io_channel_unref(ch);
    }
    qemu_co_queue_restart_all(&s->idle);
}

static void socket_new_client(IOChannel *ch, void *opaque);

/* Report that a client was refused. Anyone can fail repeatedly, and must not flood the log. */
static void socket_report_refusal(SocketChardev *s, QCryptoTLSState state, const Error *err)
{
    int64_t now = qemu_clock_get_ns();

    if (state == QCRYPTO_TLS_REFUSED || !s->reported_ns || now - s->reported_ns >= REPORT_INTERVAL_NS) {
        g_autofree char *server = g_strdup_printf("Chardev '%s'", s->parent.id);

        io_channel_tls_report(server, err);
        s->reported_ns = now;
    }
}

static void coroutine_fn socket_greet_client(void *opaque)
{
    SocketChardev *s = opaque;
    IOChannel *ch = g_steal_pointer(&s->greeting);
    Error *err = NULL;
    QCryptoTLSState state = socket_handshake(s, ch, &err);
    bool ok = state == QCRYPTO_TLS_DONE;

    if (!ok && !s->closing) {
        socket_report_refusal(s, state, err);
    }
    error_free(err);
    if (!ok && (s->parent.opened || s == awaited)) {
        net_listener_set_client_func(s->listener, socket_new_client, s);
    }
    socket_end_busy(s, ok ? ch : NULL);
}

/* One client at a time: the next waits in the kernel's backlog. */
static void socket_new_client(IOChannel *ch, void *opaque)
{
    SocketChardev *s = opaque;

    net_listener_set_client_func(s->listener, NULL, NULL);
    if (s->tls_creds) {
        s->greeting = ch;
        socket_begin_busy(s, socket_greet_client);
    } else {
        socket_hand_over(s, ch);
    }
}

static IOChannel *coroutine_fn socket_connect_to_server(SocketChardev *s, int64_t timeout_ns, Error **errp)
{
    IOChannel *ch = socket_connect(s->addr, timeout_ns, errp);

    return ch && socket_handshake(s, ch, errp) == QCRYPTO_TLS_DONE ? ch : NULL;
}

static void coroutine_fn socket_reconnect(void *opaque)
{
    SocketChardev *s = opaque;
    IOChannel *ch = NULL;

    while (!ch && co_sleep_ns_cancellable(s->reconnect_ns)) {
        ch = socket_connect_to_server(s, s->reconnect_ns, NULL);
    }
    socket_end_busy(s, ch);
}

static void socket_begin_reconnect(SocketChardev *s)
{
    if (!s->busy) {
        socket_begin_busy(s, socket_reconnect);
    }
}

static bool coroutine_fn socket_open_server(SocketChardev *s, Error **errp)
{
    s->listener = net_listener_open(s->addr, CLIENTS_WAITING, errp);
    return s->listener;
}

static bool coroutine_fn socket_open_client(SocketChardev *s, Error **errp)
{
    Error *err = NULL;

    s->waiting = socket_connect_to_server(s, 0, &err);
    if (!s->waiting && s->reconnect_ns && !qemu_co_is_cancelled()) {
        error_free(err);
        socket_begin_reconnect(s);
        return true;
    }
    error_propagate(errp, err);
    return s->waiting;
}

static void socket_free_options(SocketChardev *s)
{
    qcrypto_tls_creds_unref(s->tls_creds);
    g_free(s->tls_authz);
    qapi_free_SocketAddress(s->addr);
}

static bool coroutine_fn socket_open(Chardev *chr, const ChardevBackend *backend, Error **errp)
{
    SocketChardev *s = to_socket(chr);
    const ChardevSocket *options = backend->u.socket.data;
    bool server = !options->has_server || options->server;
    int64_t reconnect_ms = options->has_reconnect_ms ? options->reconnect_ms : 0;

    if (reconnect_ms && (server || reconnect_ms < 0 || reconnect_ms > INT_MAX)) {
        error_setg(errp, "Parameter 'reconnect-ms' %s",
                   server ? "is for clients: it needs server=off" : "is out of range");
        return false;
    }
    s->reconnect_ns = reconnect_ms * SCALE_MS;
    if (!qcrypto_tls_options_lookup(options->tls_creds, options->tls_authz,
                                    server ? QCRYPTO_TLS_CREDS_ENDPOINT_SERVER : QCRYPTO_TLS_CREDS_ENDPOINT_CLIENT,
                                    &s->tls_creds, errp)) {
        return false;
    }
    s->tls_authz = g_strdup(options->tls_authz);
    s->addr = socket_address_flatten(options->addr);
    qemu_co_queue_init(&s->idle);
    if (server ? socket_open_server(s, errp) : socket_open_client(s, errp)) {
        return true;
    }
    socket_free_options(s);
    return false;
}

static void socket_end_wait(void *opaque)
{
    qemu_co_queue_restart_all(&arrived);
}

bool coroutine_fn chardev_socket_wait(Chardev *chr, Error **errp)
{
    awaited = to_socket(chr);
    net_listener_set_client_func(awaited->listener, socket_new_client, awaited);
    while (!awaited->waiting && qemu_co_cancel_begin(socket_end_wait, NULL)) {
        qemu_co_queue_wait(&arrived, NULL);
        qemu_co_cancel_end();
    }
    bool ok = awaited->waiting;
    if (!ok) {
        net_listener_set_client_func(awaited->listener, NULL, NULL);
        error_setg(errp, "Operation was cancelled");
    }
    awaited = NULL;
    return ok;
}

static void socket_start(Chardev *chr)
{
    SocketChardev *s = to_socket(chr);

    if (s->waiting) {
        socket_hand_over(s, g_steal_pointer(&s->waiting));
    } else if (s->listener && !s->busy) {
        net_listener_set_client_func(s->listener, socket_new_client, s);
    }
}

static void socket_stop(Chardev *chr)
{
    SocketChardev *s = to_socket(chr);

    if (s->listener) {
        net_listener_set_client_func(s->listener, NULL, NULL);
    }
}

static void socket_disconnected(Chardev *chr)
{
    SocketChardev *s = to_socket(chr);

    if (s->listener) {
        net_listener_set_client_func(s->listener, socket_new_client, s);
    } else if (s->reconnect_ns) {
        socket_begin_reconnect(s);
    }
}

static void coroutine_fn socket_close(Chardev *chr)
{
    SocketChardev *s = to_socket(chr);

    s->closing = true;
    if (s->busy) {
        qemu_co_cancel(s->busy);
    }
    while (s->busy) {
        qemu_co_queue_wait(&s->idle, NULL);
    }
    net_listener_free(s->listener);
    io_channel_unref(s->waiting);
    socket_free_options(s);
}

const ChardevDriver chardev_socket = {
    .instance_size = sizeof(SocketChardev),
    .open = socket_open,
    .start = socket_start,
    .stop = socket_stop,
    .disconnected = socket_disconnected,
    .close = socket_close,
};
