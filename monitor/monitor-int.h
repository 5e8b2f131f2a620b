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

/* As in QEMU: in-band commands that may wait while one runs; then reading pauses. */
#define QMP_REQ_QUEUE_LEN_MAX 8

typedef struct QmpSession QmpSession;

typedef struct Monitor {
    Chardev *chr;
    bool pretty;
    QmpSession *session;        /* with the client of now; NULL: none */
} Monitor;

/* What a client asks for. */
typedef struct QmpRequest {
    QmpSession *s;              /* a reference */
    struct json_object *value;
    GArray *fds;                /* of int: the descriptors that came with it; closed with the request */
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
    bool executing;             /* a coroutine is at work on them */
    CoQueue changed;            /* the reader waits here for room in requests or output */

    GString *output;            /* not yet with the writer */
    size_t writing_bytes;       /* with the writer */
    bool writer_runs;

    GHashTable *named_fds;      /* of getfd: char * -> int */
};

void qmp_sessions_init(void);
/* Wait until nothing of any session is left; all have been ended. */
void coroutine_fn qmp_sessions_cleanup(void);

/* Have all commands under way give up waiting for what may never come (qemu_co_cancel()). */
void qmp_cancel_commands(void);

/* Begin a session; takes over references to @in and @out. (qmp-session.c) */
void qmp_session_start(Monitor *mon, IOChannel *in, IOChannel *out);

/* The request whose command this coroutine runs, NULL where it runs none. */
QmpRequest *qmp_request_cur(void);

/* Send @msg, which stays the caller's. A client that lets too much pile up is cut off. */
void qmp_session_send(QmpSession *s, struct json_object *msg);

/* Let its monitor go on to the next client; the command that runs goes on, unheard. */
void qmp_session_end(QmpSession *s);

/* Execute a request, and send the answer to the client. (qmp-dispatch.c) */
void coroutine_fn qmp_dispatch(QmpSession *s, struct json_object *request);

/* Answer @request, or something that is none (NULL where it is not even JSON), with an error. */
void qmp_send_error(QmpSession *s, const Error *err, struct json_object *request);

/* What @request is: whether it may overtake others; false with @errp where it is no request. */
bool qmp_check_request(QmpSession *s, struct json_object *request, bool *oob, Error **errp);

/* Whether commands may still begin; false with @errp once the end of the program was asked for. (monitor.c) */
bool monitor_may_execute(Error **errp);

/* Call @fn for each monitor. (monitor.c) */
void monitor_foreach(void (*fn)(Monitor *mon, void *opaque), void *opaque);

/* Send the events of jobs. (cmds-job.c) */
void monitor_watch_jobs(void);

/* qmp-events.c */
void qmp_events_init(void);
void qmp_events_cleanup(void);

#endif
