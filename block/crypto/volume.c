/*
 * BlockCrypto: requests to the header, for crypto/luks
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "block/crypto/block-crypto.h"
#include "block/graph/graph_int.h"
#include "block/job.h"

static void coroutine_fn volume_begin_request(BlockCryptoIO *v)
{
    if (v->bs) {
        bdrv_co_inc_in_flight(v->bs);
    }
}

static void volume_end_request(BlockCryptoIO *v)
{
    if (v->bs) {
        bdrv_dec_in_flight(v->bs);
    }
}

static int coroutine_fn volume_pread(void *opaque, uint64_t offset, void *buf, size_t bytes)
{
    BlockCryptoIO *v = opaque;

    volume_begin_request(v);
    int ret = v->blk ? blk_co_pread(v->blk, offset, bytes, buf)
                     : bdrv_co_pread(v->volume.child, v->volume.offset + offset, bytes, buf);
    volume_end_request(v);
    return ret;
}

static int coroutine_fn volume_pwrite(void *opaque, uint64_t offset, const void *buf, size_t bytes)
{
    BlockCryptoIO *v = opaque;

    /* A header is not left half written because a client has gone. */
    assert(!qemu_co_is_abandoned(qemu_coroutine_self()));
    volume_begin_request(v);
    int ret = v->blk ? blk_co_pwrite(v->blk, offset, bytes, buf, 0)
                     : bdrv_co_pwrite(v->volume.child, v->volume.offset + offset, bytes, buf, 0);
    volume_end_request(v);
    return ret;
}

static int coroutine_fn volume_flush(void *opaque)
{
    BlockCryptoIO *v = opaque;

    volume_begin_request(v);
    int ret = v->blk ? blk_co_flush(v->blk) : bdrv_co_flush(v->volume.child->bs);
    volume_end_request(v);
    return ret;
}

static void volume_report(BlockCryptoIO *v)
{
    uint64_t now = v->planned ? (double)v->done / v->planned * v->reserved : 0;

    if (now > v->reported) {
        job_progress_update(v->job, now - v->reported);
        v->reported = now;
    }
}

static void volume_plan(void *opaque, uint64_t work)
{
    BlockCryptoIO *v = opaque;

    v->planned = work;
    if (!v->reserved) {
        block_crypto_io_reserve(v, work);
    }
}

static void volume_advance(void *opaque, uint64_t work)
{
    BlockCryptoIO *v = opaque;

    v->done = MIN(v->done + work, v->planned);
    volume_report(v);
}

static void volume_activity(void *opaque, const char *what, int64_t ns)
{
    BlockCryptoIO *v = opaque;

    if (v->job) {
        job_set_activity(v->job, what, ns);
    } else if (v->bs) {
        bdrv_set_opening_activity(v->bs, what, ns);
    }
}

void block_crypto_io_reserve(BlockCryptoIO *v, uint64_t work)
{
    v->reserved = work;
    job_progress_add_remaining(v->job, work);
}

void block_crypto_io_finish(BlockCryptoIO *v)
{
    v->done = v->planned = MAX(v->planned, 1);
    volume_report(v);
}

uint64_t block_crypto_derive_work(int64_t iter_time_ms)
{
    return MIN(iter_time_ms ?: QCRYPTO_LUKS_DEFAULT_ITER_TIME_MS, UINT32_MAX) * QCRYPTO_LUKS_WORK_PER_MS;
}

static bool coroutine_fn volume_pause_point(void *opaque, Error **errp)
{
    BlockCryptoIO *v = opaque;

    return v->job ? job_pause_point(v->job, errp) : bdrv_may_open(v->bs, errp);
}

static void io_init(BlockCryptoIO *v, int64_t length, Job *job)
{
    *v = (BlockCryptoIO){
        .io = {
            .pread = volume_pread,
            .pwrite = volume_pwrite,
            .flush = volume_flush,
            .plan = volume_plan,
            .advance = volume_advance,
            .activity = volume_activity,
            .pause_point = volume_pause_point,
            .opaque = v,
            .length = length,
        },
        .job = job,
    };
}

static void volume_io_init(BlockCryptoIO *v, BlockCrypto *c, const BlockCryptoVolume *volume, Job *job)
{
    io_init(v, volume->length, job);
    v->bs = c->bs;
    v->volume = *volume;
}

void block_crypto_header_io_init(BlockCryptoIO *v, BlockCrypto *c, Job *job)
{
    BlockCryptoVolume volume;

    c->ops->header(c->bs, &volume);
    volume_io_init(v, c, &volume, job);
}

void block_crypto_payload_io_init(BlockCryptoIO *v, BlockCrypto *c, Job *job)
{
    BlockCryptoVolume volume;

    c->ops->payload(c->bs, &volume);
    volume_io_init(v, c, &volume, job);
}

void block_crypto_blk_io_init(BlockCryptoIO *v, BlockBackend *blk, Job *job)
{
    io_init(v, blk_getlength(blk), job);
    v->blk = blk;
}
