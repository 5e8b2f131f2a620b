/*
 * QMP requests: from a request to its answer
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include <json-c/json.h>
#include <stdlib.h>

#include "monitor/monitor-int.h"
#include "qapi/qapi-commands.h"

static struct json_object *get_member(struct json_object *obj, const char *key)
{
    struct json_object *value = NULL;

    json_object_object_get_ex(obj, key, &value);
    return value;
}

bool qmp_check_request(QmpSession *s, struct json_object *request, bool *oob, Error **errp)
{
    const char *command = NULL;

    if (!json_object_is_type(request, json_type_object)) {
        error_setg(errp, "QMP input must be a JSON object");
        return false;
    }
    json_object_object_foreach(request, key, value) {
        bool is_oob = g_str_equal(key, "exec-oob") && s->oob;

        if (is_oob || g_str_equal(key, "execute")) {
            if (!json_object_is_type(value, json_type_string)) {
                error_setg(errp, "QMP input member '%s' must be a string", key);
                return false;
            }
            if (command) {
                error_setg(errp, "QMP input members 'execute' and 'exec-oob' clash");
                return false;
            }
            command = json_object_get_string(value);
            *oob = is_oob;
        } else if (g_str_equal(key, "arguments")) {
            if (!json_object_is_type(value, json_type_object)) {
                error_setg(errp, "QMP input member 'arguments' must be an object");
                return false;
            }
        } else if (!g_str_equal(key, "id")) {
            error_setg(errp, "QMP input member '%s' is unexpected", key);
            return false;
        }
    }
    if (!command) {
        error_setg(errp, "QMP input lacks member 'execute'");
        return false;
    }
    return true;
}

static int command_compare(const void *name, const void *command)
{
    return strcmp(name, ((const QAPICommand *)command)->name);
}

/* The command to execute, or NULL with @errp. */
static const QAPICommand *command_find(QmpSession *s, const char *name, bool oob, Error **errp)
{
    const QAPICommand *cmd = bsearch(name, qmp_commands, qmp_n_commands, sizeof(*cmd), command_compare);
    bool is_negotiation = g_str_equal(name, "qmp_capabilities");

    if (!s->negotiated && !is_negotiation) {
        error_set(errp, ERROR_CLASS_COMMAND_NOT_FOUND, "Expecting capabilities negotiation with 'qmp_capabilities'");
        return NULL;
    }
    if (s->negotiated && is_negotiation) {
        error_set(errp, ERROR_CLASS_COMMAND_NOT_FOUND, "Capabilities negotiation is already complete, command ignored");
        return NULL;
    }
    if (!cmd) {
        error_set(errp, ERROR_CLASS_COMMAND_NOT_FOUND, "The command %s has not been found", name);
        return NULL;
    }
    if (oob && !cmd->allow_oob) {
        error_setg(errp, "The command %s does not support OOB", name);
        return NULL;
    }
    return cmd;
}

/* Execute @request. False with @errp, or the value of "return" in *@ret. */
static bool coroutine_fn command_run(QmpSession *s, struct json_object *request, struct json_object **ret, Error **errp)
{
    static const QAPIType no_arguments = { .name = "no arguments", .kind = QAPI_KIND_STRUCT, .size = 1 };
    struct json_object *exec = get_member(request, "execute"), *oob = get_member(request, "exec-oob");
    const QAPICommand *cmd = command_find(s, json_object_get_string(exec ?: oob), oob, errp);

    if (!cmd || !monitor_may_execute(errp)) {
        return false;
    }
    g_autoptr(json_object) args = json_object_get(get_member(request, "arguments")) ?: json_object_new_object();
    const QAPIType *type = cmd->arg ?: &no_arguments;
    void *arg = qapi_from_json(type, args, QAPI_INPUT_JSON, errp);
    if (!arg) {
        return false;
    }
    *ret = cmd->call(arg, errp);
    qapi_free(type, arg);
    return !*errp;
}

/* Send {KEY: VALUE}, with the id of @request if it has one. Takes over @value. */
static void send_answer(QmpSession *s, const char *key, struct json_object *value, struct json_object *request)
{
    g_autoptr(json_object) msg = json_object_new_object();
    struct json_object *id;

    json_object_object_add(msg, key, value);
    if (json_object_is_type(request, json_type_object) && json_object_object_get_ex(request, "id", &id)) {
        json_object_object_add(msg, "id", json_object_get(id));
    }
    qmp_session_send(s, msg);
}

void qmp_send_error(QmpSession *s, const Error *err, struct json_object *request)
{
    struct json_object *error = json_object_new_object();

    json_object_object_add(error, "class", json_object_new_string(error_get_class_name(err)));
    json_object_object_add(error, "desc", json_object_new_string(error_get_pretty(err)));
    send_answer(s, "error", error, request);
}

void coroutine_fn qmp_dispatch(QmpSession *s, struct json_object *request)
{
    g_autoptr(Error) err = NULL;
    struct json_object *ret = NULL;

    if (command_run(s, request, &ret, &err)) {
        send_answer(s, "return", ret, request);
    } else {
        qmp_send_error(s, err, request);
    }
}
