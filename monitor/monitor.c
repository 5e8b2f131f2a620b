/*
 * The list of monitors, and the end of the program
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "block/block.h"
#include "monitor/monitor-int.h"
#include "qapi/qapi-events.h"

/* How long clients have at the end of the program to read pending output. */
#define GOODBYE_NS (1000 * SCALE_MS)

static GPtrArray *monitors;     /* of Monitor */
static bool shutdown_requested;
static ShutdownCause shutdown_cause;
static CoQueue shutdown_waiters = { .last = &shutdown_waiters.first };

void monitor_foreach(void (*fn)(Monitor *mon, void *opaque), void *opaque)
{
    for (guint i = 0; monitors && i < monitors->len; i++) {
        fn(g_ptr_array_index(monitors, i), opaque);
    }
}

void monitor_init(void)
{
    monitors = g_ptr_array_new();
    qmp_sessions_init();
    qmp_events_init();
    monitor_watch_jobs();
}

static void monitor_client_arrived(IOChannel *in, IOChannel *out, void *opaque)
{
    qmp_session_start(opaque, in, out);
}

bool monitor_add(const MonitorOptions *options, Error **errp)
{
    Chardev *chr = chardev_attach(options->chardev, errp);

    if (!chr) {
        return false;
    }
    Monitor *mon = g_new0(Monitor, 1);
    mon->chr = chr;
    mon->pretty = options->has_pretty && options->pretty;
    g_ptr_array_add(monitors, mon);
    return true;
}

void monitor_start(void)
{
    for (guint i = 0; i < monitors->len; i++) {
        Monitor *mon = g_ptr_array_index(monitors, i);

        chardev_start(mon->chr, monitor_client_arrived, mon);
    }
}

void monitor_request_shutdown(ShutdownCause cause)
{
    if (!shutdown_requested) {
        shutdown_requested = true;
        shutdown_cause = cause;
        bdrv_cancel_opening();
        qmp_cancel_commands();
        qemu_co_queue_restart_all(&shutdown_waiters);
    }
}

bool monitor_may_execute(Error **errp)
{
    if (shutdown_requested) {
        error_setg(errp, "The program is ending and takes no more commands");
    }
    return !shutdown_requested;
}

void coroutine_fn monitor_wait_shutdown(void)
{
    while (!shutdown_requested) {
        qemu_co_queue_wait(&shutdown_waiters, NULL);
    }
    qapi_event_send_shutdown(&(ShutdownArg){ .guest = false, .reason = shutdown_cause });
}

static bool monitor_has_output(void)
{
    for (guint i = 0; i < monitors->len; i++) {
        Monitor *mon = g_ptr_array_index(monitors, i);

        if (mon->session && mon->session->writer_runs) {
            return true;
        }
    }
    return false;
}

void coroutine_fn monitor_cleanup(void)
{
    int64_t deadline = qemu_clock_get_ns() + GOODBYE_NS;

    while (monitor_has_output() && qemu_clock_get_ns() < deadline) {
        co_sleep_ns(SCALE_MS);
    }
    qmp_events_cleanup();
    while (monitors->len) {
        Monitor *mon = g_ptr_array_index(monitors, monitors->len - 1);

        g_ptr_array_remove_index(monitors, monitors->len - 1);
        if (mon->session) {
            qmp_session_end(mon->session);
        }
        chardev_detach(mon->chr);
        g_free(mon);
    }
    g_clear_pointer(&monitors, g_ptr_array_unref);
    qmp_sessions_cleanup();
}
