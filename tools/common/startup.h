/*
 * Startup code that all programs share
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef TOOLS_STARTUP_H
#define TOOLS_STARTUP_H

/*
 * Set the program's name and its signal handling.
 *
 * Messages and help use the last component of @argv0, which may have a prefix; the program's own texts use @name,
 * "qemu-img". Both strings must stay valid. SIGPIPE and SIGXFSZ are ignored, since the write fails anyway, and SIGUSR1
 * only requests progress.
 */
void tool_startup(const char *argv0, const char *name);

/* @text with the name that the program was called by in place of its own; caller frees. */
char *tool_own_text(const char *text);

#endif
