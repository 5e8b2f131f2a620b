/*
 * The first thing that each program does
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef TOOLS_STARTUP_H
#define TOOLS_STARTUP_H

/*
 * Set the @name of the program for messages, which must stay valid, and what signals do that must not end it: a pipe
 * without a reader and a limit of file sizes are errors of the write, and SIGUSR1 only asks for progress.
 */
void tool_startup(const char *name);

#endif
