/*
 * JSON text: strict parsing and printing of json-c's values
 *
 *     g_autoptr(json_object) val = qapi_parse_json(text, strlen(text), errp);
 *
 * Strings created here, by keyval_parse() and by qapi_to_json() wipe their memory when json-c frees them, since they
 * may be passwords; qapi_json_new_string() creates more of that kind. json_object_deep_copy() cannot copy them.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef QAPI_JSON_H
#define QAPI_JSON_H

#include <glib.h>
#include <json-c/json_object.h>
#include <stdbool.h>

#include "util/error.h"

static inline void json_object_put_cleanup(struct json_object *obj)
{
    json_object_put(obj);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(json_object, json_object_put_cleanup)

/*
 * Parse exactly one value that is not null, according to RFC 8259, plus strings in single quotes, which are QEMU's
 * extension. Also refused: duplicate keys, NUL in strings, integers that fit neither int64_t nor uint64_t, values
 * nested deeper than QAPI_MAX_DEPTH. The error gives the position in @text (@len bytes).
 */
struct json_object *qapi_parse_json(const char *text, size_t len, Error **errp);

/*
 * JSON text of @obj, spaced as in QEMU: {"a": [1, 2], "b": {}}; with @pretty, one element per line, four spaces per
 * level. Anything that is not UTF-8, as in file names, becomes U+FFFD. Free it with g_free().
 */
char *qapi_print_json(struct json_object *obj, bool pretty);

/* A string of @len bytes (any bytes) that is wiped when freed. */
struct json_object *qapi_json_new_string(const char *str, size_t len);

/* Give @object a member that is such a string. */
void qapi_json_set_string(struct json_object *object, const char *key, const char *value);

#endif
