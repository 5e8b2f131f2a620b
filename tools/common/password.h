/*
 * Prompting for passwords on the terminal
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef TOOLS_PASSWORD_H
#define TOOLS_PASSWORD_H

#include "util/coroutine.h"
#include "util/error.h"
#include "util/secret-buffer.h"

/* Number of attempts to type the password of an image. */
#define TOOL_PASSWORD_TRIES 3

/*
 * Prompt on the terminal for the password of @what, without echo; for a @new_one twice, until both match. Returns the
 * ID of a secret object that holds it (caller frees the ID), or NULL with @errp.
 */
char *coroutine_fn tool_prompt_secret(const char *what, bool new_one, Error **errp);

/*
 * The ID @given; if it is NULL, that of a password prompted for as by tool_prompt_secret(). Without a terminal, NULL
 * with an error that names the missing @parameter, and a hint with a command line that contains @option.
 */
char *coroutine_fn tool_secret_or_prompt(const char *given, const char *parameter, const char *option,
                                         const char *what, bool new_one, Error **errp);

/* Append a hint that @option ("--key-file FILE") specifies the missing password. */
void tool_append_password_hint(Error **errp, const char *option);

/* Create a secret object with @password. Returns its ID (caller frees), or NULL with @errp. */
char *coroutine_mixed_fn tool_add_secret(const SecretBuffer *password, Error **errp);

#endif
