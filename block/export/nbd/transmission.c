/*
 * NBD, second phase: receiving requests, and executing many at once
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "block/export/nbd/nbd-int.h"

/* Interval of checks whether a client is gone that has more requests under way than are received. */
#define GONE_CHECK_NS (NANOSECONDS_PER_SECOND / 4)

/* Wait for bytes and receive ahead what is available. A waiting client needs no buffer. */
static bool coroutine_fn client_fill_ahead(NBDClient *client)
{
    IOWait wait;
    ssize_t got;

    while (true) {
        if (!client->ahead) {
            client->ahead = g_malloc(NBD_AHEAD_BYTES);
        }
        got = io_channel_try_read(client->ch, client->ahead, NBD_AHEAD_BYTES, &wait);
        if (got != -EAGAIN) {
            break;
        }
        g_clear_pointer(&client->ahead, g_free);
        io_channel_co_wait(client->ch, false, wait);
    }
    client->ahead_start = 0;
    client->ahead_end = MAX(got, 0);
    return got > 0;
}

/* Receive exactly @len bytes; false if the connection ends before that. */
static bool coroutine_fn client_receive(NBDClient *client, uint8_t *buf, size_t len)
{
    while (len > 0) {
        size_t n = MIN(len, client->ahead_end - client->ahead_start);

        if (n > 0) {
            memcpy(buf, client->ahead + client->ahead_start, n);
            client->ahead_start += n;
            buf += n;
            len -= n;
        } else if (len >= NBD_AHEAD_BYTES) {
            return io_channel_co_read_all(client->ch, buf, len) == 1;
        } else if (!client_fill_ahead(client)) {
            return false;
        }
    }
    return true;
}

/* Receive the fixed part of a request; false at the end of the connection, or if it is broken. */
static bool coroutine_fn client_receive_header(NBDClient *client, NBDRequest *req)
{
    uint8_t buf[NBD_REQUEST_SIZE];

    if (client->gone || !client_receive(client, buf, sizeof(buf)) || nbd_get32(buf) != NBD_REQUEST_MAGIC) {
        return false;
    }
    *req = (NBDRequest){
        .client = client,
        .flags = nbd_get16(buf + 4),
        .type = nbd_get16(buf + 6),
        .cookie = nbd_get64(buf + 8),
        .offset = nbd_get64(buf + 16),
        .len = nbd_get32(buf + 24),
    };
    return true;
}

static gint all_requests;       /* requests of all clients under way; atomic */

static bool client_has_room(const NBDClient *client, size_t data_bytes)
{
    return client->requests.length == 0 ||
           (client->requests.length < NBD_MAX_REQUESTS &&
            client->buffer_bytes + data_bytes <= NBD_MAX_CLIENT_BUFFERS &&
            g_atomic_int_get(&all_requests) < NBD_MAX_ALL_REQUESTS);
}

void nbd_client_abandon(NBDClient *client)
{
    client->gone = true;
    io_channel_shutdown(client->ch);
    for (const GList *l = client->requests.head; l; l = l->next) {
        qemu_co_abandon(((NBDRequest *)l->data)->co);
    }
    qemu_co_queue_restart_all(&client->receiver);
}

static void client_check_gone(void *client);

static void client_arm_gone_timer(NBDClient *client)
{
    client->gone_timer = aio_timer_new(client->ctx, client_check_gone, client);
    aio_timer_mod_ns(client->gone_timer, qemu_clock_get_ns() + GONE_CHECK_NS);
}

/* If there are requests that were not received yet, reading does not show that the client is gone. */
static void client_check_gone(void *opaque)
{
    NBDClient *client = opaque;

    g_clear_pointer(&client->gone_timer, aio_timer_free);
    if (!qemu_co_queue_empty(&client->receiver)) {
        if (io_channel_peer_has_ended(client->ch)) {
            nbd_client_abandon(client);
        } else {
            client_arm_gone_timer(client);
        }
    }
}

/*
 * Wait until a request with @data_bytes may be begun: one of the client's own ends before that. False where the client
 * leaves before.
 */
static bool coroutine_fn client_wait_for_room(NBDClient *client, size_t data_bytes)
{
    while (!client->gone && !client_has_room(client, data_bytes)) {
        if (!client->gone_timer) {
            client_arm_gone_timer(client);
        }
        qemu_co_queue_wait(&client->receiver, NULL);
    }
    return !client->gone;
}

void nbd_request_done(NBDRequest *req)
{
    NBDClient *client = req->client;

    g_queue_unlink(&client->requests, &req->link);
    client->buffer_bytes -= req->data_bytes;
    g_atomic_int_dec_and_test(&all_requests);
    qemu_co_queue_next(&client->receiver);
}

/* Allocate memory for the data of a read or write, and receive that of a write. False if the connection is broken. */
static bool coroutine_fn client_receive_data(NBDClient *client, NBDRequest *req)
{
    bool is_write = req->type == NBD_CMD_WRITE;

    if (req->len > NBD_MAX_BUFFER) {
        /* A read is refused later. A client that sends more than the limit would not stop to read an answer. */
        return !is_write && client_wait_for_room(client, 0);
    }
    req->data_bytes = req->len;
    if (!client_wait_for_room(client, req->data_bytes)) {
        return false;
    }
    req->data = nbd_buffer_new(req->data_bytes);
    if (is_write && (!req->data || !client_receive(client, req->data, req->len))) {
        free(req->data);
        return false;
    }
    return true;
}

/* Receive one request, including the data of a write; NULL at the end. */
static NBDRequest *coroutine_fn client_receive_request(NBDClient *client)
{
    NBDRequest req;

    if (!client_receive_header(client, &req)) {
        return NULL;
    }
    if (req.type == NBD_CMD_DISC) {
        client->leaving = true;
        return NULL;
    }
    if (req.type == NBD_CMD_READ || req.type == NBD_CMD_WRITE) {
        if (!client_receive_data(client, &req)) {
            return NULL;
        }
    } else if (!client_wait_for_room(client, 0)) {
        return NULL;
    }
    g_atomic_int_inc(&all_requests);
    client->buffer_bytes += req.data_bytes;
    NBDRequest *copy = g_new(NBDRequest, 1);
    *copy = req;
    copy->co = qemu_coroutine_create(nbd_request_run, copy);
    copy->link.data = copy;
    g_queue_push_tail_link(&client->requests, &copy->link);
    return copy;
}

static void transmission_ended(void *opaque)
{
    nbd_client_done(opaque);
}

void coroutine_fn nbd_transmission(void *opaque)
{
    NBDClient *client = opaque;
    NBDRequest *req;

    while ((req = client_receive_request(client))) {
        qemu_coroutine_enter(req->co);
    }
    g_clear_pointer(&client->gone_timer, aio_timer_free);
    if (!client->leaving) {
        nbd_client_abandon(client);
    }
    while (client->requests.length > 0) {
        qemu_co_queue_wait(&client->receiver, NULL);
    }
    io_channel_shutdown(client->ch);
    io_channel_detach(client->ch);
    aio_bh_schedule_oneshot(qemu_get_aio_context(), transmission_ended, client);
}
