/*
 * QMP's commands and events as described by the schema, for the implementation of the protocol
 *
 * A command's handler is written by hand after the prototype in qapi/qapi-commands.h:
 *
 *     bool coroutine_fn qmp_blockdev_del(const BlockdevDelArg *arg, Error **errp) { ... }
 *     JobInfoList *coroutine_fn qmp_query_jobs(Error **errp) { ... }
 *
 * An event is sent from anywhere on the main thread (qapi/qapi-events.h):
 *
 *     qapi_event_send_job_status_change(&(JobStatusChangeArg){ .id = job->id, .status = status });
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef QAPI_QMP_H
#define QAPI_QMP_H

#include "qapi/qapi.h"
#include "util/coroutine.h"

typedef struct QAPICommand {
    const char *name;
    const QAPIType *arg;        /* what "arguments" holds; NULL: nothing */
    bool allow_oob;             /* may run while other commands do */
    /*
     * Call the handler with @arg from qapi_from_json(). Returns the value of "return", which may be NULL (null), or an
     * error; @errp is not NULL.
     */
    struct json_object *coroutine_fn (*call)(const void *arg, Error **errp);
} QAPICommand;

/* The text of the array that query-qmp-schema returns. */
extern const char qmp_schema_json[];

/*
 * Set the function that receives events. @data, which may be NULL, stays the caller's. Until this is set, events are
 * dropped.
 */
void qapi_set_event_hook(void (*hook)(const char *name, struct json_object *data));

/* For the generated functions. @type and @arg may be NULL: an event without data. */
void qapi_event_emit(const char *name, const QAPIType *type, const void *arg);

#endif
