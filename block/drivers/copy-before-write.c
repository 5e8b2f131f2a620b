/*
 * copy-before-write: a filter that saves old data to another node before it is overwritten
 *
 * Guests write through the filter. Before the first write to a cluster, the copy engine copies the cluster to the
 * target; a bitmap marks those that still have to be copied. So at any time the state at the time when the filter was
 * inserted is in the target where a bit is clear, and in the source where it is set. A backup job has the engine copy
 * everything else in the background.
 *
 * The copy for a write is made by a coroutine of its own: it does not end with the client that writes, and the client
 * can stop waiting for it.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "block/copy-before-write.h"
#include "block/drivers.h"
#include "block/graph/graph_int.h"
#include "block/graph/node.h"
#include "util/aio.h"
#include "util/main-thread.h"

#define MIN_CLUSTER_BYTES (64 * KiB)
#define MAX_CLUSTER_BYTES (1 * GiB)
/* Limits for the range that one step of a reader of the old state locks against writers. */
#define SNAPSHOT_READ_BYTES (1 * MiB)
#define SNAPSHOT_STATUS_BYTES (64 * MiB)
/* Interval for cancelling requests to a target that is given up, until none is left. */
#define CANCEL_INTERVAL_NS (100 * SCALE_MS)

typedef struct BDRVCbwState {
    unsigned id;
    BdrvChild *target;
    BlockCopy *copy;
    BdrvDirtyBitmap *todo;      /* what still has to be copied; disabled, so that writes do not mark it */
    BdrvDirtyBitmap *wanted;    /* what had to be copied at first; NULL: everything */
    int64_t bytes;              /* of the copy: the length of the source when the filter was opened */
    int64_t cluster_bytes;
    OnCbwError on_error;
    int64_t timeout_ns;         /* 0: none */
    gint error;                 /* why the copy was given up, -errno; 0: it was not. Atomic */
    gint target_users;          /* requests that may be at the target; atomic */
    bool dropped;               /* only passes requests through until its last parent is gone */
} BDRVCbwState;

static int cbw_error(BDRVCbwState *s)
{
    return g_atomic_int_get(&s->error);
}

/* Copying */

static int coroutine_fn cbw_write_target(void *opaque, int64_t offset, int64_t bytes, void *buf)
{
    BDRVCbwState *s = opaque;

    /* Count first: cbw_co_cancel_target() sets the error before it reads the count. */
    g_atomic_int_inc(&s->target_users);
    int ret = cbw_error(s) ?: block_copy_co_write(s->copy, offset, bytes, buf);
    g_atomic_int_add(&s->target_users, -1);
    return ret;
}

static const BlockCopyOps cbw_copy_ops = { .write = cbw_write_target };

static BlockCopy *cbw_copy_new(BlockDriverState *bs, BlockCopyOptions o)
{
    BDRVCbwState *s = bs->opaque;

    o.filter = bs;
    o.target_child = s->target;
    o.bytes = s->bytes;
    o.bitmap = s->todo;
    o.write_zeroes = true;
    o.sparse_bytes = MIN_CLUSTER_BYTES;
    o.zero_flags = BDRV_REQ_MAY_UNMAP;
    o.ops = &cbw_copy_ops;
    o.opaque = s;
    return block_copy_new(&o);
}

/* The copy has been given up. */
static void cbw_end_copy(BlockDriverState *bs)
{
    BDRVCbwState *s = bs->opaque;
    Error *err = NULL;

    if (cbw_error(s) == -ECANCELED) {
        error_setg(&err, "Operation was cancelled");
    } else {
        error_setg_errno(&err, -cbw_error(s), "Could not copy to '%s' before a write to '%s'",
                         bdrv_get_display_name(s->target->bs), bdrv_get_display_name(bs->file->bs));
    }
    block_copy_stop(s->copy, err);
    if (g_atomic_int_get(&s->target_users)) {
        bdrv_cancel_in_flight(s->target->bs);
    }
}

static void cbw_end_copy_bh(void *opaque)
{
    BlockDriverState *bs = opaque;

    cbw_end_copy(bs);
    bdrv_dec_in_flight(bs);
}

/* Give up the copy because of @ret, in favour of the guest's writes. Any thread. */
static void cbw_break_snapshot(BlockDriverState *bs, int ret)
{
    BDRVCbwState *s = bs->opaque;

    if (g_atomic_int_compare_and_exchange(&s->error, 0, ret)) {
        bdrv_inc_in_flight(bs);
        aio_bh_schedule_oneshot(qemu_get_aio_context(), cbw_end_copy_bh, bs);
    }
}

/* A copy for a write, and the write that waits for it. Both are coroutines of one loop. */
typedef struct CbwCopy {
    BlockDriverState *bs;
    int64_t offset;
    int64_t bytes;
    int ret;
    bool done;
    bool abandoned;             /* the write no longer waits */
    CoSleep waiter;
} CbwCopy;

static void coroutine_fn cbw_copy_entry(void *opaque)
{
    CbwCopy *c = opaque;
    BlockDriverState *bs = c->bs;
    BDRVCbwState *s = bs->opaque;

    c->ret = block_copy_co_range(s->copy, c->offset, c->bytes);
    c->done = true;
    if (c->abandoned) {
        g_free(c);
    } else {
        qemu_co_sleep_wake(&c->waiter);
    }
    bdrv_dec_in_flight(bs);
}

/* Wait until the copy has ended (true), time is up, or the client is gone. */
static bool coroutine_fn cbw_wait_for_copy(CbwCopy *c, int64_t timeout_ns)
{
    int64_t end = timeout_ns ? qemu_clock_get_ns() + timeout_ns : INT64_MAX / 2;

    while (!c->done && qemu_clock_get_ns() < end && !qemu_co_is_abandoned(qemu_coroutine_self())) {
        /* A coroutine that was cancelled, but not abandoned, has its request carried out. */
        bool cancellable = qemu_co_cancel_begin_sleep(&c->waiter);

        co_sleep_ns_wakeable(&c->waiter, end - qemu_clock_get_ns(), NULL);
        if (cancellable) {
            qemu_co_cancel_end();
        }
    }
    return c->done;
}

/* Have a range copied, which is within the copy. */
static int coroutine_fn cbw_copy_range(BlockDriverState *bs, int64_t offset, int64_t bytes)
{
    BDRVCbwState *s = bs->opaque;
    CbwCopy *c = g_new(CbwCopy, 1);

    *c = (CbwCopy){ .bs = bs, .offset = offset, .bytes = bytes };
    bdrv_inc_in_flight(bs);
    qemu_coroutine_enter(qemu_coroutine_create(cbw_copy_entry, c));
    if (!cbw_wait_for_copy(c, s->timeout_ns)) {
        c->abandoned = true;
        return qemu_co_is_abandoned(qemu_coroutine_self()) ? -ECANCELED : -ETIMEDOUT;
    }
    int ret = c->ret;
    g_free(c);
    return ret;
}

/* Save what a request is about to overwrite. 0: go on; -errno: the request fails. */
static int coroutine_fn cbw_before_write(BlockDriverState *bs, int64_t offset, int64_t bytes, BdrvRequestFlags flags)
{
    BDRVCbwState *s = bs->opaque;

    bytes = MIN(bytes, s->bytes - offset);
    if (flags & BDRV_REQ_WRITE_UNCHANGED || bytes <= 0 || cbw_error(s) ||
        block_copy_range_is_done(s->copy, offset, bytes)) {
        return 0;
    }
    int ret = cbw_copy_range(bs, offset, bytes);
    if (ret < 0 && s->on_error == ON_CBW_ERROR_BREAK_SNAPSHOT && !qemu_co_is_abandoned(qemu_coroutine_self())) {
        cbw_break_snapshot(bs, ret);
    }
    /* Once the copy is given up, nobody needs the old data. */
    return cbw_error(s) ? 0 : ret;
}

/* Requests */

static int coroutine_fn cbw_co_preadv(BlockDriverState *bs, int64_t offset, int64_t bytes, QEMUIOVector *qiov,
                                      BdrvRequestFlags flags)
{
    return bdrv_co_preadv(bs->file, offset, bytes, qiov, flags);
}

static int coroutine_fn cbw_co_pwritev(BlockDriverState *bs, int64_t offset, int64_t bytes, QEMUIOVector *qiov,
                                       BdrvRequestFlags flags)
{
    return cbw_before_write(bs, offset, bytes, flags) ?: bdrv_co_pwritev(bs->file, offset, bytes, qiov, flags);
}

static int coroutine_fn cbw_co_pwrite_zeroes(BlockDriverState *bs, int64_t offset, int64_t bytes,
                                             BdrvRequestFlags flags)
{
    return cbw_before_write(bs, offset, bytes, flags) ?: bdrv_co_pwrite_zeroes(bs->file, offset, bytes, flags);
}

static int coroutine_fn cbw_co_pdiscard(BlockDriverState *bs, int64_t offset, int64_t bytes)
{
    return cbw_before_write(bs, offset, bytes, 0) ?: bdrv_co_pdiscard(bs->file, offset, bytes);
}

static int coroutine_fn cbw_co_secure_discard(BlockDriverState *bs, int64_t offset, int64_t bytes)
{
    return cbw_before_write(bs, offset, bytes, 0) ?: bdrv_co_secure_discard(bs->file, offset, bytes);
}

/*
 * The old state. A reader locks the range against the copy engine, so that no copy is under way there and no write to
 * what is not copied yet begins.
 */

/* The first bytes of a range that are all in the source (*@in_source), or all in the target. */
static int64_t cbw_find_old_data(BDRVCbwState *s, int64_t offset, int64_t bytes, bool *in_source)
{
    int64_t start, n;

    *in_source = false;
    if (!bdrv_dirty_bitmap_next_dirty_area(s->todo, offset, offset + bytes, bytes, &start, &n)) {
        return bytes;
    }
    *in_source = start == offset;
    return *in_source ? n : start - offset;
}

/* Whether all of a range belongs to the old state. Sets *@bytes to the length for which the answer holds. */
static bool cbw_is_accessible(BDRVCbwState *s, int64_t offset, int64_t *bytes)
{
    int64_t start, n;

    if (offset >= s->bytes) {
        return false;
    }
    *bytes = MIN(*bytes, s->bytes - offset);
    if (!s->wanted) {
        return true;
    }
    if (!bdrv_dirty_bitmap_next_dirty_area(s->wanted, offset, offset + *bytes, *bytes, &start, &n)) {
        return false;
    }
    *bytes = start == offset ? n : start - offset;
    return start == offset;
}

/* Read a part of the locked range that is all in one of the nodes. */
static int coroutine_fn cbw_read_old(BlockDriverState *bs, bool in_source, int64_t offset, int64_t bytes,
                                     QEMUIOVector *qiov, size_t qiov_offset)
{
    BDRVCbwState *s = bs->opaque;
    QEMUIOVector part;
    int ret;

    qemu_iovec_init_slice(&part, qiov, qiov_offset, bytes);
    if (in_source) {
        ret = bdrv_co_preadv(bs->file, offset, bytes, &part, 0);
    } else {
        g_atomic_int_inc(&s->target_users);
        ret = cbw_error(s) ? -EACCES : bdrv_co_preadv(s->target, offset, bytes, &part, 0);
        g_atomic_int_add(&s->target_users, -1);
    }
    qemu_iovec_destroy(&part);
    return ret;
}

static int coroutine_fn cbw_read_locked(BlockDriverState *bs, int64_t offset, int64_t bytes, QEMUIOVector *qiov,
                                        size_t qiov_offset)
{
    BDRVCbwState *s = bs->opaque;
    int ret = 0;

    for (int64_t n, done = 0; ret == 0 && done < bytes; done += n) {
        bool in_source;

        n = cbw_find_old_data(s, offset + done, bytes - done, &in_source);
        ret = cbw_read_old(bs, in_source, offset + done, n, qiov, qiov_offset + done);
    }
    /* Writers that have given up the copy do not respect the lock. */
    return cbw_error(s) ? -EACCES : ret;
}

int coroutine_fn bdrv_cbw_co_preadv_snapshot(BlockDriverState *bs, int64_t offset, int64_t bytes, QEMUIOVector *qiov)
{
    BDRVCbwState *s = bs->opaque;
    int ret = 0;

    for (int64_t n, done = 0; ret == 0 && done < bytes; done += n) {
        BlockCopyRange range;

        n = MIN(bytes - done, SNAPSHOT_READ_BYTES);
        if (!cbw_is_accessible(s, offset + done, &n)) {
            return -EACCES;
        }
        block_copy_co_range_begin(s->copy, &range, offset + done, n);
        ret = cbw_read_locked(bs, offset + done, n, qiov, done);
        block_copy_range_end(&range);
    }
    return ret;
}

int coroutine_fn bdrv_cbw_co_snapshot_block_status(BlockDriverState *bs, int64_t offset, int64_t bytes, int64_t *pnum)
{
    BDRVCbwState *s = bs->opaque;
    BlockCopyRange range;
    bool in_source;
    int ret = -EACCES;

    bytes = MIN(bytes, SNAPSHOT_STATUS_BYTES);
    if (!cbw_is_accessible(s, offset, &bytes)) {
        return -EACCES;
    }
    block_copy_co_range_begin(s->copy, &range, offset, bytes);
    bytes = cbw_find_old_data(s, offset, bytes, &in_source);
    g_atomic_int_inc(&s->target_users);
    if (in_source || !cbw_error(s)) {
        ret = bdrv_co_block_status((in_source ? bs->file : s->target)->bs, offset, bytes, pnum, NULL, NULL);
    }
    g_atomic_int_add(&s->target_users, -1);
    block_copy_range_end(&range);
    if (cbw_error(s)) {
        return -EACCES;
    }
    return ret < 0 ? ret : ret & (BDRV_BLOCK_DATA | BDRV_BLOCK_ZERO | BDRV_BLOCK_ALLOCATED);
}

unsigned bdrv_cbw_get_id(BlockDriverState *bs)
{
    const BDRVCbwState *s = bs->opaque;

    return s->id;
}

int64_t bdrv_cbw_get_snapshot_length(BlockDriverState *bs)
{
    const BDRVCbwState *s = bs->opaque;

    return s->bytes;
}

/* Opening and closing */

/* The child aligns requests itself. If they were aligned here, they could go beyond its end. */
static void cbw_refresh_limits(BlockDriverState *bs)
{
    bs->bl.request_alignment = 1;
}

static int64_t coroutine_fn cbw_co_get_allocated_file_size(BlockDriverState *bs)
{
    return bdrv_co_get_allocated_file_size(bs->file->bs);
}

static void cbw_child_perm(BlockDriverState *bs, const char *name, uint32_t role, uint64_t perm, uint64_t shared,
                           uint64_t *nperm, uint64_t *nshared)
{
    const BDRVCbwState *s = bs->opaque;

    if (!(role & BDRV_CHILD_FILTERED)) {
        *nperm = BLK_PERM_CONSISTENT_READ | BLK_PERM_WRITE;
        *nshared = BLK_PERM_CONSISTENT_READ | BLK_PERM_WRITE_UNCHANGED;
        return;
    }
    *nperm = perm | BLK_PERM_CONSISTENT_READ;
    *nshared = shared;
    /* Before the filter is inserted, and after it was removed, others write to the source directly. */
    if (bs->parents->len && !s->dropped) {
        *nshared &= ~(uint64_t)(BLK_PERM_WRITE | BLK_PERM_RESIZE);
    }
}

int64_t bdrv_cbw_choose_cluster(uint64_t min_bytes, const BlockDriverState *source, const BlockDriverState *target,
                                Error **errp)
{
    if (min_bytes & (min_bytes - 1) || min_bytes > MAX_CLUSTER_BYTES) {
        error_setg(errp, "min-cluster-size must be a power of 2, at most %" PRId64, (int64_t)MAX_CLUSTER_BYTES);
        return -1;
    }
    return MAX(MAX((int64_t)min_bytes, MIN_CLUSTER_BYTES),
               MAX(source->bl.request_alignment, target ? target->bl.request_alignment : 1));
}

static bool cbw_check_options(BlockDriverState *bs, Error **errp)
{
    BDRVCbwState *s = bs->opaque;
    const BlockdevOptionsCbw *o = &bs->options->u.copy_before_write;
    int64_t target_bytes = bdrv_getlength(s->target->bs);

    if (bs->file->bs == s->target->bs) {
        error_setg(errp, "Node '%s': 'file' and 'target' are the same node '%s'", bdrv_get_display_name(bs),
                   bdrv_get_display_name(s->target->bs));
        return false;
    }
    if (target_bytes < s->bytes) {
        error_setg(errp, "Node '%s': target '%s' has %" PRId64 " bytes, but must have the %" PRId64 " bytes of '%s'",
                   bdrv_get_display_name(bs), bdrv_get_display_name(s->target->bs), target_bytes, s->bytes,
                   bdrv_get_display_name(bs->file->bs));
        return false;
    }
    s->cluster_bytes = bdrv_cbw_choose_cluster(o->has_min_cluster_size ? o->min_cluster_size : 0, bs->file->bs,
                                               s->target->bs, errp);
    return s->cluster_bytes > 0;
}

/* A bitmap of what has to be copied at first: what is dirty in @bitmap, or everything if that is NULL. */
static BdrvDirtyBitmap *cbw_create_bitmap(BlockDriverState *bs, const BdrvDirtyBitmap *bitmap, Error **errp)
{
    BDRVCbwState *s = bs->opaque;
    BdrvDirtyBitmap *todo = bdrv_create_dirty_bitmap(bs, s->cluster_bytes, NULL, errp);

    if (todo) {
        bdrv_disable_dirty_bitmap(todo);
        if (bitmap) {
            bdrv_merge_dirty_bitmap(todo, bitmap);
        } else {
            bdrv_set_dirty_bitmap(todo, 0, s->bytes);
        }
    }
    return todo;
}

static bool cbw_create_bitmaps(BlockDriverState *bs, Error **errp)
{
    BDRVCbwState *s = bs->opaque;
    const BlockDirtyBitmap *name = bs->options->u.copy_before_write.bitmap;
    BdrvDirtyBitmap *bitmap = NULL;

    /* Bitmaps have the length of the node, which is not set before the node is open. */
    bs->length = s->bytes;
    if (name) {
        bitmap = bdrv_lookup_dirty_bitmap(name->node, name->name, errp);
        if (!bitmap || !bdrv_dirty_bitmap_check(bitmap, errp)) {
            return false;
        }
        if (bdrv_dirty_bitmap_size(bitmap) != s->bytes) {
            error_setg(errp, "Bitmap '%s' is for %" PRId64 " bytes, but node '%s' has %" PRId64, name->name,
                       bdrv_dirty_bitmap_size(bitmap), bdrv_get_display_name(bs->file->bs), s->bytes);
            return false;
        }
        s->wanted = cbw_create_bitmap(bs, bitmap, errp);
        if (!s->wanted) {
            return false;
        }
    }
    s->todo = cbw_create_bitmap(bs, bitmap, errp);
    if (!s->todo) {
        bdrv_release_dirty_bitmap(s->wanted);
    }
    return s->todo;
}

static bool coroutine_fn cbw_co_open(BlockDriverState *bs, Error **errp)
{
    static unsigned last_id;
    BDRVCbwState *s = bs->opaque;
    const BlockdevOptionsCbw *o = &bs->options->u.copy_before_write;

    s->id = ++last_id;
    s->on_error = o->has_on_cbw_error ? o->on_cbw_error : ON_CBW_ERROR_BREAK_GUEST_WRITE;
    s->timeout_ns = o->has_cbw_timeout ? o->cbw_timeout * NANOSECONDS_PER_SECOND : 0;
    if (!bdrv_co_open_child(bs, "file", o->file, BDRV_CHILD_FILTERED, errp)) {
        return false;
    }
    s->bytes = bdrv_getlength(bs->file->bs);
    s->target = bdrv_co_open_child(bs, "target", o->target, BDRV_CHILD_DATA, errp);
    if (!s->target || !cbw_check_options(bs, errp) || !cbw_create_bitmaps(bs, errp)) {
        return false;
    }
    s->copy = cbw_copy_new(bs, (BlockCopyOptions){ .workers = 1 });
    return true;
}

static void coroutine_fn cbw_co_close(BlockDriverState *bs)
{
    BDRVCbwState *s = bs->opaque;

    block_copy_free(s->copy);
    bdrv_release_dirty_bitmap(s->todo);
    bdrv_release_dirty_bitmap(s->wanted);
}

/* For the backup job */

void bdrv_cbw_set_copy_options(BlockDriverState *filter, const BlockCopyOptions *options)
{
    BDRVCbwState *s = filter->opaque;

    assert(filter->drv == &bdrv_copy_before_write && filter->parents->len == 0);
    block_copy_free(s->copy);
    s->copy = cbw_copy_new(filter, *options);
}

BlockCopy *bdrv_cbw_get_copy(BlockDriverState *filter)
{
    BDRVCbwState *s = filter->opaque;

    return s->copy;
}

int64_t bdrv_cbw_get_cluster_bytes(BlockDriverState *filter)
{
    const BDRVCbwState *s = filter->opaque;

    return s->cluster_bytes;
}

int coroutine_fn bdrv_cbw_co_flush_target(BlockDriverState *filter)
{
    BDRVCbwState *s = filter->opaque;

    g_atomic_int_inc(&s->target_users);
    int ret = cbw_error(s) ?: bdrv_co_flush(s->target->bs);
    g_atomic_int_add(&s->target_users, -1);
    return ret;
}

void bdrv_cbw_cancel(BlockDriverState *filter)
{
    BDRVCbwState *s = filter->opaque;

    GLOBAL_STATE_CODE();
    g_atomic_int_compare_and_exchange(&s->error, 0, -ECANCELED);
    cbw_end_copy(filter);
}

static void cbw_cancel_node(BlockDriverState *bs)
{
    if (bs->drv == &bdrv_copy_before_write && bs->is_open) {
        bdrv_cbw_cancel(bs);
    }
}

void bdrv_cbw_cancel_all(void)
{
    bdrv_for_each_node(cbw_cancel_node);
}

/* Give up the copy, and wait for requests to the target, also those that began while bdrv_cbw_cancel() ran. */
static void coroutine_fn cbw_co_cancel_target(BlockDriverState *filter)
{
    BDRVCbwState *s = filter->opaque;

    bdrv_cbw_cancel(filter);
    while (g_atomic_int_get(&s->target_users)) {
        co_sleep_ns(CANCEL_INTERVAL_NS);
        bdrv_cancel_in_flight(s->target->bs);
    }
}

void coroutine_fn bdrv_cbw_co_merge_todo(BlockDriverState *filter, BdrvDirtyBitmap *bitmap)
{
    BDRVCbwState *s = filter->opaque;

    /* What is being copied is not marked. */
    cbw_co_cancel_target(filter);
    bdrv_co_drained_begin(filter);
    bdrv_merge_dirty_bitmap(bitmap, s->todo);
    bdrv_co_drained_end(filter);
}

void coroutine_fn bdrv_cbw_drop(BlockDriverState *filter, bool inserted)
{
    BDRVCbwState *s = filter->opaque;
    Error *err = NULL;

    if (bdrv_get_dirty_count(s->todo)) {
        cbw_co_cancel_target(filter);
    }
    s->dropped = true;
    if (inserted && !bdrv_co_replace_node(filter, filter->file->bs, &err)) {
        /* It stays, and only passes requests through. */
        warn_report("Could not remove node '%s': %s", bdrv_get_display_name(filter), error_get_pretty(err));
        error_free(err);
    }
    bdrv_co_unref(filter);
}

const BlockDriver bdrv_copy_before_write = {
    .format_name = "copy-before-write",
    .driver = BLOCKDEV_DRIVER_COPY_BEFORE_WRITE,
    .instance_size = sizeof(BDRVCbwState),
    .is_filter = true,

    .bdrv_co_open = cbw_co_open,
    .bdrv_co_close = cbw_co_close,
    .bdrv_refresh_limits = cbw_refresh_limits,
    .bdrv_child_perm = cbw_child_perm,
    .bdrv_co_get_allocated_file_size = cbw_co_get_allocated_file_size,

    .bdrv_co_preadv = cbw_co_preadv,
    .bdrv_co_pwritev = cbw_co_pwritev,
    .supported_write_flags = BDRV_REQ_FUA | BDRV_REQ_OWN_BUFFER | BDRV_REQ_WRITE_UNCHANGED,
    .supported_zero_flags = BDRV_REQ_FUA | BDRV_REQ_MAY_UNMAP | BDRV_REQ_NO_FALLBACK | BDRV_REQ_WRITE_UNCHANGED,
    .bdrv_co_pwrite_zeroes = cbw_co_pwrite_zeroes,
    .bdrv_co_pdiscard = cbw_co_pdiscard,
    .bdrv_co_secure_discard = cbw_co_secure_discard,
};
