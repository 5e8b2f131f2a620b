/*
 * Becoming a daemon
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef TOOLS_DAEMONIZE_H
#define TOOLS_DAEMONIZE_H

#include "util/error.h"

/*
 * Continue in the background, in a new session. The original process waits for daemonize_done() and exits with status
 * 0, or with 1 if we exit before that. Call this before threads are created.
 */
bool daemonize_begin(Error **errp);
/* Report that the daemon is ready, and detach from the terminal; standard error stays open if @keep_stderr. */
bool daemonize_done(bool keep_stderr, Error **errp);

#endif
