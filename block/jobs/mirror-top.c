/*
 * mirror_top: the filter that a mirror inserts above its source
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "block/block_int.h"
#include "block/jobs/mirror-top.h"
#include "util/aio.h"
#include "util/main-thread.h"

typedef struct BDRVMirrorTopState {
    MirrorTopOptions o;
    bool started;           /* changes while the filter is drained */
    gint suspended;         /* atomic */
} BDRVMirrorTopState;

/* A write of the guest. */
typedef struct MirrorWrite {
    int64_t offset;
    int64_t bytes;
    QEMUIOVector *qiov;     /* NULL: zeroes */
    BdrvRequestFlags flags;
} MirrorWrite;

static int coroutine_fn write_source(BlockDriverState *bs, const MirrorWrite *w, BdrvRequestFlags flags)
{
    return w->qiov ? bdrv_co_pwritev(bs->file, w->offset, w->bytes, w->qiov, flags)
                   : bdrv_co_pwrite_zeroes(bs->file, w->offset, w->bytes, flags);
}

/* -ECANCELED while the target is drained: the section may be waiting for this write. */
static int coroutine_fn write_target(BDRVMirrorTopState *s, const MirrorWrite *w)
{
    BdrvChild *target = blk_root(s->o.target);

    if (!blk_try_begin(s->o.target)) {
        return -ECANCELED;
    }
    int ret = w->qiov ? bdrv_co_pwritev(target, w->offset, w->bytes, w->qiov, w->flags & BDRV_REQ_OWN_BUFFER)
                      : bdrv_co_pwrite_zeroes(target, w->offset, w->bytes, s->o.zero_flags);
    blk_end(s->o.target);
    return ret;
}

typedef struct MirrorFailure {
    const MirrorTopOptions *o;
    int64_t offset;
    int ret;
} MirrorFailure;

static void coroutine_fn report_failure(void *opaque)
{
    const MirrorFailure *f = opaque;

    f->o->write_failed(f->o->opaque, f->offset, f->ret);
}

/* The granules that @w covers are about to be overwritten in both nodes, so they need not be copied. */
static void clear_covered(BDRVMirrorTopState *s, const MirrorWrite *w)
{
    int64_t granularity = bdrv_dirty_bitmap_granularity(s->o.bitmap);
    int64_t start = ROUND_UP(w->offset, granularity), end = ROUND_DOWN(w->offset + w->bytes, granularity);

    if (start < end) {
        bdrv_reset_dirty_bitmap(s->o.bitmap, start, end - start);
    }
}

/* Write to the source, then to the target. The guest only gets errors of the source. */
static int coroutine_fn write_both(BlockDriverState *bs, const MirrorWrite *w)
{
    BDRVMirrorTopState *s = bs->opaque;
    BlockCopyRange range;
    int target_ret = 0;

    block_copy_co_range_begin(s->o.copy, &range, w->offset, w->bytes);
    /* First: an overlapping write that is not ours marks the range when it ends. */
    clear_covered(s, w);
    int ret = write_source(bs, w, w->flags & ~BDRV_REQ_OWN_BUFFER);
    if (ret == 0) {
        /* The job may have given up the target meanwhile. */
        target_ret = mirror_top_is_active(bs) ? write_target(s, w) : -ECANCELED;
    }
    if (ret < 0 || target_ret < 0) {
        bdrv_set_dirty_bitmap(s->o.bitmap, w->offset, w->bytes);
    }
    block_copy_range_end(&range);
    if (target_ret < 0 && target_ret != -ECANCELED) {
        MirrorFailure failure = { .o = &s->o, .offset = w->offset, .ret = target_ret };

        mirror_top_suspend(bs, true);
        aio_co_run_in(qemu_get_aio_context(), report_failure, &failure);
    }
    return ret;
}

static int coroutine_fn mirror_write(BlockDriverState *bs, const MirrorWrite *w)
{
    BDRVMirrorTopState *s = bs->opaque;

    if (mirror_top_is_active(bs)) {
        return write_both(bs, w);
    }
    int ret = write_source(bs, w, w->flags);
    if (s->started) {
        bdrv_set_dirty_bitmap(s->o.bitmap, w->offset, w->bytes);
    }
    return ret;
}

static bool coroutine_fn mirror_top_co_open(BlockDriverState *bs, Error **errp)
{
    return bdrv_co_open_child(bs, "file", bs->options->u.raw.file, BDRV_CHILD_FILTERED, errp);
}

static void mirror_top_refresh_limits(BlockDriverState *bs)
{
    /* The child aligns requests itself. */
    bs->bl.request_alignment = 1;
}

static void mirror_top_child_perm(BlockDriverState *bs, const char *name, uint32_t role, uint64_t perm,
                                  uint64_t shared, uint64_t *nperm, uint64_t *nshared)
{
    BDRVMirrorTopState *s = bs->opaque;

    bdrv_default_perms(bs, name, role, perm, shared, nperm, nshared);
    if (s->started) {
        *nshared &= ~(uint64_t)(BLK_PERM_WRITE | BLK_PERM_RESIZE);
    }
}

static int coroutine_fn mirror_top_co_preadv(BlockDriverState *bs, int64_t offset, int64_t bytes, QEMUIOVector *qiov,
                                             BdrvRequestFlags flags)
{
    return bdrv_co_preadv(bs->file, offset, bytes, qiov, flags);
}

static int coroutine_fn mirror_top_co_pwritev(BlockDriverState *bs, int64_t offset, int64_t bytes, QEMUIOVector *qiov,
                                              BdrvRequestFlags flags)
{
    const MirrorWrite w = { .offset = offset, .bytes = bytes, .qiov = qiov, .flags = flags };

    return mirror_write(bs, &w);
}

static int coroutine_fn mirror_top_co_pwrite_zeroes(BlockDriverState *bs, int64_t offset, int64_t bytes,
                                                    BdrvRequestFlags flags)
{
    const MirrorWrite w = { .offset = offset, .bytes = bytes, .flags = flags };

    return mirror_write(bs, &w);
}

/* What a discarded range reads as depends on the source, so it is copied, in any mode. */
static int coroutine_fn mirror_top_co_pdiscard(BlockDriverState *bs, int64_t offset, int64_t bytes)
{
    BDRVMirrorTopState *s = bs->opaque;
    int ret = bdrv_co_pdiscard(bs->file, offset, bytes);

    if (s->started) {
        bdrv_set_dirty_bitmap(s->o.bitmap, offset, bytes);
    }
    return ret;
}

static int coroutine_fn mirror_top_co_secure_discard(BlockDriverState *bs, int64_t offset, int64_t bytes)
{
    BDRVMirrorTopState *s = bs->opaque;
    int ret = bdrv_co_secure_discard(bs->file, offset, bytes);

    if (s->started) {
        bdrv_set_dirty_bitmap(s->o.bitmap, offset, bytes);
    }
    return ret;
}

static const BlockDriver bdrv_mirror_top = {
    .format_name = "mirror_top",
    .driver = BLOCKDEV_DRIVER_RAW,
    .instance_size = sizeof(BDRVMirrorTopState),
    .is_filter = true,
    .is_internal = true,

    .bdrv_co_open = mirror_top_co_open,
    .bdrv_refresh_limits = mirror_top_refresh_limits,
    .bdrv_child_perm = mirror_top_child_perm,

    .bdrv_co_preadv = mirror_top_co_preadv,
    .bdrv_co_pwritev = mirror_top_co_pwritev,
    .supported_write_flags = BDRV_REQ_FUA | BDRV_REQ_OWN_BUFFER | BDRV_REQ_WRITE_UNCHANGED,
    .supported_zero_flags = BDRV_REQ_FUA | BDRV_REQ_MAY_UNMAP | BDRV_REQ_NO_FALLBACK | BDRV_REQ_WRITE_UNCHANGED,
    .bdrv_co_pwrite_zeroes = mirror_top_co_pwrite_zeroes,
    .bdrv_co_pdiscard = mirror_top_co_pdiscard,
    .bdrv_co_secure_discard = mirror_top_co_secure_discard,
};

BlockDriverState *coroutine_fn mirror_top_new(const char *node_name, BlockDriverState *source, Error **errp)
{
    return bdrv_co_new_filter(&bdrv_mirror_top, node_name, source, errp);
}

void mirror_top_start(BlockDriverState *filter, const MirrorTopOptions *options)
{
    BDRVMirrorTopState *s = filter->opaque;

    s->o = *options;
    s->started = true;
}

void mirror_top_stop(BlockDriverState *filter)
{
    BDRVMirrorTopState *s = filter->opaque;

    s->started = false;
}

void mirror_top_suspend(BlockDriverState *filter, bool suspend)
{
    BDRVMirrorTopState *s = filter->opaque;

    g_atomic_int_set(&s->suspended, suspend);
}

bool mirror_top_is_active(BlockDriverState *filter)
{
    BDRVMirrorTopState *s = filter->opaque;

    return s->started && s->o.write_blocking && !g_atomic_int_get(&s->suspended);
}
