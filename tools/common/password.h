/*
 * Passwords that come from a person at the terminal
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef TOOLS_PASSWORD_H
#define TOOLS_PASSWORD_H

#include "util/coroutine.h"
#include "util/error.h"
#include "util/secret-buffer.h"

/* How often a person may mistype the password of an image. */
#define TOOL_PASSWORD_TRIES 3

/*
 * Ask on the terminal for the password of @what, without echo; twice where it is a @new_one, until both agree. Returns
 * the ID of a secret object that holds it (caller frees the ID), or NULL with @errp.
 */
char *coroutine_fn tool_prompt_secret(const char *what, bool new_one, Error **errp);

/*
 * The ID @given; where it is NULL, that of a password asked for as tool_prompt_secret() does. Where nobody can be
 * asked, NULL with an error that names the missing @parameter, and the command line that would work: with @option.
 */
char *coroutine_fn tool_secret_or_prompt(const char *given, const char *parameter, const char *option,
                                         const char *what, bool new_one, Error **errp);

/* Tell that a password is missing, for which there is @option ("--key-file FILE"). */
void tool_append_password_hint(Error **errp, const char *option);

/* Make a secret object of @password. Returns its ID (caller frees), or NULL with @errp. */
char *coroutine_mixed_fn tool_add_secret(const SecretBuffer *password, Error **errp);

#endif
