/*
 * The header of a LUKS volume: requests to it, permission to change it, backup and restore
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "block/block-backend.h"
#include "block/drivers/luks.h"
#include "block/graph/graph_int.h"
#include "block/job.h"

static BdrvChild *volume_child(const LuksVolumeIO *v)
{
    return v->payload ? v->bs->file : luks_header_child(v->bs);
}

static void coroutine_fn begin_request(LuksVolumeIO *v)
{
    if (v->bs) {
        bdrv_co_inc_in_flight(v->bs);
    }
}

static void end_request(LuksVolumeIO *v)
{
    if (v->bs) {
        bdrv_dec_in_flight(v->bs);
    }
}

static int coroutine_fn volume_pread(void *opaque, uint64_t offset, void *buf, size_t bytes)
{
    LuksVolumeIO *v = opaque;

    begin_request(v);
    int ret = v->blk ? blk_co_pread(v->blk, offset, bytes, buf)
                     : bdrv_co_pread(volume_child(v), offset, bytes, buf);
    end_request(v);
    return ret;
}

static int coroutine_fn volume_pwrite(void *opaque, uint64_t offset, const void *buf, size_t bytes)
{
    LuksVolumeIO *v = opaque;

    begin_request(v);
    int ret = v->blk ? blk_co_pwrite(v->blk, offset, bytes, buf, 0)
                     : bdrv_co_pwrite(volume_child(v), offset, bytes, buf, 0);
    end_request(v);
    return ret;
}

static int coroutine_fn volume_flush(void *opaque)
{
    LuksVolumeIO *v = opaque;

    begin_request(v);
    int ret = v->blk ? blk_co_flush(v->blk) : bdrv_co_flush(volume_child(v)->bs);
    end_request(v);
    return ret;
}

static void volume_progress(void *opaque, uint64_t done, uint64_t total)
{
    LuksVolumeIO *v = opaque;

    if (total != v->total) {
        v->total = total;
        job_progress_set_remaining(v->job, total - v->done + v->after);
    }
    job_progress_update(v->job, done - v->done);
    v->done = done;
}

/* Opening has no job; it ends with the program. */
static bool coroutine_fn volume_pause_point(void *opaque, Error **errp)
{
    LuksVolumeIO *v = opaque;

    return v->job ? job_pause_point(v->job, errp) : bdrv_may_open(v->bs, errp);
}

static void io_init(LuksVolumeIO *v, int64_t length, Job *job)
{
    *v = (LuksVolumeIO){
        .io = {
            .pread = volume_pread,
            .pwrite = volume_pwrite,
            .flush = volume_flush,
            .progress = volume_progress,
            .pause_point = volume_pause_point,
            .opaque = v,
            .length = length,
        },
        .job = job,
    };
}

void luks_header_io_init(LuksVolumeIO *v, BlockDriverState *bs, Job *job)
{
    io_init(v, bdrv_getlength(luks_header_child(bs)->bs), job);
    v->bs = bs;
}

void luks_payload_io_init(LuksVolumeIO *v, BlockDriverState *bs, Job *job)
{
    io_init(v, bdrv_getlength(bs->file->bs), job);
    v->bs = bs;
    v->payload = true;
}

void luks_blk_io_init(LuksVolumeIO *v, BlockBackend *blk, Job *job)
{
    io_init(v, blk_getlength(blk), job);
    v->blk = blk;
}

static void set_updating(BDRVLuksState *s, bool header, bool payload, bool shared)
{
    s->updating_header = header;
    s->updating_payload = payload;
    s->updating_shared = shared;
}

static void set_updating_abort(void *opaque)
{
    set_updating(opaque, false, false, false);
}

bool coroutine_fn luks_co_update_begin(BlockDriverState *bs, bool payload, bool shared, Job *job, Error **errp)
{
    static const TransactionActionDrv drv = { .abort = set_updating_abort };
    BDRVLuksState *s = bs->opaque;

    /* Another operation may hold the header for minutes, while it derives a key. */
    if (!job_co_mutex_lock(job, &s->lock, errp)) {
        return false;
    }
    if (bs->read_only) {
        error_setg(errp, "Node '%s' is read-only", bs->node_name);
        qemu_co_mutex_unlock(&s->lock);
        return false;
    }
    Transaction *tran = tran_new();
    set_updating(s, true, payload, shared);
    tran_add(tran, &drv, s);
    bool ok = bdrv_refresh_perms(bs, tran, errp);
    if (!ok) {
        qemu_co_mutex_unlock(&s->lock);
    }
    return ok;
}

void coroutine_fn luks_co_update_end(BlockDriverState *bs)
{
    BDRVLuksState *s = bs->opaque;
    LuksVolumeIO v;

    /* What the node tells of its keyslots is to be true again. A header that was erased cannot be read. */
    luks_header_io_init(&v, bs, NULL);
    if (s->luks) {
        qcrypto_luks_refresh(s->luks, &v.io, NULL);
    }
    set_updating(s, false, false, false);
    /* Fewer permissions than before: no conflict can come of that. */
    bdrv_refresh_perms(bs, tran_new(), NULL);
    qemu_co_mutex_unlock(&s->lock);
}

bool luks_check_usable(BlockDriverState *bs, Error **errp)
{
    BDRVLuksState *s = bs->opaque;

    if (s->luks) {
        return true;
    }
    error_propagate(errp, error_copy(s->damage));
    error_append_hint(errp, "A damaged header can only be erased, or restored from a backup.\n");
    return false;
}

SecretBuffer *coroutine_fn luks_co_header_backup(BlockDriverState *bs, Error **errp)
{
    BDRVLuksState *s = bs->opaque;
    QEMU_CO_LOCK_GUARD(&s->lock);
    LuksVolumeIO v;

    luks_header_io_init(&v, bs, NULL);
    return qcrypto_luks_backup(&v.io, luks_is_detached(bs), errp);
}

/* A volume without a LUKS header is taken to have lost it, unless it carries something else. */
static bool coroutine_fn check_nothing_else(BlockDriverState *volume, Error **errp)
{
    return !bdrv_check_overwrite(volume, true, NULL) || bdrv_check_overwrite(volume, false, errp);
}

bool coroutine_fn luks_co_header_restore(BlockDriverState *bs, const SecretBuffer *backup, bool force,
                                         Job *job, Error **errp)
{
    BDRVLuksState *s = bs->opaque;
    uint64_t payload_bytes = bdrv_getlength(bs->file->bs);
    LuksVolumeIO v;

    if (s->cipher && force) {
        error_setg(errp, "Node '%s' is open with its volume key: a header may only be forced onto it when it is "
                   "opened for its metadata alone", bs->node_name);
        return false;
    }
    if ((!force && !check_nothing_else(luks_header_child(bs)->bs, errp)) ||
        !luks_co_update_begin(bs, false, false, job, errp)) {
        return false;
    }
    luks_header_io_init(&v, bs, job);
    bool ok = qcrypto_luks_restore(&v.io, backup, luks_is_detached(bs), payload_bytes, force, errp);
    luks_co_update_end(bs);
    return ok;
}
