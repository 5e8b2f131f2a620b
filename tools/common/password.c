/*
 * Prompting for passwords on the terminal
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include "crypto/object.h"
#include "tools/common/command-line.h"
#include "tools/common/password.h"
#include "tools/common/terminal.h"

/* A new password, typed twice. */
static bool prompt_new_password(const char *what, SecretBuffer *answer, Error **errp)
{
    g_autofree char *question = g_strdup_printf("New password for %s: ", what);
    g_autoptr(SecretBuffer) again = secret_buffer_new(0);

    for (;;) {
        if (!tool_terminal_ask(question, false, answer, errp)) {
            return false;
        }
        if (!answer->len) {
            tool_terminal_say("An empty password protects nothing.\n");
            continue;
        }
        if (!tool_terminal_ask("Type it again: ", false, again, errp)) {
            return false;
        }
        if (secret_buffer_equal(answer, again)) {
            return true;
        }
        tool_terminal_say("The passwords differ.\n");
    }
}

static bool prompt_password(const char *what, bool new_one, SecretBuffer *answer, Error **errp)
{
    g_autofree char *question = g_strdup_printf("Password for %s: ", what);

    return new_one ? prompt_new_password(what, answer, errp) : tool_terminal_ask(question, false, answer, errp);
}

/* Freeing the options wipes the copy that they hold. */
char *coroutine_mixed_fn tool_add_secret(const SecretBuffer *password, Error **errp)
{
    g_autoptr(ObjectOptions) options = g_new0(ObjectOptions, 1);

    options->qom_type = OBJECT_TYPE_SECRET;
    options->u.secret.has_format = true;
    options->u.secret.format = QCRYPTO_SECRET_FORMAT_BASE64;
    options->u.secret.data = g_base64_encode(password->data, password->len);
    return user_creatable_add_unnamed(options, errp) ? g_steal_pointer(&options->id) : NULL;
}

char *coroutine_fn tool_prompt_secret(const char *what, bool new_one, Error **errp)
{
    g_autoptr(SecretBuffer) answer = secret_buffer_new(0);

    /* Blocks the event loop, so that signals reach the waiting thread; nothing else is running. */
    return prompt_password(what, new_one, answer, errp) ? tool_add_secret(answer, errp) : NULL;
}

void tool_append_password_hint(Error **errp, const char *option)
{
    g_autofree char *line = tool_command_line_with(option);

    if (line) {
        error_append_hint(errp, "Specify a file with the password (on a terminal, there is a prompt): %s\n", line);
    }
}

char *coroutine_fn tool_secret_or_prompt(const char *given, const char *parameter, const char *option,
                                         const char *what, bool new_one, Error **errp)
{
    if (given) {
        return g_strdup(given);
    }
    if (!tool_can_prompt()) {
        error_setg(errp, "Parameter '%s' is required", parameter);
        tool_append_password_hint(errp, option);
        return NULL;
    }
    return tool_prompt_secret(what, new_one, errp);
}
