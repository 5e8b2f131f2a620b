/*
 * Printing results as text and as JSON, and parsing values
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include <json-c/json.h>

#include "qapi/json.h"
#include "tools/common/output.h"
#include "util/size.h"
#include "util/text.h"

char *tool_size_to_str(uint64_t bytes)
{
    static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
    double value = bytes;
    size_t unit = 0;

    while (value >= 1000 && unit + 1 < G_N_ELEMENTS(units)) {
        value /= 1024;
        unit++;
    }
    return g_strdup_printf("%.3g %s", value, units[unit]);
}

char *tool_size_and_bytes(uint64_t bytes)
{
    g_autofree char *size = tool_size_to_str(bytes);

    return g_strdup_printf("%s (%" PRIu64 " bytes)", size, bytes);
}

void tool_print_json(struct json_object *obj)
{
    g_autofree char *text = qapi_print_json(obj, true);

    puts(text);
}

void tool_print_qapi(const QAPIType *type, const void *obj)
{
    g_autoptr(json_object) json = qapi_to_json(type, obj);

    tool_print_json(json);
}

static void print_value(const char *name, struct json_object *value, int indent);

static void print_list(struct json_object *list, int indent)
{
    for (size_t i = 0; i < json_object_array_length(list); i++) {
        g_autofree char *name = g_strdup_printf("[%zu]", i);

        print_value(name, json_object_array_get_idx(list, i), indent);
    }
}

static void print_value(const char *name, struct json_object *value, int indent)
{
    switch (json_object_get_type(value)) {
    case json_type_object:
        printf("%*s%s:\n", indent, "", name);
        tool_print_human(value, indent + 4);
        break;
    case json_type_array:
        printf("%*s%s:\n", indent, "", name);
        print_list(value, indent + 4);
        break;
    default:
        printf("%*s%s: %s\n", indent, "", name, json_object_get_string(value));
        break;
    }
}

void tool_print_human(struct json_object *obj, int indent)
{
    json_object_object_foreach(obj, key, value) {
        g_autofree char *name = g_strdelimit(g_strdup(key), "-", ' ');

        print_value(name, value, indent);
    }
}

bool tool_parse_size(const char *what, const char *str, uint64_t min, uint64_t max, uint64_t *bytes,
                     Error **errp)
{
    int ret = qemu_strtosz(str, bytes);

    if (ret == -EINVAL) {
        error_setg(errp, "Invalid %s specified: '%s' is not a size", what, str);
        error_append_hint(errp, "A size is a number of bytes, or a number with one of the suffixes k, M, G, T, "
                          "P and E (powers of 1024)\n");
        return false;
    }
    if (ret < 0 || *bytes < min || *bytes > max) {
        error_setg(errp, "Invalid %s specified. Must be between %" PRIu64 " and %" PRIu64 " bytes.", what,
                   min, max);
        return false;
    }
    return true;
}

bool tool_parse_number(const char *what, const char *str, int64_t min, int64_t max, int64_t *value,
                       Error **errp)
{
    g_autoptr(GError) gerr = NULL;

    if (!g_ascii_string_to_signed(str, 10, min, max, value, &gerr)) {
        error_setg(errp, "Invalid %s '%s': expected a number from %" PRId64 " to %" PRId64, what, str, min,
                   max);
        return false;
    }
    return true;
}

int tool_parse_enum(const QAPIType *type, const char *what, const char *str, Error **errp)
{
    int value = qapi_enum_parse(type, str, -1, NULL);

    if (value < 0) {
        g_autofree char *guess = text_did_you_mean(qapi_enum_nearest(type, str));

        error_setg(errp, "Invalid %s '%s'%s", what, str, guess);
        qapi_enum_hint_values(type, errp);
    }
    return value;
}
