/*
 * Character devices on stream sockets: one client after the other, or a connection that comes back
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "chardev-int.h"
#include "io/sockets.h"
#include "util/aio.h"

/* Clients that may wait for their turn. */
#define CLIENTS_WAITING 16

typedef struct SocketChardev {
    Chardev parent;
    NetListener *listener;      /* of a server */
    CoQueue arrived;            /* those who wait for a client */
    IOChannel *waiting;         /* a connection that nobody has taken yet */

    SocketAddress *addr;        /* of a client that reconnects */
    int64_t reconnect_ns;       /* 0: it does not */
    bool reconnecting;          /* a coroutine is at it */
    bool closing;
    CoSleep sleep;
    CoQueue reconnect_ended;
} SocketChardev;

static SocketChardev *to_socket(Chardev *chr)
{
    return container_of(chr, SocketChardev, parent);
}

static void hand_over(SocketChardev *s, IOChannel *ch)
{
    if (s->parent.opened) {
        chardev_connected(&s->parent, io_channel_ref(ch), ch);
    } else {
        assert(!s->waiting);
        s->waiting = ch;
        qemu_co_queue_restart_all(&s->arrived);
    }
}

/* One client at a time: the next waits in the kernel's backlog. */
static void new_client(IOChannel *ch, void *opaque)
{
    SocketChardev *s = opaque;

    net_listener_set_client_func(s->listener, NULL, NULL);
    hand_over(s, ch);
}

static void coroutine_fn reconnect(void *opaque)
{
    SocketChardev *s = opaque;
    IOChannel *ch = NULL;

    while (!ch && !s->closing) {
        co_sleep_ns_wakeable(&s->sleep, s->reconnect_ns);
        if (!s->closing) {
            ch = socket_connect(s->addr, s->reconnect_ns, NULL);
        }
    }
    s->reconnecting = false;
    qemu_co_queue_restart_all(&s->reconnect_ended);
    if (ch && !s->closing) {
        hand_over(s, ch);
    } else {
        io_channel_unref(ch);
    }
}

static void begin_reconnect(SocketChardev *s)
{
    if (!s->reconnecting) {
        s->reconnecting = true;
        qemu_coroutine_enter(qemu_coroutine_create(reconnect, s));
    }
}

static bool coroutine_fn open_server(SocketChardev *s, Error **errp)
{
    s->listener = net_listener_open(s->addr, CLIENTS_WAITING, errp);
    return s->listener;
}

static bool coroutine_fn open_client(SocketChardev *s, Error **errp)
{
    Error *err = NULL;

    s->waiting = socket_connect(s->addr, 0, &err);
    if (!s->waiting && s->reconnect_ns) {
        error_free(err);
        begin_reconnect(s);
        return true;
    }
    error_propagate(errp, err);
    return s->waiting;
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
    s->addr = socket_address_flatten(options->addr);
    qemu_co_queue_init(&s->arrived);
    qemu_co_queue_init(&s->reconnect_ended);
    if (server ? open_server(s, errp) : open_client(s, errp)) {
        return true;
    }
    g_clear_pointer(&s->addr, qapi_free_SocketAddress);
    return false;
}

void coroutine_fn chardev_socket_wait(Chardev *chr)
{
    SocketChardev *s = to_socket(chr);

    if (s->listener) {
        net_listener_set_client_func(s->listener, new_client, s);
        while (!s->waiting) {
            qemu_co_queue_wait(&s->arrived, NULL);
        }
    }
}

static void socket_start(Chardev *chr)
{
    SocketChardev *s = to_socket(chr);

    if (s->waiting) {
        hand_over(s, g_steal_pointer(&s->waiting));
    } else if (s->listener) {
        net_listener_set_client_func(s->listener, new_client, s);
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
        net_listener_set_client_func(s->listener, new_client, s);
    } else if (s->reconnect_ns) {
        begin_reconnect(s);
    }
}

static void coroutine_fn socket_close(Chardev *chr)
{
    SocketChardev *s = to_socket(chr);

    s->closing = true;
    qemu_co_sleep_wake(&s->sleep);
    while (s->reconnecting) {
        qemu_co_queue_wait(&s->reconnect_ended, NULL);
    }
    net_listener_free(s->listener);
    io_channel_unref(s->waiting);
    qapi_free_SocketAddress(s->addr);
}

const ChardevDriver chardev_socket = {
    .instance_size = sizeof(SocketChardev),
    .open = socket_open,
    .start = socket_start,
    .stop = socket_stop,
    .disconnected = socket_disconnected,
    .close = socket_close,
};
