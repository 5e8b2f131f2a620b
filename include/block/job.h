/*
 * Job: a long operation that has progress and a result, and can be paused, slowed down and cancelled
 *
 *     created -> running <-> paused              job_start(), job_user_pause()
 *                running -> ready <-> standby    a mirror that has caught up; job_complete() ends it
 *                running or ready -> waiting -> pending -> concluded -> null
 *                any of them -> aborting -> concluded -> null
 *
 * The states, their names and the events are QEMU's. Once its work is done, a job waits for the others of its
 * transaction, then (JOB_MANUAL_FINALIZE) is pending until job_finalize(). Then all jobs prepare. If none fails, all of
 * them commit, otherwise all abort. Each job then cleans up and is concluded: it has released its nodes, but keeps its
 * result until it is dismissed (JOB_MANUAL_DISMISS: by job_dismiss()).
 *
 * A driver has a structure that begins with a Job, and a function for each stage. Here one coroutine does the work:
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
 *                     put_back(s, &piece);                // and wait at the pause point
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
 * Changes to the graph come afterwards, so that the jobs of one transaction make them together or not at all:
 *
 *     static bool coroutine_fn copy_prepare(Job *job, Error **errp)
 *     {
 *         return check_replace(..., errp);                // everything that can still fail
 *     }
 *     static void coroutine_fn copy_commit(Job *job)
 *     {
 *         replace_node(...);                              // cannot fail
 *     }
 *     static void coroutine_fn copy_abort(Job *job)
 *     {
 *         forget_target(...);                             // whether or not the job was prepared, or even started
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
 * If several coroutines share the work, each is a worker and has pause points of its own. The job is paused once all of
 * them have reached one. Resuming the job wakes them all, and so does cancelling it. While run() waits for them, it
 * does not count as a worker:
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
 *     return job_pause_point(job, errp);                  // false with @errp if the job was cancelled
 *
 * A forced cancel makes the job fail at any point before it commits. The exception is a driver that has no prepare,
 * commit or abort: run() has then done everything, so the job succeeds if run() did not notice the cancel in time.
 *
 * Jobs and their coroutines run on the main loop.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef BLOCK_JOB_H
#define BLOCK_JOB_H

#include "util/aio.h"
#include "util/error.h"
#include "util/transaction.h"
#include "qapi/qapi-types.h"

typedef struct BlockDriverState BlockDriverState;
typedef struct Job Job;
typedef struct JobTxn JobTxn;

typedef struct JobDriver {
    size_t instance_size;       /* of a structure that begins with a Job */
    JobType type;
    /*
     * Do the work. False with @errp if it failed or was cancelled. A forced cancel also cancels this coroutine
     * (qemu_co_cancel()), which ends waits such as that for a server to accept a connection.
     */
    bool coroutine_fn (*run)(Job *job, Error **errp);
    /*
     * Called when all jobs of the transaction have done their work, in another coroutine than run(). prepare may fail,
     * with @errp. Then comes commit or, if any job of the transaction failed or was cancelled, abort, even if this job
     * was never prepared. Finally, clean releases the nodes. All four are optional, and may wait.
     */
    bool coroutine_fn (*prepare)(Job *job, Error **errp);
    void coroutine_fn (*commit)(Job *job);
    void coroutine_fn (*abort)(Job *job);
    void coroutine_fn (*clean)(Job *job);
    /* Leave the ready state: make run() finish. Optional, for jobs that become ready. */
    bool (*complete)(Job *job, Error **errp);
    /*
     * The job is being cancelled: end whatever run() or prepare() waits for, such as a server that does not answer, and
     * return true. Without @force, which happens only in the ready state, the driver may return false instead: run()
     * then finishes normally once it sees job_cancel_requested(), and the job does not fail. The copy stays as it is,
     * and nothing switches over to it. Optional: without it, every cancel is forced.
     */
    bool (*cancel)(Job *job, bool force);
    /* Add to query-jobs what only this type of job has. Optional. */
    void (*query)(const Job *job, JobInfo *info);
    /* Add to query-block-jobs what only this type of job has. Optional. */
    void (*query_block_job)(const Job *job, BlockJobInfo *info);
    /* Free what the job owns; called when it is dismissed. Optional. */
    void (*free)(Job *job);
} JobDriver;

typedef enum JobCreateFlags {
    JOB_DEFAULT         = 0,
    JOB_MANUAL_FINALIZE = 1 << 0,
    JOB_MANUAL_DISMISS  = 1 << 1,
    JOB_INTERNAL        = 1 << 2,   /* for a program's own use: not listed, no events, no id */
    JOB_QUIET           = 1 << 3,   /* part of a command that waits for it: listed, but no events */
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
    strList *warnings;          /* for people; NULL: none */
    const char *activity;       /* what the job does now, for people; NULL: nothing worth mentioning */
    int64_t activity_end_ns;    /* when that is expected to be over; 0: not known */
    int64_t speed;              /* bytes per second; 0: no limit */
    bool started;
    bool user_paused;
    bool cancel_requested;      /* forced or not */
    bool cancelled;             /* forced */
    bool run_ended;
    BlockDeviceIoStatus iostatus;   /* why the job paused itself */
    Error *err;                 /* why the job failed */
    Error *cancel_reason;       /* of job_fail(); NULL: a user has cancelled it */
    Coroutine *co;              /* runs run(); NULL before and after */
    unsigned workers;           /* coroutines at work, including run() */
    unsigned paused_workers;    /* those that wait at a pause point */
    GQueue sleepers;            /* of CoSleep: ended by a pause, a cancel or a change of speed */
    GPtrArray *nodes;           /* of BlockDriverState: see job_add_node(); NULL: none */
    CoQueue resumed;            /* workers wait here while the job is paused */
    CoQueue status_changed;     /* all others wait here */
    int64_t paid_until_ns;      /* until then, the speed limit allows no more */
};

/* Set the function that is called whenever a job that is not internal has changed its status from @before. */
void job_set_status_hook(void (*hook)(Job *job, JobStatus before));

/* Create a job in state created, owned by the list of jobs. NULL with @errp if @id is malformed or in use. */
void *job_create(const char *id, const JobDriver *driver, JobCreateFlags flags, Error **errp);
void job_start(Job *job);
/* Instead of job_start(): forget a job that is not needed after all. */
void coroutine_fn job_discard(Job *job);

/* Start @job and wait until it is concluded. False with @errp if it failed. */
bool coroutine_fn job_run_co(Job *job, Error **errp);

Job *job_get(const char *id);           /* NULL if there is none */
Job *job_next(Job *job);                /* the job after @job; NULL: the first */
Job *job_ref(Job *job);
void job_unref(Job *job);
/* True after a forced cancel. */
bool job_is_cancelled(const Job *job);
/* True after any cancel. */
bool job_cancel_requested(const Job *job);

/*
 * Job transactions: when one job fails or is cancelled, the others are cancelled. Each job starts out alone in a
 * transaction of its own. It can be added to another between job_create() and job_start().
 *
 *     JobTxn *txn = job_txn_new();
 *     job_txn_add_job(txn, a);
 *     job_txn_add_job(txn, b);
 *     job_txn_unref(txn);         // the jobs hold references
 *     job_start(a);
 *     job_start(b);
 */
JobTxn *job_txn_new(void);
void job_txn_add_job(JobTxn *txn, Job *job);
void job_txn_unref(JobTxn *txn);

/*
 * Start @job when @tran commits. If @tran aborts instead, abort @job, clean it up and forget it: tran_finalize() must
 * therefore be called in a coroutine.
 */
void job_start_tran(Job *job, Transaction *tran);

/* The QMP commands. False with @errp if the job's state does not allow the command. */
bool job_user_pause(Job *job, Error **errp);
bool job_user_resume(Job *job, Error **errp);
bool job_user_cancel(Job *job, bool force, Error **errp);
bool job_complete(Job *job, Error **errp);
/* Returns when all jobs of the transaction are concluded, whether they succeeded or not. */
bool coroutine_fn job_finalize(Job *job, Error **errp);
bool job_dismiss(Job *job, Error **errp);
bool job_set_speed(Job *job, int64_t speed, Error **errp);
JobInfo *job_query(const Job *job);

/* For the end of a program: force-cancel all jobs. */
void job_cancel_all(void);
/* The same, then wait until they are concluded, and dismiss them. */
void coroutine_fn job_end_all(void);

/*
 * Nodes that a job copies, or has put into the graph: no other job can add them. They are removed with the job's last
 * use of them, before it releases them. False with @errp if another job has added @bs.
 */
bool job_add_node(Job *job, BlockDriverState *bs, Error **errp);
bool job_check_node(const BlockDriverState *bs, Error **errp);     /* whether a job could add it */
void job_remove_nodes(Job *job);

/* For the code that does the work. @job may be NULL, for work that is not part of a job. */
void job_progress_update(Job *job, uint64_t done);              /* @done more units are done */
void job_progress_set_remaining(Job *job, uint64_t remaining);  /* total = current + remaining */
void job_progress_add_remaining(Job *job, uint64_t more);       /* @more units are yet to be done */
/* What the job does from now on (a string literal; NULL: nothing worth mentioning), and for how long (0: not known). */
void job_set_activity(Job *job, const char *what, int64_t ns);

/* Add a warning, which query-jobs shows; without a job (@job is NULL), print it. */
void job_warn(Job *job, const char *fmt, ...) G_GNUC_PRINTF(2, 3);
/* The job is ready: from now on it can be ended with job_complete(). */
void job_transition_to_ready(Job *job);

/*
 * End the work as a forced cancel does, except that the job then fails with @err, which it takes: for a driver that
 * gives up a request which its coroutines wait for. Only before run() returns.
 */
void job_fail(Job *job, Error *err);

/* Start and stop counting the calling coroutine as a worker, for which a pause waits. run() is counted at first. */
void job_worker_begin(Job *job);
void job_worker_end(Job *job);

/* Wait while the job is paused. False with @errp if it is cancelled. */
bool coroutine_fn job_pause_point(Job *job, Error **errp);
/* The same without waiting, for use while nodes are drained. */
bool job_may_go_on(const Job *job, Error **errp);
/*
 * Sleep for at most @ns. A pause, any cancel, a change of speed and job_wake() end the sleep. Returns at once if the
 * job is to pause or was cancelled by force before, so go to a pause point next. Other events from before are not seen:
 * test for them right before the call, as with any condition that is waited for.
 */
void coroutine_fn job_sleep_ns(Job *job, int64_t ns);
/* End the sleep of every worker. */
void job_wake(Job *job);
/* Lock @mutex, with a pause point while waiting. False with @errp, and without the lock, if the job is cancelled. */
bool coroutine_fn job_co_mutex_lock(Job *job, CoMutex *mutex, Error **errp);
/* Account for @bytes that were copied, and wait as long as the speed limit requires. All workers share the limit. */
void coroutine_fn job_throttle(Job *job, uint64_t bytes);

/*
 * A request of the job failed with @ret (-errno): send BLOCK_JOB_ERROR, and return what @on_error demands. Report: the
 * caller ends the job with an error. Ignore: the caller skips the request. Stop: the job is being paused; the caller
 * goes to a pause point, then tries again.
 */
BlockErrorAction job_error_action(Job *job, BlockdevOnError on_error, bool is_read, int ret);

#endif
