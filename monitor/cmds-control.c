/*
 * Commands of the protocol: capabilities, version, the list of commands, the schema, quit
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "config-host.h"

#include <json-c/json_tokener.h>

#include "monitor/monitor-int.h"
#include "qapi/qapi-commands.h"

bool coroutine_fn qmp_qmp_capabilities(const QmpCapabilitiesArg *arg, Error **errp)
{
    QmpSession *s = qmp_request_cur()->s;

    s->oob = arg->enable && arg->enable->n;    /* the only capability */
    s->negotiated = true;
    return true;
}

VersionInfo *coroutine_fn qmp_query_version(Error **errp)
{
    VersionInfo *info = g_new0(VersionInfo, 1);
    int major, minor, micro;

    int n = sscanf(QEMU_VERSION, "%d.%d.%d", &major, &minor, &micro);
    assert(n == 3);
    info->qemu = g_new(VersionTriple, 1);
    *info->qemu = (VersionTriple){ .major = major, .minor = minor, .micro = micro };
    info->package = g_strdup("strongbox " PACKAGE_VERSION);
    return info;
}

CommandInfoList *coroutine_fn qmp_query_commands(Error **errp)
{
    CommandInfoList *list = NULL;

    for (size_t i = 0; i < qmp_n_commands; i++) {
        CommandInfo *info = g_new0(CommandInfo, 1);

        info->name = g_strdup(qmp_commands[i].name);
        QAPI_LIST_APPEND(list, info);
    }
    return list;
}

struct json_object *coroutine_fn qmp_query_qmp_schema(Error **errp)
{
    return json_tokener_parse(qmp_schema_json);
}

bool coroutine_fn qmp_quit(Error **errp)
{
    monitor_request_shutdown(SHUTDOWN_CAUSE_HOST_QMP_QUIT);
    return true;
}
