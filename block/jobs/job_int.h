/*
 * What the files of jobs share
 *
 *     job.c     states, verbs, progress, pause points
 *     txn.c     from the end of the work to the conclusion
 *     error.c   what becomes of a failed request
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef BLOCK_JOB_INT_H
#define BLOCK_JOB_INT_H

#include "block/job.h"
#include "util/main-thread.h"

#define JOB_CANCELLED_MESSAGE "Operation was cancelled"

void job_set_status(Job *job, JobStatus status);

/* The job is over: forget it, unless it is the user who does that. */
void job_conclude(Job *job);

/* Cancel @job, wherever it is in its work; by force, unless it is ready and its driver can end in order. */
void job_cancel_work(Job *job, bool force);

/* run() has returned, and failed where job->err is set. */
void job_txn_work_ended(Job *job);

/* A job of @txn that is waiting or pending is cancelled, or finalized: this waits until all jobs are concluded. */
void job_txn_cancel(JobTxn *txn);
void coroutine_fn job_txn_finalize(JobTxn *txn);

/* The jobs prepare, or more: it need not and cannot be finalized. */
bool job_txn_is_ending(const JobTxn *txn);
/* It is decided whether the jobs commit or abort: a cancel comes too late. */
bool job_txn_is_decided(const JobTxn *txn);

void job_txn_remove_job(JobTxn *txn, Job *job);

#endif
