/*
 * Asking a person at the terminal
 *
 *     g_autoptr(SecretBuffer) answer = secret_buffer_new(0);
 *
 *     if (tool_can_prompt() && tool_terminal_ask("Password: ", false, answer, errp)) {
 *         use(answer->data, answer->len);
 *     }
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef TOOLS_TERMINAL_H
#define TOOLS_TERMINAL_H

#include "util/error.h"
#include "util/secret-buffer.h"

/* Whether standard input is a terminal, so that a user can answer. */
bool tool_can_prompt(void);

/*
 * Print @question on the controlling terminal and read a line into @answer, without its line feed. Input is shown only
 * with @echo. The program can be stopped (Ctrl-Z) meanwhile, and asks again when it continues; a signal that ends it
 * restores the terminal first. False with @errp.
 */
bool tool_terminal_ask(const char *question, bool echo, SecretBuffer *answer, Error **errp);

/* Print a line on the controlling terminal, if there is one. */
void tool_terminal_say(const char *fmt, ...) G_GNUC_PRINTF(1, 2);

/* Ask for confirmation of @question. False with @errp unless the answer is YES. */
bool tool_terminal_confirm(const char *question, Error **errp);

#endif
