/*
 * Socket addresses: from the schema's types to the kernel's
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include <linux/vm_sockets.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "io/socket-int.h"
#include "io/sockets.h"
#include "util/thread-pool.h"

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif

static int (*fd_lookup)(const char *name, Error **errp);

char *socket_address_to_string(const SocketAddress *addr)
{
    switch (addr->type) {
    case SOCKET_ADDRESS_TYPE_INET:
        return g_strdup_printf(strchr(addr->u.inet.host, ':') ? "[%s]:%s" : "%s:%s", addr->u.inet.host,
                               addr->u.inet.port);
    case SOCKET_ADDRESS_TYPE_UNIX:
        return g_strdup_printf("unix:%s", addr->u.q_unix.path);
    case SOCKET_ADDRESS_TYPE_VSOCK:
        return g_strdup_printf("vsock:%s:%s", addr->u.vsock.cid, addr->u.vsock.port);
    default:
        return g_strdup_printf("fd:%s", addr->u.fd.str);
    }
}

SocketAddress *socket_address_flatten(const SocketAddressLegacy *legacy)
{
    SocketAddress *addr = g_new0(SocketAddress, 1);
    const void *data;
    const QAPIType *type;
    void *to;

    addr->type = legacy->type;
    switch (legacy->type) {
    case SOCKET_ADDRESS_TYPE_INET:
        data = legacy->u.inet.data, type = &qapi_type_InetSocketAddress, to = &addr->u.inet;
        break;
    case SOCKET_ADDRESS_TYPE_UNIX:
        data = legacy->u.q_unix.data, type = &qapi_type_UnixSocketAddress, to = &addr->u.q_unix;
        break;
    case SOCKET_ADDRESS_TYPE_VSOCK:
        data = legacy->u.vsock.data, type = &qapi_type_VsockSocketAddress, to = &addr->u.vsock;
        break;
    default:
        data = legacy->u.fd.data, type = &qapi_type_FdSocketAddress, to = &addr->u.fd;
        break;
    }
    /* The copy moves into the union; only its shell is freed. */
    g_autofree void *copy = qapi_clone(type, data);
    memcpy(to, copy, type->size);
    return addr;
}

void socket_set_fd_lookup(int (*lookup)(const char *name, Error **errp))
{
    fd_lookup = lookup;
}

int socket_get_fd(const SocketAddress *addr, bool listening, Error **errp)
{
    const char *name = addr->u.fd.str;
    socklen_t len = sizeof(int);
    int fd, accepting = 0;
    struct stat st;

    if (fd_lookup && !g_ascii_isdigit(*name)) {
        fd = fd_lookup(name, errp);
        if (fd < 0) {
            return -1;
        }
    } else {
        guint64 number;

        if (!g_ascii_string_to_unsigned(name, 10, 0, INT_MAX, &number, NULL)) {
            error_setg(errp, "Invalid file descriptor '%s'", name);
            return -1;
        }
        fd = fcntl(number, F_DUPFD_CLOEXEC, 3);
        if (fd < 0) {
            error_setg_errno(errp, errno, "Invalid file descriptor '%s'", name);
            return -1;
        }
    }
    if (fstat(fd, &st) < 0 || !S_ISSOCK(st.st_mode)) {
        error_setg(errp, "File descriptor '%s' is not a socket", name);
        close(fd);
        return -1;
    }
    getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &accepting, &len);
    if (!!accepting != listening) {
        error_setg(errp, "File descriptor '%s' is %s socket", name, accepting ? "a listening" : "not a listening");
        close(fd);
        return -1;
    }
    return fd;
}

static bool unix_name(const UnixSocketAddress *addr, SocketName *name, Error **errp)
{
    struct sockaddr_un *un = (struct sockaddr_un *)&name->addr;
    bool abstract = addr->has_abstract && addr->abstract;
    size_t len = strlen(addr->path), max = sizeof(un->sun_path) - (abstract ? 1 : 0);

    if (len > max - !abstract) {
        error_setg(errp, "UNIX socket path '%s' is too long", addr->path);
        error_append_hint(errp, "Path must be less than %zu bytes\n", max);
        return false;
    }
    if (len == 0 && !abstract) {
        error_setg(errp, "UNIX socket path is empty");
        return false;
    }
    un->sun_family = AF_UNIX;
    memcpy(un->sun_path + abstract, addr->path, len);
    name->len = sizeof(*un);
    if (abstract && (!addr->has_tight || addr->tight)) {
        name->len = offsetof(struct sockaddr_un, sun_path) + 1 + len;
    }
    return true;
}

static bool vsock_number(const char *what, const char *text, unsigned *number, Error **errp)
{
    guint64 n;

    if (!g_ascii_string_to_unsigned(text, 10, 0, UINT32_MAX, &n, NULL)) {
        error_setg(errp, "vsock %s '%s' is not a number from 0 to %u", what, text, UINT32_MAX);
        return false;
    }
    *number = n;
    return true;
}

static bool vsock_name(const VsockSocketAddress *addr, SocketName *name, Error **errp)
{
    struct sockaddr_vm *vm = (struct sockaddr_vm *)&name->addr;

    vm->svm_family = AF_VSOCK;
    name->len = sizeof(*vm);
    return vsock_number("CID", addr->cid, &vm->svm_cid, errp) && vsock_number("port", addr->port, &vm->svm_port, errp);
}

typedef struct Lookup {
    char *host;
    char *port;
    struct addrinfo hints;
    struct addrinfo *result;
} Lookup;

static int inet_lookup_run(void *opaque)
{
    Lookup *l = opaque;

    return getaddrinfo(*l->host ? l->host : NULL, l->port, &l->hints, &l->result);
}

static void inet_lookup_free(void *opaque)
{
    Lookup *l = opaque;

    if (l->result) {
        freeaddrinfo(l->result);
    }
    g_free(l->host);
    g_free(l->port);
    g_free(l);
}

static bool inet_family(const InetSocketAddress *addr, int *family, Error **errp)
{
    bool want4 = addr->has_ipv4 && addr->ipv4, want6 = addr->has_ipv6 && addr->ipv6;
    bool deny4 = addr->has_ipv4 && !addr->ipv4, deny6 = addr->has_ipv6 && !addr->ipv6;

    if (deny4 && deny6) {
        error_setg(errp, "Cannot disable IPv4 and IPv6 at same time");
        return false;
    }
    *family = AF_UNSPEC;
    if (!(want4 && want6)) {
        *family = want6 || deny4 ? AF_INET6 : want4 || deny6 ? AF_INET : AF_UNSPEC;
    }
    return true;
}

/* Look up host and port of @addr; NULL with @errp. May take long if a server does not answer. */
static Lookup *coroutine_fn inet_lookup(const InetSocketAddress *addr, int family, int flags, Error **errp)
{
    Lookup *l = g_new0(Lookup, 1);

    l->host = g_strdup(addr->host);
    l->port = g_strdup(addr->port);
    l->hints = (struct addrinfo){ .ai_socktype = SOCK_STREAM, .ai_family = family, .ai_flags = flags };
    int ret = thread_run_co_cancellable(inet_lookup_run, l, inet_lookup_free);
    if (ret == 0) {
        return l;
    }
    if (ret == -ECANCELED) {
        error_setg(errp, "Operation was cancelled");
        return NULL;
    }
    error_setg(errp, "address resolution failed for %s:%s: %s", addr->host, addr->port, gai_strerror(ret));
    inet_lookup_free(l);
    return NULL;
}

/* getaddrinfo() takes the lower 16 bits of any number. */
bool socket_check_port(const char *port, Error **errp)
{
    gint64 n;

    if (!*port) {
        error_setg(errp, "port not specified");
        return false;
    }
    if (strspn(port, "+-0123456789") == strlen(port) && !g_ascii_string_to_signed(port, 10, 0, UINT16_MAX, &n, NULL)) {
        error_setg(errp, "Port '%s' is not a number from 0 to %d", port, UINT16_MAX);
        return false;
    }
    return true;
}

static bool coroutine_fn inet_names(const InetSocketAddress *addr, bool passive, GArray *names, Error **errp)
{
    int family, flags = passive ? AI_PASSIVE : 0;

    if (!inet_family(addr, &family, errp)) {
        return false;
    }
    if (addr->has_numeric && addr->numeric) {
        flags |= AI_NUMERICHOST | AI_NUMERICSERV;
    }
    if (!socket_check_port(addr->port, errp)) {
        return false;
    }
    Lookup *l = inet_lookup(addr, family, flags, errp);
    if (!l) {
        return false;
    }
    for (struct addrinfo *a = l->result; a; a = a->ai_next) {
        SocketName name = {
            .len = a->ai_addrlen, .protocol = addr->has_mptcp && addr->mptcp ? IPPROTO_MPTCP : 0,
        };

        if (a->ai_addrlen <= sizeof(name.addr) && (a->ai_family == AF_INET || a->ai_family == AF_INET6)) {
            memcpy(&name.addr, a->ai_addr, a->ai_addrlen);
            g_array_append_val(names, name);
        }
    }
    inet_lookup_free(l);
    return true;
}

GArray *coroutine_fn socket_resolve(const SocketAddress *addr, bool passive, Error **errp)
{
    g_autoptr(GArray) names = g_array_new(FALSE, TRUE, sizeof(SocketName));
    SocketName name = { .len = 0 };

    switch (addr->type) {
    case SOCKET_ADDRESS_TYPE_INET:
        if (!inet_names(&addr->u.inet, passive, names, errp)) {
            return NULL;
        }
        break;
    case SOCKET_ADDRESS_TYPE_UNIX:
        if (!unix_name(&addr->u.q_unix, &name, errp)) {
            return NULL;
        }
        g_array_append_val(names, name);
        break;
    case SOCKET_ADDRESS_TYPE_VSOCK:
        if (!vsock_name(&addr->u.vsock, &name, errp)) {
            return NULL;
        }
        g_array_append_val(names, name);
        break;
    default:
        error_setg(errp, "A descriptor has no address");
        return NULL;
    }
    return g_steal_pointer(&names);
}

void socket_hint_vsock(const SocketAddress *addr, int ret, Error **errp)
{
    if (addr->type == SOCKET_ADDRESS_TYPE_VSOCK && (ret == -EAFNOSUPPORT || ret == -ENODEV)) {
        error_append_hint(errp, "The kernel has no route to this CID. It needs the module vhost_vsock on a host,\n"
                          "vmw_vsock_virtio_transport in a virtual machine, or vsock_loopback for CID 1.\n");
    }
}

int socket_create(const SocketName *name)
{
    int fd = socket(name->addr.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, name->protocol);

    return fd < 0 ? -errno : fd;
}

static void set_uint32(int fd, int option, bool present, uint32_t value)
{
    int v = MIN(value, INT_MAX);

    if (present && v) {
        setsockopt(fd, IPPROTO_TCP, option, &v, sizeof(v));
    }
}

void socket_apply_options(int fd, const SocketAddress *addr)
{
    const InetSocketAddress *inet = &addr->u.inet;
    int on = 1;

    if (addr->type == SOCKET_ADDRESS_TYPE_INET && inet->has_keep_alive && inet->keep_alive) {
        setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
        set_uint32(fd, TCP_KEEPCNT, inet->has_keep_alive_count, inet->keep_alive_count);
        set_uint32(fd, TCP_KEEPIDLE, inet->has_keep_alive_idle, inet->keep_alive_idle);
        set_uint32(fd, TCP_KEEPINTVL, inet->has_keep_alive_interval, inet->keep_alive_interval);
    }
}
