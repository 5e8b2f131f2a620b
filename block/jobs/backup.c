/*
 * Backup: a job that copies a node as it was when the job was created
 *
 * A copy-before-write filter above the source does the work: see block/drivers/copy-before-write.c.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "block/backup.h"
#include "block/block_int.h"
#include "block/copy-before-write.h"

#define DEFAULT_WORKERS 16
#define MAX_WORKERS 64
#define DEFAULT_CHUNK_BYTES (1 * MiB)

typedef struct BackupJob {
    Job common;
    MirrorSyncMode sync;
    BitmapSyncMode bitmap_mode;
    BdrvDirtyBitmap *bitmap;        /* of the source, busy; since the point in time it records writes. NULL: none */
    BdrvDirtyBitmap *bitmap_before; /* what was dirty at the point in time */
    BlockDriverState *source_bs;    /* a reference, as have the other three */
    BlockBackend *source;           /* the job as user of the source, for messages: makes no requests */
    BlockDriverState *filter;       /* NULL: not open yet */
    BlockBackend *filter_user;      /* the same for the filter */
    bool inserted;                  /* the filter is above the source */
} BackupJob;

/* Write the target's data to stable storage. */
static bool coroutine_fn backup_prepare(Job *job, Error **errp)
{
    BackupJob *s = container_of(job, BackupJob, common);
    int ret = bdrv_cbw_co_flush_target(s->filter);

    if (ret < 0) {
        error_setg_errno(errp, -ret, "Could not flush target '%s'",
                         bdrv_get_display_name(bdrv_get_child(s->filter, "target")));
    }
    return ret == 0;
}

static bool coroutine_fn backup_run(Job *job, Error **errp)
{
    BackupJob *s = container_of(job, BackupJob, common);
    BlockCopy *copy = bdrv_cbw_get_copy(s->filter);

    return s->sync == MIRROR_SYNC_MODE_NONE ? block_copy_co_wait(copy, job, errp) : block_copy_co_run(copy, job, errp);
}

static void coroutine_fn backup_commit(Job *job)
{
    BackupJob *s = container_of(job, BackupJob, common);

    if (s->bitmap && s->bitmap_mode == BITMAP_SYNC_MODE_NEVER) {
        bdrv_merge_dirty_bitmap(s->bitmap, s->bitmap_before);
    }
}

static void coroutine_fn backup_abort(Job *job)
{
    BackupJob *s = container_of(job, BackupJob, common);

    if (s->bitmap && s->bitmap_mode == BITMAP_SYNC_MODE_ALWAYS) {
        bdrv_cbw_co_merge_todo(s->filter, s->bitmap);
    } else if (s->bitmap) {
        bdrv_merge_dirty_bitmap(s->bitmap, s->bitmap_before);
    }
}

static bool backup_cancel(Job *job, bool force)
{
    BackupJob *s = container_of(job, BackupJob, common);

    /* Another client may cancel it while it is being created. */
    if (s->filter) {
        bdrv_cbw_cancel(s->filter);
    }
    return true;
}

static void coroutine_fn backup_clean(Job *job)
{
    BackupJob *s = container_of(job, BackupJob, common);

    job_remove_nodes(job);
    bdrv_release_dirty_bitmap(s->bitmap_before);
    if (s->bitmap) {
        bdrv_co_dirty_bitmap_unset_busy(s->bitmap);
    }
    blk_co_unref(g_steal_pointer(&s->filter_user));
    if (s->filter) {
        bdrv_cbw_drop(g_steal_pointer(&s->filter), s->inserted);
    }
    blk_co_unref(g_steal_pointer(&s->source));
    bdrv_co_unref(g_steal_pointer(&s->source_bs));
}

static const JobDriver backup_job_driver = {
    .instance_size = sizeof(BackupJob), .type = JOB_TYPE_BACKUP, .run = backup_run, .prepare = backup_prepare,
    .commit = backup_commit, .abort = backup_abort, .clean = backup_clean, .cancel = backup_cancel,
};

/* Checking arguments */

static bool backup_check_chunk(const BackupPerf *perf, int64_t cluster, Error **errp)
{
    if (perf && perf->has_max_chunk && perf->max_chunk && perf->max_chunk < cluster) {
        error_setg(errp, "Required max-chunk (%" PRId64 ") is less than backup cluster size (%" PRId64 ")",
                   perf->max_chunk, cluster);
        return false;
    }
    return true;
}

static bool backup_check_perf(const BackupPerf *perf, BlockDriverState *source, Error **errp)
{
    int64_t cluster = bdrv_cbw_choose_cluster(perf->has_min_cluster_size ? perf->min_cluster_size : 0, source, NULL,
                                              errp);

    if (cluster < 0) {
        return false;
    }
    if (perf->has_max_workers && (perf->max_workers < 1 || perf->max_workers > INT_MAX)) {
        error_setg(errp, "max-workers must be between 1 and %d", INT_MAX);
        return false;
    }
    if (perf->has_max_chunk && (perf->max_chunk < 0 || perf->max_chunk > INT_MAX)) {
        error_setg(errp, "max-chunk must be between 0 and %d", INT_MAX);
        return false;
    }
    return backup_check_chunk(perf, cluster, errp);
}

/* The bitmap that @arg names; NULL with @errp. */
static BdrvDirtyBitmap *backup_find_bitmap(const BackupCommon *arg, BlockDriverState *source, Error **errp)
{
    BdrvDirtyBitmap *bitmap = bdrv_find_dirty_bitmap(source, arg->bitmap);

    if (!bitmap) {
        error_setg(errp, "Bitmap '%s' could not be found", arg->bitmap);
        return NULL;
    }
    return bdrv_dirty_bitmap_check(bitmap, errp) ? bitmap : NULL;
}

static bool backup_check_bitmap(const BackupCommon *arg, BlockDriverState *source, Error **errp)
{
    bool incremental = arg->sync == MIRROR_SYNC_MODE_INCREMENTAL;

    if (!arg->bitmap && (incremental || arg->sync == MIRROR_SYNC_MODE_BITMAP)) {
        error_setg(errp, "must provide a valid bitmap name for '%s' sync mode", MirrorSyncMode_str(arg->sync));
    } else if (!arg->bitmap && arg->has_bitmap_mode) {
        error_setg(errp, "Cannot specify bitmap sync mode without a bitmap");
    } else if (arg->bitmap && arg->sync == MIRROR_SYNC_MODE_NONE) {
        error_setg(errp, "sync mode 'none' does not produce meaningful bitmap outputs");
    } else if (arg->bitmap && !arg->has_bitmap_mode && !incremental) {
        error_setg(errp, "Bitmap sync mode must be given when providing a bitmap");
    } else if (incremental && arg->has_bitmap_mode && arg->bitmap_mode != BITMAP_SYNC_MODE_ON_SUCCESS) {
        error_setg(errp, "Bitmap sync mode must be 'on-success' when using sync mode 'incremental'");
    } else if (arg->bitmap && arg->sync != MIRROR_SYNC_MODE_BITMAP && arg->has_bitmap_mode &&
               arg->bitmap_mode == BITMAP_SYNC_MODE_NEVER) {
        error_setg(errp, "Bitmap sync mode 'never' has no meaningful effect when combined with sync mode '%s'",
                   MirrorSyncMode_str(arg->sync));
    } else {
        return !arg->bitmap || backup_find_bitmap(arg, source, errp);
    }
    return false;
}

bool backup_check(const BackupCommon *arg, BlockDriverState *source, Error **errp)
{
    if (!arg->job_id) {
        error_setg(errp, "An explicit job ID is required for this node");
        return false;
    }
    if (arg->has_discard_source && arg->discard_source) {
        error_setg(errp, "'discard-source' is not supported");
        return false;
    }
    if (arg->has_speed && arg->speed < 0) {
        error_setg(errp, "Parameter 'speed' expects a non-negative value");
        return false;
    }
    return backup_check_bitmap(arg, source, errp) && (!arg->x_perf || backup_check_perf(arg->x_perf, source, errp)) &&
           (!arg->filter_node_name || bdrv_check_node_name(arg->filter_node_name, errp));
}

static bool backup_check_nodes(BlockDriverState *source, BlockDriverState *target, Error **errp)
{
    if (source == target) {
        error_setg(errp, "Source and target cannot be the same");
        return false;
    }
    if (bdrv_getlength(source) != bdrv_getlength(target)) {
        error_setg(errp, "Source and target image have different sizes");
        error_append_hint(errp, "Node '%s' has %" PRId64 " bytes, node '%s' has %" PRId64 ".\n",
                          bdrv_get_display_name(source), bdrv_getlength(source), bdrv_get_display_name(target),
                          bdrv_getlength(target));
        return false;
    }
    return true;
}

/* Creating the job */

static BlockBackend *backup_new_user(Job *job, BlockDriverState *bs, Error **errp)
{
    g_autofree char *name = g_strdup_printf("job '%s'", job->id);
    BlockBackend *blk = blk_new(name, 0, BLK_PERM_ALL & ~BLK_PERM_RESIZE);

    if (!blk_insert_bs(blk, bs, errp)) {
        blk_co_unref(blk);
        return NULL;
    }
    return blk;
}

static BlockDriverState *coroutine_fn backup_open_filter(const BackupCommon *arg, BlockDriverState *source,
                                                         BlockDriverState *target, Error **errp)
{
    bool by_bitmap = arg->sync == MIRROR_SYNC_MODE_INCREMENTAL || arg->sync == MIRROR_SYNC_MODE_BITMAP;
    BlockDirtyBitmap bitmap = { .node = source->node_name, .name = arg->bitmap };
    BlockdevRef file = { .type = QTYPE_QSTRING, .u.reference = source->node_name };
    BlockdevRef target_ref = { .type = QTYPE_QSTRING, .u.reference = target->node_name };
    const BlockdevOptions options = {
        .driver = BLOCKDEV_DRIVER_COPY_BEFORE_WRITE, .node_name = arg->filter_node_name,
        .has_read_only = true, .read_only = bdrv_is_read_only(source),
        .has_discard = true, .discard = BLOCKDEV_DISCARD_OPTIONS_UNMAP,
        .u.copy_before_write = {
            .file = &file, .target = &target_ref, .bitmap = by_bitmap ? &bitmap : NULL,
            .has_on_cbw_error = arg->has_on_cbw_error, .on_cbw_error = arg->on_cbw_error,
            .has_min_cluster_size = arg->x_perf && arg->x_perf->has_min_cluster_size,
            .min_cluster_size = arg->x_perf ? arg->x_perf->min_cluster_size : 0,
        },
    };

    return bdrv_co_open_blockdev(&options, 0, errp);
}

static bool backup_set_copy_options(BackupJob *s, const BackupCommon *arg, Error **errp)
{
    const BackupPerf *perf = arg->x_perf;
    int64_t workers = perf && perf->has_max_workers ? perf->max_workers : DEFAULT_WORKERS;
    int64_t chunk = perf && perf->has_max_chunk ? perf->max_chunk : 0;
    int64_t cluster = bdrv_cbw_get_cluster_bytes(s->filter);

    if (!backup_check_chunk(perf, cluster, errp)) {
        return false;
    }
    bdrv_cbw_set_copy_options(s->filter, &(BlockCopyOptions){
        .workers = MIN(workers, MAX_WORKERS),
        .chunk_bytes = MAX(chunk ? ROUND_DOWN(chunk, cluster) : DEFAULT_CHUNK_BYTES, cluster),
        .on_source_error = arg->has_on_source_error ? arg->on_source_error : BLOCKDEV_ON_ERROR_REPORT,
        .on_target_error = arg->has_on_target_error ? arg->on_target_error : BLOCKDEV_ON_ERROR_REPORT,
    });
    return true;
}

/* From now on the bitmap records what is written after the point in time. Cannot be undone. */
static void backup_take_bitmap(BackupJob *s, BdrvDirtyBitmap *bitmap, const BackupCommon *arg)
{
    g_autofree char *user = g_strdup_printf("job '%s'", s->common.id);

    s->bitmap = bitmap;
    s->bitmap_mode = arg->has_bitmap_mode ? arg->bitmap_mode : BITMAP_SYNC_MODE_ON_SUCCESS;
    bdrv_clear_dirty_bitmap(bitmap);
    bdrv_dirty_bitmap_set_busy(bitmap, user);
}

/* With the source drained: this is the point in time. */
static bool coroutine_fn backup_insert_filter(BackupJob *s, const BackupCommon *arg, BlockDriverState *target,
                                              Error **errp)
{
    BdrvDirtyBitmap *bitmap = NULL;
    Job *job = &s->common;

    if (arg->bitmap) {
        bitmap = backup_find_bitmap(arg, s->source_bs, errp);
        s->bitmap_before = bitmap ? bdrv_clone_dirty_bitmap(bitmap, errp) : NULL;
        if (!s->bitmap_before) {
            return false;
        }
        bdrv_disable_dirty_bitmap(s->bitmap_before);
    }
    s->filter = backup_open_filter(arg, s->source_bs, target, errp);
    if (!s->filter || !job_add_node(job, s->filter, errp) || !backup_set_copy_options(s, arg, errp)) {
        return false;
    }
    s->inserted = bdrv_co_replace_node(s->source_bs, s->filter, errp);
    /* Not earlier: a filter in use does not let others write to the source. */
    s->filter_user = s->inserted ? backup_new_user(job, s->filter, errp) : NULL;
    if (s->filter_user && bitmap) {
        backup_take_bitmap(s, bitmap, arg);
    }
    return s->filter_user;
}

Job *coroutine_fn backup_job_create(const BackupCommon *arg, BlockDriverState *source, BlockDriverState *target,
                                    Error **errp)
{
    bool finalize = !arg->has_auto_finalize || arg->auto_finalize;
    bool dismiss = !arg->has_auto_dismiss || arg->auto_dismiss;

    if (!backup_check(arg, source, errp) || !backup_check_nodes(source, target, errp)) {
        return NULL;
    }
    BackupJob *s = job_create(arg->job_id, &backup_job_driver,
                              (finalize ? 0 : JOB_MANUAL_FINALIZE) | (dismiss ? 0 : JOB_MANUAL_DISMISS), errp);
    if (!s) {
        return NULL;
    }
    s->sync = arg->sync;
    s->common.speed = arg->has_speed ? arg->speed : 0;
    s->source_bs = bdrv_ref(source);
    bdrv_ref(target);
    bdrv_co_drained_begin(source);
    /* Another backup of the source is fine, but no other job. */
    bool ok = job_check_node(source, errp) && job_add_node(&s->common, target, errp) &&
              (s->source = backup_new_user(&s->common, source, errp)) && backup_insert_filter(s, arg, target, errp);
    bdrv_co_drained_end(source);
    bdrv_co_unref(target);
    if (!ok) {
        job_discard(&s->common);
        return NULL;
    }
    return &s->common;
}
