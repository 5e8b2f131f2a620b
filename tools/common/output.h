/*
 * Printing results as text and as JSON, and parsing values
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef TOOLS_OUTPUT_H
#define TOOLS_OUTPUT_H

#include "qapi/qapi.h"
#include "util/error.h"

struct json_object;

/* "1.5 GiB": three digits and a binary unit; caller frees. */
char *tool_size_to_str(uint64_t bytes);

/* "1.5 GiB (1610612736 bytes)"; caller frees. */
char *tool_size_and_bytes(uint64_t bytes);

/* Print JSON text and a newline on standard output, indented by four spaces per level. */
void tool_print_json(struct json_object *obj);

/* As tool_print_json(), for a QAPI object. */
void tool_print_qapi(const QAPIType *type, const void *obj);

/* Print @obj as text: a line "key: value" for each member, indented by @indent spaces and more for nested ones. */
void tool_print_human(struct json_object *obj, int indent);

/*
 * Parse a size such as 64k, from @min to @max bytes. The error contains @what: "image size".
 */
bool tool_parse_size(const char *what, const char *str, uint64_t min, uint64_t max, uint64_t *bytes,
                     Error **errp);

/*
 * Parse a value of an enum; -1 with @errp, which contains @what ("cache mode"), suggests the most similar value and
 * lists all.
 */
int tool_parse_enum(const QAPIType *type, const char *what, const char *str, Error **errp);

/* Parse a decimal number, from @min to @max. */
bool tool_parse_number(const char *what, const char *str, int64_t min, int64_t max, int64_t *value,
                       Error **errp);

#endif
