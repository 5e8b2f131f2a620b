/*
 * QmpParser: cuts a stream of JSON values into values
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
 * Values may follow each other without anything between them and spread over lines. After an error everything up to
 * the next line, object, or byte 0xFF is dropped. A byte 0xFF always is an error, so that a client that has lost its
 * place can begin anew.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef MONITOR_QMP_PARSER_H
#define MONITOR_QMP_PARSER_H

#include "qapi/json.h"
#include "util/secret-buffer.h"

/* The longest value; secrets pass in them. */
#define QMP_MESSAGE_MAX_BYTES (16 * 1024 * 1024)

typedef struct QmpParser {
    bool begun;                 /* in a value */
    SecretBuffer *text;         /* of the value so far, but for what came last; NULL: nothing */
    unsigned depth;             /* of objects and arrays */
    char quote;                 /* of the string that we are in, or 0 */
    bool escape;                /* behind a backslash in it */
    bool recovering;
} QmpParser;

void qmp_parser_init(QmpParser *parser);
void qmp_parser_cleanup(QmpParser *parser);

/*
 * Take in up to @len bytes at @buf, no more than to the end of a value, and return how many. *@value is the value that
 * is complete now (the caller's), or *@errp says what is wrong; both stay NULL where more has to come.
 */
size_t qmp_parser_feed(QmpParser *parser, const char *buf, size_t len, struct json_object **value, Error **errp);

#endif
