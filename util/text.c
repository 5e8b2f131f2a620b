/*
 * Text for people: lines that fit a terminal
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "util/text.h"

/* The length of what must stay on one line: up to a space outside brackets and quotes. */
static size_t piece_len(const char *text)
{
    size_t len = 0;
    char quote = 0;

    for (int depth = 0; text[len] && (quote || depth || !strchr(" \n", text[len])); len++) {
        if (quote) {
            quote = text[len] == quote ? 0 : quote;
        } else if (text[len] == '"' || (text[len] == '\'' && (!len || text[len - 1] == '='))) {
            quote = text[len];
        } else {
            depth += (text[len] == '[') - (text[len] == ']');
        }
    }
    return len;
}

void text_print_wrapped(FILE *out, const char *text, size_t column, size_t indent, const char *continuation)
{
    bool blank = column <= indent;  /* no space is needed before the next piece */

    text += strspn(text, " \n");
    while (*text) {
        size_t len = piece_len(text);

        if (*continuation && *text == '-' && text[len] == ' ' && text[len + 1] != '-') {
            len += 1 + piece_len(text + len + 1);
        }
        bool last = !text[len];

        if (!blank && column + 1 + len + (last ? 0 : strlen(continuation)) > TEXT_WIDTH) {
            fprintf(out, "%s\n%*s", continuation, (int)indent, "");
            column = indent;
        } else if (!blank) {
            putc(' ', out);
            column++;
        }
        blank = false;
        fwrite(text, 1, len, out);
        column += len;
        text += len;
        text += strspn(text, " \n");
    }
    putc('\n', out);
}
