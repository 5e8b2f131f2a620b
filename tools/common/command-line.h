/*
 * The command line as given, for hints with a command that works
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef TOOLS_COMMAND_LINE_H
#define TOOLS_COMMAND_LINE_H

#include "tools/common/command.h"

/* Remember the command line before getopt reorders it. @argv must stay valid; argv[0] is the command's name. */
void tool_command_line_set(const ToolCommand *cmd, int argc, char **argv);

/*
 * The command line with @option inserted after the command: "qemu-img map --key-file FILE disk.luks". Caller frees;
 * NULL if none was set. Texts of secrets have been overwritten by then.
 */
char *tool_command_line_with(const char *option);

/*
 * The command line for a file that is not encrypted: "-f raw" (or another option, @letter) replaces the format, and
 * LUKS options are left out, except with @keep_key_file those for a password. Caller frees; NULL if that would not
 * work: with --image-opts, or if the command takes no format.
 */
char *tool_command_line_as_raw(char letter, bool keep_key_file);

/* @arg quoted for a shell, if necessary; caller frees. */
char *tool_quote_arg(const char *arg);

#endif
