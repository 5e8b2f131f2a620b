/*
 * Connecting to a socket without blocking the loop
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "io/socket-int.h"
#include "io/sockets.h"
#include "util/aio.h"

/* Retry interval and limit for a unix socket whose backlog is full. */
#define BACKLOG_WAIT_NS (10 * SCALE_MS)
#define BACKLOG_TRIES 100

static void connect_give_up(void *ch)
{
    io_channel_shutdown(ch);
}

/* Wait for a connect() under way: 0 or -errno. */
static int coroutine_fn connect_wait(IOChannel *ch, int64_t timeout_ns)
{
    AioTimer *timer = aio_timer_new(qemu_get_current_aio_context(), connect_give_up, ch);
    socklen_t len = sizeof(int);
    int err = 0;

    if (timeout_ns) {
        aio_timer_mod_ns(timer, qemu_clock_get_ns() + timeout_ns);
    }
    int ret = -ESHUTDOWN;
    if (qemu_co_cancel_begin(connect_give_up, ch)) {
        ret = io_channel_co_wait(ch, true, IO_WAIT_OUT);
        qemu_co_cancel_end();
    }
    aio_timer_free(timer);
    if (ret < 0) {
        return -ETIMEDOUT;
    }
    if (getsockopt(io_channel_get_fd(ch), SOL_SOCKET, SO_ERROR, &err, &len) < 0) {
        return -errno;
    }
    return -err;
}

/* Try one address; NULL with *@ret -errno. */
static IOChannel *coroutine_fn connect_one(const SocketName *name, int64_t timeout_ns, int *ret)
{
    int fd = socket_create(name);

    if (fd < 0) {
        *ret = fd;
        return NULL;
    }
    g_autoptr(IOChannel) ch = io_channel_new(fd);
    for (int tries = 0; ; tries++) {
        *ret = RETRY_ON_EINTR(connect(fd, (const struct sockaddr *)&name->addr, name->len)) < 0 ? -errno : 0;
        if (*ret != -EAGAIN || tries == BACKLOG_TRIES || !co_sleep_ns_cancellable(BACKLOG_WAIT_NS)) {
            break;
        }
    }
    if (*ret == -EINPROGRESS) {
        *ret = connect_wait(ch, timeout_ns);
    }
    return *ret == 0 ? g_steal_pointer(&ch) : NULL;
}

IOChannel *coroutine_fn socket_connect_resolved(const SocketAddress *addr, const GArray *names, int64_t timeout_ns,
                                                Error **errp)
{
    IOChannel *ch = NULL;
    int ret = -EADDRNOTAVAIL;

    for (guint i = 0; i < names->len && !ch && !qemu_co_is_cancelled(); i++) {
        ch = connect_one(&g_array_index(names, SocketName, i), timeout_ns, &ret);
    }
    if (!ch && qemu_co_is_cancelled()) {
        error_setg(errp, "Operation was cancelled");
        return NULL;
    }
    if (!ch) {
        g_autofree char *text = socket_address_to_string(addr);
        error_setg_errno(errp, -ret, "Failed to connect to '%s'", text);
        socket_hint_vsock(addr, ret, errp);
        return NULL;
    }
    socket_apply_options(io_channel_get_fd(ch), addr);
    return ch;
}

IOChannel *coroutine_fn socket_connect(const SocketAddress *addr, int64_t timeout_ns, Error **errp)
{
    if (addr->type == SOCKET_ADDRESS_TYPE_FD) {
        int fd = socket_get_fd(addr, false, errp);
        return fd < 0 ? NULL : io_channel_new(fd);
    }
    g_autoptr(GArray) names = socket_resolve(addr, false, errp);
    return names ? socket_connect_resolved(addr, names, timeout_ns, errp) : NULL;
}
