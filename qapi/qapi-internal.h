/*
 * Shared by the code that walks descriptor tables
 *
 * A value is stored in a slot: a member, an item of a list, or the u of a union or alternate. Members
 * and items hold structs, alternates and lists as pointers; a u embeds them.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef QAPI_INTERNAL_H
#define QAPI_INTERNAL_H

#include "qapi/qapi.h"

/* Layout of all generated lists. */
typedef struct QAPIList {
    size_t n;
    void *items;
} QAPIList;

static inline bool qapi_is_pointed_to(const QAPIType *type)
{
    return type->kind == QAPI_KIND_STRUCT || type->kind == QAPI_KIND_ALTERNATE ||
           type->kind == QAPI_KIND_LIST;
}

static inline size_t qapi_slot_size(const QAPIType *type)
{
    return qapi_is_pointed_to(type) ? sizeof(void *) : type->size;
}

/* Pointers in slots have various types: copy them, so as not to violate aliasing rules. */
static inline void *qapi_load_pointer(const void *slot)
{
    void *ptr;

    memcpy(&ptr, slot, sizeof(ptr));
    return ptr;
}

static inline void qapi_store_pointer(void *slot, const void *ptr)
{
    memcpy(slot, &ptr, sizeof(ptr));
}

static inline int qapi_load_enum(const void *slot)
{
    int value;

    memcpy(&value, slot, sizeof(value));
    return value;
}

/* The value in a member's or item's slot. */
static inline void *qapi_in_slot(const QAPIType *type, const void *slot)
{
    return qapi_is_pointed_to(type) ? qapi_load_pointer(slot) : (void *)slot;
}

/* Whether @obj has @member. */
bool qapi_is_present(const QAPIMember *member, const void *obj);

/*
 * The branch that a union's discriminator or an alternate's type selects; NULL if that has no
 * members.
 */
const QAPIType *qapi_branch(const QAPIType *type, const void *obj);

/* The branch for @value. */
const QAPIType *qapi_branch_for(const QAPIType *type, int value);

/* Value of the name @name, of length @len; -1 if unknown. */
int qapi_enum_find(const QAPIType *type, const char *name, size_t len);

#endif
