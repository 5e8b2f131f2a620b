/*
 * Sockets: connecting to, and listening on, the addresses that the schema describes
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

#include "io/channel.h"
#include "qapi/qapi-types.h"
#include "util/error.h"

typedef struct NetListener NetListener;

/* For people: "unix:/run/x.sock", "localhost:10809". Caller frees. */
char *socket_address_to_string(const SocketAddress *addr);

/* Whether @port can be the port of an internet address: a number, or the name of a service, which is not looked up. */
bool socket_check_port(const char *port, Error **errp);

/* The address without the wrappers of the older form. */
SocketAddress *socket_address_flatten(const SocketAddressLegacy *legacy);

/*
 * How names of descriptors (SocketAddress type fd) become descriptors that the caller owns, -1 with @errp.
 * Without it, and for names that are numbers, they are numbers of inherited descriptors.
 */
void socket_set_fd_lookup(int (*lookup)(const char *name, Error **errp));

/*
 * A new channel, or NULL with @errp. Every address of the host is tried, at most @timeout_ns (0: what the kernel
 * takes) each, until the coroutine is cancelled (qemu_co_cancel()).
 */
IOChannel *coroutine_fn socket_connect(const SocketAddress *addr, int64_t timeout_ns, Error **errp);

/*
 * Listen on @addr: on all addresses that the host has. A unix socket that no process has any more is replaced; one that
 * a server has, and a file of another kind, are not. NULL with @errp.
 */
NetListener *coroutine_fn net_listener_open(const SocketAddress *addr, int backlog, Error **errp);

/*
 * Call @func, which takes over the channel, for each new connection, in this thread's loop. NULL stops that: peers
 * wait in the kernel's backlog.
 */
void net_listener_set_client_func(NetListener *l, void (*func)(IOChannel *ch, void *opaque), void *opaque);

/* Stop listening and remove the socket's file, where it is still ours. NULL is allowed. From the loop that accepts. */
void net_listener_free(NetListener *l);

#endif
