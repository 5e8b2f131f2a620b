/*
 * The command line as given, for hints with a command that works
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

char *tool_quote_arg(const char *arg)
{
    static const char safe[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789@%+=:,./-_";

    return *arg && !arg[strspn(arg, safe)] ? g_strdup(arg) : g_shell_quote(arg);
}

static void append_arg(GString *line, const char *arg)
{
    g_autofree char *quoted = tool_quote_arg(arg);

    g_string_append_printf(line, " %s", quoted);
}

static GString *start_line(void)
{
    GString *line = g_string_new(g_get_prgname());

    if (given_command->name) {
        g_string_append_printf(line, " %s", given_command->name);
    }
    return line;
}

char *tool_command_line_with(const char *option)
{
    if (!given_command) {
        return NULL;
    }
    GString *line = start_line();

    g_string_append_printf(line, " %s", option);
    for (char **arg = given_args; *arg; arg++) {
        append_arg(line, *arg);
    }
    return g_string_free(line, FALSE);
}

/* Number of words of option @o and its value, if @arg is that option; else 0. */
static unsigned count_option_words(const ToolOption *o, const char *arg)
{
    if (o->name && g_str_has_prefix(arg, "--") && arg[2]) {
        size_t len = strcspn(arg + 2, "=");

        return strncmp(o->name, arg + 2, len) ? 0 : arg[2 + len] || !o->arg ? 1 : 2;
    }
    if (o->letter && arg[0] == '-' && arg[1] == o->letter) {
        return arg[2] || !o->arg ? 1 : 2;
    }
    return 0;
}

/* Whether @o does not apply to an unencrypted file. */
static bool is_of_luks(const ToolOption *o, char letter, bool keep_key_file)
{
    switch (o->key) {
    case TOOL_KEY_HEADER:
        return letter == 'f';
    case TOOL_KEY_KEY_FILE:
    case TOOL_KEY_KEYFILE_OFFSET:
    case TOOL_KEY_KEYFILE_SIZE:
        return !keep_key_file;
    default:
        return o->letter == letter;
    }
}

char *tool_command_line_as_raw(char letter, bool keep_key_file)
{
    g_autoptr(GString) line = given_command ? start_line() : NULL;
    bool has_format = false;
    unsigned skip = 0;

    for (const ToolOption *o = line ? given_command->options : NULL; o && (o->letter || o->name); o++) {
        has_format |= o->letter == letter;
    }
    if (!has_format) {
        return NULL;
    }
    g_string_append_printf(line, " -%c raw", letter);
    for (char **arg = given_args; *arg; arg++) {
        for (const ToolOption *o = given_command->options; !skip && (o->letter || o->name); o++) {
            unsigned words = count_option_words(o, *arg);

            if (words && o->key == TOOL_KEY_IMAGE_OPTS) {
                return NULL;
            }
            skip = is_of_luks(o, letter, keep_key_file) ? words : 0;
        }
        if (skip) {
            skip--;
        } else {
            append_arg(line, *arg);
        }
    }
    return g_string_free(g_steal_pointer(&line), FALSE);
}
