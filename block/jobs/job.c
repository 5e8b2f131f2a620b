/*
 * Job: the state machine, and the verbs that move it
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "block/job.h"
#include "util/id.h"

/* The speed limit lets this much time's worth of bytes through, then waits for the next such slice. */
#define SLICE_NS (100 * SCALE_MS)
#define CANCELLED_MESSAGE "Operation was cancelled"

static GPtrArray *jobs;     /* all that are not internal; in order of creation */
static void (*status_hook)(Job *job, JobStatus before);

void job_set_status_hook(void (*hook)(Job *job, JobStatus before))
{
    status_hook = hook;
}

static void set_status(Job *job, JobStatus status)
{
    JobStatus before = job->status;

    job->status = status;
    if (status_hook && !(job->flags & JOB_INTERNAL)) {
        status_hook(job, before);
    }
    qemu_co_queue_restart_all(&job->status_changed);
}

void *job_create(const char *id, const JobDriver *driver, JobCreateFlags flags, Error **errp)
{
    if (!(flags & JOB_INTERNAL)) {
        if (!id || !id_wellformed(id)) {
            error_setg(errp, "Invalid job ID '%s'", id ?: "");
            return NULL;
        }
        if (job_get(id)) {
            error_setg(errp, "Job ID '%s' already in use", id);
            return NULL;
        }
    }

    Job *job = g_malloc0(driver->instance_size);
    job->driver = driver;
    job->id = g_strdup(id);
    job->flags = flags;
    job->refcnt = 1;
    job->status = JOB_STATUS_UNDEFINED;
    qemu_co_queue_init(&job->resumed);
    qemu_co_queue_init(&job->status_changed);
    if (!(flags & JOB_INTERNAL)) {
        if (!jobs) {
            jobs = g_ptr_array_new();
        }
        g_ptr_array_add(jobs, job);
    }
    set_status(job, JOB_STATUS_CREATED);
    return job;
}

Job *job_ref(Job *job)
{
    job->refcnt++;
    return job;
}

void coroutine_fn job_unref(Job *job)
{
    if (!job || --job->refcnt > 0) {
        return;
    }
    if (job->driver->free) {
        job->driver->free(job);
    }
    error_free(job->err);
    g_free(job->id);
    g_free(job);
}

Job *job_get(const char *id)
{
    for (guint i = 0; jobs && i < jobs->len; i++) {
        Job *job = g_ptr_array_index(jobs, i);
        if (g_str_equal(job->id, id)) {
            return job;
        }
    }
    return NULL;
}

Job *job_next(Job *job)
{
    guint i = 0;

    if (job && g_ptr_array_find(jobs, job, &i)) {
        i++;
    }
    return jobs && i < jobs->len ? g_ptr_array_index(jobs, i) : NULL;
}

bool job_is_cancelled(const Job *job)
{
    return job && job->cancelled;
}

/* The job is over for good: forget it. */
static void coroutine_fn do_dismiss(Job *job)
{
    set_status(job, JOB_STATUS_NULL);
    if (jobs) {
        g_ptr_array_remove(jobs, job);
        if (jobs->len == 0) {
            g_clear_pointer(&jobs, g_ptr_array_unref);
        }
    }
    job_unref(job);
}

static void coroutine_fn job_entry(void *opaque)
{
    Job *job = opaque;

    set_status(job, JOB_STATUS_RUNNING);
    bool ok = job_pause_point(job, &job->err) && job->driver->run(job, &job->err);
    assert(ok == !job->err);
    if (ok) {
        if (job->progress_total == 0) {
            job->progress_current = job->progress_total = 1;
        }
        set_status(job, JOB_STATUS_WAITING);
        set_status(job, JOB_STATUS_PENDING);
        while (job->flags & JOB_MANUAL_FINALIZE && !job->finalized && !job->cancelled) {
            qemu_co_queue_wait(&job->resumed, NULL);
        }
        if (job->flags & JOB_MANUAL_FINALIZE && !job->finalized) {
            error_setg(&job->err, CANCELLED_MESSAGE);
        }
    }
    if (job->err) {
        set_status(job, JOB_STATUS_ABORTING);
    }
    set_status(job, JOB_STATUS_CONCLUDED);
    if (!(job->flags & JOB_MANUAL_DISMISS)) {
        do_dismiss(job);
    }
}

void job_start(Job *job)
{
    assert(job->status == JOB_STATUS_CREATED);
    aio_bh_schedule_oneshot(qemu_get_current_aio_context(), (AioHandler *)qemu_coroutine_enter,
                            qemu_coroutine_create(job_entry, job));
}

bool coroutine_fn job_run_co(Job *job, Error **errp)
{
    job_ref(job);
    job_start(job);
    while (job->status != JOB_STATUS_CONCLUDED && job->status != JOB_STATUS_NULL) {
        qemu_co_queue_wait(&job->status_changed, NULL);
    }
    bool ok = !job->err;
    if (!ok) {
        error_propagate(errp, error_copy(job->err));
    }
    job_unref(job);
    return ok;
}

/* Which verbs a job takes in which state. */
typedef enum JobVerbBit {
    VERB_PAUSE = 1 << 0,
    VERB_RESUME = 1 << 1,
    VERB_CANCEL = 1 << 2,
    VERB_SET_SPEED = 1 << 3,
    VERB_FINALIZE = 1 << 4,
    VERB_DISMISS = 1 << 5,
    VERB_COMPLETE = 1 << 6,
} JobVerbBit;

#define VERBS_ACTIVE (VERB_PAUSE | VERB_RESUME | VERB_CANCEL | VERB_SET_SPEED)

static bool apply_verb(Job *job, JobVerbBit verb, const char *verb_name, Error **errp)
{
    static const unsigned allowed[JOB_STATUS__MAX] = {
        [JOB_STATUS_CREATED] = VERBS_ACTIVE,
        [JOB_STATUS_RUNNING] = VERBS_ACTIVE,
        [JOB_STATUS_PAUSED] = VERBS_ACTIVE,
        [JOB_STATUS_READY] = VERBS_ACTIVE | VERB_COMPLETE,
        [JOB_STATUS_STANDBY] = VERBS_ACTIVE,
        [JOB_STATUS_WAITING] = VERB_CANCEL,
        [JOB_STATUS_PENDING] = VERB_CANCEL | VERB_FINALIZE,
        [JOB_STATUS_CONCLUDED] = VERB_DISMISS,
    };

    /* As good as concluded: its coroutine has yet to go on, and until then nobody may decide otherwise. */
    bool decided = job->status == JOB_STATUS_PENDING && (job->finalized || job->cancelled);

    if (allowed[job->status] & verb && !decided) {
        return true;
    }
    error_setg(errp, "Job '%s' in state '%s' cannot accept command verb '%s'", job->id,
               JobStatus_str(decided ? JOB_STATUS_CONCLUDED : job->status), verb_name);
    return false;
}

bool job_user_pause(Job *job, Error **errp)
{
    if (!apply_verb(job, VERB_PAUSE, "pause", errp)) {
        return false;
    }
    if (job->user_paused) {
        error_setg(errp, "Job '%s' is already paused", job->id);
        return false;
    }
    job->user_paused = true;
    qemu_co_sleep_wake(&job->sleep);
    return true;
}

bool job_user_resume(Job *job, Error **errp)
{
    if (!apply_verb(job, VERB_RESUME, "resume", errp)) {
        return false;
    }
    if (!job->user_paused) {
        error_setg(errp, "Can't resume job '%s', which was not paused", job->id);
        return false;
    }
    job->user_paused = false;
    qemu_co_queue_restart_all(&job->resumed);
    return true;
}

bool job_user_cancel(Job *job, bool force, Error **errp)
{
    if (!apply_verb(job, VERB_CANCEL, "cancel", errp)) {
        return false;
    }
    if (!force && job->status == JOB_STATUS_READY && job->driver->soft_cancel) {
        job->driver->soft_cancel(job);
    } else {
        job->cancelled = true;
    }
    qemu_co_sleep_wake(&job->sleep);
    qemu_co_queue_restart_all(&job->resumed);
    return true;
}

bool job_complete(Job *job, Error **errp)
{
    if (!apply_verb(job, VERB_COMPLETE, "complete", errp)) {
        return false;
    }
    if (!job->driver->complete) {
        error_setg(errp, "The active block job '%s' cannot be completed", job->id);
        return false;
    }
    return job->driver->complete(job, errp);
}

bool job_finalize(Job *job, Error **errp)
{
    if (!apply_verb(job, VERB_FINALIZE, "finalize", errp)) {
        return false;
    }
    job->finalized = true;
    qemu_co_queue_restart_all(&job->resumed);
    return true;
}

bool coroutine_fn job_dismiss(Job *job, Error **errp)
{
    if (!apply_verb(job, VERB_DISMISS, "dismiss", errp)) {
        return false;
    }
    do_dismiss(job);
    return true;
}

bool job_set_speed(Job *job, int64_t speed, Error **errp)
{
    if (!apply_verb(job, VERB_SET_SPEED, "set-speed", errp)) {
        return false;
    }
    if (speed < 0) {
        error_setg(errp, "Parameter 'speed' expects a non-negative value");
        return false;
    }
    job->speed = speed;
    job->slice_bytes = 0;
    qemu_co_sleep_wake(&job->sleep);
    return true;
}

JobInfo *job_query(const Job *job)
{
    JobInfo *info = g_new0(JobInfo, 1);

    info->id = g_strdup(job->id);
    info->type = job->driver->type;
    info->status = job->status;
    info->current_progress = job->progress_current;
    info->total_progress = job->progress_total;
    info->error = job->err ? g_strdup(error_get_pretty(job->err)) : NULL;
    if (job->driver->query) {
        job->driver->query(job, info);
    }
    return info;
}

void job_progress_update(Job *job, uint64_t done)
{
    if (job) {
        job->progress_current += done;
    }
}

void job_progress_set_remaining(Job *job, uint64_t remaining)
{
    if (job) {
        job->progress_total = job->progress_current + remaining;
    }
}

void job_transition_to_ready(Job *job)
{
    assert(job->status == JOB_STATUS_RUNNING);
    set_status(job, JOB_STATUS_READY);
}

bool coroutine_fn job_pause_point(Job *job, Error **errp)
{
    if (!job) {
        return true;
    }
    if (job->user_paused && !job->cancelled) {
        JobStatus before = job->status;

        set_status(job, before == JOB_STATUS_READY ? JOB_STATUS_STANDBY : JOB_STATUS_PAUSED);
        while (job->user_paused && !job->cancelled) {
            qemu_co_queue_wait(&job->resumed, NULL);
        }
        set_status(job, before);
    }
    if (job->cancelled) {
        error_setg(errp, CANCELLED_MESSAGE);
        return false;
    }
    return true;
}

void coroutine_fn job_sleep_ns(Job *job, int64_t ns)
{
    CoSleep unwatched = { NULL };

    co_sleep_ns_wakeable(job ? &job->sleep : &unwatched, ns, NULL);
}

void coroutine_fn job_throttle(Job *job, uint64_t bytes)
{
    if (!job || !job->speed) {
        return;
    }
    uint64_t quota = MAX((double)job->speed * SLICE_NS / NANOSECONDS_PER_SECOND, 1);
    int64_t now = qemu_clock_get_ns();

    if (now >= job->slice_start_ns + SLICE_NS) {
        job->slice_start_ns = now;
        job->slice_bytes = 0;
    }
    job->slice_bytes += bytes;
    if (job->slice_bytes > quota) {
        /* What exceeds the quota is paid for with whole slices. */
        double ns = (double)job->slice_bytes / quota * SLICE_NS;
        int64_t wait = job->slice_start_ns + (int64_t)MIN(ns, INT64_MAX / 4) - now;

        if (wait > 0 && !job->user_paused && !job->cancelled) {
            job_sleep_ns(job, wait);
        }
    }
}

void coroutine_fn job_end_all(void)
{
    Job *job;

    while ((job = job_next(NULL))) {
        job_ref(job);
        if (job->status == JOB_STATUS_CONCLUDED) {
            job_dismiss(job, NULL);
        } else {
            job_user_cancel(job, true, NULL);
            qemu_co_queue_wait(&job->status_changed, NULL);
        }
        job_unref(job);
    }
}
