/*
 * Asking a person for a passphrase
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef TOOLS_PASSPHRASE_H
#define TOOLS_PASSPHRASE_H

#include "util/coroutine.h"
#include "util/error.h"
#include "util/secret-buffer.h"

/* Whether standard input is a terminal, so that somebody can answer. */
bool tool_can_prompt(void);

/*
 * Ask on the terminal for the passphrase of @what, without echo; twice where it is a @new_one, until both
 * agree. Returns the ID of a secret object that holds it (caller frees the ID), or NULL with @errp.
 */
char *coroutine_fn tool_prompt_secret(const char *what, bool new_one, Error **errp);

/*
 * The ID @given; where it is NULL, that of a passphrase asked for as tool_prompt_secret() does. Where nobody
 * can be asked, NULL with an error that names the missing @option.
 */
char *coroutine_fn tool_secret_or_prompt(const char *given, const char *option, const char *what,
                                         bool new_one, Error **errp);

#endif
