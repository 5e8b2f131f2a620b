/*
 * Listing the exports of an NBD server
 *
 * libnbd runs on a worker thread, and waits there: it is the only user of its handle, and is soon done. The relay that
 * TLS needs stays on the main loop.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include <libnbd.h>
#include <sys/socket.h>

#include "block/drivers/nbd.h"
#include "block/nbd-list.h"
#include "block/nbd-proto.h"
#include "util/thread-pool.h"

/* More than any sane server has. */
#define EXPORTS_MAX 10000

typedef struct ListWork {
    int fd;
    struct nbd_handle *h;
    GPtrArray *exports;         /* of NBDListedExport */
    bool too_many;
    int option_errno;           /* of the last option */
    char *option_error;
    Error **errp;
} ListWork;

static void listed_export_free(void *opaque)
{
    NBDListedExport *e = opaque;

    g_free(e->name);
    g_free(e->description);
    g_ptr_array_unref(e->contexts);
    g_free(e);
}

/* Wait until the current step of the handshake is done. */
static bool list_wait(ListWork *w, Error **errp)
{
    int64_t end = qemu_clock_get_ns() + NBD_CONNECT_TIMEOUT_NS;

    while (nbd_aio_is_connecting(w->h)) {
        int64_t left_ns = end - qemu_clock_get_ns();

        if (left_ns <= 0) {
            error_setg(errp, "Timed out waiting for the server");
            return false;
        }
        nbd_poll(w->h, left_ns / SCALE_MS + 1);
    }
    if (w->too_many) {
        error_setg(errp, "The server lists more than %d exports", EXPORTS_MAX);
        return false;
    }
    if (nbd_aio_is_dead(w->h) || nbd_aio_is_closed(w->h)) {
        g_autofree char *why = nbd_last_error("the server closed the connection");

        error_setg(errp, "The handshake failed: %s", why);
        return false;
    }
    return true;
}

static int option_done(void *opaque, int *error)
{
    ListWork *w = opaque;

    w->option_errno = *error;
    g_free(w->option_error);
    w->option_error = *error ? nbd_last_error(g_strerror(*error)) : NULL;
    return 1;
}

static int add_export(void *opaque, const char *name, const char *description)
{
    ListWork *w = opaque;

    if (w->exports->len == EXPORTS_MAX) {
        /* libnbd continues as long as the server sends. */
        w->too_many = true;
        shutdown(w->fd, SHUT_RDWR);
        return 0;
    }
    NBDListedExport *e = g_new0(NBDListedExport, 1);
    e->name = g_strdup(name);
    e->description = g_strdup(description);
    e->contexts = g_ptr_array_new_with_free_func(g_free);
    g_ptr_array_add(w->exports, e);
    return 0;
}

static int add_context(void *opaque, const char *name)
{
    NBDListedExport *e = opaque;

    g_ptr_array_add(e->contexts, g_strdup(name));
    return 0;
}

static bool list_connect(ListWork *w)
{
    w->h = nbd_create();
    if (!w->h || nbd_set_opt_mode(w->h, true) < 0 ||
        (nbd_aio_connect_socket(w->h, w->fd) < 0 && !nbd_aio_is_dead(w->h))) {
        g_autofree char *why = nbd_last_error("out of memory");

        error_setg(w->errp, "Could not use libnbd: %s", why);
        return false;
    }
    if (!list_wait(w, w->errp)) {
        return false;
    }
    if (!nbd_aio_is_negotiating(w->h)) {
        error_setg(w->errp, "The server does not speak the fixed newstyle protocol of NBD");
        return false;
    }
    return true;
}

/* libnbd reports this for other options, but not for a list. */
static bool is_tls_required(ListWork *w)
{
    nbd_completion_callback done = { .callback = option_done, .user_data = w };
    g_autofree char *why = g_steal_pointer(&w->option_error);
    bool required = nbd_aio_opt_info(w->h, done) == 0 && list_wait(w, NULL) && w->option_error &&
                    strstr(w->option_error, "TLS");

    g_free(w->option_error);
    w->option_error = g_steal_pointer(&why);
    return required;
}

static bool list_names(ListWork *w)
{
    nbd_list_callback list = { .callback = add_export, .user_data = w };
    nbd_completion_callback done = { .callback = option_done, .user_data = w };

    if (nbd_aio_opt_list(w->h, list, done) < 0) {
        option_done(w, &(int){ nbd_get_errno() });
    } else if (!list_wait(w, w->errp)) {
        return false;
    }
    if (!w->option_errno) {
        return true;
    }
    if (is_tls_required(w)) {
        error_setg(w->errp, "The server requires TLS");
        error_append_hint(w->errp, "Specify credentials with --tls-creds.\n");
    } else {
        error_setg(w->errp, "The server refuses to list its exports: %s", w->option_error);
    }
    return false;
}

/* The flags that the server has sent: libnbd does not return them as a number. */
static uint16_t get_flags(struct nbd_handle *h)
{
    static const struct {
        uint16_t flag;
        int (*is_set)(struct nbd_handle *h);
    } known[] = {
        { NBD_FLAG_READ_ONLY, nbd_is_read_only },
        { NBD_FLAG_SEND_FLUSH, nbd_can_flush },
        { NBD_FLAG_SEND_FUA, nbd_can_fua },
        { NBD_FLAG_ROTATIONAL, nbd_is_rotational },
        { NBD_FLAG_SEND_TRIM, nbd_can_trim },
        { NBD_FLAG_SEND_WRITE_ZEROES, nbd_can_zero },
        { NBD_FLAG_SEND_DF, nbd_can_df },
        { NBD_FLAG_CAN_MULTI_CONN, nbd_can_multi_conn },
        { NBD_FLAG_SEND_CACHE, nbd_can_cache },
        { NBD_FLAG_SEND_FAST_ZERO, nbd_can_fast_zero },
    };
    uint16_t flags = NBD_FLAG_HAS_FLAGS;

    for (size_t i = 0; i < G_N_ELEMENTS(known); i++) {
        flags |= known[i].is_set(h) > 0 ? known[i].flag : 0;
    }
    return flags;
}

/* Ask about @e. If the server does not support that, or the export is gone, @e is left as it is. */
static bool list_describe(ListWork *w, NBDListedExport *e)
{
    nbd_completion_callback done = { .callback = option_done, .user_data = w };
    nbd_context_callback context = { .callback = add_context, .user_data = e };

    if (nbd_set_export_name(w->h, e->name) < 0) {
        return true;
    }
    if (nbd_aio_opt_info(w->h, done) == 0) {
        if (!list_wait(w, w->errp)) {
            return false;
        }
        e->has_info = !w->option_errno;
    }
    if (e->has_info) {
        e->size = nbd_get_size(w->h);
        e->flags = get_flags(w->h);
        e->min_block = MAX(nbd_get_block_size(w->h, LIBNBD_SIZE_MINIMUM), 0);
        e->opt_block = MAX(nbd_get_block_size(w->h, LIBNBD_SIZE_PREFERRED), 0);
        e->max_block = MAX(nbd_get_block_size(w->h, LIBNBD_SIZE_MAXIMUM), 0);
    }
    return nbd_aio_opt_list_meta_context(w->h, context, done) < 0 || list_wait(w, w->errp);
}

static bool list_all(ListWork *w)
{
    if (!list_connect(w) || !list_names(w)) {
        return false;
    }
    for (guint i = 0; i < w->exports->len; i++) {
        if (!list_describe(w, g_ptr_array_index(w->exports, i))) {
            return false;
        }
    }
    if (nbd_aio_opt_abort(w->h) == 0) {
        nbd_poll(w->h, 0);
    }
    return true;
}

static int list_worker(void *opaque)
{
    ListWork *w = opaque;
    bool ok = list_all(w);

    nbd_close(w->h);
    g_free(w->option_error);
    return ok;
}

typedef struct ListConnect {
    const NBDServer *server;
    NBDRelay *relay;
    const char *step;
    int fd;
    Error *err;
} ListConnect;

static void coroutine_fn connect_entry(void *opaque)
{
    ListConnect *c = opaque;

    c->fd = nbd_connect(c->server, qemu_get_aio_context(), &c->relay, &c->step, &c->err);
}

/* As nbd_connect(), but not for longer than NBD_CONNECT_TIMEOUT_NS. */
static int coroutine_fn connect_in_time(ListConnect *c, Error **errp)
{
    int ret = aio_co_run_limited(connect_entry, c, NBD_CONNECT_TIMEOUT_NS, NULL, NULL);

    if (ret < 0 && c->fd < 0) {
        error_setg(errp, "Timed out waiting for the %s", c->step);
        error_free(c->err);
    } else {
        error_propagate(errp, c->err);
    }
    return c->fd;
}

GPtrArray *coroutine_fn nbd_list_exports(const BlockdevOptionsNbd *o, Error **errp)
{
    ERRP_GUARD();
    NBDServer server = { NULL };
    ListConnect c = { .server = &server };
    g_autoptr(GPtrArray) exports = g_ptr_array_new_with_free_func(listed_export_free);
    ListWork work = { .exports = exports, .errp = errp };
    bool ok = nbd_server_init(&server, o, errp);

    if (ok) {
        work.fd = connect_in_time(&c, errp);
        ok = work.fd >= 0 && thread_pool_submit_co(THREAD_POOL_LONG, list_worker, &work);
        nbd_relay_free(c.relay);
        if (!ok) {
            error_prepend(errp, "NBD server '%s': ", server.name);
        }
    }
    nbd_server_clear(&server);
    return ok ? g_steal_pointer(&exports) : NULL;
}
