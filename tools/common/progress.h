/*
 * Progress of a command, and jobs run with it
 *
 *     tool_progress_start(args.progress);
 *     ...
 *     tool_progress_set(done, total);
 *     ...
 *     tool_progress_end();
 *
 * Draws "    (12.34/100%)" and a carriage return on standard output, as qemu-img always did: programs read it. On a
 * terminal, what is going on stands behind it: "    (12.34/100%)  Deriving the key, about 2 s".
 * Where it is not asked for, SIGUSR1 prints the state once to standard error.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef TOOLS_PROGRESS_H
#define TOOLS_PROGRESS_H

#include "block/job.h"

void tool_progress_start(bool show);
/*
 * Progress is wanted (-p): on a terminal, say what takes long, even while an image is opened, or a job runs that does
 * not show its percentage.
 */
void tool_progress_enable_words(void);

/* Units are the caller's; a @total of 0 is not yet known. */
void tool_progress_set(uint64_t done, uint64_t total);
/* @what is going on (NULL: nothing worth mentioning) until about @end_ns (0: not known). Shows with the next set(). */
void tool_progress_set_activity(const char *what, int64_t end_ns);
void tool_progress_end(void);

/* The handler of SIGUSR1, from the start of the program on. */
void tool_progress_note_signal(int sig);

typedef bool coroutine_fn ToolJobFunc(Job *job, void *opaque, Error **errp);

/*
 * Run @func(@job, @opaque) as a job of @type, drawing its progress where @show. SIGINT, SIGTERM and SIGHUP
 * cancel the job, which then leaves things in order; the same signal again ends the program. False with @errp.
 */
bool coroutine_fn tool_run_job(JobType type, ToolJobFunc *func, void *opaque, bool show, Error **errp);

#endif
