/*
 * What the files in this folder share
 *
 *     job.c     states, commands, progress, pause points
 *     txn.c     from the end of the work to the conclusion
 *     error.c   error policy for failed requests
 *     nodes.c   the nodes that a job copies
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef BLOCK_JOB_INT_H
#define BLOCK_JOB_INT_H

#include "block/job.h"
#include "util/main-thread.h"

#define JOB_CANCELLED_MESSAGE "Operation was cancelled"

void job_set_status(Job *job, JobStatus status);

/* The job is over: dismiss it, unless the user has to (JOB_MANUAL_DISMISS). */
void job_conclude(Job *job);

/* Cancel @job at any point of its work. Always forced, unless the job is ready and its driver can finish normally. */
void job_cancel_work(Job *job, bool force);

/* run() has returned. It failed if job->err is set. */
void job_txn_work_ended(Job *job);

/* Cancel or finalize a job of @txn that is waiting or pending. Finalizing waits until all jobs are concluded. */
void job_txn_cancel(JobTxn *txn);
void coroutine_fn job_txn_finalize(JobTxn *txn);

/* The jobs are preparing, or beyond that: they have been finalized, or did not need it. */
bool job_txn_is_ending(const JobTxn *txn);
/* The jobs are committing or aborting: it is too late to cancel them. */
bool job_txn_is_decided(const JobTxn *txn);

void job_txn_remove_job(JobTxn *txn, Job *job);

#endif
