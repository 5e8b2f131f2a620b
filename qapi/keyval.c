/*
 * KEY=VALUE,... to JSON values
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include <json-c/json.h>

#include "qapi/keyval.h"
#include "util/secret-buffer.h"

#define MAX_FRAGMENT 127

/* Length of the name or number at the start of @key; 0 if there is none. */
static size_t fragment_len(const char *key, size_t len)
{
    bool digits = g_ascii_isdigit(key[0]);
    size_t n = 0;

    if (!digits && !g_ascii_isalpha(key[0]) && key[0] != '_') {
        return 0;
    }
    while (n < len && (digits ? g_ascii_isdigit(key[n]) :
                       g_ascii_isalnum(key[n]) || key[n] == '-' || key[n] == '_')) {
        n++;
    }
    return n;
}

/* Store @value at the dotted @key in @root. Takes ownership of @value. */
static bool keyval_put(struct json_object *root, const char *key, size_t len, struct json_object *value,
                Error **errp)
{
    g_autoptr(json_object) owned = value;
    struct json_object *into = root, *old;
    size_t pos = 0;

    for (unsigned depth = 0; ; depth++) {
        size_t n = fragment_len(key + pos, len - pos);
        bool last = pos + n == len;

        if (!n || (!last && key[pos + n] != '.')) {
            error_setg(errp, "Invalid parameter '%.*s'", (int)MIN(len, MAX_FRAGMENT), key);
            return false;
        }
        if (n > MAX_FRAGMENT || depth >= QAPI_MAX_DEPTH) {
            error_setg(errp, "Parameter '%.*s...' is too long", MAX_FRAGMENT, key);
            return false;
        }
        g_autofree char *name = g_strndup(key + pos, n);
        bool found = json_object_object_get_ex(into, name, &old);

        if (found && json_object_is_type(old, json_type_object) == last) {
            error_setg(errp, "Parameters '%.*s.*' used inconsistently", (int)(pos + n), key);
            return false;
        }
        if (last) {
            json_object_object_add(into, name, g_steal_pointer(&owned));
            return true;
        }
        if (!found) {
            old = json_object_new_object();
            json_object_object_add(into, name, old);
        }
        into = old;
        pos += n + 1;
    }
}

/* Advance past a value, in which ",," stands for a comma. Returns the value. */
static struct json_object *parse_value(const char **params)
{
    const char *s = *params;
    g_autoptr(SecretBuffer) buf = secret_buffer_new(strlen(s));
    size_t n = 0;

    while (*s && (*s != ',' || s[1] == ',')) {
        s += *s == ',';
        buf->data[n++] = *s++;
    }
    *params = s + (*s == ',');
    return qapi_json_new_string((char *)buf->data, n);
}

static bool parse_one(struct json_object *root, const char **params, const char *implied_key,
                      bool *help, Error **errp)
{
    const char *key = *params;
    size_t len = strcspn(key, "=,");

    if (key[len] == '=') {
        *params += len + 1;
        return keyval_put(root, key, len, parse_value(params), errp);
    }
    if ((len == 1 && key[0] == '?') || (len == 4 && !memcmp(key, "help", 4))) {
        if (!help) {
            error_setg(errp, "Help is not available for this option");
            return false;
        }
        *help = true;
        *params += len + (key[len] == ',');
        return true;
    }
    if (implied_key && len) {
        return keyval_put(root, implied_key, strlen(implied_key), parse_value(params), errp);
    }
    if (!len) {
        error_setg(errp, "Expected a parameter before '%s'", *key ? "," : "the end");
    } else {
        error_setg(errp, "Expected '=' after parameter '%.*s'", (int)MIN(len, MAX_FRAGMENT), key);
    }
    return false;
}

/*
 * Turn objects whose keys are all numbers into arrays. Takes ownership of @obj, and returns its
 * replacement, or NULL.
 */
static struct json_object *keyval_listify(struct json_object *obj, const char *path, Error **errp)
{
    g_autoptr(json_object) owned = obj;
    size_t n = json_object_object_length(obj), numbers = 0;

    json_object_object_foreach(obj, key, val) {
        numbers += g_ascii_isdigit(key[0]);
        if (json_object_is_type(val, json_type_object)) {
            g_autofree char *sub = g_strconcat(path, key, ".", NULL);
            struct json_object *list = keyval_listify(json_object_get(val), sub, errp);

            if (!list) {
                return NULL;
            }
            json_object_object_add(obj, key, list);
        }
    }
    if (!numbers) {
        return g_steal_pointer(&owned);
    }
    if (numbers < n) {
        error_setg(errp, "Parameters '%s*' used inconsistently", path);
        return NULL;
    }
    g_autoptr(json_object) array = json_object_new_array();
    for (size_t i = 0; i < n; i++) {
        g_autofree char *name = g_strdup_printf("%zu", i);
        struct json_object *item;

        if (!json_object_object_get_ex(obj, name, &item)) {
            error_setg(errp, "Parameter '%s%zu' is missing", path, i);
            return NULL;
        }
        json_object_array_add(array, json_object_get(item));
    }
    return g_steal_pointer(&array);
}

struct json_object *keyval_parse(const char *params, const char *implied_key, bool *help,
                                 Error **errp)
{
    g_autoptr(json_object) root = json_object_new_object();
    struct json_object *result;

    while (*params) {
        if (!parse_one(root, &params, implied_key, help, errp)) {
            return NULL;
        }
        implied_key = NULL;
    }
    result = keyval_listify(json_object_get(root), "", errp);
    if (result && !json_object_is_type(result, json_type_object)) {
        error_setg(errp, "Parameters must have names, not numbers");
        json_object_put(result);
        return NULL;
    }
    return result;
}

struct json_object *keyval_parse_or_json(const char *arg, const char *implied_key, bool *help,
                                         QAPIInputMode *mode, Error **errp)
{
    if (arg[0] == '{') {
        *mode = QAPI_INPUT_JSON;
        return qapi_parse_json(arg, strlen(arg), errp);
    }
    *mode = QAPI_INPUT_KEYVAL;
    return keyval_parse(arg, implied_key, help, errp);
}
