/*
 * Job: a long operation with progress, pause, speed, cancel and a result that waits to be read
 *
 *     created -> running <-> paused              job_start(), job_user_pause()
 *                running -> ready <-> standby    a mirror that has caught up; job_complete() ends it
 *                running or ready -> waiting -> pending -> concluded -> null
 *                any of them -> aborting -> concluded -> null
 *
 * States, their names and the events are QEMU's. A job that has done its work waits for the others of its transaction,
 * then (JOB_MANUAL_FINALIZE) pending for job_finalize(). Then all of them prepare; if none fails all commit, else all
 * abort. Each cleans up and is concluded: it has let go of its nodes, and keeps its result until it is dismissed
 * (JOB_MANUAL_DISMISS: by job_dismiss()).
 *
 * A driver has a structure that begins with a Job, and functions for the stages. Here one coroutine does the work:
 *
 *     static bool coroutine_fn copy_run(Job *job, Error **errp)
 *     {
 *         CopyJob *s = container_of(job, CopyJob, common);
 *
 *         job_progress_set_remaining(job, s->bytes);
 *         while (next_piece(s, &piece)) {
 *             if (!job_pause_point(job, errp)) {
 *                 return false;                           // cancelled
 *             }
 *             int ret = copy_piece(s, &piece);
 *             if (ret < 0) {
 *                 switch (job_error_action(job, s->on_error, false, ret)) {
 *                 case BLOCK_ERROR_ACTION_STOP:
 *                     put_back(s, &piece);                // and wait in the pause point
 *                     continue;
 *                 case BLOCK_ERROR_ACTION_IGNORE:
 *                     break;
 *                 default:
 *                     error_setg_errno(errp, -ret, "Could not copy ...");
 *                     return false;
 *                 }
 *             }
 *             job_progress_update(job, piece.bytes);
 *             job_throttle(job, piece.bytes);
 *         }
 *         return true;
 *     }
 *
 * What changes the graph comes afterwards, so that jobs of one transaction do it together or not at all:
 *
 *     static bool coroutine_fn copy_prepare(Job *job, Error **errp)
 *     {
 *         return check_replace(..., errp);                // what may still fail
 *     }
 *     static void coroutine_fn copy_commit(Job *job)
 *     {
 *         replace_node(...);                              // what may not
 *     }
 *     static void coroutine_fn copy_abort(Job *job)
 *     {
 *         forget_target(...);                             // whether or not it was prepared, or even begun
 *     }
 *     static void coroutine_fn copy_clean(Job *job)
 *     {
 *         CopyJob *s = container_of(job, CopyJob, common);
 *
 *         blk_co_unref(s->source);
 *     }
 *     static const JobDriver copy_driver = {
 *         .instance_size = sizeof(CopyJob), .type = JOB_TYPE_BACKUP, .run = copy_run, .prepare = copy_prepare,
 *         .commit = copy_commit, .abort = copy_abort, .clean = copy_clean,
 *     };
 *     ...
 *     CopyJob *s = job_create("j0", &copy_driver, JOB_DEFAULT, errp);
 *     s->source = blk;
 *     job_start(&s->common);
 *
 * Where several coroutines share the work, each is a worker and has pause points of its own. The job is paused once all
 * of them have come to one; resuming it wakes all of them, and so does a cancel. run() does not count while it waits:
 *
 *     static void coroutine_fn copy_worker(void *opaque)
 *     {
 *         CopyJob *s = opaque;
 *
 *         job_worker_begin(&s->common);
 *         while (job_pause_point(&s->common, NULL) && ...) {
 *             ...
 *         }
 *         job_worker_end(&s->common);
 *         if (--s->running == 0) {
 *             qemu_co_queue_restart_all(&s->finished);
 *         }
 *     }
 *     ...                                                 // in run()
 *     for (s->running = 0; s->running < WORKERS; s->running++) {
 *         aio_co_start(qemu_get_aio_context(), copy_worker, s);
 *     }
 *     job_worker_end(job);
 *     while (s->running) {
 *         qemu_co_queue_wait(&s->finished, NULL);
 *     }
 *     job_worker_begin(job);
 *     return job_pause_point(job, errp);                  // which says whether it was cancelled
 *
 * A cancel by force makes the job fail, wherever it is, unless committing has begun. But where a driver has nothing to
 * prepare, commit or abort, run() has done it all: if that did not notice the cancel in time, the job succeeds.
 *
 * Jobs, and the coroutines that work for them, live on the main loop.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef BLOCK_JOB_H
#define BLOCK_JOB_H

#include "util/aio.h"
#include "util/error.h"
#include "util/transaction.h"
#include "qapi/qapi-types.h"

typedef struct Job Job;
typedef struct JobTxn JobTxn;

typedef struct JobDriver {
    size_t instance_size;       /* of a structure that begins with a Job */
    JobType type;
    /*
     * The work. False with @errp: it failed, or was cancelled. A cancel by force ends what can be cancelled of this
     * coroutine (qemu_co_cancel()), such as waiting for a server to answer a connection.
     */
    bool coroutine_fn (*run)(Job *job, Error **errp);
    /*
     * After the work of all jobs of the transaction: prepare may fail, with @errp; then commit follows, or abort where
     * a job of the transaction failed or was cancelled, even if this one was never prepared; then clean, which lets go
     * of nodes. All are optional, and may wait.
     */
    bool coroutine_fn (*prepare)(Job *job, Error **errp);
    void coroutine_fn (*commit)(Job *job);
    void coroutine_fn (*abort)(Job *job);
    void coroutine_fn (*clean)(Job *job);
    /* Leave the ready state: let run() come to its end. Optional: there is none. */
    bool (*complete)(Job *job, Error **errp);
    /*
     * The job is cancelled: end whatever run() or prepare() waits for, such as a server that does not answer, and
     * return true. Without @force, which happens in the ready state only, the driver may return false instead: this is
     * no failure then, and run() ends in order once it sees job_cancel_requested(). The copy stays as it is, and nobody
     * changes over to it. Optional: every cancel is by force.
     */
    bool (*cancel)(Job *job, bool force);
    /* Add what only this kind of job has to tell. Optional. */
    void (*query)(const Job *job, JobInfo *info);
    /* The same for query-block-jobs. Optional. */
    void (*query_block_job)(const Job *job, BlockJobInfo *info);
    /* Free what the instance owns, when the job is dismissed. Optional. */
    void (*free)(Job *job);
} JobDriver;

typedef enum JobCreateFlags {
    JOB_DEFAULT         = 0,
    JOB_MANUAL_FINALIZE = 1 << 0,
    JOB_MANUAL_DISMISS  = 1 << 1,
    JOB_INTERNAL        = 1 << 2,   /* a program's own: not listed, no events, no id */
} JobCreateFlags;

struct Job {
    const JobDriver *driver;
    char *id;
    JobCreateFlags flags;
    JobStatus status;
    JobStatus status_before_pause;
    int refcnt;
    JobTxn *txn;                /* never NULL before the job is concluded */
    uint64_t progress_current;
    uint64_t progress_total;
    int64_t speed;              /* bytes per second; 0: no limit */
    bool started;
    bool user_paused;
    bool cancel_requested;      /* with or without force */
    bool cancelled;             /* with force */
    bool run_ended;
    BlockDeviceIoStatus iostatus;   /* why it has paused itself */
    Error *err;                 /* why it failed */
    Coroutine *co;              /* during run() */
    unsigned workers;           /* coroutines at work, run() among them */
    unsigned paused_workers;    /* how many of them are at a pause point */
    GQueue sleepers;            /* of CoSleep: what a pause, a cancel or a change of speed ends */
    CoQueue resumed;            /* workers wait here while paused */
    CoQueue status_changed;     /* others wait here */
    int64_t paid_until_ns;      /* when the speed limit allows for what has been copied */
};

/* Called on every change of status, from @before, of a job that is not internal. */
void job_set_status_hook(void (*hook)(Job *job, JobStatus before));

/* A new job in state created, or NULL with @errp (id malformed, or in use). */
void *job_create(const char *id, const JobDriver *driver, JobCreateFlags flags, Error **errp);
void job_start(Job *job);
/* Instead of job_start(): forget a job that was created for nothing. */
void coroutine_fn job_discard(Job *job);

/* Start @job, wait until it has concluded, and tell how it went; lets go of the caller's reference. */
bool coroutine_fn job_run_co(Job *job, Error **errp);

Job *job_get(const char *id);           /* NULL where there is none */
Job *job_next(Job *job);                /* iterate; NULL: the first */
Job *job_ref(Job *job);
void job_unref(Job *job);
/* Cancelled by force. */
bool job_is_cancelled(const Job *job);
/* Cancelled, with or without force. */
bool job_cancel_requested(const Job *job);

/*
 * Transactions of jobs: as soon as one fails or is cancelled, so are the others. A job is alone in one of its own until
 * it joins another, which it may between job_create() and job_start().
 *
 *     JobTxn *txn = job_txn_new();
 *     job_txn_add_job(txn, a);
 *     job_txn_add_job(txn, b);
 *     job_txn_unref(txn);         // the jobs hold it
 *     job_start(a);
 *     job_start(b);
 */
JobTxn *job_txn_new(void);
void job_txn_add_job(JobTxn *txn, Job *job);
void job_txn_unref(JobTxn *txn);

/*
 * Start @job when @tran commits. When that aborts instead, @job is aborted, cleaned up and forgotten, so the caller of
 * tran_finalize() is a coroutine.
 */
void job_start_tran(Job *job, Transaction *tran);

/* The verbs of QMP: false with @errp where the job's state does not allow them. */
bool job_user_pause(Job *job, Error **errp);
bool job_user_resume(Job *job, Error **errp);
bool job_user_cancel(Job *job, bool force, Error **errp);
bool job_complete(Job *job, Error **errp);
/* Returns after the jobs of the transaction have been concluded, well or not. */
bool coroutine_fn job_finalize(Job *job, Error **errp);
bool job_dismiss(Job *job, Error **errp);
bool job_set_speed(Job *job, int64_t speed, Error **errp);
JobInfo *job_query(const Job *job);

/* For the end of a program: cancel all jobs by force; the same, and wait until they have ended, and forget them. */
void job_cancel_all(void);
void coroutine_fn job_end_all(void);

/* For the code that does the work. A NULL job is allowed: nobody watches, nothing pauses. */
void job_progress_update(Job *job, uint64_t done);              /* so many more units are done */
void job_progress_set_remaining(Job *job, uint64_t remaining);  /* total = current + remaining */
void job_progress_add_remaining(Job *job, uint64_t more);       /* so many more units lie ahead */
/* From here on the job waits for job_complete(). */
void job_transition_to_ready(Job *job);

/* From here on a pause waits for the calling coroutine, or no longer does. It waits for run() from the start. */
void job_worker_begin(Job *job);
void job_worker_end(Job *job);

/* Waits while the job is paused; false with @errp once it is cancelled. */
bool coroutine_fn job_pause_point(Job *job, Error **errp);
/* The same without waiting, for work during which nodes are drained. */
bool job_may_go_on(const Job *job, Error **errp);
/* Sleep, unless a pause point is due: a pause, a cancel, a change of speed and job_wake() end the sleep. */
void coroutine_fn job_sleep_ns(Job *job, int64_t ns);
/* End the sleeps of all workers. */
void job_wake(Job *job);
/* Lock @mutex; false with @errp, and without the lock, once the job is cancelled. */
bool coroutine_fn job_co_mutex_lock(Job *job, CoMutex *mutex, Error **errp);
/* Waits as the speed limit asks for, @bytes having been copied; workers share the limit. */
void coroutine_fn job_throttle(Job *job, uint64_t bytes);

/*
 * A request of the job failed with @ret (-errno): tell clients (BLOCK_JOB_ERROR), and return what the policy says.
 * Report: the caller ends the job with an error. Ignore: it passes over the request. Stop: the job pauses, and the
 * caller comes to a pause point, then tries again.
 */
BlockErrorAction job_error_action(Job *job, BlockdevOnError on_error, bool is_read, int ret);

#endif
