/*
 * Completion of command lines in a shell
 *
 * The scripts in tools/completions ask the program itself, so that what a shell offers comes from the tables of options
 * and from the schema:
 *
 *     $ qemu-img --complete create -f luks -o cipher-alg=aes-1
 *     cipher-alg=aes-128	cipher of the payload (default: aes-256)
 *     cipher-alg=aes-192	...
 *
 * The words are those behind the program's name up to the cursor, the last one being incomplete, maybe empty. Each line
 * holds what the last word can become, a tab, and a description that may be empty. A line that begins with a tab asks
 * the shell for names of files; behind the tab is the part of the last word that stands before the name.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef TOOLS_COMPLETE_H
#define TOOLS_COMPLETE_H

#include "tools/common/command.h"

/*
 * Whether the arguments, those of main(), ask for completion: it was printed then, and the program ends. Nothing that
 * they name is opened or made.
 */
bool tool_complete(const ToolCommand *program, int argc, char **argv);

#endif
