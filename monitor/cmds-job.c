/*
 * Commands that control jobs, and the events of jobs
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "block/job.h"
#include "monitor/monitor-int.h"
#include "qapi/qapi-commands.h"
#include "qapi/qapi-events.h"

static Job *job_find(const char *id, Error **errp)
{
    Job *job = job_get(id);

    if (!job) {
        error_setg(errp, "Job not found: no job has the ID '%s'", id);
    }
    return job;
}

/* Define the handler of a command for a job, which @find looks up by the member @id of the argument. */
#define JOB_COMMAND(name, ArgType, find, id, verb)                              \
    bool coroutine_fn qmp_##name(const ArgType *arg, Error **errp)              \
    {                                                                           \
        Job *job = find(arg->id, errp);                                         \
                                                                                \
        return job && verb(job, errp);                                          \
    }

JOB_COMMAND(job_pause, JobPauseArg, job_find, id, job_user_pause)
JOB_COMMAND(job_resume, JobResumeArg, job_find, id, job_user_resume)
JOB_COMMAND(job_complete, JobCompleteArg, job_find, id, job_complete)
JOB_COMMAND(job_finalize, JobFinalizeArg, job_find, id, job_finalize)
JOB_COMMAND(job_dismiss, JobDismissArg, job_find, id, job_dismiss)

bool coroutine_fn qmp_job_cancel(const JobCancelArg *arg, Error **errp)
{
    Job *job = job_find(arg->id, errp);

    return job && job_user_cancel(job, true, errp);
}

JobInfoList *coroutine_fn qmp_query_jobs(Error **errp)
{
    JobInfoList *list = NULL;

    for (Job *job = job_next(NULL); job; job = job_next(job)) {
        QAPI_LIST_APPEND(list, job_query(job));
    }
    return list;
}

/* The older commands and events are only for jobs that copy data. */
static bool job_copies_data(const Job *job)
{
    switch (job->driver->type) {
    case JOB_TYPE_COMMIT:
    case JOB_TYPE_STREAM:
    case JOB_TYPE_MIRROR:
    case JOB_TYPE_BACKUP:
        return true;
    default:
        return false;
    }
}

static Job *block_job_find(const char *id, Error **errp)
{
    Job *job = job_get(id);

    if (!job || !job_copies_data(job)) {
        error_set(errp, ERROR_CLASS_DEVICE_NOT_ACTIVE, "Block job '%s' not found", id);
        return NULL;
    }
    return job;
}

JOB_COMMAND(block_job_pause, BlockJobPauseArg, block_job_find, device, job_user_pause)
JOB_COMMAND(block_job_resume, BlockJobResumeArg, block_job_find, device, job_user_resume)
JOB_COMMAND(block_job_complete, BlockJobCompleteArg, block_job_find, device, job_complete)
JOB_COMMAND(block_job_finalize, BlockJobFinalizeArg, block_job_find, id, job_finalize)
JOB_COMMAND(block_job_dismiss, BlockJobDismissArg, block_job_find, id, job_dismiss)

bool coroutine_fn qmp_block_job_cancel(const BlockJobCancelArg *arg, Error **errp)
{
    Job *job = block_job_find(arg->device, errp);
    bool force = arg->has_force && arg->force;

    if (!job) {
        return false;
    }
    if (job->user_paused && !force) {
        error_setg(errp, "The block job '%s' is paused: resume it before it is cancelled, or use force", job->id);
        return false;
    }
    return job_user_cancel(job, force, errp);
}

bool coroutine_fn qmp_block_job_set_speed(const BlockJobSetSpeedArg *arg, Error **errp)
{
    Job *job = block_job_find(arg->device, errp);

    return job && job_set_speed(job, arg->speed, errp);
}

static BlockJobInfo *block_job_info(const Job *job)
{
    BlockJobInfo *info = g_new0(BlockJobInfo, 1);

    info->type = job->driver->type;
    info->device = g_strdup(job->id);
    info->len = job->progress_total;
    info->offset = job->progress_current;
    info->busy = job->status == JOB_STATUS_RUNNING;
    info->paused = job->user_paused;
    info->speed = job->speed;
    info->ready = job->status == JOB_STATUS_READY || job->status == JOB_STATUS_STANDBY;
    info->status = job->status;
    info->io_status = job->iostatus;
    info->auto_finalize = !(job->flags & JOB_MANUAL_FINALIZE);
    info->auto_dismiss = !(job->flags & JOB_MANUAL_DISMISS);
    info->error = job->err ? g_strdup(error_get_pretty(job->err)) : NULL;
    if (job->driver->query_block_job) {
        job->driver->query_block_job(job, info);
    }
    return info;
}

BlockJobInfoList *coroutine_fn qmp_query_block_jobs(Error **errp)
{
    BlockJobInfoList *list = NULL;

    for (Job *job = job_next(NULL); job; job = job_next(job)) {
        if (job_copies_data(job)) {
            QAPI_LIST_APPEND(list, block_job_info(job));
        }
    }
    return list;
}

/* Send the older event, if any, for the status that @job has reached from @before. */
static void block_job_send_event(Job *job, JobStatus before)
{
    BlockJobCompletion report = {
        .type = job->driver->type, .device = job->id, .len = job->progress_total, .offset = job->progress_current,
        .speed = job->speed,
    };

    /* The job was undone with a transaction. */
    if (!job->started) {
        return;
    }
    switch (job->status) {
    case JOB_STATUS_READY:
        if (before != JOB_STATUS_STANDBY) {
            qapi_event_send_block_job_ready(qapi_BlockJobCompletion_base(&report));
        }
        break;
    case JOB_STATUS_PENDING:
        if (job->flags & JOB_MANUAL_FINALIZE) {
            qapi_event_send_block_job_pending(&(BlockJobPendingArg){ .type = report.type, .id = job->id });
        }
        break;
    case JOB_STATUS_CONCLUDED:
        if (job->err && job->cancelled && !job->cancel_reason) {
            qapi_event_send_block_job_cancelled(qapi_BlockJobCompletion_base(&report));
        } else {
            report.error = job->err ? (char *)error_get_pretty(job->err) : NULL;
            qapi_event_send_block_job_completed(&report);
        }
        break;
    default:
        break;
    }
}

/* In QEMU's order: clients learn how a job ended before they see that it is concluded. */
static void job_status_changed(Job *job, JobStatus before)
{
    bool concluded = job->status == JOB_STATUS_CONCLUDED;

    if (job_copies_data(job) && concluded) {
        block_job_send_event(job, before);
    }
    qapi_event_send_job_status_change(&(JobStatusChangeArg){ .id = job->id, .status = job->status });
    if (job_copies_data(job) && !concluded) {
        block_job_send_event(job, before);
    }
}

void monitor_watch_jobs(void)
{
    job_set_status_hook(job_status_changed);
}
