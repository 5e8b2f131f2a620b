/*
 * Job: the state machine and the commands that drive it
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "block/jobs/job_int.h"
#include "util/id.h"

/* How far the work may run ahead of the speed limit before it has to wait. */
#define THROTTLE_AHEAD_NS (100 * SCALE_MS)

static GPtrArray *jobs;     /* all but internal ones, in order of creation */
static void (*status_hook)(Job *job, JobStatus before);

void job_set_status_hook(void (*hook)(Job *job, JobStatus before))
{
    status_hook = hook;
}

void job_set_status(Job *job, JobStatus status)
{
    JobStatus before = job->status;

    job->status = status;
    if (status_hook && !(job->flags & (JOB_INTERNAL | JOB_QUIET))) {
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

    GLOBAL_STATE_CODE();
    Job *job = g_malloc0(driver->instance_size);
    job->driver = driver;
    job->id = g_strdup(id);
    job->flags = flags;
    job->refcnt = 1;
    job->status = JOB_STATUS_UNDEFINED;
    g_queue_init(&job->sleepers);
    qemu_co_queue_init(&job->resumed);
    qemu_co_queue_init(&job->status_changed);
    if (!(flags & JOB_INTERNAL)) {
        if (!jobs) {
            jobs = g_ptr_array_new();
        }
        g_ptr_array_add(jobs, job);
    }
    JobTxn *txn = job_txn_new();
    job_txn_add_job(txn, job);
    job_txn_unref(txn);
    job_set_status(job, JOB_STATUS_CREATED);
    return job;
}

Job *job_ref(Job *job)
{
    job->refcnt++;
    return job;
}

void job_unref(Job *job)
{
    if (!job || --job->refcnt > 0) {
        return;
    }
    if (job->driver->free) {
        job->driver->free(job);
    }
    error_free(job->err);
    error_free(job->cancel_reason);
    qapi_free(&qapi_type_strList, job->warnings);
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

bool job_cancel_requested(const Job *job)
{
    return job && job->cancel_requested;
}

/* Take @job from the list and drop the list's reference. */
static void job_forget(Job *job)
{
    job_set_status(job, JOB_STATUS_NULL);
    if (jobs) {
        g_ptr_array_remove(jobs, job);
        if (jobs->len == 0) {
            g_clear_pointer(&jobs, g_ptr_array_unref);
        }
    }
    job_unref(job);
}

void job_conclude(Job *job)
{
    job_set_status(job, JOB_STATUS_CONCLUDED);
    if (!(job->flags & JOB_MANUAL_DISMISS)) {
        job_forget(job);
    }
}

/* Whether anything is left to do or undo after run(). If not, the effect of run() remains even after a late cancel. */
static bool takes_effect_after_run(const JobDriver *drv)
{
    return drv->prepare || drv->commit || drv->abort;
}

static void coroutine_fn job_entry(void *opaque)
{
    Job *job = opaque;

    job_set_status(job, JOB_STATUS_RUNNING);
    job->workers = 1;
    job->co = qemu_coroutine_self();
    bool ok = job_pause_point(job, &job->err) && job->driver->run(job, &job->err);
    assert(ok == !job->err);
    job->co = NULL;
    assert(job->workers == 1);
    job->workers = 0;
    job->user_paused = false;
    if (ok && takes_effect_after_run(job->driver)) {
        job_may_go_on(job, &job->err);
    }
    if (ok && job->progress_total == 0) {
        job->progress_current = job->progress_total = 1;
    }
    job_txn_work_ended(job);
}

void job_start(Job *job)
{
    GLOBAL_STATE_CODE();
    assert(job->status == JOB_STATUS_CREATED);
    job->started = true;
    aio_bh_schedule_oneshot(qemu_get_current_aio_context(), (AioHandler *)qemu_coroutine_enter,
                            qemu_coroutine_create(job_entry, job));
}

void coroutine_fn job_discard(Job *job)
{
    assert(job->status == JOB_STATUS_CREATED);
    if (job->driver->clean) {
        job->driver->clean(job);
    }
    job_txn_remove_job(job->txn, job);
    job_forget(job);
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

/* The commands that a job accepts in each state. */
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

static bool job_apply_verb(Job *job, JobVerbBit verb, const char *verb_name, Error **errp)
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

    /* The outcome is already decided, even if the job is not concluded yet. */
    bool late = job->txn && (job_txn_is_decided(job->txn) || (verb == VERB_FINALIZE && job_txn_is_ending(job->txn)));

    GLOBAL_STATE_CODE();
    if (allowed[job->status] & verb && !late) {
        return true;
    }
    error_setg(errp, "Job '%s' in state '%s' cannot accept command verb '%s'", job->id,
               JobStatus_str(late ? JOB_STATUS_CONCLUDED : job->status), verb_name);
    return false;
}

static bool job_is_pausing(const Job *job)
{
    return job->user_paused && !job->cancelled;
}

static bool job_is_paused(const Job *job)
{
    return job->status == JOB_STATUS_PAUSED || job->status == JOB_STATUS_STANDBY;
}

/* The job is paused once all its workers are at a pause point. */
static void job_enter_pause(Job *job)
{
    if (job_is_pausing(job) && !job_is_paused(job) && job->workers && job->paused_workers == job->workers) {
        job->status_before_pause = job->status;
        job_set_status(job, job->status == JOB_STATUS_READY ? JOB_STATUS_STANDBY : JOB_STATUS_PAUSED);
    }
}

static void job_leave_pause(Job *job)
{
    job->user_paused = false;
    job->iostatus = BLOCK_DEVICE_IO_STATUS_OK;
    if (job_is_paused(job)) {
        job_set_status(job, job->status_before_pause);
    }
    qemu_co_queue_restart_all(&job->resumed);
}

bool job_user_pause(Job *job, Error **errp)
{
    if (!job_apply_verb(job, VERB_PAUSE, "pause", errp)) {
        return false;
    }
    if (job->user_paused) {
        error_setg(errp, "Job '%s' is already paused", job->id);
        return false;
    }
    job->user_paused = true;
    job_wake(job);
    return true;
}

bool job_user_resume(Job *job, Error **errp)
{
    if (!job_apply_verb(job, VERB_RESUME, "resume", errp)) {
        return false;
    }
    if (!job->user_paused) {
        error_setg(errp, "Can't resume job '%s', which was not paused", job->id);
        return false;
    }
    job_leave_pause(job);
    return true;
}

void job_cancel_work(Job *job, bool force)
{
    bool ready = job->status == JOB_STATUS_READY || job->status == JOB_STATUS_STANDBY;

    force |= !ready || !job->driver->cancel;
    /* First: requests that the driver ends may resume their coroutines at once. */
    job->cancelled |= force;
    if (job->driver->cancel && job->driver->cancel(job, force)) {
        force = true;
    }
    job->cancel_requested = true;
    job->cancelled |= force;
    if (force && job->co) {
        qemu_co_cancel(job->co);
    }
    job_leave_pause(job);
    job_wake(job);
}

bool job_user_cancel(Job *job, bool force, Error **errp)
{
    if (!job_apply_verb(job, VERB_CANCEL, "cancel", errp)) {
        return false;
    }
    if (job->run_ended) {
        job_txn_cancel(job->txn);
    } else {
        job_cancel_work(job, force);
    }
    return true;
}

void job_fail(Job *job, Error *err)
{
    assert(!job->run_ended);
    if (job->cancelled) {
        error_free(err);
        return;
    }
    job->cancel_reason = err;
    job_cancel_work(job, true);
}

bool job_complete(Job *job, Error **errp)
{
    if (!job_apply_verb(job, VERB_COMPLETE, "complete", errp)) {
        return false;
    }
    if (job->cancel_requested || !job->driver->complete) {
        error_setg(errp, "The active block job '%s' cannot be completed", job->id);
        return false;
    }
    return job->driver->complete(job, errp);
}

bool coroutine_fn job_finalize(Job *job, Error **errp)
{
    if (!job_apply_verb(job, VERB_FINALIZE, "finalize", errp)) {
        return false;
    }
    job_txn_finalize(job->txn);
    return true;
}

bool job_dismiss(Job *job, Error **errp)
{
    if (!job_apply_verb(job, VERB_DISMISS, "dismiss", errp)) {
        return false;
    }
    job_forget(job);
    return true;
}

bool job_set_speed(Job *job, int64_t speed, Error **errp)
{
    if (!job_apply_verb(job, VERB_SET_SPEED, "set-speed", errp)) {
        return false;
    }
    if (speed < 0) {
        error_setg(errp, "Parameter 'speed' expects a non-negative value");
        return false;
    }
    job->speed = speed;
    job->paid_until_ns = 0;
    job_wake(job);
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
    info->warnings = job->warnings ? QAPI_CLONE(strList, job->warnings) : NULL;
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

void job_progress_add_remaining(Job *job, uint64_t more)
{
    if (job) {
        job->progress_total += more;
    }
}

void job_warn(Job *job, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    g_autofree char *text = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    if (job) {
        QAPI_LIST_APPEND(job->warnings, g_steal_pointer(&text));
    } else {
        warn_report("%s", text);
    }
}

void job_set_activity(Job *job, const char *what, int64_t ns)
{
    if (job) {
        job->activity = what;
        job->activity_end_ns = ns ? qemu_clock_get_ns() + ns : 0;
    }
}

void job_transition_to_ready(Job *job)
{
    assert(job->status == JOB_STATUS_RUNNING);
    job_set_status(job, JOB_STATUS_READY);
}

void job_worker_begin(Job *job)
{
    if (job) {
        job->workers++;
    }
}

void job_worker_end(Job *job)
{
    if (job) {
        job->workers--;
        job_enter_pause(job);
    }
}

bool job_may_go_on(const Job *job, Error **errp)
{
    if (!job || !job->cancelled) {
        return true;
    }
    if (job->cancel_reason) {
        error_propagate(errp, error_copy(job->cancel_reason));
    } else {
        error_setg(errp, JOB_CANCELLED_MESSAGE);
    }
    return false;
}

bool coroutine_fn job_pause_point(Job *job, Error **errp)
{
    if (!job) {
        return true;
    }
    if (job_is_pausing(job)) {
        job->paused_workers++;
        while (job_is_pausing(job)) {
            job_enter_pause(job);
            qemu_co_queue_wait(&job->resumed, NULL);
        }
        job->paused_workers--;
    }
    return job_may_go_on(job, errp);
}

void job_wake(Job *job)
{
    for (GList *link = job->sleepers.head; link; link = link->next) {
        qemu_co_sleep_wake(link->data);
    }
}

void coroutine_fn job_sleep_ns(Job *job, int64_t ns)
{
    CoSleep sleep = { NULL };
    GList link = { .data = &sleep };

    if (job && (job->cancelled || job_is_pausing(job))) {
        return;
    }
    if (job) {
        g_queue_push_tail_link(&job->sleepers, &link);
    }
    co_sleep_ns_wakeable(&sleep, ns, NULL);
    if (job) {
        g_queue_unlink(&job->sleepers, &link);
    }
}

bool coroutine_fn job_co_mutex_lock(Job *job, CoMutex *mutex, Error **errp)
{
    CoSleep sleep = { NULL };
    GList link = { .data = &sleep };
    bool locked = false;

    if (!job) {
        qemu_co_mutex_lock(mutex);
        return true;
    }
    while (!locked && job_pause_point(job, errp)) {
        g_queue_push_tail_link(&job->sleepers, &link);
        locked = qemu_co_mutex_lock_wakeable(mutex, &sleep);
        g_queue_unlink(&job->sleepers, &link);
    }
    return locked;
}

void coroutine_fn job_throttle(Job *job, uint64_t bytes)
{
    if (!job || !job->speed) {
        return;
    }
    int64_t now = qemu_clock_get_ns();
    double ns = MAX(job->paid_until_ns - now, 0) + (double)bytes / job->speed * NANOSECONDS_PER_SECOND;
    int64_t ahead = MIN(ns, INT64_MAX / 4);

    job->paid_until_ns = now + ahead;
    if (ahead > THROTTLE_AHEAD_NS) {
        job_sleep_ns(job, ahead);
    }
}

void job_cancel_all(void)
{
    for (Job *job = job_next(NULL); job; job = job_next(job)) {
        job_user_cancel(job, true, NULL);
    }
}

void coroutine_fn job_end_all(void)
{
    Job *job;

    job_cancel_all();
    while ((job = job_next(NULL))) {
        job_ref(job);
        if (job->status == JOB_STATUS_CONCLUDED) {
            job_dismiss(job, NULL);
        } else {
            qemu_co_queue_wait(&job->status_changed, NULL);
        }
        job_unref(job);
    }
}
