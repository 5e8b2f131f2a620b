/*
 * User-creatable objects: the list of them, and the table of their types
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "config-host.h"

#include "crypto/object-types.h"
#include "qapi/keyval.h"
#include "qapi/qapi.h"
#include "util/id.h"
#include "util/secret-buffer.h"

typedef struct Object {
    char *id;
    const UserCreatableType *type;
    void *obj;
    ObjectOptions *options;     /* without secrets */
} Object;

static const UserCreatableType *types[OBJECT_TYPE__MAX] = {
    [OBJECT_TYPE_AUTHZ_LIST] = &authz_list_type,
    [OBJECT_TYPE_AUTHZ_SIMPLE] = &authz_simple_type,
    [OBJECT_TYPE_SECRET] = &secret_type,
#ifdef CONFIG_KEYRING
    [OBJECT_TYPE_SECRET_KEYRING] = &secret_keyring_type,
#endif
    [OBJECT_TYPE_TLS_CREDS_PSK] = &tls_creds_psk_type,
    [OBJECT_TYPE_TLS_CREDS_X509] = &tls_creds_x509_type,
};

static GPtrArray *objects;      /* of Object, in the order of creation */

/* An object that is being created by a coroutine, which may wait for a file. */
typedef struct Creation {
    const char *id;
    Coroutine *co;
    struct Creation *next;
} Creation;

static Creation *creations;
static CoQueue creation_ended = { .last = &creation_ended.first };

static void object_free(void *opaque)
{
    Object *object = opaque;

    object->type->free(object->obj);
    qapi_free_ObjectOptions(object->options);
    g_free(object->id);
    g_free(object);
}

static Object *object_find(const char *id)
{
    for (guint i = 0; objects && i < objects->len; i++) {
        Object *object = g_ptr_array_index(objects, i);

        if (!strcmp(object->id, id)) {
            return object;
        }
    }
    return NULL;
}

void user_creatable_register(const UserCreatableType *type)
{
    assert(!types[type->type]);
    types[type->type] = type;
}

static Creation *creation_find(const char *id)
{
    Creation *c = creations;

    while (c && !g_str_equal(c->id, id)) {
        c = c->next;
    }
    return c;
}

static bool object_id_is_free(const char *id, Error **errp)
{
    if (object_find(id) || creation_find(id)) {
        error_setg(errp, "There is an object with id '%s' already", id);
        return false;
    }
    return true;
}

static bool object_id_check(const char *id, Error **errp)
{
    bool ok = id_wellformed(id);

    if (!ok) {
        error_setg(errp, "'%s' is not a valid object id", id);
        error_append_hint(errp, "An id begins with a letter, followed by letters, digits, "
                          "'-', '.' and '_'.\n");
    }
    return ok;
}

/* A copy without secrets, for later queries. */
static ObjectOptions *object_public_options(const ObjectOptions *options)
{
    ObjectOptions *copy = QAPI_CLONE(ObjectOptions, options);

    if (copy->qom_type == OBJECT_TYPE_SECRET && copy->u.secret.data) {
        secret_wipe(copy->u.secret.data, strlen(copy->u.secret.data));
        g_clear_pointer(&copy->u.secret.data, g_free);
    }
    return copy;
}

static void *coroutine_mixed_fn object_create(const UserCreatableType *type, const ObjectOptions *options, Error **errp)
{
    Creation creation = { .id = options->id, .co = qemu_coroutine_self(), .next = creations };

    creations = &creation;
    void *obj = type->create(options, errp);
    Creation **c = &creations;
    while (*c != &creation) {
        c = &(*c)->next;
    }
    *c = creation.next;
    qemu_co_queue_restart_all(&creation_ended);
    return obj;
}

static bool coroutine_mixed_fn object_add(const ObjectOptions *options, Error **errp)
{
    ERRP_GUARD();
    const UserCreatableType *type = types[options->qom_type];

    if (!type) {
        error_setg(errp, "Object '%s': this program has no objects of type '%s'", options->id,
                   ObjectType_str(options->qom_type));
        return false;
    }

    void *obj = object_create(type, options, errp);
    if (!obj) {
        return false;
    }

    Object *object = g_new(Object, 1);
    *object = (Object) {
        .id = g_strdup(options->id), .type = type, .obj = obj, .options = object_public_options(options),
    };
    if (!objects) {
        objects = g_ptr_array_new_with_free_func(object_free);
    }
    g_ptr_array_add(objects, object);
    if (type->get) {
        type->get(obj, object->options);
    }
    return true;
}

bool coroutine_mixed_fn user_creatable_add(const ObjectOptions *options, Error **errp)
{
    return object_id_check(options->id, errp) && object_id_is_free(options->id, errp) && object_add(options, errp);
}

bool coroutine_mixed_fn user_creatable_add_unnamed(ObjectOptions *options, Error **errp)
{
    static unsigned generated;

    g_free(options->id);
    options->id = g_strdup_printf("#object%u", generated++);
    return object_add(options, errp);
}

bool user_creatable_is_unnamed(const char *id)
{
    return id[0] == '#';
}

bool user_creatable_is_help(const char *arg)
{
    bool help = false;
    QAPIInputMode mode;
    g_autoptr(json_object) in = keyval_parse_or_json(arg, "qom-type", &help, &mode, NULL);
    json_object *type;

    if (!help) {
        return false;
    }
    if (!in || !json_object_object_get_ex(in, "qom-type", &type)) {
        qapi_print_help(&qapi_type_ObjectOptions, stdout);
        return true;
    }
    /* No such type: user_creatable_parse() reports it. */
    return qapi_print_branch_help(&qapi_type_ObjectOptions, json_object_get_string(type), stdout,
                                  NULL);
}

/*
 * In "data=...", text after a single comma is taken for a key: an error that quotes it would reveal part of the secret.
 */
static void object_hide_secret(const char *arg, Error **errp)
{
    if (*errp && strstr(arg, "data") && (strstr(error_get_pretty(*errp), "Invalid parameter") ||
                                         strstr(error_get_pretty(*errp), "Expected"))) {
        error_free(*errp);
        *errp = NULL;
        error_setg(errp, "Invalid object definition");
        error_append_hint(errp, "The details are not shown, since they may contain the secret. Double a comma "
                          "in data=, or use file=.\n");
    }
}

bool coroutine_mixed_fn user_creatable_parse(char *arg, Error **errp)
{
    ERRP_GUARD();
    QAPIInputMode mode;
    g_autoptr(json_object) in = keyval_parse_or_json(arg, "qom-type", NULL, &mode, errp);
    g_autoptr(ObjectOptions) options = NULL;

    if (in) {
        options = QAPI_FROM_JSON(ObjectOptions, in, mode, errp);
    }
    object_hide_secret(arg, errp);
    /* Text that could not be parsed may contain a secret, too. */
    if (!options || (options->qom_type == OBJECT_TYPE_SECRET && options->u.secret.data)) {
        memset(arg, 'x', strlen(arg));
    }
    return options && user_creatable_add(options, errp);
}

bool coroutine_mixed_fn user_creatable_del(const char *id, Error **errp)
{
    Creation *creation = creation_find(id);
    bool cancelled = creation;

    if (creation) {
        qemu_co_cancel(creation->co);
    }
    while (creation_find(id)) {
        qemu_co_queue_wait(&creation_ended, NULL);
    }
    Object *object = object_find(id);
    if (!object && cancelled) {
        return true;
    }
    if (!object) {
        error_setg(errp, "There is no object with id '%s'", id);
        return false;
    }
    g_autofree char *user = object->type->used_by ? object->type->used_by(object->obj) : NULL;
    if (user) {
        error_setg(errp, "object '%s' is in use, can not be deleted: it is used by %s", id, user);
        return false;
    }
    g_ptr_array_remove(objects, object);
    return true;
}

static bool object_property_is_writable(const UserCreatableType *type, const char *name)
{
    return type->writable && g_strv_contains(type->writable, name);
}

bool user_creatable_set(const char *id, const char *name, struct json_object *value, Error **errp)
{
    Object *object = object_find(id);

    if (!object_property_is_writable(object->type, name)) {
        error_setg(errp, "Property '%s.%s' is not writable", ObjectType_str(object->type->type), name);
        return false;
    }
    g_autoptr(json_object) all = QAPI_TO_JSON(ObjectOptions, object->options);
    json_object_object_add(all, name, json_object_get(value));
    g_autoptr(ObjectOptions) options = QAPI_FROM_JSON(ObjectOptions, all, QAPI_INPUT_JSON, errp);
    if (!options || !object->type->set(object->obj, options, errp)) {
        return false;
    }
    qapi_free_ObjectOptions(object->options);
    object->options = g_steal_pointer(&options);
    if (object->type->get) {
        object->type->get(object->obj, object->options);
    }
    return true;
}

const ObjectOptions *user_creatable_next(const ObjectOptions *options)
{
    guint i = 0;

    while (options && i < objects->len &&
           ((Object *)g_ptr_array_index(objects, i++))->options != options) {
        /* past it */
    }
    return objects && i < objects->len ? ((Object *)g_ptr_array_index(objects, i))->options : NULL;
}

void *user_creatable_find(const char *id, ObjectType *type)
{
    Object *object = object_find(id);

    if (!object) {
        return NULL;
    }
    *type = object->type->type;
    return object->obj;
}

void *user_creatable_lookup(const char *id, ObjectType type, Error **errp)
{
    Object *object = object_find(id);

    if (!object) {
        error_setg(errp, "There is no object with id '%s'", id);
        return NULL;
    }
    if (object->type->type != type) {
        error_setg(errp, "Object '%s' is of type '%s', not '%s'", id,
                   ObjectType_str(object->type->type), ObjectType_str(type));
        return NULL;
    }
    return object->obj;
}

void user_creatable_cleanup(void)
{
    while (objects && objects->len > 0) {
        g_ptr_array_remove_index(objects, objects->len - 1);
    }
    g_clear_pointer(&objects, g_ptr_array_unref);
}
