/*
 * QmpParser: splits a stream into JSON values
 *
 *     QmpParser parser;
 *     qmp_parser_init(&parser);
 *     while (len) {
 *         g_autoptr(json_object) value = NULL;
 *         g_autoptr(Error) err = NULL;
 *         size_t used = qmp_parser_feed(&parser, buf, len, &value, &err);
 *         if (value) { ... } else if (err) { ... }
 *         buf += used, len -= used;
 *     }
 *     qmp_parser_cleanup(&parser);
 *
 * Values may follow each other without a separator, and span lines. After an error, everything up to the next line,
 * object, or byte 0xFF is dropped. A byte 0xFF is always an error, so that a client that has lost track can
 * resynchronize.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef MONITOR_QMP_PARSER_H
#define MONITOR_QMP_PARSER_H

#include "qapi/json.h"
#include "util/secret-buffer.h"

/* Maximum length of a value. Secrets are passed in values. */
#define QMP_MESSAGE_MAX_BYTES (16 * 1024 * 1024)

typedef struct QmpParser {
    bool begun;                 /* inside a value */
    SecretBuffer *text;         /* the value so far, without the last piece; NULL: nothing */
    unsigned depth;             /* of nested objects and arrays */
    char quote;                 /* of the current string, or 0 */
    bool escape;                /* after a backslash in it */
    bool recovering;
} QmpParser;

void qmp_parser_init(QmpParser *parser);
void qmp_parser_cleanup(QmpParser *parser);

/*
 * Parse up to @len bytes at @buf, at most to the end of a value, and return how many. If a value is complete, *@value
 * is set to it (the caller's); if there is an error, *@errp. Both stay NULL if more input is needed.
 */
size_t qmp_parser_feed(QmpParser *parser, const char *buf, size_t len, struct json_object **value, Error **errp);

#endif
