/*
 * Authorization: objects authz-simple and authz-list
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include <fnmatch.h>

#include "crypto/authz.h"
#include "crypto/object-types.h"

static void *authz_create(const ObjectOptions *options, Error **errp)
{
    return QAPI_CLONE(ObjectOptions, options);
}

static void authz_free(void *obj)
{
    qapi_free_ObjectOptions(obj);
}

static bool authz_rule_matches(const QAuthZListRule *rule, const char *identity)
{
    if (rule->has_format && rule->format == QAUTHZ_LIST_FORMAT_GLOB) {
        return fnmatch(rule->match, identity, 0) == 0;
    }
    return g_str_equal(rule->match, identity);
}

static bool authz_list_allows(const AuthZListProperties *list, const char *identity)
{
    for (size_t i = 0; list->rules && i < list->rules->n; i++) {
        if (authz_rule_matches(list->rules->items[i], identity)) {
            return list->rules->items[i]->policy == QAUTHZ_LIST_POLICY_ALLOW;
        }
    }
    return list->has_policy && list->policy == QAUTHZ_LIST_POLICY_ALLOW;
}

static const ObjectOptions *authz_lookup(const char *authzid, Error **errp)
{
    ObjectType type;
    void *obj = user_creatable_find(authzid, &type);

    if (!obj) {
        error_setg(errp, "There is no object with id '%s'", authzid);
        return NULL;
    }
    if (type != OBJECT_TYPE_AUTHZ_LIST && type != OBJECT_TYPE_AUTHZ_SIMPLE) {
        error_setg(errp, "Object '%s' is of type '%s', which cannot authorize", authzid,
                   ObjectType_str(type));
        return NULL;
    }
    return obj;
}

bool qauthz_check_id(const char *authzid, Error **errp)
{
    return authz_lookup(authzid, errp);
}

bool qauthz_is_allowed_by_id(const char *authzid, const char *identity, Error **errp)
{
    ERRP_GUARD();
    const ObjectOptions *authz = authz_lookup(authzid, errp);
    bool allowed;

    if (!authz) {
        error_prepend(errp, "'%s' cannot be let in: ", identity);
        return false;
    }
    if (authz->qom_type == OBJECT_TYPE_AUTHZ_SIMPLE) {
        allowed = g_str_equal(authz->u.authz_simple.identity, identity);
    } else {
        allowed = authz_list_allows(&authz->u.authz_list, identity);
    }
    if (!allowed) {
        error_setg(errp, "'%s' is not allowed by '%s'", identity, authzid);
    }
    return allowed;
}

const UserCreatableType authz_list_type = {
    .type = OBJECT_TYPE_AUTHZ_LIST,
    .create = authz_create,
    .free = authz_free,
};

const UserCreatableType authz_simple_type = {
    .type = OBJECT_TYPE_AUTHZ_SIMPLE,
    .create = authz_create,
    .free = authz_free,
};
