/*
 * QmpSession: reads from a client, queues its commands, and writes to it
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include <json-c/json.h>

#include "monitor/monitor-int.h"
#include "qapi/qapi-commands.h"
#include "monitor/qmp-parser.h"

#define READ_BYTES 4096
/* With more than this to write, nothing new is read from the client. */
#define OUTPUT_PAUSE_BYTES (1 * MiB)
/* A client that does not read its events and lets this much pile up is disconnected. */
#define OUTPUT_MAX_BYTES (64 * MiB)

static GHashTable *running;     /* Coroutine -> the QmpRequest that it executes */

static unsigned n_sessions;     /* sessions that are not freed yet */
static CoQueue all_done = { .last = &all_done.first };     /* waits until both are empty */

void qmp_sessions_init(void)
{
    running = g_hash_table_new(NULL, NULL);
}

void coroutine_fn qmp_sessions_cleanup(void)
{
    while (n_sessions > 0) {
        qemu_co_queue_wait(&all_done, NULL);
    }
    g_clear_pointer(&running, g_hash_table_unref);
}

QmpRequest *qmp_request_cur(void)
{
    return g_hash_table_lookup(running, qemu_coroutine_self());
}

static QmpSession *qmp_session_ref(QmpSession *s)
{
    s->refcnt++;
    return s;
}

static void qmp_session_unref(QmpSession *s)
{
    if (--s->refcnt > 0) {
        return;
    }
    g_hash_table_unref(s->named_fds);
    g_string_free(s->output, TRUE);
    io_channel_unref(s->in);
    io_channel_unref(s->out);
    g_free(s);
    if (--n_sessions == 0) {
        qemu_co_queue_restart_all(&all_done);
    }
}

static void close_fd(gpointer fd)
{
    close(GPOINTER_TO_INT(fd));
}

static void close_fds(GArray *fds)
{
    for (guint i = 0; i < fds->len; i++) {
        close(g_array_index(fds, int, i));
    }
    g_array_unref(fds);
}

/* Take the descriptors that came with the last read: they belong to the first request that ends in it. */
static GArray *session_take_fds(QmpSession *s)
{
    GArray *fds = g_array_new(FALSE, FALSE, sizeof(int));
    int fd;

    while ((fd = io_channel_take_fd(s->in)) >= 0) {
        g_array_append_val(fds, fd);
    }
    return fds;
}

/* Takes over @value. */
static QmpRequest *request_new(QmpSession *s, struct json_object *value)
{
    QmpRequest *r = g_new(QmpRequest, 1);

    *r = (QmpRequest){ .s = qmp_session_ref(s), .value = value, .fds = session_take_fds(s) };
    return r;
}

static void request_free(QmpRequest *r)
{
    close_fds(r->fds);
    json_object_put(r->value);
    qmp_session_unref(r->s);
    g_free(r);
}

static void session_drop_requests(QmpSession *s)
{
    QmpRequest *r;

    while ((r = g_queue_pop_head(&s->requests))) {
        request_free(r);
    }
}

static size_t session_pending_bytes(const QmpSession *s)
{
    return s->output->len + s->writing_bytes;
}

/* Stop reading and writing. */
static void session_shut_down(QmpSession *s)
{
    if (s->in) {
        io_channel_shutdown(s->in);
    }
    if (s->out) {
        io_channel_shutdown(s->out);
    }
    qemu_co_queue_restart_all(&s->changed);
}

static void session_begin_coroutine(CoroutineEntry *entry, void *opaque)
{
    qemu_coroutine_enter(qemu_coroutine_create(entry, opaque));
}

/* Write pending output, then end. */
static void coroutine_fn session_writer(void *opaque)
{
    QmpSession *s = opaque;
    int ret = 0;

    while (s->output->len && ret == 0) {
        GString *chunk = s->output;

        s->output = g_string_new(NULL);
        s->writing_bytes = chunk->len;
        ret = io_channel_co_write_all(s->out, chunk->str, chunk->len);
        s->writing_bytes = 0;
        g_string_free(chunk, TRUE);
        qemu_co_queue_restart_all(&s->changed);
    }
    s->writer_runs = false;
    qemu_co_queue_restart_all(&s->changed);
    if (ret < 0) {
        g_string_truncate(s->output, 0);
        session_shut_down(s);
    }
    qmp_session_unref(s);
}

void qmp_session_send(QmpSession *s, struct json_object *msg)
{
    if (!s->mon || !s->out) {
        return;
    }
    g_autofree char *text = qapi_print_json(msg, s->pretty);
    if (!g_utf8_validate(text, -1, NULL)) {
        /* File names may contain any bytes, JSON may not. */
        char *valid = g_utf8_make_valid(text, -1);
        g_free(text);
        text = valid;
    }
    if (session_pending_bytes(s) + strlen(text) > OUTPUT_MAX_BYTES) {
        session_shut_down(s);
        return;
    }
    g_string_append(s->output, text);
    g_string_append(s->output, "\r\n");
    if (!s->writer_runs) {
        s->writer_runs = true;
        qmp_session_ref(s);
        session_begin_coroutine(session_writer, s);
    }
}

/* Execute and free @r, unless its client is gone. */
static void coroutine_fn session_execute(QmpRequest *r)
{
    if (!io_channel_is_shut(r->s->in) && !(r->s->out && io_channel_peer_is_gone(r->s->out))) {
        g_hash_table_insert(running, qemu_coroutine_self(), r);
        qmp_dispatch(r->s, r->value);
        g_hash_table_remove(running, qemu_coroutine_self());
        if (g_hash_table_size(running) == 0) {
            qemu_co_queue_restart_all(&all_done);
        }
    }
    request_free(r);
}

void qmp_cancel_commands(void)
{
    GHashTableIter iter;
    gpointer co;

    g_hash_table_iter_init(&iter, running);
    while (g_hash_table_iter_next(&iter, &co, NULL)) {
        qemu_co_cancel(co);
    }
}

void coroutine_fn monitor_wait_commands(void)
{
    while (g_hash_table_size(running) > 0) {
        qemu_co_queue_wait(&all_done, NULL);
    }
}

static void coroutine_fn session_execute_oob(void *opaque)
{
    session_execute(opaque);
}

/* Execute queued requests one after the other, until none is left. */
static void coroutine_fn session_execute_queue(void *opaque)
{
    QmpSession *s = opaque;
    QmpRequest *r;

    while ((r = g_queue_pop_head(&s->requests))) {
        qemu_co_queue_restart_all(&s->changed);
        session_execute(r);
    }
    s->executing = false;
    qemu_co_queue_restart_all(&s->changed);
    qmp_session_unref(s);
}

/* Execute @r now, or after those before it. */
static void coroutine_fn session_handle_request(QmpSession *s, QmpRequest *r)
{
    g_autoptr(Error) err = NULL;
    bool oob;

    if (!qmp_check_request(s, r->value, &oob, &err)) {
        qmp_send_error(s, err, r->value);
        request_free(r);
    } else if (oob) {
        session_begin_coroutine(session_execute_oob, r);
    } else {
        g_queue_push_tail(&s->requests, r);
        if (!s->executing) {
            s->executing = true;
            session_begin_coroutine(session_execute_queue, qmp_session_ref(s));
        }
    }
}

/* Wait until there is room for more requests and output. */
static void coroutine_fn session_wait_for_room(QmpSession *s)
{
    while (s->mon && !io_channel_is_shut(s->in) &&
           (g_queue_get_length(&s->requests) >= QMP_REQ_QUEUE_LEN_MAX ||
            session_pending_bytes(s) > OUTPUT_PAUSE_BYTES)) {
        qemu_co_queue_wait(&s->changed, NULL);
    }
}

static void coroutine_fn session_handle_input(QmpSession *s, QmpParser *parser, const char *buf, size_t len)
{
    while (len && s->mon && !io_channel_is_shut(s->in)) {
        g_autoptr(Error) err = NULL;
        struct json_object *value;
        size_t used = qmp_parser_feed(parser, buf, len, &value, &err);

        if (err) {
            qmp_send_error(s, err, NULL);
            close_fds(session_take_fds(s));
        } else if (value) {
            session_handle_request(s, request_new(s, value));
        }
        session_wait_for_room(s);
        buf += used;
        len -= used;
    }
}

/* The session from its first byte to its last. */
static void coroutine_fn session_reader(void *opaque)
{
    QmpSession *s = opaque;
    QmpParser parser;
    ssize_t n;

    qmp_parser_init(&parser);
    do {
        char buf[READ_BYTES];

        n = io_channel_co_read(s->in, buf, sizeof(buf));
        if (n > 0) {
            session_handle_input(s, &parser, buf, n);
            secret_wipe(buf, n);
        }
    } while (n > 0);
    qmp_parser_cleanup(&parser);

    /* A client that has only closed its sending side still waits for answers, and for the event SHUTDOWN. */
    while (!io_channel_is_shut(s->in) && (s->executing || s->writer_runs || !monitor_may_execute(NULL)) &&
           !(s->out && io_channel_peer_is_gone(s->out))) {
        qemu_co_queue_wait(&s->changed, NULL);
    }
    qmp_session_end(s);
    qmp_session_unref(s);
}

void qmp_session_end(QmpSession *s)
{
    Monitor *mon = g_steal_pointer(&s->mon);

    if (mon) {
        session_drop_requests(s);
        session_shut_down(s);
        mon->session = NULL;
        qmp_session_unref(s);
        chardev_disconnected(mon->chr);
    }
}

/* {"QMP": {"version": ..., "capabilities": ["oob"]}} */
static void session_greet(QmpSession *s)
{
    g_autoptr(json_object) msg = json_object_new_object();
    struct json_object *qmp = json_object_new_object(), *capabilities = json_object_new_array();
    g_autoptr(VersionInfo) version = qmp_query_version(&error_abort);

    json_object_array_add(capabilities, json_object_new_string(QMPCapability_str(QMP_CAPABILITY_OOB)));
    json_object_object_add(qmp, "version", QAPI_TO_JSON(VersionInfo, version));
    json_object_object_add(qmp, "capabilities", capabilities);
    json_object_object_add(msg, "QMP", qmp);
    qmp_session_send(s, msg);
}

void qmp_session_start(Monitor *mon, IOChannel *in, IOChannel *out)
{
    QmpSession *s = g_new0(QmpSession, 1);

    n_sessions++;
    *s = (QmpSession){ .mon = mon, .refcnt = 1, .in = in, .out = out, .pretty = mon->pretty };
    s->output = g_string_new(NULL);
    s->named_fds = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, close_fd);
    g_queue_init(&s->requests);
    qemu_co_queue_init(&s->changed);
    mon->session = s;
    if (in) {
        io_channel_accept_fds(in);
    }
    session_greet(s);
    if (in) {
        session_begin_coroutine(session_reader, qmp_session_ref(s));
    }
}
