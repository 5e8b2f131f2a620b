/*
 * Connecting to an NBD server, with TLS: from an address to a socket that the server's greeting arrives on
 *
 * TLS is ours, not libnbd's (docs/decisions/0010-tls-beside-libnbd.md): the first steps of the handshake, up to
 * NBD_OPT_STARTTLS, are done here. Then libnbd gets one end of a pair of sockets. It receives a copy of the server's
 * greeting there and continues in plain text, while two coroutines pass bytes in both directions.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include <sys/socket.h>

#include "block/drivers.h"
#include "block/drivers/nbd.h"
#include "block/nbd-proto.h"
#include "io/sockets.h"
#include "io/tls.h"
#include "util/aio.h"

#define GREETING_BYTES 18
#define RELAY_BUFFER_BYTES (128 * KiB)
/* Maximum size of a reply to NBD_OPT_STARTTLS. */
#define REPLY_MAX_BYTES (64 * KiB)

/* Time for the last data, such as a disconnect request, to reach the server. */
#define LINGER_NS (NANOSECONDS_PER_SECOND / 2)

struct NBDRelay {
    IOChannel *plain;               /* libnbd is at the other end */
    IOChannel *tls;
    uint8_t greeting[GREETING_BYTES];
    unsigned users;                 /* coroutines; both run in one loop */
    CoSleep ended;                  /* waits for these to end */
};

static void relay_shutdown(NBDRelay *relay)
{
    /* What was sent can still be read. */
    io_channel_shutdown(relay->plain);
    io_channel_shutdown(relay->tls);
}

static void relay_unuse(NBDRelay *relay)
{
    relay_shutdown(relay);
    if (--relay->users == 0) {
        qemu_co_sleep_wake(&relay->ended);
    }
}

void coroutine_fn nbd_relay_free(NBDRelay *relay)
{
    if (!relay) {
        return;
    }
    if (relay->users) {
        co_sleep_ns_wakeable(&relay->ended, LINGER_NS, NULL);
    }
    relay_shutdown(relay);
    while (relay->users) {
        co_sleep_ns_wakeable(&relay->ended, LINGER_NS, NULL);
    }
    io_channel_unref(relay->plain);
    io_channel_unref(relay->tls);
    g_free(relay);
}

static void coroutine_fn relay_copy(IOChannel *from, IOChannel *to)
{
    g_autofree uint8_t *buf = g_malloc(RELAY_BUFFER_BYTES);
    ssize_t n;

    while ((n = io_channel_co_read(from, buf, RELAY_BUFFER_BYTES)) > 0 && io_channel_co_write_all(to, buf, n) == 0) {
        /* go on */
    }
}

static void coroutine_fn relay_to_server(void *opaque)
{
    NBDRelay *relay = opaque;
    uint8_t flags[4];

    /* libnbd's reply to the greeting: we have sent the same to the server. */
    if (io_channel_co_read_all(relay->plain, flags, sizeof(flags)) == 1) {
        relay_copy(relay->plain, relay->tls);
    }
    relay_unuse(relay);
}

static void coroutine_fn relay_to_client(void *opaque)
{
    NBDRelay *relay = opaque;

    if (io_channel_co_write_all(relay->plain, relay->greeting, GREETING_BYTES) == 0) {
        relay_copy(relay->tls, relay->plain);
    }
    relay_unuse(relay);
}

/* Create a relay, *@to, which takes over @tls: the socket at its other end, or -1 with @errp. */
static int relay_start(IOChannel *tls, const uint8_t *greeting, AioContext *home, NBDRelay **to, Error **errp)
{
    int fds[2];

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0) {
        error_setg_errno(errp, errno, "Could not make a pair of sockets");
        io_channel_unref(tls);
        return -1;
    }
    NBDRelay *relay = g_new0(NBDRelay, 1);
    relay->plain = io_channel_new(fds[0]);
    relay->tls = tls;
    relay->users = 2;
    memcpy(relay->greeting, greeting, GREETING_BYTES);
    io_channel_detach(tls);
    aio_co_start(home, relay_to_client, relay);
    aio_co_start(home, relay_to_server, relay);
    *to = relay;
    return fds[1];
}

/* False with @errp if a read or write that returned @ret failed or was incomplete. */
static bool check_io(int ret, const char *what, Error **errp)
{
    if (ret == 1) {
        return true;
    }
    if (qemu_co_is_cancelled()) {
        error_setg(errp, "Operation was cancelled");
    } else if (ret == 0) {
        error_setg(errp, "The server closed the connection during the %s", what);
    } else {
        error_setg_errno(errp, -ret, "Lost the connection during the %s", what);
    }
    return false;
}

static bool coroutine_fn read_greeting(IOChannel *ch, uint8_t *greeting, Error **errp)
{
    uint8_t answer[4];

    if (!check_io(io_channel_co_read_all(ch, greeting, GREETING_BYTES), "greeting", errp)) {
        return false;
    }
    uint16_t flags = nbd_get16(greeting + 16);
    if (nbd_get64(greeting) != NBD_INIT_MAGIC || nbd_get64(greeting + 8) != NBD_OPTS_MAGIC ||
        !(flags & NBD_FLAG_FIXED_NEWSTYLE)) {
        error_setg(errp, "The server does not speak NBD, or too old a version for TLS");
        return false;
    }
    nbd_put32(answer, flags & (NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES));
    int ret = io_channel_co_write_all(ch, answer, sizeof(answer));
    return check_io(ret < 0 ? ret : 1, "greeting", errp);
}

static bool coroutine_fn ask_for_tls(IOChannel *ch, Error **errp)
{
    uint8_t option[16], reply[20];

    nbd_put32(nbd_put32(nbd_put64(option, NBD_OPTS_MAGIC), NBD_OPT_STARTTLS), 0);
    int ret = io_channel_co_write_all(ch, option, sizeof(option));
    if (!check_io(ret < 0 ? ret : 1, "request for TLS", errp) ||
        !check_io(io_channel_co_read_all(ch, reply, sizeof(reply)), "request for TLS", errp)) {
        return false;
    }
    uint32_t type = nbd_get32(reply + 12), len = nbd_get32(reply + 16);
    if (nbd_get64(reply) != NBD_REP_MAGIC || nbd_get32(reply + 8) != NBD_OPT_STARTTLS || len > REPLY_MAX_BYTES) {
        error_setg(errp, "The server's reply to the request for TLS is malformed");
        return false;
    }
    if (type == NBD_REP_ACK && len == 0) {
        return true;
    }
    g_autofree char *data = g_malloc0(len + 1);
    if (len > 0 && !check_io(io_channel_co_read_all(ch, data, len), "request for TLS", errp)) {
        return false;
    }
    g_autofree char *text = bdrv_printable(data);
    error_setg(errp, "The server refuses TLS%s%s", *text ? ": " : "", text);
    error_append_hint(errp, "To connect without TLS, leave out tls-creds (in a URI, use nbd instead of nbds).\n");
    return false;
}

static void give_up(void *ch)
{
    io_channel_shutdown(ch);
}

static IOChannel *coroutine_fn connect_socket(const NBDServer *server, const char **step, Error **errp)
{
    *step = "connection";
    if (server->addr->type != SOCKET_ADDRESS_TYPE_INET) {
        return socket_connect(server->addr, 0, errp);
    }
    *step = server->lookup_step;
    g_autoptr(GArray) names = socket_resolve(server->addr, false, errp);
    if (!names) {
        return NULL;
    }
    *step = "connection";
    return socket_connect_resolved(server->addr, names, 0, errp);
}

int coroutine_fn nbd_connect(const NBDServer *server, AioContext *home, NBDRelay **relay, const char **step,
                             Error **errp)
{
    uint8_t greeting[GREETING_BYTES];
    bool ok = false;

    g_autoptr(IOChannel) ch = connect_socket(server, step, errp);
    if (!ch) {
        return -1;
    }
    if (!server->creds) {
        int fd = fcntl(io_channel_get_fd(ch), F_DUPFD_CLOEXEC, 3);

        if (fd < 0) {
            error_setg_errno(errp, errno, "Could not duplicate a descriptor");
        }
        return fd;
    }
    if (!qemu_co_cancel_begin(give_up, ch)) {
        error_setg(errp, "Operation was cancelled");
        return -1;
    }
    *step = "greeting";
    if (read_greeting(ch, greeting, errp)) {
        *step = "reply to the request for TLS";
        ok = ask_for_tls(ch, errp);
    }
    if (ok) {
        *step = "TLS handshake";
        ok = io_channel_co_tls_handshake(ch, server->creds, server->tls_hostname, NULL, errp) == QCRYPTO_TLS_DONE;
    }
    qemu_co_cancel_end();
    return ok ? relay_start(g_steal_pointer(&ch), greeting, home, relay, errp) : -1;
}
