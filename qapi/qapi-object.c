/*
 * Built-in types; freeing and cloning objects
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include <json-c/json_object.h>

#include "qapi/qapi.h"
#include "qapi/qapi-internal.h"
#include "util/secret-buffer.h"

#define BUILTIN(id, ctype, k) \
    const QAPIType qapi_type_##id = { .name = #id, .kind = QAPI_KIND_##k, .size = sizeof(ctype) }

BUILTIN(str, char *, STR);
BUILTIN(number, double, NUMBER);
BUILTIN(int, int64_t, INT);
BUILTIN(int8, int8_t, INT);
BUILTIN(int16, int16_t, INT);
BUILTIN(int32, int32_t, INT);
BUILTIN(int64, int64_t, INT);
BUILTIN(uint8, uint8_t, UINT);
BUILTIN(uint16, uint16_t, UINT);
BUILTIN(uint32, uint32_t, UINT);
BUILTIN(uint64, uint64_t, UINT);
BUILTIN(size, uint64_t, SIZE);
BUILTIN(bool, bool, BOOL);
BUILTIN(null, QAPINull, NULL);
BUILTIN(any, struct json_object *, ANY);

bool qapi_is_present(const QAPIMember *member, const void *obj)
{
    const char *base = obj;
    QAPIKind kind = member->type->kind;

    if (!member->optional) {
        return true;
    }
    if (member->has_offset >= 0) {
        return *(const bool *)(base + member->has_offset);
    }
    assert(qapi_is_pointed_to(member->type) || kind == QAPI_KIND_STR || kind == QAPI_KIND_ANY);
    return qapi_load_pointer(base + member->offset) != NULL;
}

const QAPIType *qapi_branch_for(const QAPIType *type, int value)
{
    for (size_t i = 0; i < type->n_branches; i++) {
        if (type->branches[i].value == value) {
            return type->branches[i].type;
        }
    }
    return NULL;
}

const QAPIType *qapi_branch(const QAPIType *type, const void *obj)
{
    if (type->kind == QAPI_KIND_ALTERNATE) {
        return qapi_branch_for(type, qapi_load_enum(obj));
    }
    if (!type->tag) {
        return NULL;
    }
    return qapi_branch_for(type, qapi_load_enum((const char *)obj + type->tag->offset));
}

int qapi_enum_find(const QAPIType *type, const char *name, size_t len)
{
    for (size_t i = 0; i < type->n_values; i++) {
        if (strlen(type->values[i].name) == len && !memcmp(type->values[i].name, name, len)) {
            return i;
        }
    }
    return -1;
}

const char *qapi_enum_str(const QAPIType *type, int value)
{
    assert(value >= 0 && (size_t)value < type->n_values);
    return type->values[value].name;
}

void *qapi_list_grow(void *items, size_t n, size_t item_size)
{
    /* Grow at each power of two. */
    if (n & (n - 1)) {
        return items;
    }
    return g_realloc_n(items, n ? 2 * n : 1, item_size);
}

static void free_slot(const QAPIType *type, void *slot);

/*
 * Free what the value at @obj owns, but not its own memory. The object may be incomplete.
 */
static void clear_value(const QAPIType *type, void *obj)
{
    const QAPIType *branch = qapi_branch(type, obj);
    char *base = obj;

    switch (type->kind) {
    case QAPI_KIND_STR: {
        char *str = qapi_load_pointer(obj);
        if (str) {
            secret_wipe(str, strlen(str));
        }
        g_free(str);
        break;
    }
    case QAPI_KIND_ANY:
        json_object_put(qapi_load_pointer(obj));
        break;
    case QAPI_KIND_STRUCT:
        for (size_t i = 0; i < type->n_members; i++) {
            free_slot(type->members[i].type, base + type->members[i].offset);
        }
        G_GNUC_FALLTHROUGH;
    case QAPI_KIND_ALTERNATE:
        if (branch) {
            clear_value(branch, base + type->u_offset);
        }
        break;
    case QAPI_KIND_LIST: {
        QAPIList *list = obj;
        for (size_t i = 0; i < list->n; i++) {
            free_slot(type->element, (char *)list->items + i * qapi_slot_size(type->element));
        }
        g_free(list->items);
        break;
    }
    default:
        break;
    }
}

static void free_slot(const QAPIType *type, void *slot)
{
    if (qapi_is_pointed_to(type)) {
        qapi_free(type, qapi_load_pointer(slot));
    } else {
        clear_value(type, slot);
    }
}

void qapi_free(const QAPIType *type, void *obj)
{
    if (obj) {
        clear_value(type, obj);
        g_free(obj);
    }
}

static void clone_slot(const QAPIType *type, const void *from, void *to);

/* Replace the pointers in @to, a shallow copy of @from, with deep copies. */
static void clone_value(const QAPIType *type, const void *from, void *to)
{
    const QAPIType *branch = qapi_branch(type, from);

    switch (type->kind) {
    case QAPI_KIND_STR:
        qapi_store_pointer(to, g_strdup(qapi_load_pointer(from)));
        break;
    case QAPI_KIND_ANY:
        qapi_store_pointer(to, json_object_get(qapi_load_pointer(from)));
        break;
    case QAPI_KIND_STRUCT:
        for (size_t i = 0; i < type->n_members; i++) {
            size_t offset = type->members[i].offset;
            clone_slot(type->members[i].type, (const char *)from + offset, (char *)to + offset);
        }
        G_GNUC_FALLTHROUGH;
    case QAPI_KIND_ALTERNATE:
        if (branch) {
            clone_value(branch, (const char *)from + type->u_offset, (char *)to + type->u_offset);
        }
        break;
    case QAPI_KIND_LIST: {
        const QAPIList *list = from;
        size_t item_size = qapi_slot_size(type->element), capacity = 1;
        QAPIList *copy = to;

        while (capacity < list->n) {
            capacity *= 2;
        }
        copy->items = list->n ? g_malloc0_n(capacity, item_size) : NULL;
        for (size_t i = 0; i < list->n; i++) {
            size_t offset = i * item_size;
            memcpy((char *)copy->items + offset, (char *)list->items + offset, item_size);
            clone_slot(type->element, (char *)list->items + offset, (char *)copy->items + offset);
        }
        break;
    }
    default:
        break;
    }
}

static void clone_slot(const QAPIType *type, const void *from, void *to)
{
    if (qapi_is_pointed_to(type)) {
        qapi_store_pointer(to, qapi_clone(type, qapi_load_pointer(from)));
    } else {
        clone_value(type, from, to);
    }
}

void *qapi_clone(const QAPIType *type, const void *obj)
{
    void *copy;

    if (!obj) {
        return NULL;
    }
    copy = g_memdup2(obj, type->size);
    clone_value(type, obj, copy);
    return copy;
}
