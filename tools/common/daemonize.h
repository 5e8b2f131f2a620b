/*
 * Becoming a daemon
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef TOOLS_DAEMONIZE_H
#define TOOLS_DAEMONIZE_H

#include "util/error.h"

/*
 * Go on in the background, in a session of our own. The process that was started waits for daemonize_done(), and
 * exits with status 0 then; with 1 where we end before that. To be called before there are threads.
 */
bool daemonize_begin(Error **errp);
/* Ready: detach from the terminal; standard error stays what it is where @keep_stderr. */
bool daemonize_done(bool keep_stderr, Error **errp);

#endif
