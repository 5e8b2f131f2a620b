/*
 * Two ends of a TLS connection, for tests
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include <sys/socket.h>

#include "io/tls.h"
#include "tls-peers.h"
#include "util/aio.h"

#define BULK_BYTES (300 * 1000)

static uint8_t bulk_byte(size_t i)
{
    return i * 7 + (i >> 8);
}

/* More than the socket buffers hold, so that both sides have to wait. */
static bool coroutine_fn send_bulk(IOChannel *ch)
{
    g_autofree uint8_t *buf = g_malloc(BULK_BYTES);

    for (size_t i = 0; i < BULK_BYTES; i++) {
        buf[i] = bulk_byte(i);
    }
    return io_channel_co_write_all(ch, buf, BULK_BYTES) == 0;
}

static bool coroutine_fn receive_bulk(IOChannel *ch)
{
    g_autofree uint8_t *buf = g_malloc(BULK_BYTES);

    if (io_channel_co_read_all(ch, buf, BULK_BYTES) != 1) {
        return false;
    }
    for (size_t i = 0; i < BULK_BYTES; i++) {
        g_assert_cmpint(buf[i], ==, bulk_byte(i));
    }
    return true;
}

static void coroutine_fn end_run(void *opaque)
{
    TlsEnd *end = opaque;
    g_autoptr(IOChannel) ch = io_channel_new(end->fd);
    g_autoptr(QCryptoTLSCreds) creds = qcrypto_tls_creds_lookup(end->creds, end->endpoint, &error_abort);
    char byte;

    end->state = io_channel_co_tls_handshake(ch, creds, end->hostname, end->authzid, &end->err);
    end->ok = end->state == QCRYPTO_TLS_DONE;
    if (end->ok && end->endpoint == QCRYPTO_TLS_CREDS_ENDPOINT_CLIENT) {
        /* With TLS 1.3 the client learns only now whether the server accepts its certificate. */
        end->ok = io_channel_co_read_all(ch, &byte, 1) == 1 && receive_bulk(ch) && send_bulk(ch) &&
                  io_channel_co_read_all(ch, &byte, 1) == 0;
    } else if (end->ok) {
        end->ok = io_channel_co_write_all(ch, "x", 1) == 0 && send_bulk(ch) && receive_bulk(ch);
    }
    --*end->running;
}

void tls_handshake(TlsEnd *server, TlsEnd *client)
{
    int fds[2], running = 2;

    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), ==, 0);
    server->fd = fds[0];
    server->creds = server->creds ?: "server";
    server->endpoint = QCRYPTO_TLS_CREDS_ENDPOINT_SERVER;
    server->running = &running;
    client->fd = fds[1];
    client->creds = client->creds ?: "client";
    client->endpoint = QCRYPTO_TLS_CREDS_ENDPOINT_CLIENT;
    client->running = &running;
    qemu_coroutine_enter(qemu_coroutine_create(end_run, server));
    qemu_coroutine_enter(qemu_coroutine_create(end_run, client));
    while (running) {
        aio_poll(qemu_get_aio_context(), true);
    }
}
