/*
 * JSON values to typed objects, with errors that name the member
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include <json-c/json.h>
#include <math.h>

#include "qapi/qapi.h"
#include "qapi/qapi-internal.h"
#include "util/size.h"
#include "util/text.h"

/* Location of a value: a named member, or an item by index. */
typedef struct Place {
    const struct Place *up; /* NULL at the top */
    const char *name;       /* NULL for an item */
    size_t index;
    unsigned depth;
} Place;

typedef struct Input {
    QAPIInputMode mode;
    Error **errp;
} Input;

static bool input_value(const Input *in, const Place *place, const QAPIType *type,
                        struct json_object *val, void *out);

static void append_path(const Input *in, const Place *place, GString *path)
{
    if (!place->up) {
        return;
    }
    append_path(in, place->up, path);
    if (place->name) {
        g_string_append_printf(path, "%s%s", place->up->up ? "." : "", place->name);
    } else if (in->mode == QAPI_INPUT_KEYVAL) {
        g_string_append_printf(path, "%s%zu", place->up->up ? "." : "", place->index);
    } else {
        g_string_append_printf(path, "[%zu]", place->index);
    }
}

/* Full name of a place, quoted for messages. Free it with g_free(). */
static char *path_of(const Input *in, const Place *place)
{
    GString *path = g_string_new("Parameter '");

    append_path(in, place, path);
    if (!place->up) {
        return g_string_free(g_string_assign(path, "The value"), false);
    }
    return g_string_free(g_string_append_c(path, '\''), false);
}

static bool fail_expected(const Input *in, const Place *place, const char *what)
{
    g_autofree char *path = path_of(in, place);

    error_setg(in->errp, place->up ? "%s expects %s" : "%s must be %s", path, what);
    return false;
}

/* Text of a string that may stand for a scalar in this mode; otherwise NULL. */
static const char *as_text(const Input *in, struct json_object *val)
{
    if (in->mode == QAPI_INPUT_KEYVAL && json_object_is_type(val, json_type_string) &&
        strlen(json_object_get_string(val)) == (size_t)json_object_get_string_len(val)) {
        return json_object_get_string(val);
    }
    return NULL;
}

static bool text_to_int(const char *text, int64_t *value)
{
    char *end;

    errno = 0;
    *value = g_ascii_strtoll(text, &end, 0);
    return !errno && end != text && !*end && !g_ascii_isspace(*text);
}

static bool text_to_uint(const char *text, uint64_t *value)
{
    char *end;

    errno = 0;
    *value = g_ascii_strtoull(text, &end, 0);
    return !errno && g_ascii_isdigit(*text) && !*end;
}

/* Store in a slot of @size bytes; signed and unsigned values have the same low bits. */
static void store_integer(void *slot, size_t size, uint64_t value)
{
    switch (size) {
    case 1:
        *(uint8_t *)slot = value;
        break;
    case 2:
        *(uint16_t *)slot = value;
        break;
    case 4:
        *(uint32_t *)slot = value;
        break;
    default:
        *(uint64_t *)slot = value;
    }
}

static bool input_int(const Input *in, const Place *place, const QAPIType *type,
                      struct json_object *val, void *out)
{
    int64_t max = INT64_MAX >> (64 - 8 * type->size), value;
    const char *text = as_text(in, val);
    bool ok;

    if (text) {
        ok = text_to_int(text, &value);
    } else {
        /* json-c clamps values beyond int64_t to its limits. */
        value = json_object_get_int64(val);
        ok = json_object_is_type(val, json_type_int) &&
             (value != INT64_MAX || json_object_get_uint64(val) == INT64_MAX);
    }
    if (!ok || value > max || value < -max - 1) {
        g_autofree char *what = g_strdup_printf("an integer from %" PRId64 " to %" PRId64,
                                                -max - 1, max);
        return fail_expected(in, place, what);
    }
    store_integer(out, type->size, value);
    return true;
}

static bool input_uint(const Input *in, const Place *place, const QAPIType *type,
                       struct json_object *val, void *out)
{
    uint64_t max = UINT64_MAX >> (64 - 8 * type->size), value;
    const char *text = as_text(in, val);
    bool ok;

    if (text) {
        ok = type->kind == QAPI_KIND_SIZE ? qemu_strtosz(text, &value) == 0
                                          : text_to_uint(text, &value);
    } else {
        value = json_object_get_uint64(val);
        ok = json_object_is_type(val, json_type_int) && json_object_get_int64(val) >= 0;
    }
    if (!ok || value > max) {
        if (type->kind == QAPI_KIND_SIZE) {
            return fail_expected(in, place, "a size in bytes, such as 65536, 64K or 1.5G");
        }
        g_autofree char *what = g_strdup_printf("an integer from 0 to %" PRIu64, max);
        return fail_expected(in, place, what);
    }
    store_integer(out, type->size, value);
    return true;
}

static bool input_number(const Input *in, const Place *place, struct json_object *val, double *out)
{
    const char *text = as_text(in, val);
    bool ok;

    if (text) {
        char *end;
        *out = g_ascii_strtod(text, &end);
        ok = end != text && !*end && !g_ascii_isspace(*text);
    } else {
        *out = json_object_get_double(val);
        ok = json_object_is_type(val, json_type_double) || json_object_is_type(val, json_type_int);
    }
    return (ok && isfinite(*out)) || fail_expected(in, place, "a number");
}

static bool input_bool(const Input *in, const Place *place, struct json_object *val, bool *out)
{
    static const char *const words[] = { "off", "on", "no", "yes", "false", "true", "n", "y" };
    const char *text = as_text(in, val);

    if (text) {
        for (size_t i = 0; i < G_N_ELEMENTS(words); i++) {
            if (!strcmp(text, words[i])) {
                *out = i % 2;
                return true;
            }
        }
    } else if (json_object_is_type(val, json_type_boolean)) {
        *out = json_object_get_boolean(val);
        return true;
    }
    return fail_expected(in, place, in->mode == QAPI_INPUT_KEYVAL ? "'on' or 'off'" : "a boolean");
}

static bool input_str(const Input *in, const Place *place, struct json_object *val, void *out)
{
    const char *str;

    if (!json_object_is_type(val, json_type_string)) {
        return fail_expected(in, place, "a string");
    }
    str = json_object_get_string(val);
    if (strlen(str) != (size_t)json_object_get_string_len(val)) {
        return fail_expected(in, place, "a string without NUL characters");
    }
    qapi_store_pointer(out, g_strdup(str));
    return true;
}

const char *qapi_enum_nearest(const QAPIType *type, const char *str)
{
    TextNearest nearest = { .word = str };

    for (size_t i = 0; i < type->n_values; i++) {
        if (!type->values[i].unsupported) {
            text_nearest_offer(&nearest, type->values[i].name);
        }
    }
    return nearest.name;
}

/* @name is what may have been meant; no hint if it is NULL. What follows in the hint comes after @end. */
static void hint_nearest(const char *name, const char *end, Error **errp)
{
    if (name) {
        error_append_hint(errp, "Did you mean '%s'?%s", name, end);
    }
}

void qapi_enum_hint_values(const QAPIType *type, Error **errp)
{
    const char *separator = "Accepted values: ";

    for (size_t i = 0; i < type->n_values; i++) {
        if (!type->values[i].unsupported) {
            error_append_hint(errp, "%s%s", separator, type->values[i].name);
            separator = ", ";
        }
    }
}

static bool input_enum(const Input *in, const Place *place, const QAPIType *type,
                       struct json_object *val, void *out)
{
    int value;

    if (!json_object_is_type(val, json_type_string)) {
        return fail_expected(in, place, "a string");
    }
    value = qapi_enum_find(type, json_object_get_string(val), json_object_get_string_len(val));
    if (value < 0 || type->values[value].unsupported) {
        g_autofree char *path = path_of(in, place);
        error_setg(in->errp, "%s does not %s value '%s'", path, value < 0 ? "accept" : "support",
                   json_object_get_string(val));
        hint_nearest(qapi_enum_nearest(type, json_object_get_string(val)), " ", in->errp);
        qapi_enum_hint_values(type, in->errp);
        return false;
    }
    memcpy(out, &value, sizeof(value));
    return true;
}

int qapi_enum_parse(const QAPIType *type, const char *str, int def, Error **errp)
{
    ERRP_GUARD();
    int value = str ? qapi_enum_find(type, str, strlen(str)) : def;

    if (value < 0) {
        error_setg(errp, "Invalid value '%s'", str);
        hint_nearest(qapi_enum_nearest(type, str), " ", errp);
        qapi_enum_hint_values(type, errp);
    }
    return value;
}

/* Read into a member's or item's slot, allocating what it points to. */
static bool input_slot(const Input *in, const Place *place, const QAPIType *type,
                       struct json_object *val, void *slot)
{
    if (qapi_is_pointed_to(type)) {
        void *obj = g_malloc0(type->size);

        /* Linked first, so that qapi_free() finds it after a failure below. */
        qapi_store_pointer(slot, obj);
        slot = obj;
    }
    return input_value(in, place, type, val, slot);
}

/* Whether the member @name of @type, which is missing, is in @val under a name that is none. */
static void hint_misspelt(const QAPIType *type, const char *name, struct json_object *val, Error **errp)
{
    json_object_object_foreach(val, key, member) {
        TextNearest nearest = { .word = key };
        bool is_member = false;

        (void)member;
        for (size_t i = 0; i < type->n_members; i++) {
            is_member |= g_str_equal(type->members[i].name, key);
        }
        text_nearest_offer(&nearest, name);
        if (!is_member && nearest.name) {
            hint_nearest(name, "\n", errp);
            return;
        }
    }
}

static bool input_members(const Input *in, const Place *place, const QAPIType *type,
                          struct json_object *val, char *obj)
{
    const QAPIType *branch;

    for (size_t i = 0; i < type->n_members; i++) {
        const QAPIMember *m = &type->members[i];
        Place here = { .up = place, .name = m->name, .depth = place->depth + 1 };
        struct json_object *member;

        if (json_object_object_get_ex(val, m->name, &member)) {
            if (m->unsupported) {
                g_autofree char *path = path_of(in, &here);
                error_setg(in->errp, "%s is not supported", path);
                return false;
            }
            if (!input_slot(in, &here, m->type, member, obj + m->offset)) {
                return false;
            }
            if (m->has_offset >= 0) {
                *(bool *)(obj + m->has_offset) = true;
            }
        } else if (!m->optional) {
            g_autofree char *path = path_of(in, &here);
            error_setg(in->errp, "%s is missing", path);
            hint_misspelt(type, m->name, val, in->errp);
            return false;
        }
    }
    branch = qapi_branch(type, obj);
    return !branch || input_members(in, place, branch, val, obj + type->u_offset);
}

/* Whether @obj's type has a member @name, in @obj's branch included. */
static bool has_member(const QAPIType *type, const char *obj, const char *name)
{
    const QAPIType *branch;

    for (size_t i = 0; i < type->n_members; i++) {
        if (!strcmp(type->members[i].name, name)) {
            return true;
        }
    }
    branch = qapi_branch(type, obj);
    return branch && has_member(branch, obj + type->u_offset, name);
}

static void offer_members(TextNearest *nearest, const QAPIType *type, const char *obj)
{
    const QAPIType *branch = qapi_branch(type, obj);

    for (size_t i = 0; i < type->n_members; i++) {
        if (!type->members[i].unsupported) {
            text_nearest_offer(nearest, type->members[i].name);
        }
    }
    if (branch) {
        offer_members(nearest, branch, obj + type->u_offset);
    }
}

static bool input_struct(const Input *in, const Place *place, const QAPIType *type,
                         struct json_object *val, void *obj)
{
    if (!json_object_is_type(val, json_type_object)) {
        return fail_expected(in, place, "an object");
    }
    if (!input_members(in, place, type, val, obj)) {
        return false;
    }
    json_object_object_foreach(val, key, member) {
        (void)member;
        if (!has_member(type, obj, key)) {
            Place here = { .up = place, .name = key };
            g_autofree char *path = path_of(in, &here);

            TextNearest nearest = { .word = key };

            error_setg(in->errp, "Invalid parameter%s", path + strlen("Parameter"));
            offer_members(&nearest, type, obj);
            hint_nearest(nearest.name, "\n", in->errp);
            return false;
        }
    }
    return true;
}

static QType qtype_of(struct json_object *val)
{
    switch (json_object_get_type(val)) {
    case json_type_null:
        return QTYPE_QNULL;
    case json_type_boolean:
        return QTYPE_QBOOL;
    case json_type_double:
    case json_type_int:
        return QTYPE_QNUM;
    case json_type_object:
        return QTYPE_QDICT;
    case json_type_array:
        return QTYPE_QLIST;
    case json_type_string:
        return QTYPE_QSTRING;
    }
    return QTYPE_NONE;
}

static bool input_alternate(const Input *in, const Place *place, const QAPIType *type,
                            struct json_object *val, char *obj)
{
    static const char *const names[] = {
        [QTYPE_QNULL] = "null", [QTYPE_QNUM] = "a number", [QTYPE_QSTRING] = "a string",
        [QTYPE_QDICT] = "an object", [QTYPE_QLIST] = "an array", [QTYPE_QBOOL] = "a boolean",
    };
    QType qtype = qtype_of(val);
    const QAPIType *branch = qapi_branch_for(type, qtype);

    if (!branch) {
        g_autoptr(GString) what = g_string_new(NULL);

        for (size_t i = 0; i < type->n_branches; i++) {
            g_string_append_printf(what, "%s%s", i ? " or " : "", names[type->branches[i].value]);
        }
        return fail_expected(in, place, what->str);
    }
    memcpy(obj, &qtype, sizeof(qtype));
    return input_value(in, place, branch, val, obj + type->u_offset);
}

static bool input_list(const Input *in, const Place *place, const QAPIType *element,
                       struct json_object *val, QAPIList *list)
{
    size_t item_size = qapi_slot_size(element);

    if (!json_object_is_type(val, json_type_array)) {
        return fail_expected(in, place, "an array");
    }
    for (size_t i = 0; i < json_object_array_length(val); i++) {
        Place here = { .up = place, .index = i, .depth = place->depth + 1 };
        char *slot;

        list->items = qapi_list_grow(list->items, i, item_size);
        slot = (char *)list->items + i * item_size;
        memset(slot, 0, item_size);
        list->n = i + 1;
        if (!input_slot(in, &here, element, json_object_array_get_idx(val, i), slot)) {
            return false;
        }
    }
    return true;
}

static bool input_value(const Input *in, const Place *place, const QAPIType *type,
                        struct json_object *val, void *out)
{
    if (place->depth > QAPI_MAX_DEPTH) {
        return fail_expected(in, place, "less deeply nested values");
    }
    switch (type->kind) {
    case QAPI_KIND_STR:
        return input_str(in, place, val, out);
    case QAPI_KIND_INT:
        return input_int(in, place, type, val, out);
    case QAPI_KIND_UINT:
    case QAPI_KIND_SIZE:
        return input_uint(in, place, type, val, out);
    case QAPI_KIND_NUMBER:
        return input_number(in, place, val, out);
    case QAPI_KIND_BOOL:
        return input_bool(in, place, val, out);
    case QAPI_KIND_NULL:
        return !val || fail_expected(in, place, "null");
    case QAPI_KIND_ANY:
        qapi_store_pointer(out, json_object_get(val));
        return true;
    case QAPI_KIND_ENUM:
        return input_enum(in, place, type, val, out);
    case QAPI_KIND_STRUCT:
        return input_struct(in, place, type, val, out);
    case QAPI_KIND_ALTERNATE:
        return input_alternate(in, place, type, val, out);
    case QAPI_KIND_LIST:
        return input_list(in, place, type->element, val, out);
    }
    g_assert_not_reached();
}

void *qapi_from_json(const QAPIType *type, struct json_object *in, QAPIInputMode mode, Error **errp)
{
    ERRP_GUARD();
    Input input = { .mode = mode, .errp = errp };
    Place top = { 0 };
    void *obj;

    assert(qapi_is_pointed_to(type));
    obj = g_malloc0(type->size);
    if (!input_value(&input, &top, type, in, obj)) {
        qapi_free(type, obj);
        return NULL;
    }
    return obj;
}
