/*
 * One connection to an NBD server: a handle of libnbd on its home loop
 *
 * All calls of libnbd are made in the home loop. None of them waits: the loop watches the handle's descriptor. The
 * handle's callbacks run within such a call, and only record what happened; coroutines resume from a bottom half.
 *
 * libnbd checks that replies stay within the range of the request, but not that they are complete. So each byte of a
 * read is accounted for here.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include <libnbd.h>

#include "block/drivers.h"
#include "block/drivers/nbd.h"
#include "block/nbd-proto.h"
#include "util/aio.h"

/* Maximum number of other exports that an error lists. */
#define MAX_EXPORTS_LISTED 20

struct NBDConnection {
    const NBDServer *server;
    AioContext *ctx;            /* home */
    gint refcnt;                /* atomic: the owner, and scheduled bottom halves */
    struct nbd_handle *h;       /* NULL: the connection is lost */
    NBDRelay *relay;            /* of a connection with TLS */
    int fd;
    bool reading, writing;      /* what the loop watches @fd for */
    NBDExportInfo info;
    GQueue requests;            /* of NBDRequest, in flight */
    char *why;                  /* why the connection was lost, for messages; NULL: it was not */
    bool reported;              /* an error of the server was reported */

    /* The handshake. */
    Coroutine *negotiator;      /* waits for the next state */
    bool cancelled;
    int option_errno;           /* of the last option */
    char *option_error;
    GPtrArray *exports;         /* names, for an error */
};

static void connection_unref(NBDConnection *c)
{
    if (g_atomic_int_dec_and_test(&c->refcnt)) {
        aio_context_unref(c->ctx);
        g_free(c->option_error);
        g_free(c->why);
        g_clear_pointer(&c->exports, g_ptr_array_unref);
        g_free(c);
    }
}

const NBDExportInfo *nbd_connection_get_info(const NBDConnection *c)
{
    return &c->info;
}

char *nbd_last_error(const char *otherwise)
{
    const char *text = nbd_get_error() ?: otherwise;
    const char *colon = g_str_has_prefix(text, "nbd_") ? strstr(text, ": ") : NULL;

    return bdrv_printable(colon ? colon + 2 : text);
}

static void on_readable(void *opaque);
static void on_writable(void *opaque);

static void watch(NBDConnection *c, bool reading, bool writing)
{
    if (reading != c->reading || writing != c->writing) {
        c->reading = reading;
        c->writing = writing;
        aio_set_fd_handler(c->ctx, c->fd, reading ? on_readable : NULL, writing ? on_writable : NULL, c);
    }
}

/* End @r: its coroutine resumes soon, or has not started to wait. */
static void request_end(NBDRequest *r, int ret, bool lost)
{
    if (r->done) {
        return;
    }
    r->ret = ret;
    r->lost = lost;
    r->done = true;
    g_queue_unlink(&r->conn->requests, &r->link);
    if (r->waiting) {
        aio_co_schedule(r->waiting);
    }
}

/* Give up the lost connection. Not from within a callback of libnbd. */
static void set_lost(NBDConnection *c, int ret, const char *why)
{
    if (!c->h) {
        return;
    }
    c->why = g_strdup(why);
    watch(c, false, false);
    nbd_close(g_steal_pointer(&c->h));
    while (c->requests.head) {
        request_end(c->requests.head->data, ret, true);
    }
    if (c->negotiator) {
        aio_co_schedule(g_steal_pointer(&c->negotiator));
    }
}

/* After each call of libnbd that may have changed its state. */
static void update(NBDConnection *c)
{
    if (nbd_aio_is_dead(c->h) || nbd_aio_is_closed(c->h)) {
        bool was_ready = !c->negotiator;
        g_autofree char *why = nbd_last_error("the server closed the connection");

        set_lost(c, -EIO, why);
        if (was_ready) {
            warn_report("NBD server '%s': lost the connection: %s", c->server->name, c->why);
        }
        return;
    }
    unsigned direction = nbd_aio_get_direction(c->h);
    watch(c, direction & LIBNBD_AIO_DIRECTION_READ, direction & LIBNBD_AIO_DIRECTION_WRITE);
    if (c->negotiator && !nbd_aio_is_connecting(c->h)) {
        aio_co_schedule(g_steal_pointer(&c->negotiator));
    }
}

static void on_readable(void *opaque)
{
    NBDConnection *c = opaque;

    nbd_aio_notify_read(c->h);
    update(c);
}

static void on_writable(void *opaque)
{
    NBDConnection *c = opaque;

    nbd_aio_notify_write(c->h);
    update(c);
}

/* The handshake */

/* Wait for the end of a step of the handshake: false with @errp. */
static bool coroutine_fn wait_state(NBDConnection *c, Error **errp)
{
    if (c->h && !c->cancelled) {
        c->negotiator = qemu_coroutine_self();
        update(c);
        qemu_coroutine_yield();
    }
    if (c->cancelled) {
        error_setg(errp, "Operation was cancelled");
    } else if (!c->h) {
        error_setg(errp, "The handshake failed: %s", c->why);
    }
    return c->h && !c->cancelled;
}

static int option_done(void *opaque, int *error)
{
    NBDConnection *c = opaque;

    c->option_errno = *error;
    g_free(c->option_error);
    c->option_error = *error ? nbd_last_error(g_strerror(*error)) : NULL;
    return 1;
}

static int add_export(void *opaque, const char *name, const char *description)
{
    NBDConnection *c = opaque;

    if (c->exports->len <= MAX_EXPORTS_LISTED) {
        g_ptr_array_add(c->exports, bdrv_printable(name));
    }
    return 0;
}

/* The export does not exist: list those that do, if the server allows that. */
static void coroutine_fn report_unknown_export(NBDConnection *c, Error **errp)
{
    ERRP_GUARD();
    g_autofree char *name = bdrv_printable(c->server->export_name);
    nbd_list_callback list = { .callback = add_export, .user_data = c };
    nbd_completion_callback done = { .callback = option_done, .user_data = c };

    c->exports = g_ptr_array_new_with_free_func(g_free);
    error_setg(errp, "The server has no export '%s'", name);
    if (nbd_aio_opt_list(c->h, list, done) == 0 && wait_state(c, NULL) && c->exports->len) {
        bool more = c->exports->len > MAX_EXPORTS_LISTED;
        g_ptr_array_set_size(c->exports, MIN(c->exports->len, MAX_EXPORTS_LISTED));
        g_ptr_array_add(c->exports, NULL);
        g_autofree char *names = g_strjoinv("', '", (char **)c->exports->pdata);

        error_append_hint(errp, "It has '%s'%s.\n", names, more ? " and more" : "");
    }
}

static void coroutine_fn report_refusal(NBDConnection *c, Error **errp)
{
    g_autofree char *name = bdrv_printable(c->server->export_name);

    if (c->option_errno == ENOENT) {
        report_unknown_export(c, errp);
    } else if (c->option_error && strstr(c->option_error, "TLS") && !c->server->creds) {
        /* Of several reasons with this number. */
        error_setg(errp, "The server requires TLS");
        error_append_hint(errp, "Specify credentials with tls-creds=ID.\n");
    } else {
        error_setg(errp, "The server refuses export '%s'%s%s", name, c->option_error ? ": " : "",
                   c->option_error ?: "");
    }
}

static bool read_block_sizes(NBDConnection *c, Error **errp)
{
    NBDExportInfo *info = &c->info;
    int64_t min = nbd_get_block_size(c->h, LIBNBD_SIZE_MINIMUM);
    int64_t opt = nbd_get_block_size(c->h, LIBNBD_SIZE_PREFERRED);
    int64_t max = nbd_get_block_size(c->h, LIBNBD_SIZE_MAXIMUM);

    if (min <= 0) {
        /* Not reported. An odd size needs requests of odd length. */
        min = QEMU_IS_ALIGNED(info->size, BDRV_SECTOR_SIZE) ? BDRV_SECTOR_SIZE : 1;
        opt = 0;
        max = NBD_MAX_BUFFER;
    } else if (min & (min - 1) || min > 64 * KiB || max < min) {
        error_setg(errp, "The server's block sizes are invalid: minimum %" PRId64 ", maximum %" PRId64, min, max);
        return false;
    }
    info->min_block = min;
    info->opt_block = opt > 0 && opt <= NBD_MAX_BUFFER ? opt : 0;
    info->max_block = ROUND_DOWN(MIN(max, NBD_MAX_BUFFER), min);
    return true;
}

static bool read_info(NBDConnection *c, Error **errp)
{
    NBDExportInfo *info = &c->info;

    info->size = nbd_get_size(c->h);
    if (info->size < 0 || info->size > BDRV_MAX_LENGTH) {
        error_setg(errp, "The export is too large");
        return false;
    }
    info->read_only = nbd_is_read_only(c->h) > 0;
    info->can_flush = nbd_can_flush(c->h) > 0;
    info->can_fua = nbd_can_fua(c->h) > 0;
    info->can_trim = nbd_can_trim(c->h) > 0;
    info->can_zero = nbd_can_zero(c->h) > 0;
    info->can_fast_zero = nbd_can_fast_zero(c->h) > 0;
    info->can_multi_conn = nbd_can_multi_conn(c->h) > 0;
    info->has_context = nbd_can_meta_context(c->h, c->server->context) > 0;
    if (c->server->is_bitmap && !info->has_context) {
        error_setg(errp, "The export does not offer the metadata context '%s' of x-dirty-bitmap", c->server->context);
        return false;
    }
    return read_block_sizes(c, errp);
}

/* Create a handle, which takes over @fd. */
static bool new_handle(NBDConnection *c, int fd, Error **errp)
{
    struct nbd_handle *h = nbd_create();

    c->fd = fd;
    /* block/io has checked ranges, and sizes are not always multiples of the smallest block. */
    if (!h || nbd_set_opt_mode(h, true) < 0 || nbd_set_strict_mode(h, LIBNBD_STRICT_COMMANDS) < 0 ||
        nbd_set_export_name(h, c->server->export_name) < 0 || nbd_add_meta_context(h, c->server->context) < 0) {
        g_autofree char *why = nbd_last_error("out of memory");
        error_setg(errp, "Could not use libnbd: %s", why);
        close(fd);
        nbd_close(h);
        return false;
    }
    c->h = h;
    /* Bytes that were not sent show as such. */
    nbd_set_pread_initialize(h, false);
    if (nbd_aio_connect_socket(h, fd) < 0 && !nbd_aio_is_dead(h)) {
        g_autofree char *why = nbd_last_error("out of memory");
        error_setg(errp, "Could not use libnbd: %s", why);
        set_lost(c, -EIO, "");
        return false;
    }
    return true;
}

static bool coroutine_fn negotiate(NBDConnection *c, int fd, Error **errp)
{
    nbd_completion_callback done = { .callback = option_done, .user_data = c };

    if (!new_handle(c, fd, errp) || !wait_state(c, errp)) {
        return false;
    }
    /* An old-style server has one export and no options. */
    if (nbd_aio_is_negotiating(c->h)) {
        nbd_aio_opt_go(c->h, done);
        if (!wait_state(c, errp)) {
            return false;
        }
    }
    if (!nbd_aio_is_ready(c->h)) {
        report_refusal(c, errp);
        return false;
    }
    return read_info(c, errp);
}

typedef struct Attempt {
    NBDConnection *c;
    int fd;
    const char *step;
    Error *err;
    bool ok;
} Attempt;

static void cancel_handshake(void *opaque)
{
    NBDConnection *c = opaque;

    c->cancelled = true;
    if (c->negotiator) {
        aio_co_schedule(g_steal_pointer(&c->negotiator));
    }
}

static void coroutine_fn negotiate_entry(void *opaque)
{
    Attempt *a = opaque;

    if (qemu_co_cancel_begin(cancel_handshake, a->c)) {
        a->ok = negotiate(a->c, a->fd, &a->err);
        qemu_co_cancel_end();
    } else {
        close(a->fd);
    }
}

static void coroutine_fn attempt_entry(void *opaque)
{
    Attempt *a = opaque;

    a->fd = nbd_connect(a->c->server, a->c->ctx, &a->c->relay, &a->step, &a->err);
    if (a->fd >= 0) {
        a->step = "end of the handshake";
        aio_co_run_in(a->c->ctx, negotiate_entry, a);
    }
}

NBDConnection *coroutine_fn nbd_connection_new(const NBDServer *server, AioContext *home, int64_t timeout_ns,
                                               bool (*cancelled)(void *opaque), void *opaque, Error **errp)
{
    ERRP_GUARD();
    NBDConnection *c = g_new0(NBDConnection, 1);
    Attempt a = { .c = c };

    c->server = server;
    c->ctx = aio_context_ref(home);
    c->refcnt = 1;
    g_queue_init(&c->requests);

    int ret = aio_co_run_limited(attempt_entry, &a, timeout_ns, cancelled, opaque);
    if (a.ok && ret == 0) {
        return c;
    }
    if (ret < 0) {
        error_free(a.err);
        error_setg(errp, ret == -ETIMEDOUT ? "Timed out waiting for the %s" : "Operation was cancelled", a.step);
    } else {
        error_propagate(errp, a.err);
    }
    error_prepend(errp, "NBD server '%s': ", server->name);
    nbd_connection_free(c);
    return NULL;
}

static void coroutine_fn close_entry(void *opaque)
{
    NBDConnection *c = opaque;

    assert(g_queue_is_empty(&c->requests));
    if (c->h && nbd_aio_is_ready(c->h)) {
        nbd_aio_disconnect(c->h, 0);
    }
    set_lost(c, -EIO, "closed");
    nbd_relay_free(c->relay);
}

void coroutine_fn nbd_connection_free(NBDConnection *c)
{
    if (c) {
        aio_co_run_in(c->ctx, close_entry, c);
        connection_unref(c);
    }
}

static void cancel_bh(void *opaque)
{
    NBDConnection *c = opaque;

    set_lost(c, -ECANCELED, "cancelled");
    connection_unref(c);
}

void nbd_connection_cancel(NBDConnection *c)
{
    g_atomic_int_inc(&c->refcnt);
    aio_bh_schedule_oneshot(c->ctx, cancel_bh, c);
}

/* Requests */

/* Report an error of the server, once per connection, so that it cannot fill a log. */
static void G_GNUC_PRINTF(2, 3) report_mistake(NBDConnection *c, const char *fmt, ...)
{
    va_list ap;

    if (!c->reported) {
        va_start(ap, fmt);
        g_autofree char *text = g_strdup_vprintf(fmt, ap);
        va_end(ap);
        warn_report("NBD server '%s': %s", c->server->name, text);
        c->reported = true;
    }
}

/* Mark bytes [start, end) as seen. False if some were seen before, or there are too many gaps. */
static bool add_seen(NBDRequest *r, int64_t start, int64_t end)
{
    unsigned i = 0;

    while (i < r->n_seen && r->seen[i].end < start) {
        i++;
    }
    bool joins_left = i < r->n_seen && r->seen[i].end == start;
    unsigned right = i + joins_left;
    if (right < r->n_seen && r->seen[right].start < end) {
        return false;
    }
    bool joins_right = right < r->n_seen && r->seen[right].start == end;

    if (joins_left && joins_right) {
        r->seen[i].end = r->seen[right].end;
        memmove(&r->seen[right], &r->seen[right + 1], (r->n_seen - right - 1) * sizeof(r->seen[0]));
        r->n_seen--;
    } else if (joins_left) {
        r->seen[i].end = end;
    } else if (joins_right) {
        r->seen[i].start = start;
    } else if (r->n_seen == G_N_ELEMENTS(r->seen)) {
        return false;
    } else {
        memmove(&r->seen[i + 1], &r->seen[i], (r->n_seen - i) * sizeof(r->seen[0]));
        r->seen[i].start = start;
        r->seen[i].end = end;
        r->n_seen++;
    }
    return true;
}

static int chunk_arrived(void *opaque, const void *buf, size_t len, uint64_t offset, unsigned status, int *error)
{
    NBDRequest *r = opaque;

    if (status != LIBNBD_READ_ERROR && len > 0 && !add_seen(r, offset, offset + len)) {
        report_mistake(r->conn, "a part of a read at %" PRId64 " arrived twice, or in too many pieces", r->offset);
        *error = EPROTO;
        return -1;
    }
    return 0;
}

static int extent_arrived(void *opaque, const char *context, uint64_t offset, uint32_t *entries, size_t n, int *error)
{
    NBDRequest *r = opaque;

    if (n >= 2 && r->extent_bytes == 0 && g_str_equal(context, r->conn->server->context)) {
        r->extent_bytes = entries[0];
        r->extent_flags = entries[1];
    }
    return 0;
}

static bool is_complete(const NBDRequest *r)
{
    return r->n_seen == 1 && r->seen[0].start == r->offset && r->seen[0].end == r->offset + r->bytes;
}

static int request_done(void *opaque, int *error)
{
    NBDRequest *r = opaque;
    int ret = -*error;

    /* libnbd's error for a request without reply; no server can send it. */
    bool lost = ret == -ENOTCONN;
    if (ret == 0 && r->type == NBD_REQUEST_READ && !is_complete(r)) {
        report_mistake(r->conn, "the answer to a read at %" PRId64 " lacks some of its %" PRId64 " bytes", r->offset,
                       r->bytes);
        ret = -EPROTO;
    }
    request_end(r, lost ? -EIO : ret, lost);
    return 1;
}

static int64_t submit(NBDRequest *r)
{
    struct nbd_handle *h = r->conn->h;
    nbd_completion_callback done = { .callback = request_done, .user_data = r };
    nbd_chunk_callback chunk = { .callback = chunk_arrived, .user_data = r };
    nbd_extent_callback extent = { .callback = extent_arrived, .user_data = r };

    switch (r->type) {
    case NBD_REQUEST_READ:
        return nbd_aio_pread_structured(h, r->buf, r->bytes, r->offset, chunk, done, r->flags);
    case NBD_REQUEST_WRITE:
        return nbd_aio_pwrite(h, r->buf, r->bytes, r->offset, done, r->flags);
    case NBD_REQUEST_FLUSH:
        return nbd_aio_flush(h, done, 0);
    case NBD_REQUEST_TRIM:
        return nbd_aio_trim(h, r->bytes, r->offset, done, r->flags);
    case NBD_REQUEST_ZERO:
        return nbd_aio_zero(h, r->bytes, r->offset, done, r->flags);
    case NBD_REQUEST_STATUS:
        return nbd_aio_block_status(h, r->bytes, r->offset, extent, done, r->flags);
    }
    g_assert_not_reached();
}

static void coroutine_fn request_entry(void *opaque)
{
    NBDRequest *r = opaque;
    NBDConnection *c = r->conn;

    if (bdrv_must_not_wait() || !c->h) {
        r->ret = c->h ? -ECANCELED : -EIO;
        r->lost = true;
        return;
    }
    r->link.data = r;
    g_queue_push_tail_link(&c->requests, &r->link);
    if (submit(r) < 0) {
        request_end(r, nbd_get_errno() ? -nbd_get_errno() : -EIO, false);
    }
    update(c);
    if (!r->done) {
        r->waiting = qemu_coroutine_self();
        qemu_coroutine_yield();
    }
}

void coroutine_fn nbd_connection_co_request(NBDConnection *c, NBDRequest *r)
{
    r->conn = c;
    r->done = false;
    r->waiting = NULL;
    r->n_seen = 0;
    r->extent_bytes = 0;
    aio_co_run_in(c->ctx, request_entry, r);
}
