/*
 * Commands for user-creatable objects, shown as a tree: /objects/ID/PROPERTY
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include <json-c/json.h>

#include "block/iothread-object.h"
#include "crypto/object.h"
#include "qapi/json.h"
#include "qapi/qapi-commands.h"

#define OBJECTS_PATH "/objects"

bool coroutine_fn qmp_object_add(const ObjectOptions *arg, Error **errp)
{
    return user_creatable_add(arg, errp);
}

bool coroutine_fn qmp_object_del(const ObjectDelArg *arg, Error **errp)
{
    return user_creatable_del(arg->id, errp);
}

/* The object that @path names; NULL with @errp. */
static const ObjectOptions *find_object(const char *path, Error **errp)
{
    const char *id = g_str_has_prefix(path, OBJECTS_PATH "/") ? path + strlen(OBJECTS_PATH "/") : path;

    for (const ObjectOptions *o = user_creatable_next(NULL); o; o = user_creatable_next(o)) {
        if (g_str_equal(o->id, id)) {
            return o;
        }
    }
    error_set(errp, ERROR_CLASS_DEVICE_NOT_FOUND, "Device '%s' not found", path);
    return NULL;
}

static void add_property(ObjectPropertyInfoList **list, const char *name, char *type, const char *description)
{
    ObjectPropertyInfo *info = g_new0(ObjectPropertyInfo, 1);

    info->name = g_strdup(name);
    info->type = type;
    info->description = g_strdup(description);
    QAPI_LIST_APPEND(*list, info);
}

static char *child_type(const char *type)
{
    return g_strdup_printf("child<%s>", type);
}

static ObjectPropertyInfoList *list_objects(void)
{
    ObjectPropertyInfoList *list = NULL;

    add_property(&list, "type", g_strdup("string"), NULL);
    for (const ObjectOptions *o = user_creatable_next(NULL); o; o = user_creatable_next(o)) {
        add_property(&list, o->id, child_type(ObjectType_str(o->qom_type)), NULL);
    }
    return list;
}

/* The descriptor of the properties of @o's type; NULL: none. */
static const QAPIType *property_type(const ObjectOptions *o)
{
    const QAPIType *type = &qapi_type_ObjectOptions;

    for (size_t i = 0; i < type->n_branches; i++) {
        if (type->branches[i].value == (int)o->qom_type) {
            return type->branches[i].type;
        }
    }
    return NULL;
}

static const char *type_name(const QAPIType *type)
{
    return type->kind == QAPI_KIND_STR ? "string" : type->name;
}

static ObjectPropertyInfoList *list_properties(const ObjectOptions *o)
{
    const QAPIType *type = property_type(o);
    ObjectPropertyInfoList *list = NULL;

    add_property(&list, "type", g_strdup("string"), NULL);
    for (size_t i = 0; type && i < type->n_members; i++) {
        if (!type->members[i].unsupported) {
            add_property(&list, type->members[i].name, g_strdup(type_name(type->members[i].type)),
                         type->members[i].doc);
        }
    }
    return list;
}

ObjectPropertyInfoList *coroutine_fn qmp_qom_list(const QomListArg *arg, Error **errp)
{
    ObjectPropertyInfoList *list = NULL;

    if (g_str_equal(arg->path, "/")) {
        add_property(&list, "type", g_strdup("string"), NULL);
        add_property(&list, OBJECTS_PATH + 1, child_type("container"), NULL);
        return list;
    }
    if (g_str_equal(arg->path, OBJECTS_PATH)) {
        return list_objects();
    }
    const ObjectOptions *o = find_object(arg->path, errp);
    return o ? list_properties(o) : NULL;
}

/* Whether @o has a property of that name; false with @errp. */
static bool check_property(const ObjectOptions *o, const char *name, Error **errp)
{
    const QAPIType *type = property_type(o);

    for (size_t i = 0; type && i < type->n_members; i++) {
        if (g_str_equal(type->members[i].name, name) && !type->members[i].unsupported) {
            return true;
        }
    }
    error_setg(errp, "Property '%s.%s' not found", ObjectType_str(o->qom_type), name);
    return false;
}

struct json_object *coroutine_fn qmp_qom_get(const QomGetArg *arg, Error **errp)
{
    struct json_object *value = NULL;

    if (g_str_equal(arg->path, "/") || g_str_equal(arg->path, OBJECTS_PATH)) {
        if (g_str_equal(arg->property, "type")) {
            return json_object_new_string("container");
        }
        error_setg(errp, "Property 'container.%s' not found", arg->property);
        return NULL;
    }
    const ObjectOptions *o = find_object(arg->path, errp);
    if (!o) {
        return NULL;
    }
    if (g_str_equal(arg->property, "type")) {
        return json_object_new_string(ObjectType_str(o->qom_type));
    }
    if (!check_property(o, arg->property, errp)) {
        return NULL;
    }
    if (o->qom_type == OBJECT_TYPE_SECRET && g_str_equal(arg->property, "data")) {
        error_setg(errp, "Property 'secret.data' is not readable");
        return NULL;
    }
    g_autoptr(json_object) all = QAPI_TO_JSON(ObjectOptions, o);
    return json_object_object_get_ex(all, arg->property, &value) ? json_object_get(value) : NULL;
}

IOThreadInfoList *coroutine_fn qmp_query_iothreads(Error **errp)
{
    IOThreadInfoList *list = NULL;

    for (const ObjectOptions *o = user_creatable_next(NULL); o; o = user_creatable_next(o)) {
        if (o->qom_type == OBJECT_TYPE_IOTHREAD) {
            g_autoptr(IOThread) iothread = iothread_lookup(o->id, &error_abort);
            IOThreadInfo *info = g_new0(IOThreadInfo, 1);

            info->id = g_strdup(o->id);
            info->thread_id = iothread_get_thread_id(iothread);
            info->poll_max_ns = o->u.iothread.poll_max_ns;
            info->poll_grow = o->u.iothread.poll_grow;
            info->poll_shrink = o->u.iothread.poll_shrink;
            info->aio_max_batch = o->u.iothread.aio_max_batch;
            QAPI_LIST_APPEND(list, info);
        }
    }
    return list;
}

bool coroutine_fn qmp_qom_set(const QomSetArg *arg, Error **errp)
{
    const ObjectOptions *o = find_object(arg->path, errp);

    return o && check_property(o, arg->property, errp) &&
           user_creatable_set(o->id, arg->property, arg->value, errp);
}
