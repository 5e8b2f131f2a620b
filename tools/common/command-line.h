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

#endif
