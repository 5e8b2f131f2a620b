/*
 * Job: transactions, the stages after run(), and cancels at each point
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "job-states.h"

typedef struct TestJob {
    Job common;
    int steps;              /* of 1 ms */
    bool deaf;              /* does not check for a cancel */
    bool fail;
    bool fail_prepare;
    bool slow_prepare;      /* waits until the job is cancelled */
} TestJob;

static GString *ending;     /* the stages that the jobs have been through */

static bool coroutine_fn run(Job *job, Error **errp)
{
    TestJob *t = container_of(job, TestJob, common);

    for (int i = 0; i < t->steps; i++) {
        if (!t->deaf && !job_pause_point(job, errp)) {
            return false;
        }
        co_sleep_ns(SCALE_MS);
    }
    if (t->fail) {
        error_setg(errp, "as asked");
    }
    return !t->fail;
}

static bool coroutine_fn prepare(Job *job, Error **errp)
{
    TestJob *t = container_of(job, TestJob, common);

    g_string_append_printf(ending, "prepare %s, ", job->id);
    co_sleep_ns(SCALE_MS);
    if (t->slow_prepare) {
        job_sleep_ns(job, 1000 * NANOSECONDS_PER_SECOND);
    }
    if (t->fail_prepare) {
        error_setg(errp, "not prepared");
    }
    return !t->fail_prepare;
}

static void coroutine_fn note_commit(Job *job)
{
    g_string_append_printf(ending, "commit %s, ", job->id);
}

static void coroutine_fn note_abort(Job *job)
{
    g_string_append_printf(ending, "abort %s, ", job->id);
}

static void coroutine_fn note_clean(Job *job)
{
    g_assert_cmpint(job->status, !=, JOB_STATUS_CONCLUDED);
    /* A cancel affects run() only. */
    g_assert_true(co_sleep_ns_cancellable(SCALE_MS));
    g_string_append_printf(ending, "clean %s, ", job->id);
}

static const JobDriver driver = {
    .instance_size = sizeof(TestJob), .type = JOB_TYPE_BACKUP, .run = run, .prepare = prepare, .commit = note_commit,
    .abort = note_abort, .clean = note_clean,
};
/* All its work is done in run(). */
static const JobDriver plain_driver = { .instance_size = sizeof(TestJob), .type = JOB_TYPE_KEYSLOT, .run = run };

static TestJob *new_job(const JobDriver *drv, const char *id, JobCreateFlags flags)
{
    TestJob *t = job_create(id, drv, flags | JOB_MANUAL_DISMISS, &error_abort);

    t->steps = 3;
    return t;
}

static void coroutine_fn end_job(TestJob *t, const char *error)
{
    job_wait_for(&t->common, JOB_STATUS_CONCLUDED);
    g_assert_cmpstr(t->common.err ? error_get_pretty(t->common.err) : NULL, ==, error);
    g_assert_true(job_dismiss(&t->common, &error_abort));
}

static void expect(const char *expected)
{
    g_assert_cmpstr(ending->str, ==, expected);
    g_string_truncate(ending, 0);
    g_string_truncate(job_states, 0);
}

/* Create jobs "a", "b" and "c" in one transaction. The caller starts them. */
static void new_group(TestJob *jobs[3], JobCreateFlags flags)
{
    JobTxn *txn = job_txn_new();

    for (int i = 0; i < 3; i++) {
        g_autofree char *id = g_strdup_printf("%c", 'a' + i);

        jobs[i] = new_job(&driver, id, flags);
        jobs[i]->steps = 3 + i;
        job_txn_add_job(txn, &jobs[i]->common);
    }
    job_txn_unref(txn);
}

static void start_group(TestJob *jobs[3])
{
    for (int i = 0; i < 3; i++) {
        job_start(&jobs[i]->common);
    }
}

static void coroutine_fn end_group(TestJob *jobs[3], const char *const errors[3], const char *expected)
{
    for (int i = 0; i < 3; i++) {
        end_job(jobs[i], errors[i]);
    }
    expect(expected);
}

#define COMMIT_ALL \
    "prepare a, prepare b, prepare c, commit a, clean a, commit b, clean b, commit c, clean c, "
#define ABORT_ALL "abort a, clean a, abort b, clean b, abort c, clean c, "
#define CANCELLED "Operation was cancelled"

static const char *const no_errors[3];
static const char *const all_cancelled[3] = { CANCELLED, CANCELLED, CANCELLED };

/* All jobs commit, or none, no matter which one fails or is cancelled, and when. */
static void coroutine_fn group(void *opaque)
{
    TestJob *jobs[3];

    new_group(jobs, JOB_DEFAULT);
    start_group(jobs);
    job_wait_for(&jobs[0]->common, JOB_STATUS_WAITING);
    g_assert_cmpint(jobs[2]->common.status, ==, JOB_STATUS_RUNNING);
    g_assert_false(job_finalize(&jobs[0]->common, NULL));
    end_group(jobs, no_errors, COMMIT_ALL);

    new_group(jobs, JOB_DEFAULT);
    jobs[1]->fail = true;
    start_group(jobs);
    end_group(jobs, (const char *[]){ CANCELLED, "as asked", CANCELLED }, ABORT_ALL);

    new_group(jobs, JOB_DEFAULT);
    jobs[1]->fail_prepare = true;
    start_group(jobs);
    end_group(jobs, (const char *[]){ CANCELLED, "not prepared", CANCELLED }, "prepare a, prepare b, " ABORT_ALL);

    /* One waits while the others still work. */
    new_group(jobs, JOB_DEFAULT);
    jobs[1]->steps = jobs[2]->steps = 1000000;
    start_group(jobs);
    job_wait_for(&jobs[0]->common, JOB_STATUS_WAITING);
    g_assert_true(job_user_cancel(&jobs[0]->common, true, &error_abort));
    end_group(jobs, all_cancelled, ABORT_ALL);

    new_group(jobs, JOB_DEFAULT);
    jobs[2]->steps = 1000000;
    start_group(jobs);
    job_wait_for(&jobs[1]->common, JOB_STATUS_WAITING);
    g_assert_true(job_user_cancel(&jobs[2]->common, true, &error_abort));
    end_group(jobs, all_cancelled, ABORT_ALL);

    /* A command for one job applies to all. */
    new_group(jobs, JOB_MANUAL_FINALIZE);
    start_group(jobs);
    job_wait_for(&jobs[2]->common, JOB_STATUS_PENDING);
    g_assert_true(job_finalize(&jobs[1]->common, &error_abort));
    g_assert_false(job_user_cancel(&jobs[0]->common, true, NULL));
    end_group(jobs, no_errors, COMMIT_ALL);

    new_group(jobs, JOB_MANUAL_FINALIZE);
    start_group(jobs);
    job_wait_for(&jobs[2]->common, JOB_STATUS_PENDING);
    g_assert_true(job_user_cancel(&jobs[0]->common, true, &error_abort));
    g_assert_false(job_finalize(&jobs[1]->common, NULL));
    end_group(jobs, all_cancelled, ABORT_ALL);
}

/* While one job has ended and others still work, commands are answered and change nothing. */
static void coroutine_fn verbs_while_others_work(void *opaque)
{
    TestJob *jobs[3];
    g_autoptr(Error) err = NULL;

    new_group(jobs, JOB_DEFAULT);
    jobs[0]->fail = true;
    jobs[1]->deaf = jobs[2]->deaf = true;
    jobs[1]->steps = 10;
    jobs[2]->steps = 30;
    start_group(jobs);
    job_wait_for(&jobs[0]->common, JOB_STATUS_ABORTING);
    g_assert_false(job_user_cancel(&jobs[0]->common, true, &err));
    g_assert_cmpstr(error_get_pretty(err), ==, "Job 'a' in state 'aborting' cannot accept command verb 'cancel'");
    g_assert_false(job_user_pause(&jobs[0]->common, NULL));
    g_assert_true(job_user_cancel(&jobs[1]->common, true, &error_abort));
    job_wait_for(&jobs[1]->common, JOB_STATUS_ABORTING);
    end_group(jobs, (const char *[]){ "as asked", CANCELLED, CANCELLED }, ABORT_ALL);

    new_group(jobs, JOB_DEFAULT);
    jobs[1]->deaf = jobs[2]->deaf = true;
    jobs[1]->steps = jobs[2]->steps = 30;
    start_group(jobs);
    job_wait_for(&jobs[0]->common, JOB_STATUS_WAITING);
    g_assert_true(job_user_cancel(&jobs[0]->common, true, &error_abort));
    g_assert_true(job_user_cancel(&jobs[0]->common, true, &error_abort));
    g_assert_cmpint(jobs[1]->common.status, ==, JOB_STATUS_RUNNING);
    end_group(jobs, all_cancelled, ABORT_ALL);
}

/* A job that did not notice its cancel is undone if possible. If not, it has succeeded. */
static void coroutine_fn unnoticed_cancel(void *opaque)
{
    for (int i = 0; i < 2; i++) {
        TestJob *t = new_job(i ? &plain_driver : &driver, "a", JOB_DEFAULT);

        t->deaf = true;
        job_start(&t->common);
        job_wait_for(&t->common, JOB_STATUS_RUNNING);
        g_assert_true(job_user_cancel(&t->common, true, &error_abort));
        end_job(t, i ? NULL : CANCELLED);
        g_assert_cmpstr(job_states->str, ==, i ? "a:created a:running a:waiting a:pending a:concluded a:null "
                                           : "a:created a:running a:aborting a:concluded a:null ");
        expect(i ? "" : "abort a, clean a, ");
    }
}

static void coroutine_fn finalize_entry(void *opaque)
{
    job_finalize(opaque, &error_abort);
}

static bool coroutine_fn run_connect(Job *job, Error **errp)
{
    while (co_sleep_ns_cancellable(1000 * NANOSECONDS_PER_SECOND)) {
        /* no answer yet */
    }
    return job_pause_point(job, errp);
}

/* A forced cancel also ends waits in functions that do not know about jobs. */
static void coroutine_fn cancel_wait(void *opaque)
{
    static const JobDriver connect_driver = {
        .instance_size = sizeof(TestJob), .type = JOB_TYPE_FORMAT, .run = run_connect, .clean = note_clean,
    };
    TestJob *t = new_job(&connect_driver, "a", JOB_DEFAULT);

    job_start(&t->common);
    job_wait_for(&t->common, JOB_STATUS_RUNNING);
    g_assert_true(job_user_cancel(&t->common, true, &error_abort));
    end_job(t, CANCELLED);
    expect("clean a, ");
}

/* A slow prepare can be cancelled. */
static void coroutine_fn cancel_while_preparing(void *opaque)
{
    TestJob *jobs[3];

    new_group(jobs, JOB_MANUAL_FINALIZE);
    jobs[1]->slow_prepare = true;
    start_group(jobs);
    job_wait_for(&jobs[2]->common, JOB_STATUS_PENDING);
    aio_co_start(qemu_get_aio_context(), finalize_entry, &jobs[0]->common);
    co_sleep_ns(20 * SCALE_MS);
    g_assert_cmpstr(ending->str, ==, "prepare a, prepare b, ");
    g_assert_false(job_finalize(&jobs[2]->common, NULL));
    g_assert_true(job_user_cancel(&jobs[2]->common, true, &error_abort));
    end_group(jobs, all_cancelled, "prepare a, prepare b, " ABORT_ALL);
}

static bool ignore_soft_cancel(Job *job, bool force)
{
    return force;
}

static bool coroutine_fn run_ready(Job *job, Error **errp)
{
    job_transition_to_ready(job);
    while (!job_cancel_requested(job)) {
        job_sleep_ns(job, 1000 * NANOSECONDS_PER_SECOND);
        if (!job_pause_point(job, errp)) {
            return false;
        }
    }
    co_sleep_ns(10 * SCALE_MS);
    return job_pause_point(job, errp);
}

static bool complete(Job *job, Error **errp)
{
    return true;
}

static const JobDriver ready_driver = {
    .instance_size = sizeof(TestJob), .type = JOB_TYPE_MIRROR, .run = run_ready, .complete = complete,
    .cancel = ignore_soft_cancel, .commit = note_commit, .abort = note_abort,
};

/* A soft cancel lets a job that is ready finish normally. A forced cancel can still follow. */
static void coroutine_fn soft_cancel(void *opaque)
{
    g_autoptr(Error) err = NULL;

    for (int force = 0; force < 2; force++) {
        TestJob *t = new_job(&ready_driver, "a", JOB_DEFAULT);

        job_start(&t->common);
        job_wait_for(&t->common, JOB_STATUS_READY);
        g_assert_true(job_complete(&t->common, &error_abort));
        g_assert_true(job_user_pause(&t->common, &error_abort));
        job_wait_for(&t->common, JOB_STATUS_STANDBY);
        /* It is ready again at once. */
        g_assert_true(job_user_resume(&t->common, &error_abort));
        g_assert_true(job_complete(&t->common, &error_abort));
        g_assert_true(job_user_cancel(&t->common, false, &error_abort));
        g_assert_false(job_is_cancelled(&t->common));
        g_assert_false(job_complete(&t->common, force ? NULL : &err));
        if (force) {
            g_assert_true(job_user_cancel(&t->common, true, &error_abort));
        }
        end_job(t, force ? CANCELLED : NULL);
        expect(force ? "abort a, " : "commit a, ");
    }
    g_assert_cmpstr(error_get_pretty(err), ==, "The active block job 'a' cannot be completed");
}

/* Jobs that are never started leave nothing behind. */
static void coroutine_fn discard(void *opaque)
{
    TestJob *jobs[3];

    new_group(jobs, JOB_DEFAULT);
    for (int i = 0; i < 3; i++) {
        job_discard(&jobs[i]->common);
    }
    expect("clean a, clean b, clean c, ");
    g_assert_null(job_next(NULL));
}

/* Jobs that start when a transaction commits, and are undone when it aborts. */
static void coroutine_fn start_in_transaction(void *opaque)
{
    TestJob *jobs[3];

    for (int commit = 0; commit < 2; commit++) {
        Transaction *tran = tran_new();

        new_group(jobs, JOB_DEFAULT);
        for (int i = 0; i < 3; i++) {
            job_start_tran(&jobs[i]->common, tran);
        }
        /* A user can already see the job and cancel it: it then ends as soon as it starts. */
        if (commit) {
            g_assert_true(job_user_cancel(&jobs[2]->common, true, &error_abort));
        }
        co_sleep_ns(5 * SCALE_MS);
        g_assert_cmpint(jobs[0]->common.status, ==, JOB_STATUS_CREATED);
        tran_finalize(tran, commit);
        if (commit) {
            end_group(jobs, all_cancelled, ABORT_ALL);
        } else {
            g_assert_null(job_next(NULL));
            g_assert_true(g_str_has_suffix(job_states->str, "c:aborting c:concluded c:null "
                                           "b:aborting b:concluded b:null a:aborting a:concluded a:null "));
            expect("abort c, clean c, abort b, clean b, abort a, clean a, ");
        }
    }
}

/* At the end of the program, jobs end in parallel. */
static void coroutine_fn end_all(void *opaque)
{
    TestJob *jobs[3];

    for (int i = 0; i < 3; i++) {
        g_autofree char *id = g_strdup_printf("%c", 'a' + i);

        jobs[i] = new_job(&driver, id, i == 2 ? JOB_MANUAL_FINALIZE : JOB_DEFAULT);
        jobs[i]->deaf = i == 0;
        jobs[i]->steps = (int[]){ 50, 1000000, 1 }[i];
        job_start(&jobs[i]->common);
    }
    job_wait_for(&jobs[2]->common, JOB_STATUS_PENDING);
    job_end_all();
    g_assert_true(g_str_has_suffix(ending->str, "abort a, clean a, "));
    g_assert_null(job_next(NULL));
}

static bool coroutine_fn run_random(Job *job, Error **errp)
{
    TestJob *t = container_of(job, TestJob, common);

    if (t->steps % 2 && !t->deaf) {
        job_transition_to_ready(job);
    }
    return run(job, errp);
}

static void random_verb(const char *id)
{
    Job *job = job_get(id);

    if (!job) {
        return;
    }
    switch (g_test_rand_int_range(0, 7)) {
    case 0:
        job_user_pause(job, NULL);
        break;
    case 1:
    case 2:
        job_user_resume(job, NULL);
        break;
    case 3:
        job_user_cancel(job, g_test_rand_int() % 2, NULL);
        break;
    case 4:
        job_complete(job, NULL);
        break;
    case 5:
        job_finalize(job, NULL);
        break;
    default:
        job_dismiss(job, NULL);
    }
}

static void coroutine_fn random_user(void *opaque)
{
    unsigned *users = opaque;

    for (int i = 0; i < 20; i++) {
        char id[] = { 'a' + g_test_rand_int_range(0, 4), '\0' };

        random_verb(id);
        co_sleep_ns(g_test_rand_int_range(0, SCALE_MS / 2));
    }
    --*users;
}

/*
 * Random commands at random times: every job passes only through QEMU's states and ends once, as the others of its
 * transaction do.
 */
static void coroutine_fn random_verbs(void *opaque)
{
    static const JobDriver random_driver = {
        .instance_size = sizeof(TestJob), .type = JOB_TYPE_MIRROR, .run = run_random, .prepare = prepare,
        .cancel = ignore_soft_cancel, .complete = complete, .commit = note_commit, .abort = note_abort,
        .clean = note_clean,
    };

    for (int round = 0; round < 200; round++) {
        JobTxn *txn = job_txn_new();
        unsigned users = 3;
        int n = g_test_rand_int_range(1, 5);

        for (int i = 0; i < n; i++) {
            char id[] = { 'a' + i, '\0' };
            TestJob *t = job_create(id, &random_driver, g_test_rand_int_range(0, 4), &error_abort);

            t->steps = g_test_rand_int_range(0, 6);
            t->deaf = g_test_rand_int() % 3 == 0;
            t->fail = g_test_rand_int() % 8 == 0;
            t->fail_prepare = g_test_rand_int() % 8 == 0;
            t->slow_prepare = g_test_rand_int() % 8 == 0;
            job_txn_add_job(txn, &t->common);
            job_start(&t->common);
        }
        job_txn_unref(txn);
        for (unsigned i = 0; i < 3; i++) {
            aio_co_start(qemu_get_aio_context(), random_user, &users);
        }
        co_sleep_ns(g_test_rand_int_range(0, 20 * SCALE_MS));
        job_end_all();
        while (users) {
            co_sleep_ns(SCALE_MS);
        }

        bool committed = strstr(ending->str, "commit");
        for (int i = 0; i < n; i++) {
            const char end[] = { 'a' + i, ',', '\0' };
            g_autofree char *how = g_strdup_printf("%s %s", committed ? "commit" : "abort", end);
            g_autofree char *clean = g_strdup_printf("clean %s", end);

            g_assert_nonnull(strstr(ending->str, how));
            g_assert_nonnull(strstr(ending->str, clean));
        }
        g_assert_true(!committed || !strstr(ending->str, "abort"));
        g_string_truncate(ending, 0);
        g_string_truncate(job_states, 0);
    }
}

static void run_test(gconstpointer entry)
{
    ending = g_string_new(NULL);
    job_test_run(entry);
    g_string_free(ending, TRUE);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_data_func("/job-txn/group", group, run_test);
    g_test_add_data_func("/job-txn/verbs-while-others-work", verbs_while_others_work, run_test);
    g_test_add_data_func("/job-txn/unnoticed-cancel", unnoticed_cancel, run_test);
    g_test_add_data_func("/job-txn/cancel-wait", cancel_wait, run_test);
    g_test_add_data_func("/job-txn/cancel-while-preparing", cancel_while_preparing, run_test);
    g_test_add_data_func("/job-txn/soft-cancel", soft_cancel, run_test);
    g_test_add_data_func("/job-txn/discard", discard, run_test);
    g_test_add_data_func("/job-txn/start-in-transaction", start_in_transaction, run_test);
    g_test_add_data_func("/job-txn/end-all", end_all, run_test);
    g_test_add_data_func("/job-txn/random-verbs", random_verbs, run_test);
    return g_test_run();
}
