/*
 * Job: states, pause, cancel, speed, finalize and dismiss
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "job-states.h"

typedef struct TestJob {
    Job common;
    int steps;
    bool fail;
    unsigned n_workers;         /* 0: run() does the work itself */
    unsigned running;
    CoQueue finished;
    BlockdevOnError on_error;
    int errors;                 /* how many requests will fail */
    int requests;
} TestJob;

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

static void coroutine_fn success(void *opaque)
{
    TestJob *t = new_job(JOB_DEFAULT);

    g_assert_null(job_create("j0", &driver, JOB_DEFAULT, NULL));
    g_assert_null(job_create("0j", &driver, JOB_DEFAULT, NULL));
    g_assert_true(job_run_co(&t->common, &error_abort));
    g_assert_cmpstr(job_states->str, ==, "j0:created j0:running j0:waiting j0:pending j0:concluded j0:null ");
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
    g_assert_cmpstr(job_states->str, ==, "j0:created j0:running j0:aborting j0:concluded j0:null ");
}

static void coroutine_fn pause_and_cancel(void *opaque)
{
    TestJob *t = new_job(JOB_MANUAL_DISMISS);

    t->steps = 1000000;
    job_start(&t->common);
    job_wait_for(&t->common, JOB_STATUS_RUNNING);
    g_assert_false(job_user_resume(&t->common, NULL));
    g_assert_true(job_user_pause(&t->common, &error_abort));
    g_assert_false(job_user_pause(&t->common, NULL));
    job_wait_for(&t->common, JOB_STATUS_PAUSED);
    uint64_t progress = t->common.progress_current;
    co_sleep_ns(5 * SCALE_MS);
    g_assert_cmpuint(t->common.progress_current, ==, progress);
    g_assert_true(job_user_resume(&t->common, &error_abort));
    job_wait_for(&t->common, JOB_STATUS_RUNNING);
    /* At this speed one step takes ten seconds. A cancel does not wait for it. */
    g_assert_true(job_set_speed(&t->common, 100, &error_abort));
    co_sleep_ns(5 * SCALE_MS);
    int64_t start = qemu_clock_get_ns();
    g_assert_true(job_user_cancel(&t->common, true, &error_abort));
    job_wait_for(&t->common, JOB_STATUS_CONCLUDED);
    g_assert_cmpint(qemu_clock_get_ns() - start, <, NANOSECONDS_PER_SECOND);
    g_assert_true(job_dismiss(&t->common, &error_abort));
}

static bool coroutine_fn run_request_then_sleep(Job *job, Error **errp)
{
    TestJob *t = container_of(job, TestJob, common);

    while (job_pause_point(job, errp)) {
        t->requests++;
        co_sleep_ns(10 * SCALE_MS);
        job_sleep_ns(job, 1000 * NANOSECONDS_PER_SECOND);
    }
    return false;
}

/* A pause or a cancel that arrives during a request ends the sleep after it. */
static void coroutine_fn verbs_in_request(void *opaque)
{
    static const JobDriver request_driver = {
        .instance_size = sizeof(TestJob), .type = JOB_TYPE_BACKUP, .run = run_request_then_sleep,
    };
    TestJob *t = job_create("j0", &request_driver, JOB_MANUAL_DISMISS, &error_abort);

    job_start(&t->common);
    while (t->requests < 1) {
        co_sleep_ns(SCALE_MS);
    }
    g_assert_true(job_user_pause(&t->common, &error_abort));
    job_wait_for(&t->common, JOB_STATUS_PAUSED);
    g_assert_true(job_user_resume(&t->common, &error_abort));
    while (t->requests < 2) {
        co_sleep_ns(SCALE_MS);
    }
    g_assert_true(job_user_cancel(&t->common, true, &error_abort));
    job_wait_for(&t->common, JOB_STATUS_CONCLUDED);
    g_assert_cmpint(t->requests, ==, 2);
    g_assert_true(job_dismiss(&t->common, &error_abort));
}

static void coroutine_fn finalize(void *opaque)
{
    TestJob *t = new_job(JOB_MANUAL_FINALIZE);

    g_assert_false(job_finalize(&t->common, NULL));
    job_ref(&t->common);
    job_start(&t->common);
    job_wait_for(&t->common, JOB_STATUS_PENDING);
    g_assert_false(job_dismiss(&t->common, NULL));
    g_assert_true(job_finalize(&t->common, &error_abort));
    job_wait_for(&t->common, JOB_STATUS_NULL);
    job_unref(&t->common);
}

/* Of two simultaneous commands, the first one counts, and the other fails. */
static void coroutine_fn cancel_or_finalize(void *opaque)
{
    TestJob *t = new_job(JOB_MANUAL_FINALIZE | JOB_MANUAL_DISMISS);
    g_autoptr(Error) err = NULL;

    job_start(&t->common);
    job_wait_for(&t->common, JOB_STATUS_PENDING);
    g_assert_true(job_user_cancel(&t->common, true, &error_abort));
    g_assert_false(job_finalize(&t->common, &err));
    g_assert_cmpstr(error_get_pretty(err), ==, "Job 'j0' in state 'concluded' cannot accept command verb 'finalize'");
    job_wait_for(&t->common, JOB_STATUS_CONCLUDED);
    g_assert_nonnull(t->common.err);
    g_assert_true(job_dismiss(&t->common, &error_abort));

    t = new_job(JOB_MANUAL_FINALIZE | JOB_MANUAL_DISMISS);
    job_start(&t->common);
    job_wait_for(&t->common, JOB_STATUS_PENDING);
    g_assert_true(job_finalize(&t->common, &error_abort));
    g_assert_false(job_user_cancel(&t->common, true, NULL));
    g_assert_false(job_finalize(&t->common, NULL));
    g_assert_null(t->common.err);
    g_assert_true(job_dismiss(&t->common, &error_abort));
}

static void coroutine_fn worker(void *opaque)
{
    TestJob *t = opaque;
    Job *job = &t->common;

    job_worker_begin(job);
    while (t->steps > 0 && job_pause_point(job, NULL)) {
        t->steps--;
        job_sleep_ns(job, t->steps % 2 ? 5 * SCALE_MS : 1000 * NANOSECONDS_PER_SECOND);
        job_progress_update(job, 1);
    }
    job_worker_end(job);
    t->running--;
    qemu_co_queue_restart_all(&t->finished);
}

static bool coroutine_fn run_workers(Job *job, Error **errp)
{
    TestJob *t = (TestJob *)job;

    qemu_co_queue_init(&t->finished);
    for (t->running = 0; t->running < t->n_workers; t->running++) {
        aio_co_start(qemu_get_aio_context(), worker, t);
    }
    job_worker_end(job);
    while (t->running) {
        qemu_co_queue_wait(&t->finished, NULL);
    }
    job_worker_begin(job);
    return job_pause_point(job, errp);
}

/* A pause ends the sleeps of all workers. The job is paused when the last one has stopped. */
static void coroutine_fn workers(void *opaque)
{
    static const JobDriver workers_driver = {
        .instance_size = sizeof(TestJob), .type = JOB_TYPE_BACKUP, .run = run_workers,
    };
    TestJob *t = job_create("j0", &workers_driver, JOB_MANUAL_DISMISS, &error_abort);

    t->steps = 1000000;
    t->n_workers = 4;
    job_start(&t->common);
    job_wait_for(&t->common, JOB_STATUS_RUNNING);
    for (int i = 0; i < 5; i++) {
        co_sleep_ns((i + 1) * SCALE_MS);
        g_assert_true(job_user_pause(&t->common, &error_abort));
        job_wait_for(&t->common, JOB_STATUS_PAUSED);
        uint64_t progress = t->common.progress_current;
        co_sleep_ns(10 * SCALE_MS);
        g_assert_cmpuint(t->common.progress_current, ==, progress);
        g_assert_true(job_user_resume(&t->common, &error_abort));
        job_wait_for(&t->common, JOB_STATUS_RUNNING);
    }
    /* The workers end while the job is about to pause: only those that have already stopped are left. */
    t->steps = 2;
    g_assert_true(job_user_pause(&t->common, &error_abort));
    job_wait_for(&t->common, JOB_STATUS_PAUSED);
    g_assert_true(job_user_cancel(&t->common, true, &error_abort));
    job_wait_for(&t->common, JOB_STATUS_CONCLUDED);
    g_assert_true(job_dismiss(&t->common, &error_abort));
}

/* Pause and resume in quick succession: the last command determines the state. */
static void coroutine_fn pause_and_resume(void *opaque)
{
    static const JobDriver workers_driver = {
        .instance_size = sizeof(TestJob), .type = JOB_TYPE_BACKUP, .run = run_workers,
    };
    TestJob *t = job_create("j0", &workers_driver, JOB_DEFAULT, &error_abort);

    t->steps = 1000000;
    t->n_workers = 4;
    job_start(&t->common);
    job_wait_for(&t->common, JOB_STATUS_RUNNING);
    g_assert_true(job_user_pause(&t->common, &error_abort));
    job_wait_for(&t->common, JOB_STATUS_PAUSED);
    g_assert_true(job_user_resume(&t->common, &error_abort));
    g_assert_cmpint(t->common.status, ==, JOB_STATUS_RUNNING);
    g_assert_true(job_user_pause(&t->common, &error_abort));
    job_wait_for(&t->common, JOB_STATUS_PAUSED);
    g_assert_true(job_user_cancel(&t->common, true, &error_abort));
    g_assert_cmpint(t->common.status, ==, JOB_STATUS_RUNNING);
    job_end_all();
    g_assert_cmpstr(job_states->str, ==, "j0:created j0:running j0:paused j0:running j0:paused "
                    "j0:running j0:aborting j0:concluded j0:null ");
}

#define PIECE_BYTES 100000

static void coroutine_fn throttled_worker(void *opaque)
{
    TestJob *t = opaque;
    Job *job = &t->common;

    job_worker_begin(job);
    while (t->steps-- > 0) {
        job_throttle(job, PIECE_BYTES);
    }
    job_worker_end(job);
    if (--t->running == 0) {
        qemu_co_queue_restart_all(&t->finished);
    }
}

static bool coroutine_fn run_throttled(Job *job, Error **errp)
{
    TestJob *t = container_of(job, TestJob, common);

    qemu_co_queue_init(&t->finished);
    t->running = 4;
    for (int i = 0; i < 4; i++) {
        aio_co_start(qemu_get_aio_context(), throttled_worker, t);
    }
    qemu_co_queue_wait(&t->finished, NULL);
    return true;
}

/* Workers share the speed limit. */
static void coroutine_fn shared_speed(void *opaque)
{
    static const JobDriver throttled_driver = {
        .instance_size = sizeof(TestJob), .type = JOB_TYPE_BACKUP, .run = run_throttled,
    };
    TestJob *t = job_create("j0", &throttled_driver, JOB_DEFAULT, &error_abort);
    int64_t start = qemu_clock_get_ns();

    t->steps = 12;
    g_assert_true(job_set_speed(&t->common, PIECE_BYTES * 10, &error_abort));
    g_assert_true(job_run_co(&t->common, &error_abort));
    g_assert_cmpint(qemu_clock_get_ns() - start, >=, 1100 * SCALE_MS);
}

static bool coroutine_fn run_errors(Job *job, Error **errp)
{
    TestJob *t = (TestJob *)job;

    while (job_pause_point(job, errp)) {
        if (t->errors == 0) {
            return true;
        }
        t->errors--;
        if (job_error_action(job, t->on_error, false, t->fail ? -ENOSPC : -EIO) == BLOCK_ERROR_ACTION_REPORT) {
            error_setg(errp, "reported");
            return false;
        }
    }
    return false;
}

static void coroutine_fn error_policy(void *opaque)
{
    static const JobDriver errors_driver = {
        .instance_size = sizeof(TestJob), .type = JOB_TYPE_BACKUP, .run = run_errors,
    };
    static const struct {
        BlockdevOnError on_error;
        bool enospc;
        BlockErrorAction action;
    } cases[] = {
        { BLOCKDEV_ON_ERROR_REPORT, false, BLOCK_ERROR_ACTION_REPORT },
        { BLOCKDEV_ON_ERROR_IGNORE, true, BLOCK_ERROR_ACTION_IGNORE },
        { BLOCKDEV_ON_ERROR_STOP, false, BLOCK_ERROR_ACTION_STOP },
        { BLOCKDEV_ON_ERROR_STOP, true, BLOCK_ERROR_ACTION_STOP },
        { BLOCKDEV_ON_ERROR_ENOSPC, false, BLOCK_ERROR_ACTION_REPORT },
        { BLOCKDEV_ON_ERROR_ENOSPC, true, BLOCK_ERROR_ACTION_STOP },
        { BLOCKDEV_ON_ERROR_AUTO, true, BLOCK_ERROR_ACTION_STOP },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        TestJob *t = job_create("j0", &errors_driver, JOB_MANUAL_DISMISS, &error_abort);

        t->on_error = cases[i].on_error;
        t->fail = cases[i].enospc;
        t->errors = 2;
        job_start(&t->common);
        for (int n = 0; cases[i].action == BLOCK_ERROR_ACTION_STOP && n < 2; n++) {
            job_wait_for(&t->common, JOB_STATUS_PAUSED);
            g_assert_cmpint(t->common.iostatus, ==, cases[i].enospc ? BLOCK_DEVICE_IO_STATUS_NOSPACE
                                                                    : BLOCK_DEVICE_IO_STATUS_FAILED);
            g_assert_true(job_user_resume(&t->common, &error_abort));
            g_assert_cmpint(t->common.iostatus, ==, BLOCK_DEVICE_IO_STATUS_OK);
            while (t->common.status != JOB_STATUS_CONCLUDED && t->common.iostatus == BLOCK_DEVICE_IO_STATUS_OK) {
                co_sleep_ns(SCALE_MS / 10);
            }
        }
        job_wait_for(&t->common, JOB_STATUS_CONCLUDED);
        g_assert_cmpint(!t->common.err, ==, cases[i].action != BLOCK_ERROR_ACTION_REPORT);
        g_assert_true(job_dismiss(&t->common, &error_abort));
    }
}

typedef struct MutexTest {
    CoMutex mutex;
    bool stop;
} MutexTest;

static MutexTest shared;

static bool coroutine_fn run_mutex(Job *job, Error **errp)
{
    if (!job_co_mutex_lock(job, &shared.mutex, errp)) {
        return false;
    }
    while (!shared.stop) {
        co_sleep_ns(SCALE_MS);
    }
    qemu_co_mutex_unlock(&shared.mutex);
    return true;
}

/* A job that waits for a mutex can be paused and cancelled, and does not hold up others. */
static void coroutine_fn mutex(void *opaque)
{
    static const JobDriver mutex_driver = {
        .instance_size = sizeof(TestJob), .type = JOB_TYPE_KEYSLOT, .run = run_mutex,
    };
    Job *jobs[3];

    qemu_co_mutex_init(&shared.mutex);
    for (int i = 0; i < 3; i++) {
        g_autofree char *id = g_strdup_printf("j%d", i);

        jobs[i] = job_create(id, &mutex_driver, JOB_MANUAL_DISMISS, &error_abort);
        job_start(jobs[i]);
        job_wait_for(jobs[i], JOB_STATUS_RUNNING);
    }
    g_assert_true(job_user_pause(jobs[1], &error_abort));
    job_wait_for(jobs[1], JOB_STATUS_PAUSED);
    g_assert_true(job_user_resume(jobs[1], &error_abort));
    job_wait_for(jobs[1], JOB_STATUS_RUNNING);
    g_assert_true(job_user_cancel(jobs[1], true, &error_abort));
    job_wait_for(jobs[1], JOB_STATUS_CONCLUDED);
    shared.stop = true;
    job_wait_for(jobs[2], JOB_STATUS_CONCLUDED);
    for (int i = 0; i < 3; i++) {
        g_assert_true(!!jobs[i]->err == (i == 1));
        g_assert_true(job_dismiss(jobs[i], &error_abort));
    }
    qemu_co_mutex_cleanup(&shared.mutex);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_data_func("/job/success", success, job_test_run);
    g_test_add_data_func("/job/failure", failure, job_test_run);
    g_test_add_data_func("/job/pause-and-cancel", pause_and_cancel, job_test_run);
    g_test_add_data_func("/job/verbs-in-request", verbs_in_request, job_test_run);
    g_test_add_data_func("/job/finalize", finalize, job_test_run);
    g_test_add_data_func("/job/cancel-or-finalize", cancel_or_finalize, job_test_run);
    g_test_add_data_func("/job/workers", workers, job_test_run);
    g_test_add_data_func("/job/pause-and-resume", pause_and_resume, job_test_run);
    g_test_add_data_func("/job/shared-speed", shared_speed, job_test_run);
    g_test_add_data_func("/job/error-policy", error_policy, job_test_run);
    g_test_add_data_func("/job/mutex", mutex, job_test_run);
    return g_test_run();
}
