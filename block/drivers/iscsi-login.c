/*
 * Connecting and logging in to an iSCSI target
 *
 * A worker resolves names, and libiscsi gets an address. During login, a target sends one message at a time. Each is
 * inspected before libiscsi reads it, for the reason of a refusal, and for numbers that libiscsi would not check.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include <fcntl.h>
#include <iscsi/iscsi.h>
#include <iscsi/scsi-lowlevel.h>
#include <netdb.h>
#include <sys/socket.h>

#include "block/drivers.h"
#include "block/drivers/iscsi.h"
#include "io/sockets.h"

#define HEADER_BYTES 48
#define OPCODE_LOGIN_RESPONSE 0x23
#define OPCODE_TEXT_RESPONSE 0x24
/* Maximum size of the text in one login message. */
#define TEXT_MAX_BYTES (64 * KiB)
#define MAX_REDIRECTIONS 4
#define LOGOUT_NS (NANOSECONDS_PER_SECOND / 2)
/* Maximum number of targets that an error lists. */
#define MAX_TARGETS_LISTED 20

/* Status of a login response: class and detail. */
enum {
    LOGIN_NOT_AUTHENTICATED = 0x0201,
    LOGIN_NOT_AUTHORISED = 0x0202,
    LOGIN_NOT_FOUND = 0x0203,
    LOGIN_REMOVED = 0x0204,
    LOGIN_TOO_MANY = 0x0206,
    LOGIN_UNAVAILABLE = 0x0301,
    LOGIN_NO_RESOURCES = 0x0302,
};

/* If @text is KEY=NUMBER, check the number: false if RFC 7143 does not allow it. */
static bool check_number(const char *text, const char *key, guint64 *n)
{
    size_t len = strlen(key);

    return strncmp(text, key, len) != 0 || text[len] != '=' ||
           g_ascii_string_to_unsigned(text + len + 1, 10, 512, (1 << 24) - 1, n, NULL);
}

/* Check the text of a message, which is a list of KEY=VALUE with a NUL after each. */
static bool check_text(ISCSISession *s, const char *text, size_t bytes)
{
    const char *end = text + bytes;
    guint64 segment = s->max_segment, n;

    if (bytes && end[-1]) {
        return false;
    }
    for (; text < end && *text; text += strlen(text) + 1) {
        if (!check_number(text, "MaxRecvDataSegmentLength", &segment) || !check_number(text, "MaxBurstLength", &n) ||
            !check_number(text, "FirstBurstLength", &n)) {
            return false;
        }
    }
    s->max_segment = segment;
    return true;
}

bool iscsi_login_check_incoming(ISCSISession *s)
{
    g_autofree char *buf = g_malloc(HEADER_BYTES + TEXT_MAX_BYTES);
    const uint8_t *header = (const uint8_t *)buf;
    ssize_t n = recv(s->fd, buf, HEADER_BYTES + TEXT_MAX_BYTES, MSG_PEEK | MSG_DONTWAIT);
    int wanted = HEADER_BYTES;

    if (n <= 0) {
        return true;
    }
    if (n >= HEADER_BYTES) {
        uint32_t text_bytes = header[5] << 16 | header[6] << 8 | header[7];

        if ((header[0] & 0x3f) != OPCODE_LOGIN_RESPONSE && (header[0] & 0x3f) != OPCODE_TEXT_RESPONSE) {
            iscsi_session_set_lost(s, -EPROTO, "the target does not speak iSCSI");
            return false;
        }
        wanted += ROUND_UP(text_bytes, 4);
        if (wanted > HEADER_BYTES + TEXT_MAX_BYTES) {
            iscsi_session_set_lost(s, -EPROTO, "the target's answer is too long");
            return false;
        }
        if (n >= wanted && (header[0] & 0x3f) == OPCODE_LOGIN_RESPONSE) {
            s->login_status = header[36] << 8 | header[37];
            if (!check_text(s, buf + HEADER_BYTES, text_bytes)) {
                iscsi_session_set_lost(s, -EPROTO, "the target's reply is malformed");
                return false;
            }
        }
    }
    bool complete = n >= wanted;
    int lowat = complete ? 1 : wanted;
    /* Wake up when all of it has arrived, not for each byte. */
    setsockopt(s->fd, SOL_SOCKET, SO_RCVLOWAT, &lowat, sizeof(lowat));
    return complete;
}

static void step_done(struct iscsi_context *iscsi, int status, void *data, void *opaque)
{
    ISCSISession *s = opaque;

    s->step_done = true;
    s->step_status = status;
    if (s->waiter) {
        aio_co_schedule(g_steal_pointer(&s->waiter));
    }
}

static void login_cancel(void *opaque)
{
    iscsi_session_set_lost(opaque, -ECANCELED, "cancelled");
}

/* Wait for the end of a step; false with @errp if the session is lost first. */
static bool coroutine_fn wait_step(ISCSISession *s, Error **errp)
{
    iscsi_session_update(s);
    if (!qemu_co_cancel_begin(login_cancel, s)) {
        error_setg(errp, "Operation was cancelled");
        return false;
    }
    if (s->iscsi && !s->step_done) {
        s->waiter = qemu_coroutine_self();
        qemu_coroutine_yield();
    }
    qemu_co_cancel_end();
    if (!s->iscsi) {
        error_setg(errp, "The %s failed: %s", s->step, s->why);
    }
    return s->iscsi;
}

static bool step_begin(ISCSISession *s, int ret, Error **errp)
{
    if (ret < 0) {
        g_autofree char *why = bdrv_printable(iscsi_get_error(s->iscsi));
        error_setg(errp, "The %s failed: %s", s->step, why);
    }
    return ret >= 0;
}

/* Create a handle that is not connected yet. */
static bool new_handle(ISCSISession *s, enum iscsi_session_type type, Error **errp)
{
    const ISCSITarget *t = s->target;

    s->iscsi = iscsi_create_context(t->initiator);
    if (!s->iscsi) {
        error_setg(errp, "Could not use libiscsi");
        return false;
    }
    iscsi_set_log_level(s->iscsi, 0);
    iscsi_set_noautoreconnect(s->iscsi, 1);
    iscsi_set_isid_random(s->iscsi, t->isid, t->isid_qualifier + (type == ISCSI_SESSION_DISCOVERY));
    iscsi_set_session_type(s->iscsi, type);
    iscsi_set_header_digest(s->iscsi, t->header_digest);
    if (type == ISCSI_SESSION_NORMAL) {
        iscsi_set_targetname(s->iscsi, t->target);
    }
    if (t->user && t->password) {
        iscsi_set_initiator_username_pwd(s->iscsi, t->user, (const char *)t->password->data);
    }
    return true;
}

/* Connect to an address; false with @errp. */
static bool coroutine_fn connect_address(ISCSISession *s, const SocketName *name, Error **errp)
{
    char host[NI_MAXHOST], port[NI_MAXSERV];

    if (getnameinfo((const struct sockaddr *)&name->addr, name->len, host, sizeof(host), port, sizeof(port),
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0) {
        error_setg(errp, "Could not print an address");
        return false;
    }
    g_autofree char *portal = g_strdup_printf(strchr(host, ':') ? "[%s]:%s" : "%s:%s", host, port);
    s->step_done = false;
    s->connecting = true;
    s->connect_errno = 0;
    if (!step_begin(s, iscsi_connect_async(s->iscsi, portal, step_done, s), errp)) {
        return false;
    }
    fcntl(iscsi_get_fd(s->iscsi), F_SETFD, FD_CLOEXEC);
    bool ok = wait_step(s, errp);
    s->connecting = false;
    return ok;
}

/* Connect to a portal: to the first of its addresses that works. */
static bool coroutine_fn connect_portal(ISCSISession *s, enum iscsi_session_type type, const char *portal, Error **errp)
{
    g_autoptr(SocketAddress) addr = g_new0(SocketAddress, 1);
    bool ok = false;

    addr->type = SOCKET_ADDRESS_TYPE_INET;
    if (!iscsi_parse_portal(portal, &addr->u.inet.host, &addr->u.inet.port, errp)) {
        return false;
    }
    g_autofree char *host = bdrv_printable(addr->u.inet.host);
    g_free(s->lookup_step);
    s->step = s->lookup_step = g_strdup_printf("look-up of the address of '%s'", host);
    g_autoptr(GArray) names = socket_resolve(addr, false, errp);
    s->step = names ? "connection" : s->step;
    for (guint i = 0; names && i < names->len && !ok && !qemu_co_is_cancelled(); i++) {
        Error *err = NULL;

        g_clear_pointer(&s->why, g_free);
        ok = new_handle(s, type, &err) && connect_address(s, &g_array_index(names, SocketName, i), &err);
        if (ok || i + 1 == names->len || qemu_co_is_cancelled()) {
            error_propagate(errp, err);
        } else {
            error_free(err);
        }
        if (!ok) {
            iscsi_session_set_lost(s, -EIO, "closed");
        }
    }
    return ok;
}

static bool coroutine_fn log_in(ISCSISession *s, enum iscsi_session_type type, Error **errp)
{
    g_autofree char *portal = g_strdup(s->target->portal);

    for (unsigned i = 0; i < MAX_REDIRECTIONS; i++) {
        if (!connect_portal(s, type, portal, errp)) {
            return false;
        }
        s->step = "login";
        s->login_status = 0;
        s->step_done = false;
        s->logging_in = true;
        bool ok = step_begin(s, iscsi_login_async(s->iscsi, step_done, s), errp) && wait_step(s, errp);
        s->logging_in = false;
        if (!ok) {
            return false;
        }
        if (s->step_status != SCSI_STATUS_REDIRECT) {
            return true;
        }
        g_free(portal);
        portal = g_strdup(iscsi_get_target_address(s->iscsi));
        iscsi_session_set_lost(s, -EIO, "the target has moved");
    }
    error_setg(errp, "The target redirects the login more than %d times", MAX_REDIRECTIONS);
    return false;
}

/* Record the names of the targets. */
static void discovery_done(struct iscsi_context *iscsi, int status, void *data, void *opaque)
{
    ISCSISession *s = opaque;

    for (const struct iscsi_discovery_address *a = status == SCSI_STATUS_GOOD ? data : NULL; a; a = a->next) {
        if (s->names->len <= MAX_TARGETS_LISTED) {
            g_ptr_array_add(s->names, bdrv_printable(a->target_name));
        }
    }
    step_done(iscsi, status, data, opaque);
}

/* The target does not exist: list those that do, if the portal allows that. */
static void coroutine_fn report_no_target(ISCSISession *s, Error **errp)
{
    ERRP_GUARD();

    error_setg(errp, "The portal has no target '%s'", s->target->target);
    s->names = g_ptr_array_new_with_free_func(g_free);
    iscsi_session_set_lost(s, -EIO, "closed");
    if (!log_in(s, ISCSI_SESSION_DISCOVERY, NULL) || s->step_status != SCSI_STATUS_GOOD) {
        return;
    }
    s->step = "list of targets";
    s->step_done = false;
    s->logging_in = true;
    bool asked = step_begin(s, iscsi_discovery_async(s->iscsi, discovery_done, s), NULL);
    if (asked && wait_step(s, NULL) && s->names->len) {
        bool more = s->names->len > MAX_TARGETS_LISTED;

        g_ptr_array_set_size(s->names, MIN(s->names->len, MAX_TARGETS_LISTED));
        g_ptr_array_add(s->names, NULL);
        g_autofree char *names = g_strjoinv("', '", (char **)s->names->pdata);
        error_append_hint(errp, "It has '%s'%s.\n", names, more ? " and more" : "");
    }
    s->logging_in = false;
}

static void coroutine_fn report_refusal(ISCSISession *s, Error **errp)
{
    ERRP_GUARD();
    const ISCSITarget *t = s->target;

    switch (s->login_status) {
    case LOGIN_NOT_AUTHENTICATED:
        if (t->user) {
            error_setg(errp, "The target refuses user '%s' with this password", t->user);
        } else {
            error_setg(errp, "The target requires a user and a password");
            error_append_hint(errp, "Specify them with user=NAME and password-secret=ID, the ID of a secret object.\n");
        }
        break;
    case LOGIN_NOT_AUTHORISED:
        error_setg(errp, "The target does not admit initiator '%s'", t->initiator);
        error_append_hint(errp, "Set another name with initiator-name=NAME.\n");
        break;
    case LOGIN_NOT_FOUND:
    case LOGIN_REMOVED:
        report_no_target(s, errp);
        break;
    case LOGIN_TOO_MANY:
        error_setg(errp, "The target has too many connections");
        break;
    case LOGIN_UNAVAILABLE:
    case LOGIN_NO_RESOURCES:
        error_setg(errp, "The target is not available at the moment");
        break;
    case 0:
        error_setg(errp, "The login failed: the target's reply is malformed");
        break;
    default:
        error_setg(errp, "The target refuses the login, status 0x%04x", s->login_status);
    }
}

bool coroutine_fn iscsi_login(ISCSISession *s, Error **errp)
{
    if (!log_in(s, ISCSI_SESSION_NORMAL, errp)) {
        return false;
    }
    if (s->step_status == SCSI_STATUS_GOOD) {
        return true;
    }
    report_refusal(s, errp);
    return false;
}

static void logged_out(struct iscsi_context *iscsi, int status, void *data, void *opaque)
{
    ISCSISession *s = opaque;

    s->broken = true;
    qemu_co_sleep_wake(&s->pause);
}

void coroutine_fn iscsi_logout(ISCSISession *s)
{
    s->step = "logout";
    if (iscsi_logout_async(s->iscsi, logged_out, s) == 0) {
        iscsi_session_update(s);
        co_sleep_ns_wakeable(&s->pause, LOGOUT_NS, NULL);
    }
}
