/*
 * The command line as it was given, for telling what would have worked
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef TOOLS_COMMAND_LINE_H
#define TOOLS_COMMAND_LINE_H

#include "tools/common/command.h"

/* Remember it, in its order, which getopt will change. @argv must stay valid; argv[0] is the command's name. */
void tool_command_line_set(const ToolCommand *cmd, int argc, char **argv);

/*
 * It, with @option put in behind the command: "qemu-img map --key-file FILE disk.luks". Caller frees; NULL where none
 * was set. Texts of secrets were overwritten when they were read.
 */
char *tool_command_line_with(const char *option);

/*
 * It, for a file that turns out not to be encrypted: "-f raw" replaces the format, or another option with that @letter,
 * and options of LUKS are left out; those that name a password stay with @keep_key_file. Caller frees; NULL where that
 * would not work: files are named by --image-opts, or the command takes no format.
 */
char *tool_command_line_as_raw(char letter, bool keep_key_file);

/* @arg as a shell takes it; caller frees. */
char *tool_quote_arg(const char *arg);

#endif
