/*
 * Monitors: QMP over character devices
 *
 *     monitor_init();
 *     if (!chardev_add("c0", backend, errp) || !monitor_add(&(MonitorOptions){ .chardev = "c0" }, errp)) {
 *         return false;
 *     }
 *     ...
 *     monitor_start();
 *     monitor_wait_shutdown();        // serves meanwhile; until "quit" or monitor_request_shutdown()
 *     monitor_wait_commands();
 *     ...
 *     monitor_cleanup();
 *
 * A monitor serves one client after the other. If a client disconnects, the command under way still runs to its end.
 * All functions are for the main thread.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef MONITOR_MONITOR_H
#define MONITOR_MONITOR_H

#include "qapi/qapi-types.h"
#include "util/coroutine.h"
#include "util/error.h"

/* Start sending events to clients. */
void monitor_init(void);

/* Create a monitor on a character device, which it uses alone. Its clients wait for monitor_start(). */
bool monitor_add(const MonitorOptions *options, Error **errp);

/* The whole command line has been applied: serve the clients of all monitors. Once. */
void monitor_start(void);

/*
 * Make the program end: from now on no command starts, and those under way stop waiting for keys and peers. Only the
 * first call counts.
 */
void monitor_request_shutdown(ShutdownCause cause);
/* Wait for that, and tell clients the reason. */
void coroutine_fn monitor_wait_shutdown(void);

/* Wait until no command is under way, including those of clients that have disconnected. */
void coroutine_fn monitor_wait_commands(void);

/* Give clients a moment to read pending output, then free all monitors. */
void coroutine_fn monitor_cleanup(void);

/*
 * Take the descriptor that the client of the current command has named @name with getfd. The caller then owns it. -1
 * with @errp. For socket_set_fd_lookup().
 */
int monitor_take_fd(const char *name, Error **errp);

#endif
