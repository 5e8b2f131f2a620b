/*
 * Becoming a daemon
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef STORAGE_DAEMON_DAEMONIZE_H
#define STORAGE_DAEMON_DAEMONIZE_H

#include "util/error.h"

/*
 * Go on in the background, in a session of our own. The process that was started waits for daemonize_done(), and
 * exits with status 0 then; with 1 where we end before that. To be called before there are threads.
 */
bool daemonize_begin(Error **errp);
bool daemonize_done(Error **errp);

/* Write our process id into the file @path, which is locked while we live, and removed by pidfile_remove(). */
bool pidfile_create(const char *path, Error **errp);
void pidfile_remove(void);

#endif
