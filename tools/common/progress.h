/*
 * Progress of a command, and jobs run with it
 *
 *     tool_progress_start(args.progress);
 *     ...
 *     tool_progress_set(done, total);
 *     ...
 *     tool_progress_end();
 *
 * Draws "    (12.34/100%)" and a carriage return on standard output, in QEMU's format, which programs parse. On a
 * terminal, the current activity follows: "    (12.34/100%)  Deriving the key, about 2 s".
 * If progress is not shown, SIGUSR1 prints it once to standard error.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef TOOLS_PROGRESS_H
#define TOOLS_PROGRESS_H

#include "block/job.h"

void tool_progress_start(bool show);
/*
 * For -p: on a terminal, show the current activity, also while an image is opened, or while a job runs without showing
 * its percentage.
 */
void tool_progress_enable_words(void);

/* In units of the caller; @total 0: not yet known. */
void tool_progress_set(uint64_t done, uint64_t total);
/* Set the current activity (NULL: none) and its expected end (0: not known). The next tool_progress_set() shows it. */
void tool_progress_set_activity(const char *what, int64_t end_ns);
void tool_progress_end(void);

/* The handler of SIGUSR1, installed by tool_startup(). */
void tool_progress_note_signal(int sig);

typedef bool coroutine_fn ToolJobFunc(Job *job, void *opaque, Error **errp);

/*
 * Run @func(@job, @opaque) as a job of @type, and draw its progress if @show. SIGINT, SIGTERM and SIGHUP cancel the
 * job, which then stops cleanly; a repeated signal ends the program. False with @errp.
 */
bool coroutine_fn tool_run_job(JobType type, ToolJobFunc *func, void *opaque, bool show, Error **errp);

#endif
