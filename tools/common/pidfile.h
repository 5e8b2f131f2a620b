/*
 * The pid file of a daemon: one process at a time, locked while it lives
 *
 *     if (!pidfile_take(path, errp)) {        // before anything that a process which has it already could mind
 *         return false;
 *     }
 *     ...                                     // open images, listen
 *     ok = pidfile_write(errp);               // others wait for the file to appear: everything is ready
 *     ...
 *     pidfile_remove();
 *
 * One for each program. The file is locked as QEMU's are, by fcntl().
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef TOOLS_PIDFILE_H
#define TOOLS_PIDFILE_H

#include "util/coroutine.h"
#include "util/error.h"

/*
 * Take the pid file @path (NULL: none is wanted), which must stay valid: false with @errp where another process has it.
 * A file that an earlier process left behind is locked; where there is none, none is made yet. After the last fork().
 */
bool pidfile_take(const char *path, Error **errp);

/* Write our process id into the file that was taken, if any. */
bool coroutine_fn pidfile_write(Error **errp);

/* Remove the file, where it was written and is still ours. */
void pidfile_remove(void);

#endif
