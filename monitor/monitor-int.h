/*
 * What the files of the monitor share: monitors, and sessions with their clients
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef MONITOR_INT_H
#define MONITOR_INT_H

#include "io/channel.h"
#include "monitor/chardev.h"
#include "monitor/monitor.h"
#include "qapi/json.h"
#include "util/aio.h"

/* As in QEMU: how many in-band commands may wait while one runs. Beyond that, reading pauses. */
#define QMP_REQ_QUEUE_LEN_MAX 8

typedef struct QmpSession QmpSession;

typedef struct Monitor {
    Chardev *chr;
    bool pretty;
    QmpSession *session;        /* with the current client; NULL: none */
} Monitor;

/* A request from a client. */
typedef struct QmpRequest {
    QmpSession *s;              /* a reference */
    struct json_object *value;
    GArray *fds;                /* of int: descriptors that came with it; closed with the request */
} QmpRequest;

/* A conversation with one client, from the greeting to the end of its last command. */
struct QmpSession {
    Monitor *mon;               /* NULL once the client is gone */
    int refcnt;
    IOChannel *in;
    IOChannel *out;
    bool negotiated;
    bool oob;
    bool pretty;

    GQueue requests;            /* of QmpRequest: in-band, not begun yet */
    bool executing;             /* a coroutine is executing them */
    CoQueue changed;            /* the reader waits here for room in requests or output */

    GString *output;            /* not yet taken by the writer */
    size_t writing_bytes;       /* being written */
    bool writer_runs;

    GHashTable *named_fds;      /* of getfd: char * -> int */
};

void qmp_sessions_init(void);
/* Wait until no session is left. All of them have been ended. */
void coroutine_fn qmp_sessions_cleanup(void);

/* Make all commands under way give up waits without bounds (qemu_co_cancel()). */
void qmp_cancel_commands(void);

/* Start a session. Takes over the references to @in and @out. (qmp-session.c) */
void qmp_session_start(Monitor *mon, IOChannel *in, IOChannel *out);

/* The request whose command this coroutine executes; NULL if it executes none. */
QmpRequest *qmp_request_cur(void);

/* Send @msg, which remains the caller's. A client that lets too much pile up is disconnected. */
void qmp_session_send(QmpSession *s, struct json_object *msg);

/* Let the monitor serve the next client. A command under way runs to its end, without an answer. */
void qmp_session_end(QmpSession *s);

/* Execute a request and send the answer to the client. (qmp-dispatch.c) */
void coroutine_fn qmp_dispatch(QmpSession *s, struct json_object *request);

/* Answer @request with an error, even if it is not a request (NULL: not even JSON). */
void qmp_send_error(QmpSession *s, const Error *err, struct json_object *request);

/* Check @request, and whether it is out-of-band. False with @errp if it is not a request. */
bool qmp_check_request(QmpSession *s, struct json_object *request, bool *oob, Error **errp);

/* Whether commands may still start; false with @errp once the program has been asked to end. (monitor.c) */
bool monitor_may_execute(Error **errp);

/* Call @fn for each monitor. (monitor.c) */
void monitor_foreach(void (*fn)(Monitor *mon, void *opaque), void *opaque);

/* Send the events of jobs. (cmds-job.c) */
void monitor_watch_jobs(void);

/* qmp-events.c */
void qmp_events_init(void);
void qmp_events_cleanup(void);

#endif
