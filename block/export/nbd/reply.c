/*
 * NBD: answers to requests, simple or structured as the client wants them
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "block/export/nbd/nbd-int.h"

static uint32_t nbd_errno(int err)
{
    switch (err) {
    case 0:
        return 0;
    case EPERM:
    case EROFS:
        return NBD_EPERM;
    case EIO:
        return NBD_EIO;
    case ENOMEM:
        return NBD_ENOMEM;
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
        return NBD_ENOSPC;
    case EOVERFLOW:
        return NBD_EOVERFLOW;
    case ENOTSUP:
        return NBD_ENOTSUP;
    case ESHUTDOWN:
        return NBD_ESHUTDOWN;
    default:
        return NBD_EINVAL;
    }
}

/* Answers are sent one after the other. A client that cannot be sent to is gone. */
static void coroutine_fn reply_send_iov(NBDClient *client, struct iovec *iov, int niov)
{
    QEMU_CO_LOCK_GUARD(&client->send_lock);

    if (io_channel_co_writev_all(client->ch, iov, niov) < 0) {
        nbd_client_abandon(client);
    }
}

static uint8_t *reply_put_chunk(uint8_t *p, const NBDRequest *req, bool done, uint16_t type, uint32_t len)
{
    p = nbd_put32(p, NBD_STRUCTURED_REPLY_MAGIC);
    p = nbd_put16(p, done ? NBD_REPLY_FLAG_DONE : 0);
    p = nbd_put16(p, type);
    p = nbd_put64(p, req->cookie);
    return nbd_put32(p, len);
}

static uint8_t *reply_put_simple(uint8_t *p, const NBDRequest *req, uint32_t error)
{
    p = nbd_put32(p, NBD_SIMPLE_REPLY_MAGIC);
    p = nbd_put32(p, error);
    return nbd_put64(p, req->cookie);
}

void coroutine_fn nbd_reply_chunk(const NBDRequest *req, bool done, uint16_t type, const void *data, size_t len)
{
    uint8_t header[NBD_CHUNK_SIZE];
    struct iovec iov[] = {
        { .iov_base = header, .iov_len = sizeof(header) },
        { .iov_base = (void *)data, .iov_len = len },
    };

    reply_put_chunk(header, req, done, type, len);
    reply_send_iov(req->client, iov, G_N_ELEMENTS(iov));
}

void coroutine_fn nbd_reply_error(const NBDRequest *req, int ret)
{
    uint32_t error = nbd_errno(-ret);

    if (!req->client->structured) {
        uint8_t buf[NBD_SIMPLE_REPLY_SIZE];
        struct iovec iov = { .iov_base = buf, .iov_len = sizeof(buf) };

        reply_put_simple(buf, req, error);
        reply_send_iov(req->client, &iov, 1);
    } else if (error) {
        /* The error number, and the length of a text, which is omitted. */
        uint8_t data[6];

        nbd_put16(nbd_put32(data, error), 0);
        nbd_reply_chunk(req, true, NBD_REPLY_TYPE_ERROR, data, sizeof(data));
    } else {
        nbd_reply_chunk(req, true, NBD_REPLY_TYPE_NONE, NULL, 0);
    }
}

void coroutine_fn nbd_reply_data(const NBDRequest *req)
{
    uint8_t header[NBD_CHUNK_SIZE + 8];
    struct iovec iov[] = {
        { .iov_base = header, .iov_len = sizeof(header) },
        { .iov_base = req->data, .iov_len = req->len },
    };

    if (req->client->structured && req->len == 0) {
        nbd_reply_chunk(req, true, NBD_REPLY_TYPE_NONE, NULL, 0);
        return;
    }
    if (req->client->structured) {
        nbd_put64(reply_put_chunk(header, req, true, NBD_REPLY_TYPE_OFFSET_DATA, 8 + req->len), req->offset);
    } else {
        reply_put_simple(header, req, 0);
        iov[0].iov_len = NBD_SIMPLE_REPLY_SIZE;
    }
    reply_send_iov(req->client, iov, G_N_ELEMENTS(iov));
}
