/*
 * Text for people: lines that fit a terminal, and what a mistyped word was meant to be
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

/* Longer ones are no names. */
#define MAX_NAME 64

/* Letters to insert, remove, replace or swap with the next, to make @b of @a. */
static size_t edit_distance(const char *a, const char *b)
{
    size_t rows[3][MAX_NAME + 1];
    size_t len = strlen(b);

    for (size_t j = 0; j <= len; j++) {
        rows[0][j] = j;
    }
    for (size_t i = 1; a[i - 1]; i++) {
        const size_t *before = rows[(i + 1) % 3], *above = rows[(i + 2) % 3];
        size_t *row = rows[i % 3];

        row[0] = i;
        for (size_t j = 1; j <= len; j++) {
            row[j] = MIN(MIN(above[j], row[j - 1]) + 1, above[j - 1] + (a[i - 1] != b[j - 1]));
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
                row[j] = MIN(row[j], before[j - 2] + 1);
            }
        }
    }
    return rows[strlen(a) % 3][len];
}

void text_nearest_offer(TextNearest *nearest, const char *name)
{
    size_t len = strlen(nearest->word);
    size_t distance;

    if (len < 2 || len > MAX_NAME || strlen(name) > MAX_NAME) {
        return;
    }
    distance = g_str_has_prefix(name, nearest->word) ? 1 : edit_distance(nearest->word, name);
    if (distance <= MAX(len / 3, 1) && (!nearest->name || distance < nearest->distance)) {
        nearest->name = name;
        nearest->distance = distance;
    }
}

char *text_did_you_mean(const char *name)
{
    return name ? g_strdup_printf("; did you mean '%s'?", name) : g_strdup("");
}

char *text_hide_secrets(const char *name)
{
    static const struct {
        const char *pattern, *replacement;
    } secrets[] = {
        /* In an iSCSI URL, a password can hold anything. */
        { "(is(?:csi|er)://[^@:%]*[:%]).*@", "\\1***@" },
        { "(://[^/@:]*:)[^/@]*@", "\\1***@" },
        /* In an RBD filename, a backslash precedes a colon that does not end the value. */
        { "(:(?:key|password|secret)=)(?:\\\\+.|[^:\"'\\\\])*", "\\1***" },
    };
    char *text = g_strdup(name);

    for (size_t i = 0; i < G_N_ELEMENTS(secrets); i++) {
        /* RAW: a name is bytes, in any encoding. */
        g_autoptr(GRegex) regex = g_regex_new(secrets[i].pattern, G_REGEX_RAW | G_REGEX_DOTALL, 0, NULL);
        char *hidden = g_regex_replace(regex, text, -1, 0, secrets[i].replacement, 0, NULL);

        if (hidden) {
            g_free(text);
            text = hidden;
        }
    }
    return text;
}
