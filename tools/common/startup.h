/*
 * The first thing that each program does
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef TOOLS_STARTUP_H
#define TOOLS_STARTUP_H

/*
 * Name the program after @argv0, what it was called by, in messages and help, and set what signals do that must not
 * end it: a pipe without a reader and a limit of file sizes are errors of the write, and SIGUSR1 only asks for
 * progress. Texts of the program call it @name, "qemu-img", whatever it is installed as. Both must stay valid.
 */
void tool_startup(const char *argv0, const char *name);

/* A help text, with the name that the program was called by in place of its own; caller frees. */
char *tool_own_text(const char *text);

#endif
