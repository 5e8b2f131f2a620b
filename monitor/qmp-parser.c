/*
 * QmpParser: splits a stream into JSON values
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "monitor/qmp-parser.h"

#define RESET_BYTE '\xFF'

/* What a byte means for the current value. */
typedef enum Step {
    STEP_MORE,          /* part of the value */
    STEP_LAST,          /* the last byte of the value */
    STEP_BEHIND,        /* after the end of the value */
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

static void parser_reset(QmpParser *parser, bool recovering)
{
    qmp_parser_cleanup(parser);
    *parser = (QmpParser){ .recovering = recovering };
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static Step parser_step_in_string(QmpParser *parser, char c)
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

static Step parser_step(QmpParser *parser, char c)
{
    if (c == RESET_BYTE) {
        return STEP_BAD;
    }
    if (parser->quote) {
        return parser_step_in_string(parser, c);
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

/* Add @len bytes to the value. False if it becomes too long. */
static bool parser_append(QmpParser *parser, const char *buf, size_t len)
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

static bool parser_skip_garbage(QmpParser *parser, char c)
{
    if (parser->recovering && c != '\n' && c != '{' && c != RESET_BYTE) {
        return true;
    }
    parser->recovering = false;
    return false;
}

/* Return the complete value. */
static void parser_finish(QmpParser *parser, struct json_object **value, Error **errp)
{
    *value = qapi_parse_json((const char *)parser->text->data, parser->text->len, errp);
    parser_reset(parser, !*value);
}

size_t qmp_parser_feed(QmpParser *parser, const char *buf, size_t len, struct json_object **value, Error **errp)
{
    size_t start = 0;   /* of the bytes that are not in parser->text yet */

    *value = NULL;
    for (size_t i = 0; i < len; i++) {
        if (!parser->begun && (parser_skip_garbage(parser, buf[i]) || is_space(buf[i]))) {
            start = i + 1;
            continue;
        }
        Step s = parser_step(parser, buf[i]);
        parser->begun = true;
        if (s == STEP_BAD) {
            parser_reset(parser, buf[i] != RESET_BYTE);
            error_setg(errp, "JSON parse error: stray or invalid byte 0x%02x", (unsigned char)buf[i]);
            return i + 1;
        }
        if (s == STEP_MORE) {
            continue;
        }
        size_t end = s == STEP_LAST ? i + 1 : i;
        if (parser_append(parser, buf + start, end - start)) {
            parser_finish(parser, value, errp);
        } else {
            parser_reset(parser, true);
            error_setg(errp, "JSON value is longer than %d bytes", QMP_MESSAGE_MAX_BYTES);
        }
        return end;
    }
    if (len > start && !parser_append(parser, buf + start, len - start)) {
        parser_reset(parser, true);
        error_setg(errp, "JSON value is longer than %d bytes", QMP_MESSAGE_MAX_BYTES);
    }
    return len;
}
