/*
 * QmpParser: cuts a stream of JSON values into values
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "qmp-parser.h"

#define RESET_BYTE '\xFF'

/* What a byte does to the value that we are in. */
typedef enum Step {
    STEP_MORE,          /* it is part of the value */
    STEP_LAST,          /* and ends it */
    STEP_BEHIND,        /* the value ended before it */
    STEP_BAD,
} Step;

void qmp_parser_init(QmpParser *parser)
{
    *parser = (QmpParser){ .text = NULL };
}

void qmp_parser_cleanup(QmpParser *parser)
{
    secret_buffer_free(parser->text);
    parser->text = NULL;
}

static void reset(QmpParser *parser, bool recovering)
{
    qmp_parser_cleanup(parser);
    *parser = (QmpParser){ .recovering = recovering };
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static Step step_in_string(QmpParser *parser, char c)
{
    if ((unsigned char)c < 0x20) {
        return STEP_BAD;
    }
    if (parser->escape) {
        parser->escape = false;
    } else if (c == '\\') {
        parser->escape = true;
    } else if (c == parser->quote) {
        parser->quote = 0;
        return parser->depth ? STEP_MORE : STEP_LAST;
    }
    return STEP_MORE;
}

static Step step(QmpParser *parser, char c)
{
    if (c == RESET_BYTE) {
        return STEP_BAD;
    }
    if (parser->quote) {
        return step_in_string(parser, c);
    }
    bool scalar = parser->begun && !parser->depth;
    switch (c) {
    case '{':
    case '[':
        if (scalar) {
            return STEP_BEHIND;
        }
        parser->depth++;
        return STEP_MORE;
    case '}':
    case ']':
        if (!parser->depth) {
            return STEP_BAD;
        }
        return --parser->depth ? STEP_MORE : STEP_LAST;
    case '"':
    case '\'':
        if (scalar) {
            return STEP_BEHIND;
        }
        parser->quote = c;
        return STEP_MORE;
    default:
        return scalar && is_space(c) ? STEP_BEHIND : STEP_MORE;
    }
}

/* Add @len bytes to the value; false where it becomes too long. */
static bool append(QmpParser *parser, const char *buf, size_t len)
{
    if (!parser->text) {
        parser->text = secret_buffer_new(0);
    }
    if (len > QMP_MESSAGE_MAX_BYTES - parser->text->len) {
        return false;
    }
    secret_buffer_append(parser->text, buf, len);
    return true;
}

static bool skip_garbage(QmpParser *parser, char c)
{
    if (parser->recovering && c != '\n' && c != '{' && c != RESET_BYTE) {
        return true;
    }
    parser->recovering = false;
    return false;
}

/* Give back the value that is complete. */
static void finish(QmpParser *parser, struct json_object **value, Error **errp)
{
    *value = qapi_parse_json((const char *)parser->text->data, parser->text->len, errp);
    reset(parser, !*value);
}

size_t qmp_parser_feed(QmpParser *parser, const char *buf, size_t len, struct json_object **value, Error **errp)
{
    size_t start = 0;   /* of what is not in parser->text yet */

    *value = NULL;
    for (size_t i = 0; i < len; i++) {
        if (!parser->begun && (skip_garbage(parser, buf[i]) || is_space(buf[i]))) {
            start = i + 1;
            continue;
        }
        Step s = step(parser, buf[i]);
        parser->begun = true;
        if (s == STEP_BAD) {
            reset(parser, buf[i] != RESET_BYTE);
            error_setg(errp, "JSON parse error: stray or invalid byte 0x%02x", (unsigned char)buf[i]);
            return i + 1;
        }
        if (s == STEP_MORE) {
            continue;
        }
        size_t end = s == STEP_LAST ? i + 1 : i;
        if (append(parser, buf + start, end - start)) {
            finish(parser, value, errp);
        } else {
            reset(parser, true);
            error_setg(errp, "JSON value is longer than %d bytes", QMP_MESSAGE_MAX_BYTES);
        }
        return end;
    }
    if (len > start && !append(parser, buf + start, len - start)) {
        reset(parser, true);
        error_setg(errp, "JSON value is longer than %d bytes", QMP_MESSAGE_MAX_BYTES);
    }
    return len;
}
