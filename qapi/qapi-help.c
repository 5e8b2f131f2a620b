/*
 * Help texts from the schema
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "qapi/qapi.h"
#include "qapi/qapi-internal.h"
#include "util/text.h"

/* Column of the texts, unless the name is longer. */
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

/* " - TEXT" behind a name that ends in the column @width. */
static void print_text(const char *text, int width, FILE *out)
{
    if (width <= TEXT_COLUMN) {
        fprintf(out, "%*s - ", TEXT_COLUMN - width, "");
        text_print_wrapped(out, text, TEXT_COLUMN + 3, TEXT_COLUMN + 3, "");
    } else {
        fprintf(out, " -");
        /* Beyond the indentation, or there would be no space before the first word. */
        text_print_wrapped(out, text, MAX(width + 2, TEXT_COLUMN + 4), TEXT_COLUMN + 3, "");
    }
}

static void append_enum_values(const QAPIType *type, GString *text)
{
    const char *separator = "; one of: ";

    for (size_t i = 0; i < type->n_values; i++) {
        if (!type->values[i].unsupported) {
            g_string_append_printf(text, "%s%s", separator, type->values[i].name);
            separator = ", ";
        }
    }
}

static int by_name(const void *a, const void *b)
{
    return strcmp((*(const QAPIMember *const *)a)->name, (*(const QAPIMember *const *)b)->name);
}

static void print_members(const QAPIType *type, const char *prefix, const char *condition, FILE *out);

/* A line "    VALUE   - TEXT" for each value of a union's discriminator. */
static void print_tag(const QAPIMember *tag, const char *prefix, FILE *out)
{
    fprintf(out, "  %s%s=<str>: %s, one of:\n", prefix, tag->name, tag->doc);
    for (size_t i = 0; i < tag->type->n_values; i++) {
        const QAPIEnumValue *v = &tag->type->values[i];

        if (!v->unsupported) {
            print_text(v->doc, fprintf(out, "    %s", v->name), out);
        }
    }
}

/* The members of an object that is itself a member, with dotted names. */
static void print_nested(const QAPIType *type, const char *prefix, FILE *out)
{
    if (type->tag) {
        print_tag(type->tag, prefix, out);
    }
    print_members(type, prefix, "", out);
    for (size_t i = 0; i < type->n_branches; i++) {
        g_autofree char *condition = g_strdup_printf("; with %s%s=%s", prefix, type->tag->name,
                                                     qapi_enum_str(type->tag->type, type->branches[i].value));
        print_members(type->branches[i].type, prefix, condition, out);
    }
}

static void print_member(const QAPIMember *m, const char *prefix, const char *condition, FILE *out)
{
    g_autoptr(GString) text = g_string_new(m->doc);

    if (m->type->kind == QAPI_KIND_ENUM) {
        append_enum_values(m->type, text);
    }
    g_string_append_printf(text, "%s%s", condition, m->optional ? "" : "; required");
    print_text(text->str, fprintf(out, "  %s%s=<%s>", prefix, m->name, type_word(m->type)), out);
    if (m->type->kind == QAPI_KIND_STRUCT) {
        g_autofree char *deeper = g_strdup_printf("%s%s.", prefix, m->name);
        print_nested(m->type, deeper, out);
    }
}

static void print_members(const QAPIType *type, const char *prefix, const char *condition, FILE *out)
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
        print_member(sorted[i], prefix, condition, out);
    }
}

void qapi_print_help(const QAPIType *type, FILE *out)
{
    assert(type->kind == QAPI_KIND_STRUCT);
    print_members(type, "", "", out);
    if (type->tag) {
        print_tag(type->tag, "", out);
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
    print_members(type, "", "", out);
    return true;
}
