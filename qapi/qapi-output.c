/*
 * Typed objects to JSON values
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "qapi/json.h"
#include "qapi/qapi.h"
#include "qapi/qapi-internal.h"

static uint64_t load_integer(const void *slot, size_t size)
{
    switch (size) {
    case 1:
        return *(const uint8_t *)slot;
    case 2:
        return *(const uint16_t *)slot;
    case 4:
        return *(const uint32_t *)slot;
    default:
        return *(const uint64_t *)slot;
    }
}

static int64_t sign_extend(uint64_t value, size_t size)
{
    unsigned unused_bits = 64 - 8 * size;

    return (int64_t)(value << unused_bits) >> unused_bits;
}

static struct json_object *new_string(const char *str)
{
    return qapi_json_new_string(str ?: "", str ? strlen(str) : 0);
}

static void add_members(const QAPIType *type, const void *obj, struct json_object *to)
{
    const QAPIType *branch = qapi_branch(type, obj);

    for (size_t i = 0; i < type->n_members; i++) {
        const QAPIMember *m = &type->members[i];
        const void *value = qapi_in_slot(m->type, (const char *)obj + m->offset);

        if (qapi_is_present(m, obj)) {
            json_object_object_add(to, m->name, qapi_to_json(m->type, value));
        }
    }
    if (branch) {
        add_members(branch, (const char *)obj + type->u_offset, to);
    }
}

static struct json_object *list_to_json(const QAPIType *element, const QAPIList *list)
{
    struct json_object *out = json_object_new_array();

    for (size_t i = 0; list && i < list->n; i++) {
        const void *slot = (const char *)list->items + i * qapi_slot_size(element);

        json_object_array_add(out, qapi_to_json(element, qapi_in_slot(element, slot)));
    }
    return out;
}

struct json_object *qapi_to_json(const QAPIType *type, const void *obj)
{
    struct json_object *out;
    const QAPIType *branch;

    /* NULL is an empty list; other mandatory members must be there. */
    assert(obj || type->kind == QAPI_KIND_LIST);
    switch (type->kind) {
    case QAPI_KIND_STR:
        return new_string(qapi_load_pointer(obj));
    case QAPI_KIND_INT:
        return json_object_new_int64(sign_extend(load_integer(obj, type->size), type->size));
    case QAPI_KIND_UINT:
    case QAPI_KIND_SIZE:
        return json_object_new_uint64(load_integer(obj, type->size));
    case QAPI_KIND_NUMBER:
        return json_object_new_double(*(const double *)obj);
    case QAPI_KIND_BOOL:
        return json_object_new_boolean(*(const bool *)obj);
    case QAPI_KIND_NULL:
        return NULL;
    case QAPI_KIND_ANY:
        return json_object_get(qapi_load_pointer(obj));
    case QAPI_KIND_ENUM:
        return new_string(qapi_enum_str(type, qapi_load_enum(obj)));
    case QAPI_KIND_STRUCT:
        out = json_object_new_object();
        add_members(type, obj, out);
        return out;
    case QAPI_KIND_ALTERNATE:
        branch = qapi_branch(type, obj);
        assert(branch);
        return qapi_to_json(branch, (const char *)obj + type->u_offset);
    case QAPI_KIND_LIST:
        return list_to_json(type->element, obj);
    }
    g_assert_not_reached();
}
