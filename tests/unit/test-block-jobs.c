/*
 * Jobs that copy data, as a QMP client sees them: commands and events of both kinds, in QEMU's order
 *
 * The jobs here copy nothing. At a speed of 1 byte a second they stop after the first step, so that a test can
 * inspect them. Without a limit they end at once.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include <json-c/json.h>
#include <sys/socket.h>

#include "block/job.h"
#include "monitor/chardev.h"
#include "monitor/monitor.h"
#include "qapi/json.h"

#define STEP_BYTES 65536
#define LEN_BYTES (4 * STEP_BYTES)

typedef struct CopyJob {
    Job common;
    bool fails;
    int no_space;           /* how many requests will fail with ENOSPC */
    BlockdevOnError on_error;
    bool should_end;        /* end the ready state */
    const char **how;       /* set to the command that ended it */
} CopyJob;

static bool coroutine_fn copy_run(Job *job, Error **errp)
{
    CopyJob *s = (CopyJob *)job;

    job_progress_set_remaining(job, LEN_BYTES);
    while (job->progress_current < LEN_BYTES) {
        if (!job_pause_point(job, errp)) {
            return false;
        }
        if (s->no_space > 0) {
            s->no_space--;
            if (job_error_action(job, s->on_error, false, -ENOSPC) == BLOCK_ERROR_ACTION_REPORT) {
                error_setg(errp, "no space");
                return false;
            }
            continue;
        }
        job_progress_update(job, STEP_BYTES);
        job_throttle(job, STEP_BYTES);
    }
    if (s->fails) {
        error_setg(errp, "as asked");
        return false;
    }
    if (job->driver->type == JOB_TYPE_MIRROR) {
        job_transition_to_ready(job);
        while (!s->should_end) {
            if (!job_pause_point(job, errp)) {
                return false;
            }
            job_sleep_ns(job, NANOSECONDS_PER_SECOND);
        }
    }
    return true;
}

static void end_ready(Job *job, const char *how)
{
    CopyJob *s = (CopyJob *)job;

    s->should_end = true;
    if (s->how) {
        *s->how = how;
    }
    job_wake(job);
}

static bool mirror_complete(Job *job, Error **errp)
{
    end_ready(job, "completed");
    return true;
}

static bool mirror_cancel(Job *job, bool force)
{
    if (!force) {
        end_ready(job, "soft cancel");
    }
    return force;
}

static void mirror_query(const Job *job, BlockJobInfo *info)
{
    info->u.mirror.actively_synced = job->status == JOB_STATUS_READY;
}

static const JobDriver mirror = {
    .instance_size = sizeof(CopyJob), .type = JOB_TYPE_MIRROR, .run = copy_run, .complete = mirror_complete,
    .cancel = mirror_cancel, .query_block_job = mirror_query,
};
static const JobDriver backup = { .instance_size = sizeof(CopyJob), .type = JOB_TYPE_BACKUP, .run = copy_run };
static const JobDriver create = { .instance_size = sizeof(CopyJob), .type = JOB_TYPE_CREATE, .run = copy_run };

/* The client: its channel, the bytes received but not parsed yet, and the events in short form. */
static IOChannel *client;
static GString *input;
static GString *events;

static void note_event(struct json_object *msg)
{
    const char *name = json_object_get_string(json_object_object_get(msg, "event"));
    struct json_object *data = json_object_object_get(msg, "data");

    if (g_str_equal(name, "JOB_STATUS_CHANGE")) {
        g_string_append_printf(events, " %s", json_object_get_string(json_object_object_get(data, "status")));
    } else {
        g_string_append_printf(events, " %s%s", name,
                               json_object_to_json_string_ext(data, JSON_C_TO_STRING_PLAIN));
    }
}

/* The next message that is not an event. With @until: NULL once the recorded events end with that. */
static struct json_object *coroutine_fn receive(const char *until)
{
    while (!until || !g_str_has_suffix(events->str, until)) {
        char *end = strchr(input->str, '\n');
        if (!end) {
            char buf[4096];
            ssize_t n = io_channel_co_read(client, buf, sizeof(buf));
            g_assert_cmpint(n, >, 0);
            g_string_append_len(input, buf, n);
            continue;
        }
        g_autoptr(json_object) msg = qapi_parse_json(input->str, end - input->str, &error_abort);
        g_string_erase(input, 0, end + 1 - input->str);
        if (!json_object_object_get_ex(msg, "event", NULL)) {
            g_assert_null(until);
            return g_steal_pointer(&msg);
        }
        note_event(msg);
    }
    return NULL;
}

static void coroutine_fn wait_for(const char *last_event)
{
    receive(last_event);
}

/* The command's return value as JSON, or its error as "class: description". */
static char *coroutine_fn ask(const char *command, const char *args)
{
    g_autofree char *request = g_strdup_printf("{'execute': '%s', 'arguments': {%s}}\n", command, args);
    struct json_object *error;

    g_assert_cmpint(io_channel_co_write_all(client, request, strlen(request)), ==, 0);
    g_autoptr(json_object) answer = receive(NULL);
    if (json_object_object_get_ex(answer, "error", &error)) {
        return g_strdup_printf("%s: %s", json_object_get_string(json_object_object_get(error, "class")),
                               json_object_get_string(json_object_object_get(error, "desc")));
    }
    return g_strdup(json_object_to_json_string_ext(json_object_object_get(answer, "return"), JSON_C_TO_STRING_PLAIN));
}

static void coroutine_fn expect(const char *command, const char *args, const char *expected)
{
    g_autofree char *answer = ask(command, args);

    g_assert_cmpstr(answer, ==, expected);
}

static void coroutine_fn ok(const char *command, const char *args)
{
    expect(command, args, "{}");
}

/* Compare all events since the last call. */
static void expect_events(const char *expected)
{
    g_assert_cmpstr(events->str, ==, expected);
    g_string_truncate(events, 0);
}

static CopyJob *start(const JobDriver *driver, JobCreateFlags flags, int64_t speed)
{
    CopyJob *s = job_create("j0", driver, flags, &error_abort);

    s->common.speed = speed;
    job_start(&s->common);
    return s;
}

#define REPORT(type, offset, speed) \
    "{\"type\":\"" type "\",\"device\":\"j0\",\"len\":262144,\"offset\":" offset ",\"speed\":" speed "}"
#define INFO(type, offset, busy, paused, speed, ready, status, finalize, dismiss, more)                              \
    "[{\"type\":\"" type "\",\"device\":\"j0\",\"len\":262144,\"offset\":" offset ",\"busy\":" busy                   \
    ",\"paused\":" paused ",\"speed\":" speed ",\"io-status\":\"ok\",\"ready\":" ready ",\"status\":\"" status "\""   \
    ",\"auto-finalize\":" finalize ",\"auto-dismiss\":" dismiss more "}]"
#define SYNCED(yes) ",\"actively-synced\":" yes

/* The whole life of a mirror, with every command and event. */
static void coroutine_fn mirror_life(void *opaque)
{
    const char *how = NULL;
    CopyJob *s = start(&mirror, JOB_MANUAL_DISMISS, 1);

    s->how = &how;
    wait_for(" running");
    expect("query-block-jobs", "",
           INFO("mirror", "65536", "true", "false", "1", "false", "running", "true", "false", SYNCED("false")));
    expect("block-job-complete", "'device': 'j0'",
           "GenericError: Job 'j0' in state 'running' cannot accept command verb 'complete'");
    expect("block-job-dismiss", "'id': 'j0'",
           "GenericError: Job 'j0' in state 'running' cannot accept command verb 'dismiss'");
    expect("block-job-resume", "'device': 'j0'", "GenericError: Can't resume job 'j0', which was not paused");

    ok("block-job-pause", "'device': 'j0'");
    wait_for(" paused");
    expect("block-job-pause", "'device': 'j0'", "GenericError: Job 'j0' is already paused");
    expect("query-block-jobs", "",
           INFO("mirror", "65536", "false", "true", "1", "false", "paused", "true", "false", SYNCED("false")));
    expect("block-job-cancel", "'device': 'j0'",
           "GenericError: The block job 'j0' is paused: resume it before it is cancelled, or use force");
    expect("block-job-set-speed", "'device': 'j0', 'speed': -1",
           "GenericError: Parameter 'speed' expects a non-negative value");
    ok("block-job-set-speed", "'device': 'j0', 'speed': 0");
    ok("block-job-resume", "'device': 'j0'");
    wait_for("}");
    expect_events(" created running paused running ready BLOCK_JOB_READY" REPORT("mirror", "262144", "0"));

    expect("query-block-jobs", "",
           INFO("mirror", "262144", "false", "false", "0", "true", "ready", "true", "false", SYNCED("true")));
    ok("block-job-pause", "'device': 'j0'");
    wait_for(" standby");
    expect("query-block-jobs", "",
           INFO("mirror", "262144", "false", "true", "0", "true", "standby", "true", "false", SYNCED("false")));
    expect("job-complete", "'id': 'j0'",
           "GenericError: Job 'j0' in state 'standby' cannot accept command verb 'complete'");
    ok("block-job-resume", "'device': 'j0'");
    wait_for(" ready");
    ok("block-job-complete", "'device': 'j0'");
    wait_for(" concluded");
    g_assert_cmpstr(how, ==, "completed");
    expect_events(" standby ready waiting pending BLOCK_JOB_COMPLETED" REPORT("mirror", "262144", "0") " concluded");
    expect("block-job-cancel", "'device': 'j0'",
           "GenericError: Job 'j0' in state 'concluded' cannot accept command verb 'cancel'");
    ok("block-job-dismiss", "'id': 'j0'");
    expect_events(" null");
}

/* A soft cancel lets a job that is ready finish normally. A forced cancel can still follow. */
static void coroutine_fn cancel_when_ready(void *opaque)
{
    const char *how = NULL;

    start(&mirror, JOB_DEFAULT, 0)->how = &how;
    wait_for("}");
    ok("block-job-cancel", "'device': 'j0'");
    wait_for(" null");
    g_assert_cmpstr(how, ==, "soft cancel");
    expect_events(" created running ready BLOCK_JOB_READY" REPORT("mirror", "262144", "0")
                  " waiting pending BLOCK_JOB_COMPLETED" REPORT("mirror", "262144", "0") " concluded null");

    for (int i = 0; i < 2; i++) {
        how = NULL;
        start(&mirror, JOB_DEFAULT, 0)->how = &how;
        wait_for("}");
        ok(i ? "job-cancel" : "block-job-cancel", i ? "'id': 'j0'" : "'device': 'j0', 'force': true");
        wait_for(" null");
        g_assert_null(how);
        expect_events(" created running ready BLOCK_JOB_READY" REPORT("mirror", "262144", "0")
                      " aborting BLOCK_JOB_CANCELLED" REPORT("mirror", "262144", "0") " concluded null");
    }
}

/* Before a job is ready, every cancel is forced. */
static void coroutine_fn cancel_at_work(void *opaque)
{
    static const JobDriver *const drivers[] = { &mirror, &backup };

    for (int i = 0; i < 2; i++) {
        start(drivers[i], JOB_DEFAULT, 1);
        wait_for(" running");
        ok("block-job-cancel", "'device': 'j0'");
        wait_for(" null");
        expect_events(i ? " created running aborting BLOCK_JOB_CANCELLED" REPORT("backup", "65536", "1")
                          " concluded null"
                        : " created running aborting BLOCK_JOB_CANCELLED" REPORT("mirror", "65536", "1")
                          " concluded null");
    }
    start(&backup, JOB_DEFAULT, 1);
    wait_for(" running");
    ok("job-pause", "'id': 'j0'");
    wait_for(" paused");
    ok("block-job-cancel", "'device': 'j0', 'force': true");
    wait_for(" null");
    expect_events(" created running paused running aborting BLOCK_JOB_CANCELLED" REPORT("backup", "65536", "1")
                  " concluded null");
}

static void coroutine_fn finalize(void *opaque)
{
#define TO_PENDING " created running waiting pending BLOCK_JOB_PENDING{\"type\":\"backup\",\"id\":\"j0\"}"
    start(&backup, JOB_MANUAL_FINALIZE | JOB_MANUAL_DISMISS, 0);
    wait_for("}");
    expect("query-block-jobs", "",
           INFO("backup", "262144", "false", "false", "0", "false", "pending", "false", "false", ""));
    expect("block-job-set-speed", "'device': 'j0', 'speed': 1",
           "GenericError: Job 'j0' in state 'pending' cannot accept command verb 'set-speed'");
    ok("block-job-finalize", "'id': 'j0'");
    wait_for(" concluded");
    expect("job-finalize", "'id': 'j0'",
           "GenericError: Job 'j0' in state 'concluded' cannot accept command verb 'finalize'");
    expect("query-block-jobs", "",
           INFO("backup", "262144", "false", "false", "0", "false", "concluded", "false", "false", ""));
    ok("job-dismiss", "'id': 'j0'");
    expect_events(TO_PENDING " BLOCK_JOB_COMPLETED" REPORT("backup", "262144", "0") " concluded null");

    start(&backup, JOB_MANUAL_FINALIZE | JOB_MANUAL_DISMISS, 0);
    wait_for("}");
    ok("block-job-cancel", "'device': 'j0'");
    wait_for(" concluded");
    expect("query-block-jobs", "",
           INFO("backup", "262144", "false", "false", "0", "false", "concluded", "false", "false",
                ",\"error\":\"Operation was cancelled\""));
    ok("block-job-dismiss", "'id': 'j0'");
    expect_events(TO_PENDING " aborting BLOCK_JOB_CANCELLED" REPORT("backup", "262144", "0") " concluded null");
}

static void coroutine_fn failure(void *opaque)
{
    start(&backup, JOB_MANUAL_DISMISS, 0)->fails = true;
    wait_for(" concluded");
    expect("query-block-jobs", "",
           INFO("backup", "262144", "false", "false", "0", "false", "concluded", "true", "false",
                ",\"error\":\"as asked\""));
    ok("job-dismiss", "'id': 'j0'");
    expect_events(" created running aborting BLOCK_JOB_COMPLETED{\"type\":\"backup\",\"device\":\"j0\",\"len\":262144"
                  ",\"offset\":262144,\"speed\":0,\"error\":\"as asked\"} concluded null");
}

/* What happens after a failed request depends on the error policy. */
static void coroutine_fn error_policy(void *opaque)
{
#define ERROR(action) " BLOCK_JOB_ERROR{\"device\":\"j0\",\"operation\":\"write\",\"action\":\"" action "\"}"
    CopyJob *s = start(&backup, JOB_DEFAULT, 0);

    s->on_error = BLOCKDEV_ON_ERROR_ENOSPC;
    s->no_space = 1;
    wait_for(" paused");
    expect("query-block-jobs", "",
           "[{\"type\":\"backup\",\"device\":\"j0\",\"len\":262144,\"offset\":0,\"busy\":false,\"paused\":true"
           ",\"speed\":0,\"io-status\":\"nospace\",\"ready\":false,\"status\":\"paused\",\"auto-finalize\":true"
           ",\"auto-dismiss\":true}]");
    expect("block-job-cancel", "'device': 'j0'",
           "GenericError: The block job 'j0' is paused: resume it before it is cancelled, or use force");
    s->common.speed = 1;
    ok("block-job-resume", "'device': 'j0'");
    wait_for(" running");
    expect("query-block-jobs", "",
           INFO("backup", "65536", "true", "false", "1", "false", "running", "true", "true", ""));
    ok("block-job-set-speed", "'device': 'j0', 'speed': 0");
    wait_for(" null");
    expect_events(" created running" ERROR("stop") " paused running waiting pending BLOCK_JOB_COMPLETED"
                  REPORT("backup", "262144", "0") " concluded null");

    s = start(&backup, JOB_DEFAULT, 0);
    s->on_error = BLOCKDEV_ON_ERROR_IGNORE;
    s->no_space = 2;
    wait_for(" null");
    expect_events(" created running" ERROR("ignore") ERROR("ignore") " waiting pending BLOCK_JOB_COMPLETED"
                  REPORT("backup", "262144", "0") " concluded null");

    s = start(&backup, JOB_DEFAULT, 0);
    s->on_error = BLOCKDEV_ON_ERROR_REPORT;
    s->no_space = 1;
    wait_for(" null");
    expect_events(" created running" ERROR("report") " aborting BLOCK_JOB_COMPLETED{\"type\":\"backup\""
                  ",\"device\":\"j0\",\"len\":262144,\"offset\":0,\"speed\":0,\"error\":\"no space\"} concluded null");
}

/* Start a job as an action of the transaction command does. */
static CopyJob *prepare_action(const char *id, JobTxn *job_txn, Transaction *tran)
{
    CopyJob *s = job_create(id, &backup, JOB_DEFAULT, &error_abort);

    job_txn_add_job(job_txn, &s->common);
    job_start_tran(&s->common, tran);
    return s;
}

/* Two actions. Either a third fails and undoes them, or one of their jobs fails, or everything succeeds. */
static void coroutine_fn transaction(void *opaque)
{
#define DONE(id, how, more) \
    " BLOCK_JOB_" how "{\"type\":\"backup\",\"device\":\"" id "\",\"len\":262144,\"offset\":262144,\"speed\":0" more \
    "} concluded null"
    static const char *const expected[] = {
        " created created aborting concluded null aborting concluded null",
        " created created running waiting running aborting aborting" DONE("j0", "CANCELLED", "")
        DONE("j1", "COMPLETED", ",\"error\":\"as asked\""),
        " created created running waiting running waiting pending pending" DONE("j0", "COMPLETED", "")
        DONE("j1", "COMPLETED", ""),
    };

    for (size_t i = 0; i < G_N_ELEMENTS(expected); i++) {
        Transaction *tran = tran_new();
        JobTxn *job_txn = job_txn_new();

        prepare_action("j0", job_txn, tran);
        prepare_action("j1", job_txn, tran)->fails = i == 1;
        tran_finalize(tran, i > 0);
        job_txn_unref(job_txn);
        while (job_next(NULL)) {
            co_sleep_ns(SCALE_MS);
        }
        expect("query-jobs", "", "[]");
        expect_events(expected[i]);
    }
}

/* The block-job commands reject other jobs with an error class of their own. */
static void coroutine_fn not_a_block_job(void *opaque)
{
    static const char *const commands[] = {
        "block-job-pause", "block-job-resume", "block-job-cancel", "block-job-complete", "block-job-set-speed",
        "block-job-finalize", "block-job-dismiss",
    };

    for (int round = 0; round < 2; round++) {
        if (round) {
            start(&create, JOB_DEFAULT, 1);
            wait_for(" running");
        }
        for (size_t i = 0; i < G_N_ELEMENTS(commands); i++) {
            const char *args = i > 4 ? "'id': 'j0'" : i == 4 ? "'device': 'j0', 'speed': 0" : "'device': 'j0'";
            expect(commands[i], args, "DeviceNotActive: Block job 'j0' not found");
        }
        expect("query-block-jobs", "", "[]");
    }
    ok("job-cancel", "'id': 'j0'");
    wait_for(" null");
    expect_events(" created running aborting concluded null");
    expect("job-pause", "'id': 'j0'", "GenericError: Job not found: no job has the ID 'j0'");
}

static void coroutine_fn with_client(void *test)
{
    int fds[2];

    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), ==, 0);
    g_autofree char *chardev = g_strdup_printf("socket,id=c0,fd=%d", fds[0]);
    monitor_init();
    g_assert_true(chardev_parse(chardev, &error_abort));
    g_assert_true(monitor_add(&(MonitorOptions){ .chardev = (char *)"c0" }, &error_abort));
    monitor_start();
    client = io_channel_new(fds[1]);
    input = g_string_new(NULL);
    events = g_string_new(NULL);
    g_autoptr(json_object) greeting = receive(NULL);
    ok("qmp_capabilities", "");

    ((CoroutineEntry *)test)(NULL);

    g_assert_null(job_next(NULL));
    g_assert_cmpstr(events->str, ==, "");
    io_channel_shutdown(client);
    monitor_cleanup();
    chardev_cleanup();
    g_clear_pointer(&client, io_channel_unref);
    g_string_free(input, TRUE);
    g_string_free(events, TRUE);
}

static void run_test(gconstpointer test)
{
    aio_context_run(with_client, (void *)test);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_data_func("/block-jobs/mirror", mirror_life, run_test);
    g_test_add_data_func("/block-jobs/cancel-when-ready", cancel_when_ready, run_test);
    g_test_add_data_func("/block-jobs/cancel-at-work", cancel_at_work, run_test);
    g_test_add_data_func("/block-jobs/finalize", finalize, run_test);
    g_test_add_data_func("/block-jobs/failure", failure, run_test);
    g_test_add_data_func("/block-jobs/error-policy", error_policy, run_test);
    g_test_add_data_func("/block-jobs/transaction", transaction, run_test);
    g_test_add_data_func("/block-jobs/not-a-block-job", not_a_block_job, run_test);
    return g_test_run();
}
