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
 * A monitor serves one client at a time, over and over. A client that breaks off leaves the command that runs to its
 * end. Everything here is for the main thread.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef MONITOR_MONITOR_H
#define MONITOR_MONITOR_H

#include "qapi/qapi-types.h"
#include "util/coroutine.h"
#include "util/error.h"

/* Events go to the clients from here on. */
void monitor_init(void);

/* A new monitor on a character device, which nobody else may use. Its clients wait for monitor_start(). */
bool monitor_add(const MonitorOptions *options, Error **errp);

/* Everything that the command line asks for is there: serve the clients of all monitors. Once. */
void monitor_start(void);

/*
 * Make the program end: from now on no command begins, and those under way give up waiting for keys and peers. Only the
 * first call counts.
 */
void monitor_request_shutdown(ShutdownCause cause);
/* Wait for that, and tell clients why. */
void coroutine_fn monitor_wait_shutdown(void);

/* Wait until no command is under way, those of clients that have gone included. */
void coroutine_fn monitor_wait_commands(void);

/* Give clients a moment to read what is on its way to them, then free all monitors. */
void coroutine_fn monitor_cleanup(void);

/*
 * The descriptor that the client of the running command has named @name with getfd, which is the caller's from now
 * on; -1 with @errp. For socket_set_fd_lookup().
 */
int monitor_take_fd(const char *name, Error **errp);

#endif
