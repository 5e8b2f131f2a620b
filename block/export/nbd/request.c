/*
 * NBD: checking and carrying out one request
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "block/export/nbd/nbd-int.h"

/* A request to fill caches reads this much at a time. */
#define CACHE_READ_BYTES (256 * KiB)

/* Flags that each command takes. */
static uint16_t allowed_flags(const NBDRequest *req)
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

static bool is_write(const NBDRequest *req)
{
    return req->type == NBD_CMD_WRITE || req->type == NBD_CMD_WRITE_ZEROES || req->type == NBD_CMD_TRIM;
}

/* 0, or -errno if the range is not within the node as it is now. */
static int coroutine_fn check_range(const NBDRequest *req)
{
    int64_t size = blk_co_getlength(req->client->exp->common.blk);

    if (req->offset > (uint64_t)size || req->len > (uint64_t)size - req->offset) {
        return is_write(req) && req->type != NBD_CMD_TRIM ? -ENOSPC : -EINVAL;
    }
    return 0;
}

/* 0, or -errno where the request must not be carried out. */
static int coroutine_fn check_request(const NBDRequest *req)
{
    if (req->type > NBD_CMD_BLOCK_STATUS || req->flags & ~allowed_flags(req)) {
        return -EINVAL;
    }
    if (is_write(req) && !req->client->exp->common.writable) {
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

static BdrvRequestFlags fua(const NBDRequest *req)
{
    return req->flags & NBD_CMD_FLAG_FUA || req->client->exp->common.writethrough ? BDRV_REQ_FUA : 0;
}

void *nbd_buffer_new(size_t bytes)
{
    return aligned_alloc(NBD_BUFFER_ALIGN, MAX(ROUND_UP(bytes, NBD_BUFFER_ALIGN), NBD_BUFFER_ALIGN));
}

static int coroutine_fn do_read(const NBDRequest *req, BlockBackend *blk)
{
    int ret = req->data ? 0 : -ENOMEM;

    if (ret == 0 && req->flags & NBD_CMD_FLAG_FUA) {
        ret = blk_co_flush(blk);
    }
    return ret < 0 ? ret : blk_co_pread(blk, req->offset, req->len, req->data);
}

static int coroutine_fn do_write_zeroes(const NBDRequest *req, BlockBackend *blk)
{
    BdrvRequestFlags flags = fua(req);

    if (!(req->flags & NBD_CMD_FLAG_NO_HOLE)) {
        flags |= BDRV_REQ_MAY_UNMAP;
    }
    if (req->flags & NBD_CMD_FLAG_FAST_ZERO) {
        flags |= BDRV_REQ_NO_FALLBACK;
    }
    return blk_co_pwrite_zeroes(blk, req->offset, req->len, flags);
}

static int coroutine_fn do_trim(const NBDRequest *req, BlockBackend *blk)
{
    int ret = blk_co_pdiscard(blk, req->offset, req->len);

    return ret == 0 && fua(req) ? blk_co_flush(blk) : ret;
}

/* Bring the range into whatever caches there are below. */
static int coroutine_fn do_cache(const NBDRequest *req, BlockBackend *blk)
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

static int coroutine_fn carry_out(const NBDRequest *req)
{
    BlockBackend *blk = req->client->exp->common.blk;

    switch (req->type) {
    case NBD_CMD_READ:
        return do_read(req, blk);
    case NBD_CMD_WRITE:
        return blk_co_pwrite(blk, req->offset, req->len, req->data, fua(req) | BDRV_REQ_OWN_BUFFER);
    case NBD_CMD_FLUSH:
        return blk_co_flush(blk);
    case NBD_CMD_TRIM:
        return do_trim(req, blk);
    case NBD_CMD_CACHE:
        return do_cache(req, blk);
    case NBD_CMD_WRITE_ZEROES:
        return do_write_zeroes(req, blk);
    default:
        return -EINVAL;
    }
}

void coroutine_fn nbd_request_run(void *opaque)
{
    NBDRequest *req = opaque;
    NBDClient *client = req->client;
    int ret = check_request(req);

    if (ret == 0 && req->type == NBD_CMD_BLOCK_STATUS) {
        nbd_reply_block_status(req);
    } else {
        if (ret == 0) {
            ret = carry_out(req);
            /* That there are no fast zeroes, not enough memory here, or no client is no error of the storage. */
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
