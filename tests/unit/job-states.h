/*
 * The states that jobs of a test pass through
 *
 *     job_start(&t->common);
 *     job_wait_for(&t->common, JOB_STATUS_CONCLUDED);
 *     g_assert_cmpstr(job_states->str, ==, "j0:created j0:running j0:waiting j0:pending j0:concluded ");
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef JOB_STATES_H
#define JOB_STATES_H

#include "block/job.h"

static GString *job_states;     /* "id:state " for each change, made and freed by job_test_run() */

/* The states that may follow each state, as in QEMU. */
static bool job_state_may_follow(JobStatus before, JobStatus status)
{
#define S(name) (1u << JOB_STATUS_##name)
    static const unsigned next[JOB_STATUS__MAX] = {
        [JOB_STATUS_UNDEFINED] = S(CREATED),
        [JOB_STATUS_CREATED] = S(RUNNING) | S(ABORTING) | S(NULL),
        [JOB_STATUS_RUNNING] = S(PAUSED) | S(READY) | S(WAITING) | S(ABORTING),
        [JOB_STATUS_PAUSED] = S(RUNNING),
        [JOB_STATUS_READY] = S(STANDBY) | S(WAITING) | S(ABORTING),
        [JOB_STATUS_STANDBY] = S(READY),
        [JOB_STATUS_WAITING] = S(PENDING) | S(ABORTING),
        [JOB_STATUS_PENDING] = S(ABORTING) | S(CONCLUDED),
        [JOB_STATUS_ABORTING] = S(CONCLUDED),
        [JOB_STATUS_CONCLUDED] = S(NULL),
    };
#undef S

    return next[before] & 1u << status;
}

static void job_state_record(Job *job, JobStatus before)
{
    g_assert_true(job_state_may_follow(before, job->status));
    g_string_append_printf(job_states, "%s:%s ", job->id, JobStatus_str(job->status));
}

static void coroutine_fn job_wait_for(const Job *job, JobStatus status)
{
    while (job->status != status) {
        co_sleep_ns(SCALE_MS / 10);
    }
}

/* Run the coroutine @entry, which must leave no jobs behind. */
static void job_test_run(gconstpointer entry)
{
    job_states = g_string_new(NULL);
    job_set_status_hook(job_state_record);
    aio_context_run((CoroutineEntry *)entry, NULL);
    g_assert_null(job_next(NULL));
    g_string_free(job_states, TRUE);
}

#endif
