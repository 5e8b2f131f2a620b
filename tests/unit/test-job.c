/*
 * Job: states, pause, cancel, speed, finalize and dismiss
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "block/job.h"

typedef struct TestJob {
    Job common;
    int steps;
    bool fail;
} TestJob;

static GString *states;

static void record(Job *job, JobStatus before)
{
    g_string_append_printf(states, "%s ", JobStatus_str(job->status));
}

static bool coroutine_fn run(Job *job, Error **errp)
{
    TestJob *t = (TestJob *)job;

    job_progress_set_remaining(job, t->steps);
    for (int i = 0; i < t->steps; i++) {
        if (!job_pause_point(job, errp)) {
            return false;
        }
        co_sleep_ns(SCALE_MS);
        job_throttle(job, 1000);
        job_progress_update(job, 1);
    }
    if (t->fail) {
        error_setg(errp, "as asked");
    }
    return !t->fail;
}

static const JobDriver driver = { .instance_size = sizeof(TestJob), .type = JOB_TYPE_CREATE, .run = run };

static TestJob *new_job(JobCreateFlags flags)
{
    TestJob *t = job_create("j0", &driver, flags, &error_abort);

    t->steps = 3;
    return t;
}

static void wait_for(Job *job, JobStatus status)
{
    while (job->status != status) {
        co_sleep_ns(SCALE_MS / 10);
    }
}

static void coroutine_fn success(void *opaque)
{
    TestJob *t = new_job(JOB_DEFAULT);

    g_assert_null(job_create("j0", &driver, JOB_DEFAULT, NULL));
    g_assert_null(job_create("0j", &driver, JOB_DEFAULT, NULL));
    g_assert_true(job_run_co(&t->common, &error_abort));
    g_assert_cmpstr(states->str, ==, "created running waiting pending concluded null ");
    g_assert_null(job_get("j0"));
}

static void coroutine_fn failure(void *opaque)
{
    TestJob *t = new_job(JOB_MANUAL_DISMISS);
    g_autoptr(Error) err = NULL;

    t->fail = true;
    g_assert_false(job_run_co(&t->common, &err));
    g_assert_cmpstr(error_get_pretty(err), ==, "as asked");
    g_autoptr(JobInfo) info = job_query(job_get("j0"));
    g_assert_cmpstr(info->error, ==, "as asked");
    g_assert_cmpint(info->current_progress, ==, 3);
    g_assert_false(job_user_pause(&t->common, NULL));
    g_assert_true(job_dismiss(&t->common, &error_abort));
    g_assert_cmpstr(states->str, ==, "created running aborting concluded null ");
}

static void coroutine_fn pause_and_cancel(void *opaque)
{
    TestJob *t = new_job(JOB_MANUAL_DISMISS);

    t->steps = 1000000;
    job_start(&t->common);
    wait_for(&t->common, JOB_STATUS_RUNNING);
    g_assert_false(job_user_resume(&t->common, NULL));
    g_assert_true(job_user_pause(&t->common, &error_abort));
    g_assert_false(job_user_pause(&t->common, NULL));
    wait_for(&t->common, JOB_STATUS_PAUSED);
    uint64_t progress = t->common.progress_current;
    co_sleep_ns(5 * SCALE_MS);
    g_assert_cmpuint(t->common.progress_current, ==, progress);
    g_assert_true(job_user_resume(&t->common, &error_abort));
    wait_for(&t->common, JOB_STATUS_RUNNING);
    /* One step takes ten seconds at this speed; a cancel does not wait for that. */
    g_assert_true(job_set_speed(&t->common, 100, &error_abort));
    co_sleep_ns(5 * SCALE_MS);
    int64_t start = qemu_clock_get_ns();
    g_assert_true(job_user_cancel(&t->common, true, &error_abort));
    wait_for(&t->common, JOB_STATUS_CONCLUDED);
    g_assert_cmpint(qemu_clock_get_ns() - start, <, NANOSECONDS_PER_SECOND);
    g_assert_true(job_dismiss(&t->common, &error_abort));
}

static void coroutine_fn finalize(void *opaque)
{
    TestJob *t = new_job(JOB_MANUAL_FINALIZE);

    g_assert_false(job_finalize(&t->common, NULL));
    job_ref(&t->common);
    job_start(&t->common);
    wait_for(&t->common, JOB_STATUS_PENDING);
    g_assert_false(job_dismiss(&t->common, NULL));
    g_assert_true(job_finalize(&t->common, &error_abort));
    wait_for(&t->common, JOB_STATUS_NULL);
    job_unref(&t->common);
}

/* Two clients at the same moment: whoever was first is obeyed, and the other is told. */
static void coroutine_fn cancel_or_finalize(void *opaque)
{
    TestJob *t = new_job(JOB_MANUAL_FINALIZE | JOB_MANUAL_DISMISS);
    g_autoptr(Error) err = NULL;

    job_start(&t->common);
    wait_for(&t->common, JOB_STATUS_PENDING);
    g_assert_true(job_user_cancel(&t->common, true, &error_abort));
    g_assert_false(job_finalize(&t->common, &err));
    g_assert_cmpstr(error_get_pretty(err), ==, "Job 'j0' in state 'concluded' cannot accept command verb 'finalize'");
    wait_for(&t->common, JOB_STATUS_CONCLUDED);
    g_assert_nonnull(t->common.err);
    g_assert_true(job_dismiss(&t->common, &error_abort));

    t = new_job(JOB_MANUAL_FINALIZE | JOB_MANUAL_DISMISS);
    job_start(&t->common);
    wait_for(&t->common, JOB_STATUS_PENDING);
    g_assert_true(job_finalize(&t->common, &error_abort));
    g_assert_false(job_user_cancel(&t->common, true, NULL));
    g_assert_false(job_finalize(&t->common, NULL));
    g_assert_false(job_dismiss(&t->common, NULL));
    wait_for(&t->common, JOB_STATUS_CONCLUDED);
    g_assert_null(t->common.err);
    g_assert_true(job_dismiss(&t->common, &error_abort));
}

static void run_test(gconstpointer entry)
{
    states = g_string_new(NULL);
    aio_context_run((CoroutineEntry *)entry, NULL);
    g_assert_null(job_next(NULL));
    g_string_free(states, TRUE);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    job_set_status_hook(record);
    g_test_add_data_func("/job/success", success, run_test);
    g_test_add_data_func("/job/failure", failure, run_test);
    g_test_add_data_func("/job/pause-and-cancel", pause_and_cancel, run_test);
    g_test_add_data_func("/job/finalize", finalize, run_test);
    g_test_add_data_func("/job/cancel-or-finalize", cancel_or_finalize, run_test);
    return g_test_run();
}
