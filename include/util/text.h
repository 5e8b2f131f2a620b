/*
 * Text for people: lines that fit a terminal, what a mistyped word was meant to be, and names without secrets
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

/*
 * Which of several names is nearest to a word that is none of them:
 *
 *     TextNearest nearest = { .word = argv[0] };
 *     for (size_t i = 0; i < n; i++) {
 *         text_nearest_offer(&nearest, names[i]);
 *     }
 *     g_autofree char *guess = text_did_you_mean(nearest.name);
 *     error_report("unknown command '%s'%s", argv[0], guess);
 */
typedef struct TextNearest {
    const char *word;       /* set by the caller */
    const char *name;       /* the nearest so far; NULL: none is near */
    size_t distance;        /* of that: letters to insert, remove, replace or swap with the next */
} TextNearest;

/*
 * Offer @name, which must stay valid. It is near where @word begins it, or where at most a third of the letters of
 * @word are wrong. Of equally near ones the first stays.
 */
void text_nearest_offer(TextNearest *nearest, const char *name);

/* "; did you mean 'NAME'?", for the end of a message; "" where @name is NULL. Caller frees. */
char *text_did_you_mean(const char *name);

/*
 * A filename, or options with one, as a user gave it, for a message: with "***" in place of a password or key. No
 * driver takes one in a filename, but users try. Caller frees.
 *
 *     g_autofree char *shown = text_hide_secrets("iscsi://ann:pw@host/target/0");     // iscsi://ann:***@host/target/0
 */
char *text_hide_secrets(const char *name);

#endif
