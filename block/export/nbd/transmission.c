/*
 * NBD, second phase: receiving requests, of which many are carried out at once
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "block/export/nbd/nbd-int.h"

/* How often to look whether a client has left that has more requests under way than we receive. */
#define GONE_CHECK_NS (NANOSECONDS_PER_SECOND / 4)

/* Wait for bytes and receive ahead what there is. Who only waits costs no buffer. */
static bool coroutine_fn fill_ahead(NBDClient *client)
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

/* Exactly @len bytes; false where the connection ends before. */
static bool coroutine_fn receive(NBDClient *client, uint8_t *buf, size_t len)
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
        } else if (!fill_ahead(client)) {
            return false;
        }
    }
    return true;
}

/* The fixed part of a request; false at the end of the connection, and where it is of no more use. */
static bool coroutine_fn receive_header(NBDClient *client, NBDRequest *req)
{
    uint8_t buf[NBD_REQUEST_SIZE];

    if (client->gone || !receive(client, buf, sizeof(buf)) || nbd_get32(buf) != NBD_REQUEST_MAGIC) {
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

static gint all_requests;       /* under way, of all clients; atomic */

static bool has_room(const NBDClient *client, size_t data_bytes)
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

static void check_gone(void *client);

static void arm_gone_timer(NBDClient *client)
{
    client->gone_timer = aio_timer_new(client->ctx, check_gone, client);
    aio_timer_mod_ns(client->gone_timer, qemu_clock_get_ns() + GONE_CHECK_NS);
}

/* Behind requests that were not received yet, a client's leaving is not seen by reading. */
static void check_gone(void *opaque)
{
    NBDClient *client = opaque;

    g_clear_pointer(&client->gone_timer, aio_timer_free);
    if (!qemu_co_queue_empty(&client->receiver)) {
        if (io_channel_peer_has_ended(client->ch)) {
            nbd_client_abandon(client);
        } else {
            arm_gone_timer(client);
        }
    }
}

/*
 * Wait until a request with @data_bytes may be begun: one of the client's own ends before that. False where the client
 * leaves before.
 */
static bool coroutine_fn wait_for_room(NBDClient *client, size_t data_bytes)
{
    while (!client->gone && !has_room(client, data_bytes)) {
        if (!client->gone_timer) {
            arm_gone_timer(client);
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

/* Memory for the data of a read or write; false where the client is of no more use. */
static bool coroutine_fn receive_data(NBDClient *client, NBDRequest *req)
{
    bool is_write = req->type == NBD_CMD_WRITE;

    if (req->len > NBD_MAX_BUFFER) {
        /* A read is refused later. Who sends more than anybody may will not stop to listen to an answer. */
        return !is_write && wait_for_room(client, 0);
    }
    req->data_bytes = req->len;
    if (!wait_for_room(client, req->data_bytes)) {
        return false;
    }
    req->data = nbd_buffer_new(req->data_bytes);
    if (is_write && (!req->data || !receive(client, req->data, req->len))) {
        free(req->data);
        return false;
    }
    return true;
}

/* Receive one request, with what a write carries; NULL at the end. */
static NBDRequest *coroutine_fn receive_request(NBDClient *client)
{
    NBDRequest req;

    if (!receive_header(client, &req)) {
        return NULL;
    }
    if (req.type == NBD_CMD_DISC) {
        client->leaving = true;
        return NULL;
    }
    if (req.type == NBD_CMD_READ || req.type == NBD_CMD_WRITE) {
        if (!receive_data(client, &req)) {
            return NULL;
        }
    } else if (!wait_for_room(client, 0)) {
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

    while ((req = receive_request(client))) {
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
