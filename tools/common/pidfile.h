/*
 * The pid file of a daemon: one process at a time, locked while it lives
 *
 *     if (!pidfile_take(path, errp)) {        // before anything that could disturb a process that has it
 *         return false;
 *     }
 *     ...                                     // open images, listen
 *     ok = pidfile_write(errp);               // others wait for the file to appear: everything is ready
 *     ...
 *     pidfile_remove();
 *
 * A process has at most one. It is locked with fcntl(), like QEMU's.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef TOOLS_PIDFILE_H
#define TOOLS_PIDFILE_H

#include "util/coroutine.h"
#include "util/error.h"

/*
 * Take the pid file @path (NULL: none is wanted), which must stay valid; false with @errp if another process has it.
 * Locks a file that an earlier process left behind, but does not create one yet. Call this after the last fork().
 */
bool pidfile_take(const char *path, Error **errp);

/* Write our process id to the pid file, if one was taken. */
bool coroutine_fn pidfile_write(Error **errp);

/* Remove the file if it was written and is still ours. */
void pidfile_remove(void);

#endif
