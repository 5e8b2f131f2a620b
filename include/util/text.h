/*
 * Text for people: lines that fit a terminal
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef UTIL_TEXT_H
#define UTIL_TEXT_H

#include <stddef.h>
#include <stdio.h>

#define TEXT_WIDTH 80

/*
 * Print @text and a newline to @out, broken at spaces into lines of TEXT_WIDTH columns; line feeds in it count as
 * spaces. @column is where the cursor stands; the lines that follow start at @indent. A piece in brackets or quotes
 * stays together. @continuation ends each line that is broken: "", or " \\" in a command line, where an option stays
 * with its value.
 *
 *     int column = printf("  --%-20s ", "force");
 *     text_print_wrapped(stdout, "overwrite the keyslot even where it is in use", column, column, "");
 */
void text_print_wrapped(FILE *out, const char *text, size_t column, size_t indent, const char *continuation);

#endif
