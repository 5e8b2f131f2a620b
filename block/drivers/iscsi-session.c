/*
 * One session with an iSCSI target: a handle of libiscsi on its home loop
 *
 * All calls of libiscsi are made in the home loop. None of them waits: the loop watches the handle's descriptor. The
 * handle's callbacks run within such a call, and only record what happened; coroutines resume from a bottom half.
 *
 * libiscsi would reconnect by itself, without limit, and sleep in between. That is disabled: a session whose connection
 * is lost is useless, and iscsi-link.c makes another one.
 *
 * libiscsi checks that the data of a read lies within its buffer, but not that it fills the buffer; see below.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include <dlfcn.h>
#include <iscsi/iscsi.h>
#include <iscsi/scsi-lowlevel.h>
#include <poll.h>
#include <sys/socket.h>

#include "block/drivers.h"
#include "block/drivers/iscsi.h"

/* Maximum data in one message if a target does not specify it. */
#define DEFAULT_SEGMENT 8192

/* Maximum number of queued messages, besides the data of writes. */
#define MAX_OTHER_MESSAGES 64
/* Smaller pieces of a write, which a target may request, count as this many bytes. */
#define MIN_PIECE 4096

/* The session for which libiscsi is running. */
static __thread ISCSISession *serving;

/*
 * Replaces the function of this name in libiscsi, which calls it for each message to send. A target can request any
 * part of a write at any time, of any length. libiscsi would queue messages for all of it at once, which takes time
 * that grows with the square of their number. The limit is what the writes in flight can need.
 */
struct iscsi_pdu;
int iscsi_queue_pdu(struct iscsi_context *iscsi, struct iscsi_pdu *pdu);
int iscsi_queue_pdu(struct iscsi_context *iscsi, struct iscsi_pdu *pdu)
{
    static int (*next)(struct iscsi_context *iscsi, struct iscsi_pdu *pdu);
    ISCSISession *s = serving;

    if (!next) {
        *(void **)&next = dlsym(RTLD_NEXT, "iscsi_queue_pdu");
    }
    if (s) {
        uint64_t most = s->write_bytes / MIN(s->max_segment, MIN_PIECE) + 2 * s->requests.length + MAX_OTHER_MESSAGES;

        if (++s->queued > most) {
            s->broken = true;
            s->why = s->why ?: g_strdup("the target asks for more than it was going to be sent");
            return -1;
        }
    }
    return next(iscsi, pdu);
}

static void session_unref(ISCSISession *s)
{
    if (g_atomic_int_dec_and_test(&s->refcnt)) {
        aio_context_unref(s->ctx);
        g_free(s->why);
        g_free(s->lookup_step);
        g_clear_pointer(&s->names, g_ptr_array_unref);
        g_free(s);
    }
}

static void on_readable(void *opaque);
static void on_writable(void *opaque);

static void session_watch(ISCSISession *s, bool reading, bool writing)
{
    int fd = s->iscsi ? iscsi_get_fd(s->iscsi) : -1;

    if (fd != s->fd || reading != s->reading || writing != s->writing) {
        if (s->fd >= 0 && fd != s->fd) {
            aio_set_fd_handler(s->ctx, s->fd, NULL, NULL, s);
        }
        s->fd = fd;
        s->reading = reading;
        s->writing = writing;
        if (fd >= 0) {
            aio_set_fd_handler(s->ctx, fd, reading ? on_readable : NULL, writing ? on_writable : NULL, s);
        }
    }
}

/* End @r: its coroutine resumes soon, or has not started to wait. */
static void request_end(ISCSIRequest *r)
{
    if (r->done) {
        return;
    }
    r->done = true;
    g_queue_unlink(&r->session->requests, &r->link);
    r->session->write_bytes -= r->direction == ISCSI_TO_TARGET ? r->bytes : 0;
    scsi_free_scsi_task(g_steal_pointer(&r->task));
    qemu_co_sleep_wake(&r->sleep);
}

/* End requests that have replies, now that libiscsi sends nothing more from their buffers. */
static void end_answered(ISCSISession *s)
{
    for (GList *link = s->requests.head, *next; link; link = next) {
        ISCSIRequest *r = link->data;

        next = link->next;
        if (r->answered) {
            request_end(r);
        }
    }
}

void iscsi_session_set_lost(ISCSISession *s, int ret, const char *why)
{
    struct iscsi_context *iscsi = s->iscsi;

    if (!iscsi) {
        return;
    }
    s->why = s->why ?: g_strdup(why);
    if (s->fd >= 0) {
        aio_set_fd_handler(s->ctx, s->fd, NULL, NULL, s);
    }
    s->fd = -1;
    s->reading = s->writing = false;
    s->iscsi = NULL;
    /* Calls back for all tasks. */
    iscsi_destroy_context(iscsi);
    while (s->requests.head) {
        ISCSIRequest *r = s->requests.head->data;

        if (!r->answered) {
            r->ret = ret;
            r->lost = true;
        }
        request_end(r);
    }
    qemu_co_sleep_wake(&s->pause);
    if (s->waiter) {
        aio_co_schedule(g_steal_pointer(&s->waiter));
    }
}

void iscsi_session_update(ISCSISession *s)
{
    if (s->iscsi) {
        int events = iscsi_which_events(s->iscsi);

        if (!(events & POLLOUT)) {
            s->queued = 0;
            end_answered(s);
        }
        session_watch(s, events & POLLIN, events & POLLOUT);
    }
}

/* Why the connection was lost. Caller frees. */
static char *reason_of_loss(ISCSISession *s)
{
    char c;
    ssize_t n = recv(s->fd, &c, 1, MSG_PEEK | MSG_DONTWAIT);

    if (n == 0) {
        return g_strdup("the target closed the connection");
    } else if (n < 0 && errno != EAGAIN) {
        return g_strdup(g_strerror(errno));
    }
    return bdrv_printable(iscsi_get_error(s->iscsi));
}

static void session_service(ISCSISession *s, int events)
{
    serving = s;
    int ret = iscsi_service(s->iscsi, events);
    serving = NULL;
    if (ret < 0 || s->broken) {
        g_autofree char *why = reason_of_loss(s);
        bool report = !s->step && qemu_clock_get_ns() >= s->quiet_until_ns;

        iscsi_session_set_lost(s, -EIO, why);
        if (report) {
            warn_report("iSCSI LUN '%s': lost the connection: %s", s->target->name, s->why);
        }
    }
    iscsi_session_update(s);
}

static void on_readable(void *opaque)
{
    ISCSISession *s = opaque;

    if (!s->logging_in || iscsi_login_check_incoming(s)) {
        session_service(s, POLLIN);
    }
}

static void on_writable(void *opaque)
{
    ISCSISession *s = opaque;

    if (s->connecting) {
        socklen_t len = sizeof(s->connect_errno);

        getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &s->connect_errno, &len);
        if (s->connect_errno) {
            iscsi_session_set_lost(s, -EIO, g_strerror(s->connect_errno));
            return;
        }
    }
    session_service(s, POLLOUT);
}

/* An attempt to make a session */

typedef struct Attempt {
    ISCSISession *s;
    Error *err;
    bool ok;
} Attempt;

static void attempt_cancel(void *opaque)
{
    iscsi_session_set_lost(opaque, -ECANCELED, "cancelled");
}

static void coroutine_fn attempt_entry(void *opaque)
{
    Attempt *a = opaque;

    if (iscsi_login(a->s, &a->err) && qemu_co_cancel_begin(attempt_cancel, a->s)) {
        a->ok = iscsi_read_lun(a->s, &a->err);
        qemu_co_cancel_end();
    }
    a->s->step = a->ok ? NULL : a->s->step;
}

ISCSISession *coroutine_fn iscsi_session_new(const ISCSITarget *target, int64_t timeout_ns,
                                             bool (*cancelled)(void *opaque), void *opaque, Error **errp)
{
    ERRP_GUARD();
    ISCSISession *s = g_new0(ISCSISession, 1);
    Attempt a = { .s = s };

    s->target = target;
    s->ctx = aio_context_ref(qemu_get_current_aio_context());
    s->refcnt = 1;
    s->fd = -1;
    s->max_segment = DEFAULT_SEGMENT;
    g_queue_init(&s->requests);
    for (size_t i = 0; i < sizeof(s->mark); i++) {
        s->mark[i] = g_random_int();
    }

    int ret = aio_co_run_limited(attempt_entry, &a, timeout_ns, cancelled, opaque);
    if (a.ok && ret == 0) {
        return s;
    }
    if (ret < 0) {
        error_free(a.err);
        error_setg(errp, ret == -ETIMEDOUT ? "Timed out waiting for the %s" : "Operation was cancelled", s->step);
    } else {
        error_propagate(errp, a.err);
    }
    error_prepend(errp, "iSCSI LUN '%s': ", target->name);
    iscsi_session_free(s);
    return NULL;
}

static void coroutine_fn close_entry(void *opaque)
{
    ISCSISession *s = opaque;

    assert(g_queue_is_empty(&s->requests));
    if (s->iscsi && iscsi_is_logged_in(s->iscsi) && !bdrv_must_not_wait()) {
        iscsi_logout(s);
    }
    iscsi_session_set_lost(s, -EIO, "closed");
}

void coroutine_fn iscsi_session_free(ISCSISession *s)
{
    if (s) {
        aio_co_run_in(s->ctx, close_entry, s);
        session_unref(s);
    }
}

static void cancel_bh(void *opaque)
{
    ISCSISession *s = opaque;

    iscsi_session_set_lost(s, -ECANCELED, "cancelled");
    session_unref(s);
}

void iscsi_session_cancel(ISCSISession *s)
{
    g_atomic_int_inc(&s->refcnt);
    aio_bh_schedule_oneshot(s->ctx, cancel_bh, s);
}

/* Requests */

/* Report an error of the target, once per session, so that it cannot fill a log. */
static void report_mistake(ISCSISession *s, const char *what)
{
    if (!s->reported) {
        warn_report("iSCSI LUN '%s': the target %s", s->target->name, what);
        s->reported = true;
    }
}

/*
 * libiscsi does not report which bytes of a buffer have arrived, only what the target claims. So the buffer is cleared
 * and each block is marked beforehand.
 */
static void mark_blocks(ISCSIRequest *r)
{
    const ISCSISession *s = r->session;

    memset(r->buf, 0, r->bytes);
    for (uint32_t i = 0; r->must_fill && i < r->bytes; i += s->lun.block_size) {
        memcpy((uint8_t *)r->buf + i, s->mark, sizeof(s->mark));
    }
}

static bool is_filled(const ISCSIRequest *r)
{
    const ISCSISession *s = r->session;

    for (uint32_t i = 0; r->direction == ISCSI_FROM_TARGET && i < r->bytes; i += s->lun.block_size) {
        if (memcmp((const uint8_t *)r->buf + i, s->mark, sizeof(s->mark)) == 0) {
            return false;
        }
    }
    return r->transferred == r->bytes;
}

static void command_done(struct iscsi_context *iscsi, int status, void *data, void *opaque)
{
    ISCSIRequest *r = opaque;
    const struct scsi_task *task = r->task;

    /* When the handle is freed, iscsi_session_set_lost() ends the requests. */
    if (!r->session->iscsi || r->answered || r->done) {
        return;
    }
    if (status == SCSI_STATUS_CANCELLED || status == SCSI_STATUS_ERROR || status == SCSI_STATUS_TIMEOUT) {
        /* No reply from the LUN. */
        r->ret = -EIO;
        r->lost = true;
        r->session->broken = true;
        request_end(r);
        return;
    }
    r->status = status;
    if (status == SCSI_STATUS_CHECK_CONDITION && task->datain.size > 2) {
        /* Its length comes first. */
        r->sense = iscsi_sense_parse(task->datain.data + 2, task->datain.size - 2);
    }
    r->transferred = r->bytes;
    if (task->residual_status == SCSI_RESIDUAL_UNDERFLOW) {
        r->transferred -= MIN(task->residual, r->bytes);
    }
    if (r->must_fill && iscsi_request_result(r) == 0 && !is_filled(r)) {
        report_mistake(r->session, "transferred less than requested");
        r->ret = -EIO;
    }
    r->answered = true;
    if (r->direction != ISCSI_TO_TARGET) {
        request_end(r);
    }
}

static bool request_submit(ISCSISession *s, ISCSIRequest *r)
{
    struct iscsi_data data = { .data = r->buf, .size = r->bytes };
    int direction = r->direction == ISCSI_FROM_TARGET ? SCSI_XFER_READ :
                    r->direction == ISCSI_TO_TARGET ? SCSI_XFER_WRITE : SCSI_XFER_NONE;

    r->task = scsi_create_task(r->cdb_bytes, r->cdb, direction, r->bytes);
    if (!r->task) {
        return false;
    }
    if (r->direction == ISCSI_FROM_TARGET) {
        mark_blocks(r);
    }
    if (r->direction == ISCSI_FROM_TARGET && scsi_task_add_data_in_buffer(r->task, r->bytes, r->buf) < 0) {
        return false;
    }
    return iscsi_scsi_command_async(s->iscsi, r->to_lun0 ? 0 : s->target->lun, r->task, command_done,
                                    r->direction == ISCSI_TO_TARGET ? &data : NULL, r) == 0;
}

static void coroutine_fn request_wait(ISCSISession *s, ISCSIRequest *r)
{
    int64_t timeout_ns = r->no_timeout ? 0 : s->target->timeout_ns;
    int64_t end = timeout_ns ? qemu_clock_get_ns() + timeout_ns : INT64_MAX;

    while (!r->done) {
        int64_t left = end - qemu_clock_get_ns();

        if (left <= 0) {
            warn_report("iSCSI LUN '%s': no answer to a request within %" PRId64 " s", s->target->name,
                        timeout_ns / NANOSECONDS_PER_SECOND);
            iscsi_session_set_lost(s, -EIO, "timed out");
            r->ret = -ETIMEDOUT;
            break;
        }
        co_sleep_ns_wakeable(&r->sleep, MIN(left, 3600 * NANOSECONDS_PER_SECOND), NULL);
    }
}

static void coroutine_fn request_entry(void *opaque)
{
    ISCSIRequest *r = opaque;
    ISCSISession *s = r->session;

    if (bdrv_must_not_wait() || !s->iscsi) {
        r->ret = s->iscsi ? -ECANCELED : -EIO;
        r->lost = true;
        return;
    }
    r->link.data = r;
    g_queue_push_tail_link(&s->requests, &r->link);
    s->write_bytes += r->direction == ISCSI_TO_TARGET ? r->bytes : 0;
    if (!request_submit(s, r)) {
        r->ret = -ENOMEM;
        request_end(r);
    }
    iscsi_session_update(s);
    request_wait(s, r);
}

void coroutine_fn iscsi_session_co_request(ISCSISession *s, ISCSIRequest *r)
{
    r->session = s;
    r->task = NULL;
    r->ret = 0;
    r->status = SCSI_STATUS_GOOD;
    r->sense = (ISCSISense){ 0 };
    r->transferred = 0;
    r->lost = r->answered = r->done = false;
    aio_co_run_in(s->ctx, request_entry, r);
}
