/*
 * NBD: checking and executing requests
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "block/export/nbd/nbd-int.h"

/* Bytes that a cache request reads at a time. */
#define CACHE_READ_BYTES (256 * KiB)

/* Flags that each command allows. */
static uint16_t request_allowed_flags(const NBDRequest *req)
{
    switch (req->type) {
    case NBD_CMD_READ:
        return NBD_CMD_FLAG_FUA | (req->client->structured ? NBD_CMD_FLAG_DF : 0);
    case NBD_CMD_WRITE_ZEROES:
        return NBD_CMD_FLAG_FUA | NBD_CMD_FLAG_NO_HOLE | NBD_CMD_FLAG_FAST_ZERO;
    case NBD_CMD_BLOCK_STATUS:
        return NBD_CMD_FLAG_FUA | NBD_CMD_FLAG_REQ_ONE;
    default:
        return NBD_CMD_FLAG_FUA;
    }
}

static bool request_is_write(const NBDRequest *req)
{
    return req->type == NBD_CMD_WRITE || req->type == NBD_CMD_WRITE_ZEROES || req->type == NBD_CMD_TRIM;
}

/* 0, or -errno if the range is not within the node as it is now. */
static int coroutine_fn check_range(const NBDRequest *req)
{
    int64_t size = blk_co_getlength(req->client->exp->common.blk);

    if (size < 0) {
        return size;
    }
    if (req->offset > (uint64_t)size || req->len > (uint64_t)size - req->offset) {
        return request_is_write(req) && req->type != NBD_CMD_TRIM ? -ENOSPC : -EINVAL;
    }
    return 0;
}

/* Check a request: 0, or -errno if it must not be executed. */
static int coroutine_fn request_check(const NBDRequest *req)
{
    if (req->type > NBD_CMD_BLOCK_STATUS || req->flags & ~request_allowed_flags(req)) {
        return -EINVAL;
    }
    if (request_is_write(req) && !req->client->exp->common.writable) {
        return -EPERM;
    }
    if (req->type == NBD_CMD_READ && req->len > NBD_MAX_BUFFER) {
        return -EINVAL;
    }
    if (req->type == NBD_CMD_BLOCK_STATUS && (!req->client->contexts || req->len == 0)) {
        return -EINVAL;
    }
    return req->type == NBD_CMD_FLUSH ? 0 : check_range(req);
}

static BdrvRequestFlags request_fua(const NBDRequest *req)
{
    return req->flags & NBD_CMD_FLAG_FUA || req->client->exp->common.writethrough ? BDRV_REQ_FUA : 0;
}

void *nbd_buffer_new(size_t bytes)
{
    return aligned_alloc(NBD_BUFFER_ALIGN, MAX(ROUND_UP(bytes, NBD_BUFFER_ALIGN), NBD_BUFFER_ALIGN));
}

static int coroutine_fn request_do_read(const NBDRequest *req, BlockBackend *blk)
{
    int ret = req->data ? 0 : -ENOMEM;

    if (ret == 0 && req->flags & NBD_CMD_FLAG_FUA) {
        ret = blk_co_flush(blk);
    }
    return ret < 0 ? ret : blk_co_pread(blk, req->offset, req->len, req->data);
}

static int coroutine_fn request_do_write_zeroes(const NBDRequest *req, BlockBackend *blk)
{
    BdrvRequestFlags flags = request_fua(req);

    if (!(req->flags & NBD_CMD_FLAG_NO_HOLE)) {
        flags |= BDRV_REQ_MAY_UNMAP;
    }
    if (req->flags & NBD_CMD_FLAG_FAST_ZERO) {
        flags |= BDRV_REQ_NO_FALLBACK;
    }
    return blk_co_pwrite_zeroes(blk, req->offset, req->len, flags);
}

static int coroutine_fn request_do_trim(const NBDRequest *req, BlockBackend *blk)
{
    int ret = blk_co_pdiscard(blk, req->offset, req->len);

    return ret == 0 && request_fua(req) ? blk_co_flush(blk) : ret;
}

/* Read the range into the caches below. */
static int coroutine_fn request_do_cache(const NBDRequest *req, BlockBackend *blk)
{
    size_t size = MIN(req->len, CACHE_READ_BYTES);
    void *buf = nbd_buffer_new(size);
    int ret = buf ? 0 : -ENOMEM;

    for (uint32_t done = 0; ret == 0 && done < req->len; done += size) {
        size = MIN(size, req->len - done);
        ret = blk_co_pread(blk, req->offset + done, size, buf);
    }
    free(buf);
    return ret;
}

static int coroutine_fn request_execute(const NBDRequest *req)
{
    BlockBackend *blk = req->client->exp->common.blk;

    switch (req->type) {
    case NBD_CMD_READ:
        return request_do_read(req, blk);
    case NBD_CMD_WRITE:
        return blk_co_pwrite(blk, req->offset, req->len, req->data, request_fua(req) | BDRV_REQ_OWN_BUFFER);
    case NBD_CMD_FLUSH:
        return blk_co_flush(blk);
    case NBD_CMD_TRIM:
        return request_do_trim(req, blk);
    case NBD_CMD_CACHE:
        return request_do_cache(req, blk);
    case NBD_CMD_WRITE_ZEROES:
        return request_do_write_zeroes(req, blk);
    default:
        return -EINVAL;
    }
}

void coroutine_fn nbd_request_run(void *opaque)
{
    NBDRequest *req = opaque;
    NBDClient *client = req->client;
    int ret = request_check(req);

    if (ret == 0 && req->type == NBD_CMD_BLOCK_STATUS) {
        nbd_reply_block_status(req);
    } else {
        if (ret == 0) {
            ret = request_execute(req);
            /* Lack of fast zeroes or memory, and a client that is gone, are not errors of the storage. */
            if (ret < 0 && ret != -ENOTSUP && ret != -ENOMEM && ret != -ECANCELED) {
                bool is_read = req->type == NBD_CMD_READ || req->type == NBD_CMD_CACHE;
                blk_exp_report_error(&client->exp->common, !is_read, ret);
            }
        }
        if (ret == 0 && req->type == NBD_CMD_READ) {
            nbd_reply_data(req);
        } else {
            nbd_reply_error(req, ret);
        }
    }
    nbd_request_done(req);
    free(req->data);
    g_free(req);
}
