/*
 * Mirror: the job
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "block/copy.h"
#include "block/graph/graph_int.h"
#include "block/jobs/mirror-int.h"
#include "block/jobs/mirror-top.h"
#include "block/mirror.h"
#include "util/aio.h"

#define DEFAULT_GRANULARITY (64 * KiB)
#define DEFAULT_BUF_BYTES (16 * MiB)
#define CHUNK_BYTES (1 * MiB)
#define MAX_WORKERS 16
/* How often a mirror that is ready looks for something to copy. */
#define IDLE_NS (100 * SCALE_MS)

/*
 * Under load, the last bytes are copied while writers wait: at most so many, for at most so long. Whenever that was not
 * enough time, there is twice as much for half as many bytes.
 */
#define FINAL_BYTES (32 * MiB)
#define FINAL_NS (500 * SCALE_MS)
#define MAX_FINAL_NS (10 * NANOSECONDS_PER_SECOND)

/* Copying */

/*
 * A run of the engine normally ends when nothing is dirty. Under constant writes, this may never happen. So it also
 * ends when little remains, and copying as much again has not reduced that.
 */
static bool mirror_is_enough(void *opaque, int64_t remaining)
{
    MirrorJob *s = opaque;

    if (s->err || s->given_up || s->final_expired) {
        return true;
    }
    if (s->in_final) {
        return false;
    }
    if (remaining < s->lowest) {
        s->lowest = remaining;
        s->copied_at_lowest = s->copied_bytes;
    }
    return remaining <= s->final_bytes && s->copied_bytes - s->copied_at_lowest > s->lowest;
}

/* Copy until little or nothing is dirty. @job NULL: without speed limit, pauses and error policy. */
static bool coroutine_fn mirror_catch_up(MirrorJob *s, Job *job, Error **errp)
{
    g_autoptr(Error) err = NULL;

    s->lowest = INT64_MAX;
    s->copied_at_lowest = s->copied_bytes;
    bool ok = block_copy_co_run(s->copy, job, &err);
    if (s->given_up) {
        job_may_go_on(&s->common, errp);
        return false;
    }
    if (ok && s->err) {
        err = g_steal_pointer(&s->err);
    }
    if (err) {
        error_propagate(errp, g_steal_pointer(&err));
        return false;
    }
    mirror_top_suspend(s->filter, false);
    return true;
}

/* Mark what has to be copied at first. */
static bool coroutine_fn mirror_init_bitmap(MirrorJob *s, Error **errp)
{
    int64_t length = blk_getlength(s->source);

    if (!s->copies_all) {
        return true;
    }
    if (!s->target_is_zero) {
        bdrv_set_dirty_bitmap(s->bitmap, 0, length);
        return true;
    }
    for (int64_t n, offset = 0; offset < length; offset += n) {
        if (!job_pause_point(&s->common, errp)) {
            return false;
        }
        int ret = blk_co_block_status(s->source, offset, length - offset, &n);

        if (ret < 0 || !(ret & BDRV_BLOCK_ZERO)) {
            n = ret < 0 ? length - offset : n;
            bdrv_set_dirty_bitmap(s->bitmap, offset, n);
        }
    }
    return true;
}

/* The final section */

static void mirror_end_section(MirrorJob *s)
{
    if (s->in_section) {
        s->in_section = false;
        bdrv_drained_end_later(s->filter);
    }
}

void mirror_expire_section(void *opaque)
{
    MirrorJob *s = opaque;

    s->final_expired = true;
    mirror_end_section(s);
    bdrv_drain_kick();
}

/* Copy and flush the rest while nobody writes; false if that failed, or takes too long. */
static bool coroutine_fn mirror_copy_rest(MirrorJob *s)
{
    s->in_section = true;
    return bdrv_co_drained_begin_unless(s->filter, &s->final_expired) && block_copy_co_run(s->copy, NULL, NULL) &&
           !s->err && mirror_flush(s) == 0 && !s->final_expired;
}

/*
 * Stop the writers, and copy the rest. True: source and target are equal, and writers wait until mirror_end_section().
 * False: writers continue, and this should be tried again after catching up.
 */
static bool coroutine_fn mirror_finish(MirrorJob *s)
{
    s->in_final = true;
    s->final_expired = false;
    aio_timer_mod_ns(s->final_timer, qemu_clock_get_ns() + s->final_ns);
    bool ok = mirror_copy_rest(s);
    aio_timer_del(s->final_timer);
    s->in_final = false;
    if (!ok) {
        mirror_end_section(s);
    }
    if (s->final_expired) {
        s->failed++;
        s->final_ns = MIN(2 * s->final_ns, MAX_FINAL_NS);
        s->final_bytes = MAX(s->final_bytes / 2, bdrv_dirty_bitmap_granularity(s->bitmap));
        s->final_expired = false;
    }
    if (ok) {
        job_progress_set_remaining(&s->common, 0);
    }
    return ok;
}

/* The work */

/* Flush the target, under the error policy. *@again: retry. False with @errp: the job ends. */
static bool coroutine_fn mirror_flush_or_stop(MirrorJob *s, bool *again, Error **errp)
{
    int ret = mirror_flush(s);

    *again = ret < 0;
    if (!job_may_go_on(&s->common, errp)) {
        return false;
    }
    if (ret < 0 && job_error_action(&s->common, s->on_target_error, false, ret) == BLOCK_ERROR_ACTION_REPORT) {
        error_setg_errno(errp, -ret, "error while flushing or reading node '%s'",
                         bdrv_get_display_name(s->target_bs));
        return false;
    }
    return true;
}

/* Source and target are equal, and writers wait. What comes next? */
static void mirror_work_done(MirrorJob *s)
{
    s->pivots = !job_cancel_requested(&s->common);
    if (!s->pivots) {
        /* The copy stays as it is now. */
        mirror_top_stop(s->filter);
        mirror_end_section(s);
    } else if (s->common.flags & JOB_MANUAL_FINALIZE) {
        mirror_end_section(s);
    }
}

static bool coroutine_fn mirror_run(Job *job, Error **errp)
{
    MirrorJob *s = container_of(job, MirrorJob, common);
    bool again;

    if (!mirror_init_bitmap(s, errp)) {
        return false;
    }
    while (mirror_catch_up(s, job, errp) && mirror_flush_or_stop(s, &again, errp) && job_pause_point(job, errp)) {
        if (!again && job->status == JOB_STATUS_RUNNING) {
            job_transition_to_ready(job);
        }
        if (!again && (job_cancel_requested(job) || s->should_complete)) {
            if (mirror_finish(s)) {
                mirror_work_done(s);
                return true;
            }
            continue;
        }
        if (job->status == JOB_STATUS_READY) {
            mirror_probe_idle(s);
        }
        job_sleep_ns(job, IDLE_NS);
    }
    return false;
}

static bool mirror_complete(Job *job, Error **errp)
{
    MirrorJob *s = container_of(job, MirrorJob, common);

    s->should_complete = true;
    job_wake(job);
    return true;
}

/* Not forced: the job is ready, and leaves a consistent copy if the target lets it. */
static bool mirror_cancel(Job *job, bool force)
{
    MirrorJob *s = container_of(job, MirrorJob, common);

    if (force) {
        mirror_give_up(s);
    } else if (!s->given_up && !job->cancel_requested) {
        mirror_watch_target(s);
    }
    return force;
}

/* The end */

/* While the job waited for job-finalize, writers continued. */
static bool coroutine_fn mirror_finish_again(MirrorJob *s, Error **errp)
{
    while (!s->in_section) {
        if (!mirror_catch_up(s, NULL, errp)) {
            return false;
        }
        int ret = mirror_flush(s);
        if (ret < 0) {
            error_setg_errno(errp, -ret, "error while flushing or reading node '%s'",
                             bdrv_get_display_name(s->target_bs));
            return false;
        }
        mirror_finish(s);
    }
    return true;
}

/* All users of the source switch to the target. They wait until the job commits or aborts. */
static bool coroutine_fn mirror_prepare(Job *job, Error **errp)
{
    MirrorJob *s = container_of(job, MirrorJob, common);

    if (!s->pivots) {
        return true;
    }
    if (!mirror_finish_again(s, errp)) {
        return false;
    }
    /* They may need permissions that the job did not share. */
    if (!blk_set_perm(s->source, 0, BLK_PERM_ALL, errp) || !blk_set_perm(s->target, 0, BLK_PERM_ALL, errp) ||
        !bdrv_co_replace_node(s->to_replace, s->target_bs, errp)) {
        error_prepend(errp, "Node '%s' cannot replace node '%s': ", bdrv_get_display_name(s->target_bs),
                      bdrv_get_display_name(s->to_replace));
        return false;
    }
    s->pivoted = true;
    return true;
}

static void coroutine_fn mirror_abort(Job *job)
{
    MirrorJob *s = container_of(job, MirrorJob, common);

    if (s->pivoted) {
        bdrv_co_replace_node(s->target_bs, s->to_replace, &error_abort);
    }
    mirror_give_up(s);
    s->aborted = true;
}

/* What the filter uses is freed next. */
static void coroutine_fn mirror_remove_filter(MirrorJob *s)
{
    bdrv_co_drained_begin(s->filter);
    mirror_top_stop(s->filter);
    if (s->inserted) {
        bdrv_co_replace_node(s->filter, s->filter->file->bs, &error_abort);
    }
    mirror_end_section(s);
    bdrv_co_drained_end(s->filter);
}

static void coroutine_fn mirror_clean(Job *job)
{
    MirrorJob *s = container_of(job, MirrorJob, common);

    if (s->filter) {
        mirror_remove_filter(s);
    }
    job_remove_nodes(job);
    block_copy_free(s->copy);
    bdrv_release_dirty_bitmap(s->bitmap);
    bdrv_co_unref(s->filter);
    bdrv_co_unref(s->to_replace);
    if (!s->pivoted) {
        mirror_end_requests_soon(s);
    }
    /* Waits for the last requests, which the timer ends. */
    blk_co_unref(s->target);
    aio_timer_del(s->end_timer);
    if (s->aborted) {
        /* An incomplete copy is useless, so nobody should wait for it to be flushed. */
        bdrv_forget_writes(s->target_bs);
    }
    bdrv_co_unref(s->target_bs);
    blk_co_unref(s->source);
}

static void mirror_free(Job *job)
{
    MirrorJob *s = container_of(job, MirrorJob, common);

    error_free(s->err);
    aio_timer_free(s->final_timer);
    aio_timer_free(s->end_timer);
}

static void mirror_query_block_job(const Job *job, BlockJobInfo *info)
{
    const MirrorJob *s = container_of(job, MirrorJob, common);
    bool ready = job->status == JOB_STATUS_READY || job->status == JOB_STATUS_STANDBY;

    info->u.mirror.actively_synced = ready && mirror_top_is_active(s->filter);
}

/* The beginning */

/* A user of @bs in the name of the job; NULL with @errp. */
static BlockBackend *coroutine_fn mirror_take_node(MirrorJob *s, BlockDriverState *bs, uint64_t perm, uint64_t shared,
                                                   Error **errp)
{
    g_autofree char *user = g_strdup_printf("job '%s'", s->common.id);

    if (!job_add_node(&s->common, bs, errp)) {
        return NULL;
    }
    BlockBackend *blk = blk_new(user, perm, shared);
    if (!blk_insert_bs(blk, bs, errp)) {
        blk_co_unref(blk);
        return NULL;
    }
    return blk;
}

static BlockCopy *mirror_new_copy(MirrorJob *s, const MirrorOptions *o)
{
    static const BlockCopyOps ops = { .write = mirror_copy_write, .is_enough = mirror_is_enough };
    int64_t buf_bytes = o->buf_size ?: DEFAULT_BUF_BYTES;
    int64_t chunk_bytes = MAX(MIN(CHUNK_BYTES, buf_bytes), bdrv_dirty_bitmap_granularity(s->bitmap));

    return block_copy_new(&(BlockCopyOptions){
        .source = s->source, .target = s->target, .bytes = blk_getlength(s->source), .bitmap = s->bitmap,
        .writers_wait = o->copy_mode == MIRROR_COPY_MODE_WRITE_BLOCKING,
        .workers = MAX(MIN(buf_bytes / chunk_bytes, MAX_WORKERS), 1), .chunk_bytes = chunk_bytes,
        .write_zeroes = true, .zero_flags = o->no_unmap ? 0 : BDRV_REQ_MAY_UNMAP,
        .on_source_error = o->on_source_error, .on_target_error = o->on_target_error,
        .ops = &ops, .opaque = s,
    });
}

/* Put the filter above the source; from then on writes are tracked. */
static bool coroutine_fn mirror_insert_filter(MirrorJob *s, const MirrorOptions *o, Error **errp)
{
    s->filter = mirror_top_new(o->filter_node_name, blk_bs(s->source), errp);
    if (!s->filter || !job_add_node(&s->common, s->filter, errp)) {
        return false;
    }
    mirror_top_start(s->filter, &(MirrorTopOptions){
        .copy = s->copy, .bitmap = s->bitmap, .target = s->target,
        .write_blocking = o->copy_mode == MIRROR_COPY_MODE_WRITE_BLOCKING,
        .zero_flags = o->no_unmap ? 0 : BDRV_REQ_MAY_UNMAP, .write_failed = mirror_write_failed, .opaque = s,
    });
    s->inserted = bdrv_co_replace_node(blk_bs(s->source), s->filter, errp);
    return s->inserted;
}

static bool coroutine_fn mirror_set_up(MirrorJob *s, BlockDriverState *source, BlockDriverState *target,
                                       const MirrorOptions *o, Error **errp)
{
    uint32_t granularity = o->granularity ?: DEFAULT_GRANULARITY;

    s->source = mirror_take_node(s, source, BLK_PERM_CONSISTENT_READ, BLK_PERM_ALL & ~BLK_PERM_RESIZE, errp);
    if (!s->source) {
        return false;
    }
    s->target_bs = bdrv_ref(target);
    s->target = mirror_take_node(s, target, BLK_PERM_CONSISTENT_READ | BLK_PERM_WRITE, BLK_PERM_WRITE_UNCHANGED, errp);
    if (!s->target) {
        return false;
    }
    s->bitmap = bdrv_create_dirty_bitmap(source, granularity, NULL, errp);
    if (!s->bitmap) {
        return false;
    }
    /* The filter marks what is written. */
    bdrv_disable_dirty_bitmap(s->bitmap);
    s->copy = mirror_new_copy(s, o);
    return mirror_insert_filter(s, o, errp);
}

bool coroutine_fn mirror_start(BlockDriverState *source, BlockDriverState *target, const MirrorOptions *o,
                               Error **errp)
{
    static const JobDriver driver = {
        .instance_size = sizeof(MirrorJob), .type = JOB_TYPE_MIRROR, .run = mirror_run, .prepare = mirror_prepare,
        .abort = mirror_abort, .clean = mirror_clean, .complete = mirror_complete, .cancel = mirror_cancel,
        .query_block_job = mirror_query_block_job, .free = mirror_free,
    };

    if (!mirror_check(source, bdrv_getlength(target), o, errp) || !mirror_check_nodes(source, target, errp)) {
        return false;
    }
    MirrorJob *s = job_create(o->job_id, &driver, o->flags, errp);
    if (!s) {
        return false;
    }
    s->on_target_error = o->on_target_error;
    s->copies_all = o->sync != MIRROR_SYNC_MODE_NONE;
    s->target_is_zero = o->target_is_zero;
    s->final_bytes = FINAL_BYTES;
    s->final_ns = FINAL_NS;
    s->final_timer = aio_timer_new(qemu_get_aio_context(), mirror_expire_section, s);
    s->end_timer = aio_timer_new(qemu_get_aio_context(), mirror_end_tick, s);
    s->to_replace = bdrv_ref(mirror_find_replaced(source, o->replaces, &error_abort));
    s->common.speed = o->speed;
    if (!mirror_set_up(s, source, target, o, errp)) {
        job_discard(&s->common);
        return false;
    }
    job_start(&s->common);
    return true;
}
