/*
 * Running a job in the foreground of a command: draw its progress, cancel it on Ctrl-C
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include <signal.h>

#include "block/block.h"
#include "block/throttle-group.h"
#include "tools/common/progress.h"

#define DRAW_INTERVAL_NS (100 * SCALE_MS)

typedef struct ToolJob {
    Job common;
    ToolJobFunc *func;
    void *opaque;
} ToolJob;

static const int cancel_signals[] = { SIGINT, SIGTERM, SIGHUP };

/* Programs such as timeout(1) signal both the process and its group, which counts as one request to cancel. */
#define REPEAT_IGNORED_NS (200 * SCALE_MS)

static volatile sig_atomic_t cancel_pending;
static volatile int64_t cancel_ns;      /* time of the first request; 0: none yet */

static void note_cancel(int sig)
{
    int64_t now = qemu_clock_get_ns();

    if (!cancel_ns) {
        cancel_ns = now;
        cancel_pending = 1;
    } else if (now - cancel_ns > REPEAT_IGNORED_NS) {
        /* A repeated signal ends the program as soon as this handler returns. */
        signal(sig, SIG_DFL);
        raise(sig);
    }
}

static bool coroutine_fn tool_job_run(Job *job, Error **errp)
{
    ToolJob *tool_job = container_of(job, ToolJob, common);

    return tool_job->func(job, tool_job->opaque, errp);
}

/* A running job, and the timer that watches it. */
typedef struct Watch {
    Job *job;
    AioTimer *timer;
} Watch;

static void watch_tick(void *opaque)
{
    Watch *watch = opaque;
    const Job *job = watch->job;
    int64_t now = qemu_clock_get_ns();

    tool_progress_set_activity(job->activity, job->activity_end_ns);
    tool_progress_set(job->progress_current, job->progress_total);
    if (cancel_pending) {
        cancel_pending = 0;
        job_user_cancel(watch->job, true, NULL);
        bdrv_cancel_opening();
        throttle_groups_lift_limits();
        bdrv_cancel_in_flight_later();
    }
    aio_timer_mod_ns(watch->timer, now + DRAW_INTERVAL_NS);
}

bool coroutine_fn tool_run_job(JobType type, ToolJobFunc *func, void *opaque, bool show, Error **errp)
{
    struct sigaction note = { .sa_handler = note_cancel, .sa_flags = SA_RESTART };
    struct sigaction old_actions[G_N_ELEMENTS(cancel_signals)];
    const JobDriver driver = { .instance_size = sizeof(ToolJob), .type = type, .run = tool_job_run };
    ToolJob *tool_job = job_create(NULL, &driver, JOB_INTERNAL, errp);
    Watch watch;
    bool ok;

    if (!tool_job) {
        return false;
    }
    tool_job->func = func;
    tool_job->opaque = opaque;
    cancel_ns = 0;
    for (size_t i = 0; i < G_N_ELEMENTS(cancel_signals); i++) {
        sigaction(cancel_signals[i], &note, &old_actions[i]);
    }
    tool_progress_start(show);
    watch.job = job_ref(&tool_job->common);
    watch.timer = aio_timer_new(qemu_get_current_aio_context(), watch_tick, &watch);
    watch_tick(&watch);

    ok = job_run_co(&tool_job->common, errp);

    aio_timer_free(watch.timer);
    if (ok) {
        tool_progress_set(1, 1);
    }
    tool_progress_end();
    for (size_t i = 0; ok && watch.job->warnings && i < watch.job->warnings->n; i++) {
        warn_report("%s", watch.job->warnings->items[i]);
    }
    job_unref(watch.job);
    for (size_t i = 0; i < G_N_ELEMENTS(cancel_signals); i++) {
        sigaction(cancel_signals[i], &old_actions[i], NULL);
    }
    return ok;
}
