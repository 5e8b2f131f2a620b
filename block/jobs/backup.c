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
    BlockDriverState *target = bdrv_get_child(s->filter, "target");
    int ret = bdrv_co_flush(target);

    if (ret < 0) {
        error_setg_errno(errp, -ret, "Could not flush target '%s'", bdrv_get_display_name(target));
    }
    return ret == 0;
}

static bool coroutine_fn backup_run(Job *job, Error **errp)
{
    BackupJob *s = container_of(job, BackupJob, common);

    return block_copy_co_run(bdrv_cbw_get_copy(s->filter), job, errp);
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

    blk_co_unref(g_steal_pointer(&s->filter_user));
    if (s->filter) {
        bdrv_cbw_drop(g_steal_pointer(&s->filter), s->inserted);
    }
    blk_co_unref(g_steal_pointer(&s->source));
    bdrv_co_unref(g_steal_pointer(&s->source_bs));
}

static const JobDriver backup_job_driver = {
    .instance_size = sizeof(BackupJob), .type = JOB_TYPE_BACKUP, .run = backup_run, .prepare = backup_prepare,
    .clean = backup_clean, .cancel = backup_cancel,
};

/* Checking arguments */

static bool backup_check_perf(const BackupPerf *perf, Error **errp)
{
    if (perf->has_max_workers && (perf->max_workers < 1 || perf->max_workers > INT_MAX)) {
        error_setg(errp, "max-workers must be between 1 and %d", INT_MAX);
        return false;
    }
    if (perf->has_max_chunk && (perf->max_chunk < 0 || perf->max_chunk > INT_MAX)) {
        error_setg(errp, "max-chunk must be between 0 and %d", INT_MAX);
        return false;
    }
    return true;
}

static bool backup_check_arg(const BlockdevBackup *arg, Error **errp)
{
    if (!arg->job_id) {
        error_setg(errp, "An explicit job ID is required for this node");
        return false;
    }
    if (arg->has_discard_source && arg->discard_source) {
        error_setg(errp, "'discard-source' is not supported");
        return false;
    }
    if (arg->sync != MIRROR_SYNC_MODE_FULL && arg->sync != MIRROR_SYNC_MODE_TOP) {
        error_setg(errp, "sync=%s is not supported", MirrorSyncMode_str(arg->sync));
        return false;
    }
    if (arg->bitmap || arg->has_bitmap_mode) {
        error_setg(errp, "'%s' is not supported", arg->bitmap ? "bitmap" : "bitmap-mode");
        return false;
    }
    if (arg->has_speed && arg->speed < 0) {
        error_setg(errp, "Parameter 'speed' expects a non-negative value");
        return false;
    }
    return !arg->x_perf || backup_check_perf(arg->x_perf, errp);
}

static BlockDriverState *backup_find_node(const char *name, Error **errp)
{
    BlockDriverState *bs = bdrv_find_node(name);

    if (!bs) {
        error_setg(errp, "Cannot find device='%s' nor node-name='%s'", name, name);
    }
    return bs;
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

static BlockDriverState *coroutine_fn backup_open_filter(const BlockdevBackup *arg, BlockDriverState *source,
                                                         BlockDriverState *target, Error **errp)
{
    BlockdevRef file = { .type = QTYPE_QSTRING, .u.reference = source->node_name };
    BlockdevRef target_ref = { .type = QTYPE_QSTRING, .u.reference = target->node_name };
    const BlockdevOptions options = {
        .driver = BLOCKDEV_DRIVER_COPY_BEFORE_WRITE, .node_name = arg->filter_node_name,
        .has_read_only = true, .read_only = bdrv_is_read_only(source),
        .has_discard = true, .discard = BLOCKDEV_DISCARD_OPTIONS_UNMAP,
        .u.copy_before_write = {
            .file = &file, .target = &target_ref,
            .has_on_cbw_error = arg->has_on_cbw_error, .on_cbw_error = arg->on_cbw_error,
            .has_min_cluster_size = arg->x_perf && arg->x_perf->has_min_cluster_size,
            .min_cluster_size = arg->x_perf ? arg->x_perf->min_cluster_size : 0,
        },
    };

    return bdrv_co_open_blockdev(&options, 0, errp);
}

static bool backup_set_copy_options(BackupJob *s, const BlockdevBackup *arg, Error **errp)
{
    const BackupPerf *perf = arg->x_perf;
    int64_t workers = perf && perf->has_max_workers ? perf->max_workers : DEFAULT_WORKERS;
    int64_t chunk = perf && perf->has_max_chunk ? perf->max_chunk : 0;
    int64_t cluster = bdrv_cbw_get_cluster_bytes(s->filter);

    if (chunk && chunk < cluster) {
        error_setg(errp, "Required max-chunk (%" PRId64 ") is less than backup cluster size (%" PRId64 ")", chunk,
                   cluster);
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

static bool coroutine_fn backup_insert_filter(BackupJob *s, const BlockdevBackup *arg, BlockDriverState *target,
                                              Error **errp)
{
    Job *job = &s->common;

    s->source = backup_new_user(job, s->source_bs, errp);
    if (!s->source) {
        return false;
    }
    s->filter = backup_open_filter(arg, s->source_bs, target, errp);
    if (!s->filter || !backup_set_copy_options(s, arg, errp)) {
        return false;
    }
    s->inserted = bdrv_co_replace_node(s->source_bs, s->filter, errp);
    /* Not earlier: a filter in use does not let others write to the source. */
    s->filter_user = s->inserted ? backup_new_user(job, s->filter, errp) : NULL;
    return s->filter_user;
}

Job *coroutine_fn backup_job_create(const BlockdevBackup *arg, Error **errp)
{
    bool finalize = !arg->has_auto_finalize || arg->auto_finalize;
    bool dismiss = !arg->has_auto_dismiss || arg->auto_dismiss;

    if (!backup_check_arg(arg, errp)) {
        return NULL;
    }
    BlockDriverState *source = backup_find_node(arg->device, errp);
    BlockDriverState *target = source ? backup_find_node(arg->target, errp) : NULL;
    if (!target || !backup_check_nodes(source, target, errp)) {
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
    if (!backup_insert_filter(s, arg, target, errp)) {
        job_discard(&s->common);
        return NULL;
    }
    return &s->common;
}
