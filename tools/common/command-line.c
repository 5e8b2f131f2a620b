/*
 * The command line as it was given, for telling what would have worked
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "tools/common/command-line.h"

static const ToolCommand *given_command;
static char **given_args;

void tool_command_line_set(const ToolCommand *cmd, int argc, char **argv)
{
    g_free(given_args);
    given_args = g_new0(char *, MAX(argc, 1));
    for (int i = 1; i < argc; i++) {
        given_args[i - 1] = argv[i];
    }
    given_command = cmd;
}

static void append_arg(GString *line, const char *arg)
{
    static const char safe[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789@%+=:,./-_";
    g_autofree char *quoted = *arg && !arg[strspn(arg, safe)] ? g_strdup(arg) : g_shell_quote(arg);

    g_string_append_printf(line, " %s", quoted);
}

char *tool_command_line_with(const char *option)
{
    if (!given_command) {
        return NULL;
    }
    GString *line = g_string_new(g_get_prgname());

    if (given_command->name) {
        g_string_append_printf(line, " %s", given_command->name);
    }
    g_string_append_printf(line, " %s", option);
    for (char **arg = given_args; *arg; arg++) {
        append_arg(line, *arg);
    }
    return g_string_free(line, FALSE);
}
