/*
 * Help texts from the schema
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "qapi/qapi.h"
#include "qapi-internal.h"

/* The column of the texts, as far as names leave room. */
#define TEXT_COLUMN 27

static const char *type_word(const QAPIType *type)
{
    switch (type->kind) {
    case QAPI_KIND_INT:
    case QAPI_KIND_UINT:
    case QAPI_KIND_NUMBER:
        return "num";
    case QAPI_KIND_SIZE:
        return "size";
    case QAPI_KIND_BOOL:
        return "bool (on/off)";
    case QAPI_KIND_STRUCT:
        return "object";
    case QAPI_KIND_LIST:
        return "list";
    default:
        return "str";
    }
}

static void print_enum_values(const QAPIType *type, FILE *out)
{
    const char *separator = "; one of: ";

    for (size_t i = 0; i < type->n_values; i++) {
        if (!type->values[i].unsupported) {
            fprintf(out, "%s%s", separator, type->values[i].name);
            separator = ", ";
        }
    }
}

static int by_name(const void *a, const void *b)
{
    return strcmp((*(const QAPIMember *const *)a)->name, (*(const QAPIMember *const *)b)->name);
}

static void print_member(const QAPIMember *m, FILE *out)
{
    int width = fprintf(out, "  %s=<%s>", m->name, type_word(m->type));

    fprintf(out, "%*s - %s", MAX(0, TEXT_COLUMN - width), "", m->doc);
    if (m->type->kind == QAPI_KIND_ENUM) {
        print_enum_values(m->type, out);
    }
    fprintf(out, "%s\n", m->optional ? "" : "; required");
}

static void print_members(const QAPIType *type, FILE *out)
{
    g_autofree const QAPIMember **sorted = g_new(const QAPIMember *, type->n_members + 1);
    size_t n = 0;

    for (size_t i = 0; i < type->n_members; i++) {
        if (&type->members[i] != type->tag && !type->members[i].unsupported) {
            sorted[n++] = &type->members[i];
        }
    }
    qsort(sorted, n, sizeof(sorted[0]), by_name);
    for (size_t i = 0; i < n; i++) {
        print_member(sorted[i], out);
    }
}

void qapi_print_help(const QAPIType *type, FILE *out)
{
    assert(type->kind == QAPI_KIND_STRUCT);
    print_members(type, out);
    if (type->tag) {
        const QAPIType *tag = type->tag->type;

        fprintf(out, "  %s=<str>: %s, one of:\n", type->tag->name, type->tag->doc);
        for (size_t i = 0; i < tag->n_values; i++) {
            int width = fprintf(out, "    %s", tag->values[i].name);
            fprintf(out, "%*s - %s\n", MAX(0, TEXT_COLUMN - width), "", tag->values[i].doc);
        }
    }
}

bool qapi_print_branch_help(const QAPIType *type, const char *value, FILE *out, Error **errp)
{
    int index = qapi_enum_parse(type->tag->type, value, -1, errp);
    const QAPIType *branch;

    if (index < 0) {
        return false;
    }
    branch = qapi_branch_for(type, index);
    if (branch) {
        qapi_print_help(branch, out);
    }
    print_members(type, out);
    return true;
}
