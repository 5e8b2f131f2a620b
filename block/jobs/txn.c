/*
 * Job transactions: from the end of the work to the conclusion
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "block/jobs/job_int.h"

struct JobTxn {
    int refcnt;
    GPtrArray *jobs;    /* of Job; each holds a reference to the transaction */
    unsigned working;   /* jobs whose work has not ended */
    CoQueue ended;      /* job_finalize() waits here until all are concluded */
    bool failed;        /* all jobs abort */
    bool ending;        /* prepare, or a later stage, has begun */
    bool decided;       /* commit or abort has begun */
};

JobTxn *job_txn_new(void)
{
    JobTxn *txn = g_new0(JobTxn, 1);

    txn->refcnt = 1;
    txn->jobs = g_ptr_array_new();
    qemu_co_queue_init(&txn->ended);
    return txn;
}

static JobTxn *job_txn_ref(JobTxn *txn)
{
    txn->refcnt++;
    return txn;
}

void job_txn_unref(JobTxn *txn)
{
    if (txn && --txn->refcnt == 0) {
        assert(txn->jobs->len == 0);
        g_ptr_array_unref(txn->jobs);
        g_free(txn);
    }
}

void job_txn_add_job(JobTxn *txn, Job *job)
{
    GLOBAL_STATE_CODE();
    assert(job->status == JOB_STATUS_CREATED || job->status == JOB_STATUS_UNDEFINED);
    job_txn_ref(txn);
    if (job->txn) {
        job_txn_remove_job(job->txn, job);
    }
    job->txn = txn;
    g_ptr_array_add(txn->jobs, job);
    txn->working++;
}

void job_txn_remove_job(JobTxn *txn, Job *job)
{
    g_ptr_array_remove(txn->jobs, job);
    txn->working -= !job->run_ended;
    job->txn = NULL;
    job_txn_unref(txn);
}

bool job_txn_is_ending(const JobTxn *txn)
{
    return txn->ending;
}

bool job_txn_is_decided(const JobTxn *txn)
{
    return txn->decided;
}

/* Make all jobs abort: @cause because it failed, the others because they are cancelled. NULL: all are cancelled. */
static void txn_fail(JobTxn *txn, Job *cause)
{
    if (txn->failed) {
        return;
    }
    txn->failed = true;
    for (guint i = 0; i < txn->jobs->len; i++) {
        Job *job = g_ptr_array_index(txn->jobs, i);

        if (job != cause) {
            job_cancel_work(job, true);
        }
    }
}

/* False if a job failed, or was cancelled meanwhile. */
static bool coroutine_fn txn_prepare(JobTxn *txn, GPtrArray *jobs)
{
    for (guint i = 0; !txn->failed && i < jobs->len; i++) {
        Job *job = g_ptr_array_index(jobs, i);

        if (job->driver->prepare && !job->driver->prepare(job, &job->err)) {
            txn_fail(txn, job);
        }
    }
    return !txn->failed;
}

static void coroutine_fn job_end(Job *job, bool ok)
{
    const JobDriver *drv = job->driver;

    if (ok) {
        if (drv->commit) {
            drv->commit(job);
        }
    } else {
        if (!job->err) {
            error_setg(&job->err, JOB_CANCELLED_MESSAGE);
        }
        if (job->status != JOB_STATUS_ABORTING) {
            job_set_status(job, JOB_STATUS_ABORTING);
        }
        if (drv->abort) {
            drv->abort(job);
        }
    }
    if (drv->clean) {
        drv->clean(job);
    }
    job_txn_remove_job(job->txn, job);
    job_conclude(job);
}

static void coroutine_fn txn_end_entry(void *opaque)
{
    JobTxn *txn = opaque;
    g_autoptr(GPtrArray) jobs = g_ptr_array_copy(txn->jobs, NULL, NULL);

    for (guint i = 0; i < jobs->len; i++) {
        job_ref(g_ptr_array_index(jobs, i));
    }
    bool ok = txn_prepare(txn, jobs);
    txn->decided = true;
    for (guint i = 0; i < jobs->len; i++) {
        job_end(g_ptr_array_index(jobs, i), ok);
    }
    g_ptr_array_foreach(jobs, (GFunc)(void (*)(void))job_unref, NULL);
    qemu_co_queue_restart_all(&txn->ended);
    job_txn_unref(txn);
}

/*
 * All jobs have done their work: prepare them, then commit or abort them. This takes a new coroutine, since those of
 * run() and of commands can be cancelled (qemu_co_cancel()), which would make any wait of these stages give up.
 */
static void txn_end(JobTxn *txn)
{
    txn->ending = true;
    aio_co_start(qemu_get_aio_context(), txn_end_entry, job_txn_ref(txn));
}

void job_txn_work_ended(Job *job)
{
    JobTxn *txn = job->txn;
    bool manual = false;

    job->run_ended = true;
    txn->working--;
    if (job->err) {
        job_set_status(job, JOB_STATUS_ABORTING);
        txn_fail(txn, job);
    } else {
        job_set_status(job, JOB_STATUS_WAITING);
    }
    if (txn->working) {
        return;
    }
    for (guint i = 0; !txn->failed && i < txn->jobs->len; i++) {
        Job *other = g_ptr_array_index(txn->jobs, i);

        job_set_status(other, JOB_STATUS_PENDING);
        manual |= other->flags & JOB_MANUAL_FINALIZE;
    }
    if (txn->failed || !manual) {
        txn_end(txn);
    }
}

void job_txn_cancel(JobTxn *txn)
{
    txn_fail(txn, NULL);
    if (!txn->working && !txn->ending) {
        txn->decided = true;
        txn_end(txn);
    }
}

void coroutine_fn job_txn_finalize(JobTxn *txn)
{
    job_txn_ref(txn);
    txn_end(txn);
    qemu_co_queue_wait(&txn->ended, NULL);
    job_txn_unref(txn);
}

static void job_start_commit(void *opaque)
{
    job_start(opaque);
}

static void coroutine_fn job_start_abort(void *opaque)
{
    Job *job = opaque;

    job->flags &= ~JOB_MANUAL_DISMISS;
    job->cancelled = true;
    job_end(job, false);
}

void job_start_tran(Job *job, Transaction *tran)
{
    static const TransactionActionDrv drv = { .commit = job_start_commit, .abort = job_start_abort };

    tran_add(tran, &drv, job);
}
