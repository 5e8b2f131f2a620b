/*
 * NetListener: listening on all addresses of a socket address, and accepting connections
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include <netinet/in.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "io/socket-int.h"
#include "io/sockets.h"
#include "util/aio.h"
#include "util/thread-pool.h"

/* If no descriptors are left, accept() fails and the socket stays readable: pause for this long. */
#define ACCEPT_PAUSE_NS (100 * SCALE_MS)

struct NetListener {
    SocketAddress *addr;
    int backlog;
    GArray *fds;                /* of int */
    char *path;                 /* of a unix socket whose file we created; NULL: none */
    dev_t dev;                  /* of that file */
    ino_t ino;
    AioContext *ctx;            /* the loop that accepts; NULL: not accepting */
    AioTimer *pause;
    void (*func)(IOChannel *ch, void *opaque);
    void *opaque;
};

static void listener_watch(NetListener *l, bool on);

static void listener_resume(void *opaque)
{
    listener_watch(opaque, true);
}

/* Go over all descriptors once. Those without a waiting connection return -EAGAIN. */
static void listener_accept(void *opaque)
{
    NetListener *l = opaque;

    /* @func may stop or free the listener, so accept one connection per call. */
    for (guint i = 0; i < l->fds->len; i++) {
        int fd = RETRY_ON_EINTR(accept4(g_array_index(l->fds, int, i), NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK));

        if (fd >= 0) {
            socket_apply_options(fd, l->addr);
            l->func(io_channel_new(fd), l->opaque);
            return;
        }
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            listener_watch(l, false);
            aio_timer_mod_ns(l->pause, qemu_clock_get_ns() + ACCEPT_PAUSE_NS);
            return;
        }
    }
}

static void listener_watch(NetListener *l, bool on)
{
    for (guint i = 0; i < l->fds->len; i++) {
        aio_set_fd_handler(l->ctx, g_array_index(l->fds, int, i), on ? listener_accept : NULL, NULL, l);
    }
}

void net_listener_set_client_func(NetListener *l, void (*func)(IOChannel *ch, void *opaque), void *opaque)
{
    if (l->ctx) {
        listener_watch(l, false);
        aio_timer_free(l->pause);
        l->pause = NULL;
        l->ctx = NULL;
    }
    l->func = func;
    l->opaque = opaque;
    if (func) {
        l->ctx = qemu_get_current_aio_context();
        l->pause = aio_timer_new(l->ctx, listener_resume, l);
        listener_watch(l, true);
    }
}

static void listener_close_fds(NetListener *l)
{
    for (guint i = 0; i < l->fds->len; i++) {
        close(g_array_index(l->fds, int, i));
    }
    g_array_set_size(l->fds, 0);
}

/* Remove our socket's file, unless another program has replaced it. */
static void listener_remove_path(NetListener *l)
{
    struct stat st;

    if (l->path && lstat(l->path, &st) == 0 && st.st_dev == l->dev && st.st_ino == l->ino) {
        unlink(l->path);
    }
}

void net_listener_free(NetListener *l)
{
    if (!l) {
        return;
    }
    net_listener_set_client_func(l, NULL, NULL);
    /* While the socket is open, no other file can have its inode number. */
    listener_remove_path(l);
    listener_close_fds(l);
    g_array_unref(l->fds);
    g_free(l->path);
    qapi_free_SocketAddress(l->addr);
    g_free(l);
}

/* Create a socket with that name; its descriptor, or -errno. */
static int socket_create_and_bind(const SocketName *name)
{
    g_auto_fd int fd = socket_create(name);
    int on = 1;

    if (fd < 0) {
        return fd;
    }
    if (name->addr.ss_family != AF_UNIX) {
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    }
    if (name->addr.ss_family == AF_INET6) {
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
    }
    if (bind(fd, (const struct sockaddr *)&name->addr, name->len) < 0) {
        return -errno;
    }
    return g_steal_auto_fd(&fd);
}

/* Listen on the socket @fd, which the listener then owns. 0 or -errno. */
static int listen_on(NetListener *l, int fd)
{
    if (listen(fd, l->backlog) < 0) {
        int ret = -errno;

        close(fd);
        return ret;
    }
    g_array_append_val(l->fds, fd);
    return 0;
}

static int listen_one(NetListener *l, const SocketName *name)
{
    int fd = socket_create_and_bind(name);

    return fd < 0 ? fd : listen_on(l, fd);
}

static in_port_t *socket_port(SocketName *name)
{
    return name->addr.ss_family == AF_INET6 ? &((struct sockaddr_in6 *)&name->addr)->sin6_port
                                            : &((struct sockaddr_in *)&name->addr)->sin_port;
}

static bool is_wildcard(const SocketName *name)
{
    return name->addr.ss_family == AF_INET6
           ? IN6_IS_ADDR_UNSPECIFIED(&((const struct sockaddr_in6 *)&name->addr)->sin6_addr)
           : ((const struct sockaddr_in *)&name->addr)->sin_addr.s_addr == htonl(INADDR_ANY);
}

/* Whether the internet address @name, with any port, belongs to this host: then a socket can be bound to it. */
static bool is_of_this_host(SocketName name)
{
    *socket_port(&name) = 0;
    g_auto_fd int fd = socket_create_and_bind(&name);

    return fd >= 0;
}

static bool inet_reaches(SocketName *name, SocketName *listening)
{
    bool v6 = name->addr.ss_family == AF_INET6;

    if (*socket_port(name) != *socket_port(listening)) {
        return false;
    }
    if (is_wildcard(listening)) {
        return is_of_this_host(*name);
    }
    return v6 ? IN6_ARE_ADDR_EQUAL(&((struct sockaddr_in6 *)&name->addr)->sin6_addr,
                                   &((struct sockaddr_in6 *)&listening->addr)->sin6_addr)
              : ((struct sockaddr_in *)&name->addr)->sin_addr.s_addr ==
                ((struct sockaddr_in *)&listening->addr)->sin_addr.s_addr;
}

static bool unix_reaches(const NetListener *l, const SocketName *name, const SocketName *listening)
{
    const struct sockaddr_un *un = (const struct sockaddr_un *)&name->addr;
    struct stat st;

    if (name->len == listening->len && memcmp(&name->addr, &listening->addr, name->len) == 0) {
        return true;
    }
    return l->path && *un->sun_path && stat(un->sun_path, &st) == 0 && st.st_dev == l->dev && st.st_ino == l->ino;
}

bool net_listener_is_at(const NetListener *l, const SocketName *name)
{
    for (guint i = 0; i < l->fds->len; i++) {
        SocketName to = *name, listening = { .len = sizeof(listening.addr) };

        if (getsockname(g_array_index(l->fds, int, i), (struct sockaddr *)&listening.addr, &listening.len) < 0 ||
            to.addr.ss_family != listening.addr.ss_family) {
            continue;
        }
        switch (to.addr.ss_family) {
        case AF_UNIX:
            if (unix_reaches(l, &to, &listening)) {
                return true;
            }
            break;
        case AF_INET:
        case AF_INET6:
            if (inet_reaches(&to, &listening)) {
                return true;
            }
            break;
        }
    }
    return false;
}

/* Listen on @port at every address that the host has. 0 or -errno. */
static int listen_on_port(NetListener *l, GArray *names, in_port_t port)
{
    int ret = -EADDRNOTAVAIL;

    for (guint i = 0; i < names->len; i++) {
        SocketName name = g_array_index(names, SocketName, i);

        *socket_port(&name) = port;
        int err = listen_one(l, &name);
        if (err == 0 && port == 0) {
            /* The kernel chose a port: use it for the other addresses, too. */
            socklen_t len = sizeof(name.addr);
            getsockname(g_array_index(l->fds, int, 0), (struct sockaddr *)&name.addr, &len);
            port = *socket_port(&name);
        }
        if (err != 0 && err != -EADDRNOTAVAIL && err != -EAFNOSUPPORT) {
            listener_close_fds(l);
            return err;
        }
        ret = l->fds->len ? 0 : err;
    }
    return ret;
}

static int listen_inet(NetListener *l, GArray *names)
{
    const InetSocketAddress *inet = &l->addr->u.inet;
    uint32_t first = names->len ? ntohs(*socket_port(&g_array_index(names, SocketName, 0))) : 0;
    uint32_t last = inet->has_to ? MAX(inet->to, first) : first;
    int ret = -EADDRINUSE;

    for (uint32_t port = first; port <= last && ret == -EADDRINUSE; port++) {
        ret = listen_on_port(l, names, htons(port));
    }
    return ret;
}

/*
 * Whether the unix socket @name was left behind by a dead process. If there is a process but the socket is of another
 * type, connecting fails because of the type, and the server does not notice.
 */
static bool socket_is_stale(const SocketName *name)
{
    g_auto_fd int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    return fd >= 0 && connect(fd, (const struct sockaddr *)&name->addr, name->len) < 0 && errno == ECONNREFUSED;
}

static int listen_unix(NetListener *l, const SocketName *name)
{
    const UnixSocketAddress *un = &l->addr->u.q_unix;
    bool abstract = un->has_abstract && un->abstract;
    struct stat st;

    if (!abstract && lstat(un->path, &st) == 0 && S_ISSOCK(st.st_mode) && socket_is_stale(name)) {
        unlink(un->path);
    }
    int fd = socket_create_and_bind(name);
    if (fd < 0) {
        return fd;
    }
    if (!abstract && lstat(un->path, &st) == 0) {
        /* A daemon changes its directory before it removes the socket. */
        l->path = g_canonicalize_filename(un->path, NULL);
        l->dev = st.st_dev;
        l->ino = st.st_ino;
    }
    return listen_on(l, fd);
}

typedef struct ListenWork {
    NetListener *l;
    GArray *names;
} ListenWork;

static int listen_work(void *opaque)
{
    ListenWork *work = opaque;

    switch (work->l->addr->type) {
    case SOCKET_ADDRESS_TYPE_UNIX:
        return listen_unix(work->l, &g_array_index(work->names, SocketName, 0));
    case SOCKET_ADDRESS_TYPE_VSOCK:
        return listen_one(work->l, &g_array_index(work->names, SocketName, 0));
    default:
        return listen_inet(work->l, work->names);
    }
}

NetListener *coroutine_fn net_listener_open(const SocketAddress *addr, int backlog, Error **errp)
{
    NetListener *l = g_new0(NetListener, 1);

    l->addr = QAPI_CLONE(SocketAddress, addr);
    l->backlog = backlog;
    l->fds = g_array_new(FALSE, FALSE, sizeof(int));
    if (addr->type == SOCKET_ADDRESS_TYPE_FD) {
        int fd = socket_get_fd(addr, true, errp);
        if (fd < 0) {
            net_listener_free(l);
            return NULL;
        }
        fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
        g_array_append_val(l->fds, fd);
        return l;
    }
    g_autoptr(GArray) names = socket_resolve(addr, true, errp);
    if (!names) {
        net_listener_free(l);
        return NULL;
    }
    ListenWork work = { .l = l, .names = names };
    int ret = thread_pool_submit_co(THREAD_POOL_IO, listen_work, &work);
    if (ret < 0) {
        g_autofree char *text = socket_address_to_string(addr);
        error_setg_errno(errp, -ret, "Failed to listen on '%s'", text);
        if (ret == -EADDRINUSE) {
            error_append_hint(errp, "A server that is running may have it.\n");
        }
        socket_hint_vsock(addr, ret, errp);
        net_listener_free(l);
        return NULL;
    }
    return l;
}
