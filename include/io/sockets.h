/*
 * Sockets: connecting to and listening on the addresses that the schema describes
 *
 *     IOChannel *ch = socket_connect(addr, 10 * NANOSECONDS_PER_SECOND, errp);
 *
 *     NetListener *l = net_listener_open(addr, SOMAXCONN, errp);
 *     net_listener_set_client_func(l, new_client, server);        // new_client(IOChannel *ch, void *server)
 *     ...
 *     net_listener_free(l);
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef IO_SOCKETS_H
#define IO_SOCKETS_H

#include <sys/socket.h>

#include "io/channel.h"
#include "qapi/qapi-types.h"
#include "util/error.h"

typedef struct NetListener NetListener;

/* For messages: "unix:/run/x.sock", "localhost:10809". Caller frees. */
char *socket_address_to_string(const SocketAddress *addr);

/* Whether @port can be the port of an internet address: a number, or the name of a service, which is not looked up. */
bool socket_check_port(const char *port, Error **errp);

/* An address as the kernel knows it. */
typedef struct SocketName {
    struct sockaddr_storage addr;
    socklen_t len;
    int protocol;               /* for socket(): 0, or multi-path TCP */
} SocketName;

/*
 * Resolve @addr to an array of SocketName, for listening if @passive; NULL with @errp. Names are looked up by a worker,
 * until the coroutine is cancelled.
 */
GArray *coroutine_fn socket_resolve(const SocketAddress *addr, bool passive, Error **errp);

/* The address without the wrappers of the older form. */
SocketAddress *socket_address_flatten(const SocketAddressLegacy *legacy);

/*
 * Set the function that turns names of descriptors (SocketAddress type fd) into descriptors that the caller owns, or -1
 * with @errp. Without it, and if the name is a number, it is the number of an inherited descriptor.
 */
void socket_set_fd_lookup(int (*lookup)(const char *name, Error **errp));

/*
 * Connect. Returns a new channel, or NULL with @errp. Tries every address of the host for at most @timeout_ns each (0:
 * the kernel's limit), until the coroutine is cancelled (qemu_co_cancel()).
 */
IOChannel *coroutine_fn socket_connect(const SocketAddress *addr, int64_t timeout_ns, Error **errp);

/* The same with what socket_resolve() returned for @addr, for callers that tell the two steps apart. */
IOChannel *coroutine_fn socket_connect_resolved(const SocketAddress *addr, const GArray *names, int64_t timeout_ns,
                                                Error **errp);

/*
 * Listen on all addresses of the host in @addr. A stale unix socket is replaced; one that a server uses, or a file of
 * another type, is not. NULL with @errp.
 */
NetListener *coroutine_fn net_listener_open(const SocketAddress *addr, int backlog, Error **errp);

/*
 * Call @func, which takes over the channel, for each new connection, in this thread's loop. NULL stops accepting: peers
 * wait in the kernel's backlog.
 */
void net_listener_set_client_func(NetListener *l, void (*func)(IOChannel *ch, void *opaque), void *opaque);

/* Whether a client that connects to @name reaches this listener: unix and internet sockets, as far as that is known. */
bool net_listener_is_at(const NetListener *l, const SocketName *name);

/* Stop listening and remove the socket's file if it is still ours. @l may be NULL. From the loop that accepts. */
void net_listener_free(NetListener *l);

#endif
