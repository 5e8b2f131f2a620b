/*
 * Commands for character devices
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "monitor/chardev.h"
#include "qapi/qapi-commands.h"

ChardevReturn *coroutine_fn qmp_chardev_add(const ChardevAddArg *arg, Error **errp)
{
    const ChardevBackend *backend = arg->backend;

    if (backend->type == CHARDEV_BACKEND_KIND_SOCKET && backend->u.socket.data->has_wait &&
        backend->u.socket.data->wait) {
        error_setg(errp, "Parameter 'wait' is for the command line: the client may come at any time");
        return NULL;
    }
    return chardev_add(arg->id, backend, errp) ? g_new0(ChardevReturn, 1) : NULL;
}

bool coroutine_fn qmp_chardev_remove(const ChardevRemoveArg *arg, Error **errp)
{
    return chardev_remove(arg->id, errp);
}

ChardevInfoList *coroutine_fn qmp_query_chardev(Error **errp)
{
    return chardev_query();
}
