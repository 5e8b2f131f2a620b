/*
 * Completion of KEY=VALUE,... by the schema
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include <json-c/json.h>

#include "qapi/keyval.h"
#include "tools/common/complete-internal.h"

void completion_offer(const Completion *c, const char *candidate, const char *suffix, const char *doc)
{
    g_autofree char *line = g_strndup(doc ?: "", strcspn(doc ?: "", ";\n"));

    if (g_str_has_prefix(candidate, c->partial)) {
        printf("%s%s%s\t%s\n", c->before, candidate, suffix, line);
    }
}

void completion_offer_files(const Completion *c)
{
    printf("\t%s\n", c->before);
}

void completion_offer_enum(const Completion *c, const QAPIType *type)
{
    for (size_t i = 0; i < type->n_values; i++) {
        if (!type->values[i].unsupported) {
            completion_offer(c, type->values[i].name, "", type->values[i].doc);
        }
    }
}

/* Of an alternate, the type of its branch of @kind; else @type itself where it is of that kind; else NULL. */
static const QAPIType *as_kind(const QAPIType *type, QAPIKind kind)
{
    for (size_t i = 0; i < type->n_branches && type->kind == QAPI_KIND_ALTERNATE; i++) {
        if (type->branches[i].type->kind == kind) {
            return type->branches[i].type;
        }
    }
    return type->kind == kind ? type : NULL;
}

static struct json_object *get(struct json_object *obj, const char *key)
{
    return json_object_is_type(obj, json_type_object) ? json_object_object_get(obj, key) : NULL;
}

/*
 * Call @fn for each member that an object of @type can have where @obj holds what is known of it: those of the branch
 * that its discriminator says, or of all branches where it says nothing yet.
 */
static void for_each_member(const QAPIType *type, struct json_object *obj,
                            void (*fn)(const QAPIMember *m, void *opaque), void *opaque)
{
    struct json_object *tag = type->tag ? get(obj, type->tag->name) : NULL;

    for (size_t i = 0; i < type->n_members; i++) {
        if (!type->members[i].unsupported) {
            fn(&type->members[i], opaque);
        }
    }
    for (size_t i = 0; i < type->n_branches; i++) {
        const QAPIEnumValue *value = &type->tag->type->values[type->branches[i].value];

        if (tag ? g_str_equal(json_object_get_string(tag), value->name) : !value->unsupported) {
            for_each_member(type->branches[i].type, obj, fn, opaque);
        }
    }
}

typedef struct Search {
    const char *name;
    const QAPIMember *found;
} Search;

static void search_member(const QAPIMember *m, void *opaque)
{
    Search *search = opaque;

    if (g_str_equal(m->name, search->name)) {
        search->found = m;
    }
}

static const QAPIMember *find_member(const QAPIType *type, struct json_object *obj, const char *name)
{
    Search search = { .name = name };

    for_each_member(type, obj, search_member, &search);
    return search.found;
}

/* Follow the parts of a dotted name but the last one; *@type and *@obj become those that it leads to. */
static bool descend(char **parts, const QAPIType **type, struct json_object **obj)
{
    for (; parts[0] && parts[1]; parts++) {
        const QAPIMember *m = find_member(*type, *obj, parts[0]);

        *type = m ? as_kind(m->type, QAPI_KIND_STRUCT) : NULL;
        if (!*type) {
            return false;
        }
        *obj = get(*obj, parts[0]);
    }
    return true;
}

/* Members that hold the name of a file or directory of the host. */
static bool is_file_name(const QAPIMember *m)
{
    static const char *const names[] = { "filename", "file", "path", "dir" };

    for (size_t i = 0; m->type->kind == QAPI_KIND_STR && i < G_N_ELEMENTS(names); i++) {
        if (g_str_equal(m->name, names[i])) {
            return true;
        }
    }
    return false;
}

char **completion_words;
int completion_n_words;

void completion_offer_defined(const Completion *c, const char *key)
{
    for (int i = 0; i < completion_n_words; i++) {
        bool help = false;
        g_autoptr(json_object) word = keyval_parse(completion_words[i], "implied", &help, NULL);
        struct json_object *name = get(word, key);

        if (json_object_is_type(name, json_type_string)) {
            completion_offer(c, json_object_get_string(name), "", NULL);
        }
    }
}

/* Members that name an object begin their text with "ID of"; one that may be left out gives a new node its name. */
static void offer_defined(const Completion *c, const QAPIMember *m)
{
    if (m->doc && g_str_has_prefix(m->doc, "ID of ")) {
        completion_offer_defined(c, "id");
    } else if ((m->type->kind == QAPI_KIND_ALTERNATE && as_kind(m->type, QAPI_KIND_STR)) ||
               (g_str_equal(m->name, "node-name") && !m->optional)) {
        completion_offer_defined(c, "node-name");
    }
}

static void offer_value(const Completion *c, const QAPIMember *m)
{
    const QAPIType *type = as_kind(m->type, QAPI_KIND_ENUM);

    if (type) {
        completion_offer_enum(c, type);
    } else if (as_kind(m->type, QAPI_KIND_BOOL)) {
        completion_offer(c, "on", "", NULL);
        completion_offer(c, "off", "", NULL);
    } else if (is_file_name(m)) {
        completion_offer_files(c);
    } else {
        offer_defined(c, m);
    }
}

typedef struct Keys {
    const Completion *c;
    struct json_object *obj;    /* what is given already */
    GHashTable *offered;        /* a set of names: branches may share some */
} Keys;

static void offer_key(const QAPIMember *m, void *opaque)
{
    Keys *keys = opaque;
    bool is_struct = as_kind(m->type, QAPI_KIND_STRUCT);

    if (!g_hash_table_add(keys->offered, (char *)m->name)) {
        return;
    }
    if (is_struct) {
        completion_offer(keys->c, m->name, ".", m->doc);
    }
    if (m->type->kind != QAPI_KIND_STRUCT && m->type->kind != QAPI_KIND_LIST && !get(keys->obj, m->name)) {
        completion_offer(keys->c, m->name, "=", m->doc);
    }
}

static void offer_keys(const Completion *c, const QAPIType *type, struct json_object *obj)
{
    g_autoptr(GHashTable) offered = g_hash_table_new(g_str_hash, g_str_equal);
    Keys keys = { .c = c, .obj = obj, .offered = offered };

    for_each_member(type, obj, offer_key, &keys);
}

/* Where the last element of @list begins: behind a comma that is not doubled. */
static const char *last_element(const char *list)
{
    const char *begin = list;

    for (const char *p = list; *p; p++) {
        if (*p == ',') {
            begin = p[1] == ',' ? begin : p + 1;
            p += p[1] == ',';
        }
    }
    return begin;
}

void completion_offer_keyval(const Completion *c, const QAPIType *type, const char *implied_key)
{
    const char *element = last_element(c->partial), *equals = strchr(element, '=');
    size_t given_len = element > c->partial ? element - c->partial - 1 : 0;
    g_autofree char *given = g_strndup(c->partial, given_len);
    bool help = false;
    g_autoptr(json_object) root = keyval_parse(given, implied_key, &help, NULL);
    g_autofree char *key = g_strndup(element, equals ? (size_t)(equals - element) : strlen(element));
    g_auto(GStrv) parts = g_strsplit(key, ".", -1);
    const char *last = parts[0] ? parts[g_strv_length(parts) - 1] : "";
    struct json_object *obj = root;

    if (!descend(parts, &type, &obj)) {
        return;
    }
    const char *partial = equals ? equals + 1 : element + strlen(key) - strlen(last);
    g_autofree char *before = g_strdup_printf("%s%.*s", c->before, (int)(partial - c->partial), c->partial);
    const Completion inner = { .before = before, .partial = partial };

    if (equals) {
        const QAPIMember *m = find_member(type, obj, last);

        if (m) {
            offer_value(&inner, m);
        }
        return;
    }
    offer_keys(&inner, type, obj);
    if (implied_key && element == c->partial && !strchr(key, '.')) {
        const QAPIMember *m = find_member(type, obj, implied_key);

        if (m) {
            offer_value(&inner, m);
        }
    }
}
