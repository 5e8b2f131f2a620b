/*
 * NBD, second phase: receiving requests, of which many are carried out at once
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "block/export/nbd/nbd-int.h"

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

    if (!receive(client, buf, sizeof(buf)) || nbd_get32(buf) != NBD_REQUEST_MAGIC) {
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
    return client->requests == 0 ||
           (client->requests < NBD_MAX_REQUESTS &&
            client->buffer_bytes + data_bytes <= NBD_MAX_CLIENT_BUFFERS &&
            g_atomic_int_get(&all_requests) < NBD_MAX_ALL_REQUESTS);
}

/* Wait until a request with @data_bytes may be begun. One of the client's own ends before that. */
static void coroutine_fn wait_for_room(NBDClient *client, size_t data_bytes)
{
    while (!has_room(client, data_bytes)) {
        qemu_co_queue_wait(&client->receiver, NULL);
    }
}

void nbd_request_done(const NBDRequest *req)
{
    NBDClient *client = req->client;

    client->requests--;
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
        return !is_write;
    }
    req->data_bytes = req->len;
    wait_for_room(client, req->data_bytes);
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

    if (!receive_header(client, &req) || req.type == NBD_CMD_DISC) {
        return NULL;
    }
    if (req.type == NBD_CMD_READ || req.type == NBD_CMD_WRITE) {
        if (!receive_data(client, &req)) {
            return NULL;
        }
    } else {
        wait_for_room(client, 0);
    }
    client->requests++;
    g_atomic_int_inc(&all_requests);
    client->buffer_bytes += req.data_bytes;
    NBDRequest *copy = g_new(NBDRequest, 1);
    *copy = req;
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
        qemu_coroutine_enter(qemu_coroutine_create(nbd_request_run, req));
    }
    while (client->requests > 0) {
        qemu_co_queue_wait(&client->receiver, NULL);
    }
    io_channel_shutdown(client->ch);
    io_channel_detach(client->ch);
    aio_bh_schedule_oneshot(qemu_get_aio_context(), transmission_ended, client);
}
