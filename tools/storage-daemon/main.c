/*
 * qemu-storage-daemon: serves disk images, controlled over QMP
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>

#include "block/copy-before-write.h"
#include "block/export.h"
#include "block/iothread-object.h"
#include "block/job.h"
#include "block/nbd.h"
#include "block/throttle-group.h"
#include "crypto/object.h"
#include "io/sockets.h"
#include "monitor/blockdev.h"
#include "monitor/chardev.h"
#include "monitor/monitor.h"
#include "tools/common/daemonize.h"
#include "tools/common/pidfile.h"
#include "tools/common/startup.h"
#include "tools/storage-daemon/options.h"
#include "util/aio.h"
#include "util/thread-pool.h"

typedef struct Daemon {
    int argc;
    char **argv;
    DaemonOptions options;
    int signal_fd;
    Coroutine *set_up_co;       /* applies the command line; NULL once that is done */
    int status;
} Daemon;

static void signal_arrived(void *opaque)
{
    Daemon *d = opaque;
    struct signalfd_siginfo info;

    if (read(d->signal_fd, &info, sizeof(info)) == sizeof(info)) {
        monitor_request_shutdown(SHUTDOWN_CAUSE_HOST_SIGNAL);
        if (d->set_up_co) {
            qemu_co_cancel(d->set_up_co);
        }
    }
}

static bool watch_signals(Daemon *d, Error **errp)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGHUP);
    /* Block them before threads are created, so that no other thread receives them. */
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    d->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (d->signal_fd < 0) {
        error_setg_errno(errp, errno, "Could not watch signals");
        return false;
    }
    aio_set_fd_handler(qemu_get_current_aio_context(), d->signal_fd, signal_arrived, NULL, d);
    return true;
}

/* Also leave the current directory, so that its file system can be unmounted. */
static bool leave_terminal(Error **errp)
{
    if (chdir("/") < 0) {
        error_setg_errno(errp, errno, "Could not change the directory to '/'");
        return false;
    }
    return daemonize_done(false, errp);
}

static bool coroutine_fn daemon_set_up(Daemon *d, Error **errp)
{
    if (!watch_signals(d, errp)) {
        return false;
    }
    iothread_object_register();
    throttle_group_register();
    monitor_init();
    socket_set_fd_lookup(monitor_take_fd);
    if (d->options.daemonize) {
        chardev_forbid_stdio();
    }
    return daemon_options_apply(d->argc, d->argv, errp) && pidfile_write(errp) &&
           (!d->options.daemonize || leave_terminal(errp));
}

static void coroutine_fn daemon_co_main(void *opaque)
{
    Daemon *d = opaque;
    Error *err = NULL;

    d->set_up_co = qemu_coroutine_self();
    bool ok = daemon_set_up(d, &err);
    d->set_up_co = NULL;
    if (ok) {
        monitor_start();
        monitor_wait_shutdown();
    } else {
        error_report_err(err);
        d->status = 1;
    }
    throttle_groups_lift_limits();
    job_cancel_all();
    bdrv_cbw_cancel_all();
    bdrv_cancel_in_flight_later();
    monitor_wait_commands();
    nbd_server_stop();
    blk_exp_close_all();
    job_end_all();
    monitor_cleanup();
    blockdev_close_all();
    chardev_cleanup();
    user_creatable_cleanup();
    aio_set_fd_handler(qemu_get_current_aio_context(), d->signal_fd, NULL, NULL, NULL);
    close(d->signal_fd);
}

/*
 * Every file and client takes a descriptor, and the usual limit is low for the sake of programs that use select().
 * A higher one would let clients exhaust other resources, such as memory mappings.
 */
#define MANY_FILES 8192

static void raise_file_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < MANY_FILES) {
        limit.rlim_cur = MIN(limit.rlim_max, MANY_FILES);
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

int main(int argc, char **argv)
{
    Daemon d = { .argc = argc, .argv = argv, .signal_fd = -1 };
    Error *err = NULL;

    tool_startup(argv[0], "qemu-storage-daemon");
    if (!daemon_options_parse(&d.options, argc, argv)) {
        return d.options.status;
    }
    if (d.options.daemonize) {
        if (!daemonize_begin(&err)) {
            error_report_err(err);
            return 1;
        }
        umask(027);
    }
    if (!pidfile_take(d.options.pidfile, &err)) {
        error_report_err(err);
        return 1;
    }
    raise_file_limit();
    aio_context_run(daemon_co_main, &d);
    pidfile_remove();
    thread_pool_cleanup();
    return d.status;
}
