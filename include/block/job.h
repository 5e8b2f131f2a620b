/*
 * Job: a long operation with progress, pause, speed, cancel and a result that waits to be read
 *
 *     created -> running <-> paused              job_start(), job_user_pause()
 *                running -> ready <-> standby    a mirror that has caught up; job_complete() ends it
 *                running or ready -> waiting -> pending -> concluded -> null
 *                running, ready or pending -> aborting -> concluded -> null
 *
 * States, their names and the events are QEMU's. JOB_MANUAL_FINALIZE keeps a job pending until
 * job_finalize(); JOB_MANUAL_DISMISS keeps it concluded until job_dismiss().
 *
 *     static bool coroutine_fn my_run(Job *job, Error **errp)
 *     {
 *         job_progress_set_remaining(job, total);
 *         while (...) {
 *             if (!job_pause_point(job, errp)) {
 *                 return false;                           // cancelled
 *             }
 *             ...
 *             job_progress_update(job, n);
 *         }
 *         return true;
 *     }
 *     static const JobDriver my_driver = {
 *         .instance_size = sizeof(MyJob), .type = JOB_TYPE_CREATE, .run = my_run,
 *     };
 *
 * Jobs live on the main loop.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef BLOCK_JOB_H
#define BLOCK_JOB_H

#include "util/aio.h"
#include "util/error.h"
#include "qapi/qapi-types.h"

typedef struct Job Job;

typedef struct JobDriver {
    size_t instance_size;       /* of a structure that begins with a Job */
    JobType type;
    /* The work. False with @errp: it failed, or was cancelled. */
    bool coroutine_fn (*run)(Job *job, Error **errp);
    /* Leave the ready state: let run() come to its end. Optional: there is none. */
    bool (*complete)(Job *job, Error **errp);
    /*
     * The same for a cancel without force, which is no failure: the copy stays as it is at this moment, and nobody
     * changes over to it. Optional: a cancel is always by force.
     */
    void (*soft_cancel)(Job *job);
    /* Add what only this kind of job has to tell. Optional. */
    void (*query)(const Job *job, JobInfo *info);
    /* Free what the instance owns. Optional. */
    void coroutine_fn (*free)(Job *job);
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
    int refcnt;
    uint64_t progress_current;
    uint64_t progress_total;
    int64_t speed;              /* bytes per second; 0: no limit */
    bool user_paused;
    bool cancelled;
    bool finalized;             /* by job_finalize() */
    Error *err;                 /* why it failed */
    CoSleep sleep;              /* of job_sleep_ns() */
    CoQueue resumed;            /* the job waits here while paused or pending */
    CoQueue status_changed;     /* others wait here */
    int64_t slice_start_ns;     /* of the speed limit */
    uint64_t slice_bytes;
};

/* Called on every change of status, from @before, of a job that is not internal. */
void job_set_status_hook(void (*hook)(Job *job, JobStatus before));

/* A new job in state created, or NULL with @errp (id malformed, or in use). */
void *job_create(const char *id, const JobDriver *driver, JobCreateFlags flags, Error **errp);
void job_start(Job *job);

/* Start @job, wait until it has concluded, and tell how it went; lets go of the caller's reference. */
bool coroutine_fn job_run_co(Job *job, Error **errp);

Job *job_get(const char *id);           /* NULL where there is none */
Job *job_next(Job *job);                /* iterate; NULL: the first */
Job *job_ref(Job *job);
void coroutine_fn job_unref(Job *job);
bool job_is_cancelled(const Job *job);

/* The verbs of QMP: false with @errp where the job's state does not allow them. */
bool job_user_pause(Job *job, Error **errp);
bool job_user_resume(Job *job, Error **errp);
bool job_user_cancel(Job *job, bool force, Error **errp);
bool job_complete(Job *job, Error **errp);
bool job_finalize(Job *job, Error **errp);
bool coroutine_fn job_dismiss(Job *job, Error **errp);
bool job_set_speed(Job *job, int64_t speed, Error **errp);
JobInfo *job_query(const Job *job);

/* For the end of a program: cancel all jobs, wait until they have ended, forget them. */
void coroutine_fn job_end_all(void);

/* For the code that does the work. A NULL job is allowed: nobody watches, nothing pauses. */
void job_progress_update(Job *job, uint64_t done);              /* so many more units are done */
void job_progress_set_remaining(Job *job, uint64_t remaining);  /* total = current + remaining */
/* From here on the job waits for job_complete(). */
void job_transition_to_ready(Job *job);
/* Waits while the job is paused; false with @errp once it is cancelled. */
bool coroutine_fn job_pause_point(Job *job, Error **errp);
/* A pause, a cancel or a change of speed ends the sleep. */
void coroutine_fn job_sleep_ns(Job *job, int64_t ns);
/* Waits as the speed limit asks for, @bytes having been copied. */
void coroutine_fn job_throttle(Job *job, uint64_t bytes);

#endif
