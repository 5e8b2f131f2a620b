/*
 * QAPI: typed structs from and to JSON values, driven by one schema
 *
 * The schema (qapi/ *.json) describes every option, object and result. The generator creates a C type for each
 * definition (qapi/qapi-types.h) and a constant table, its descriptor, named qapi_type_NAME. The functions here walk
 * these tables; there is no code per type. A JSON value is json-c's struct json_object, with NULL for null.
 *
 *     g_autoptr(json_object) in = keyval_parse("driver=raw,file.driver=file,file.filename=x",
 *                                              NULL, NULL, errp);
 *     if (!in) {
 *         return false;
 *     }
 *     g_autoptr(BlockdevOptions) opts = QAPI_FROM_JSON(BlockdevOptions, in, QAPI_INPUT_KEYVAL,
 *                                                      errp);
 *     if (!opts) {
 *         return false;
 *     }
 *     if (opts->driver == BLOCKDEV_DRIVER_RAW && opts->u.raw.file->type == QTYPE_QDICT) {
 *         use(opts->u.raw.file->u.definition.u.file.filename);
 *     }
 *
 * How a definition looks in C:
 *   enum        values PREFIX_NAME; PREFIX__MAX is their number; Foo_str(v) gives the name
 *   struct      one field a member; those of the base come first, so that a Foo * can stand for a
 *               pointer to the base (qapi_Foo_base() converts)
 *   union       as a struct, and a union u with the struct of each branch in place:
 *               x->u.luks.key_secret
 *   alternate   field type says which member of u is set: QTYPE_QSTRING, QTYPE_QDICT...
 *   ['foo']     FooList: n items, each a Foo * for structs, else the value itself;
 *               QAPI_LIST_APPEND() adds one
 *   members     numbers, bools and enums by value, all else by pointer
 *   optional    a by-value member has a field has_NAME before it; a pointer is NULL where it is
 *               absent
 *
 * Objects own everything they point to. They are allocated with g_new0() (so can be built by hand) and freed with
 * qapi_free_NAME() or g_autoptr(NAME), which wipes every string first, since some are secrets.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef QAPI_QAPI_H
#define QAPI_QAPI_H

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "util/error.h"

struct json_object;

/* Maximum nesting of values in everything that is parsed. */
#define QAPI_MAX_DEPTH 64

/* Which member of an alternate's u is set, after the type of the JSON value. */
typedef enum QType {
    QTYPE_NONE,
    QTYPE_QNULL,
    QTYPE_QNUM,
    QTYPE_QSTRING,
    QTYPE_QDICT,
    QTYPE_QLIST,
    QTYPE_QBOOL,
} QType;

/* The C type of a member that can only be null. */
typedef struct QAPINull {
    char unused;
} QAPINull;

typedef enum QAPIInputMode {
    QAPI_INPUT_JSON,   /* values have their JSON types, as in QMP */
    QAPI_INPUT_KEYVAL, /* numbers and bools may also be strings, as on the command line: "1G" */
} QAPIInputMode;

/* Descriptors. Only the generator writes them and only the functions below read them. */

typedef struct QAPIType QAPIType;

typedef enum QAPIKind {
    QAPI_KIND_STR,
    QAPI_KIND_INT,
    QAPI_KIND_UINT,
    QAPI_KIND_SIZE,
    QAPI_KIND_NUMBER,
    QAPI_KIND_BOOL,
    QAPI_KIND_NULL,
    QAPI_KIND_ANY,
    QAPI_KIND_ENUM,
    QAPI_KIND_STRUCT, /* and union */
    QAPI_KIND_ALTERNATE,
    QAPI_KIND_LIST,
} QAPIKind;

typedef struct QAPIMember {
    const char *name;
    const char *doc;
    const QAPIType *type;
    bool optional;
    bool unsupported;  /* refused on input and left out of help */
    size_t offset;
    int has_offset; /* its has_ field, for an optional member by value; -1 for others */
} QAPIMember;

typedef struct QAPIEnumValue {
    const char *name;
    const char *doc;
    bool unsupported;
} QAPIEnumValue;

typedef struct QAPIBranch {
    int value; /* of the discriminator, or the QType of an alternate */
    const QAPIType *type;
} QAPIBranch;

struct QAPIType {
    const char *name;
    const char *doc;
    QAPIKind kind;
    size_t size;                 /* of the value in C, bytes */
    const QAPIMember *members;   /* struct */
    size_t n_members;
    const QAPIMember *tag;       /* union: its discriminator among the members */
    const QAPIBranch *branches;  /* union, alternate */
    size_t n_branches;
    size_t u_offset;
    const QAPIEnumValue *values; /* enum */
    size_t n_values;
    const QAPIType *element;     /* list */
};

extern const QAPIType qapi_type_str, qapi_type_bool, qapi_type_number, qapi_type_null;
extern const QAPIType qapi_type_int, qapi_type_int8, qapi_type_int16, qapi_type_int32;
extern const QAPIType qapi_type_int64, qapi_type_uint8, qapi_type_uint16, qapi_type_uint32;
extern const QAPIType qapi_type_uint64, qapi_type_size, qapi_type_any;

/*
 * Create a typed object from a JSON value. @type is a struct, union, alternate or list. @in stays the caller's and is
 * not changed. Everything in @in must be in the schema, and everything mandatory in the schema must be in @in. Returns
 * NULL with an error that names the member by its full path ("file.filename").
 */
void *qapi_from_json(const QAPIType *type, struct json_object *in, QAPIInputMode mode,
                     Error **errp);
#define QAPI_FROM_JSON(T, in, mode, errp) ((T *)qapi_from_json(&qapi_type_##T, in, mode, errp))

/* Create a JSON value from an object, with members in the order of the schema. Release it with json_object_put(). */
struct json_object *qapi_to_json(const QAPIType *type, const void *obj);
#define QAPI_TO_JSON(T, obj) qapi_to_json(&qapi_type_##T, (const T *){ obj })

/* Deep copy. */
void *qapi_clone(const QAPIType *type, const void *obj);
#define QAPI_CLONE(T, obj) ((T *)qapi_clone(&qapi_type_##T, (const T *){ obj }))

/* Free an object and everything it owns, wiping strings; NULL is ignored. Called by the generated qapi_free_NAME(). */
void qapi_free(const QAPIType *type, void *obj);

/* Name of an enum's value, which must be in range. Called by the generated NAME_str(). */
const char *qapi_enum_str(const QAPIType *type, int value);

/* Value of the name @str; @def if @str is NULL; -1 with an error if there is no such name. */
int qapi_enum_parse(const QAPIType *type, const char *str, int def, Error **errp);

/* The value of an enum whose name is nearest to @str, which is none; NULL where none is near. */
const char *qapi_enum_nearest(const QAPIType *type, const char *str);

/* Add a hint to *@errp that lists the values of an enum. */
void qapi_enum_hint_values(const QAPIType *type, Error **errp);

/* Append @value to a list, which is created if @list is NULL; @list must be an lvalue. */
#define QAPI_LIST_APPEND(list, value)                                                       \
    do {                                                                                    \
        if (!(list)) {                                                                      \
            (list) = g_malloc0(sizeof(*(list)));                                            \
        }                                                                                   \
        (list)->items = qapi_list_grow((list)->items, (list)->n, sizeof(*(list)->items));   \
        (list)->items[(list)->n++] = (value);                                               \
    } while (0)

/* Make room for one item more than @n; for QAPI_LIST_APPEND(). */
void *qapi_list_grow(void *items, size_t n, size_t item_size);

/*
 * Print a struct's members as "  NAME=<TYPE>  - TEXT" lines, sorted by name, for -o help and the like. For a union,
 * print the members that all branches share, then the values of the discriminator.
 */
void qapi_print_help(const QAPIType *type, FILE *out);

/* Like qapi_print_help() for the branch @value of a union, or an error that lists the valid values. */
bool qapi_print_branch_help(const QAPIType *type, const char *value, FILE *out, Error **errp);

#endif
