/*
 * The link between the functions that send events and the protocol code
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "qapi/json.h"
#include "qapi/qmp.h"

static void (*event_hook)(const char *name, struct json_object *data);

void qapi_set_event_hook(void (*hook)(const char *name, struct json_object *data))
{
    event_hook = hook;
}

void qapi_event_emit(const char *name, const QAPIType *type, const void *arg)
{
    if (event_hook) {
        g_autoptr(json_object) data = type ? qapi_to_json(type, arg) : NULL;
        event_hook(name, data);
    }
}
