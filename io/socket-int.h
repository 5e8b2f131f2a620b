/*
 * Sockets: what connecting and listening share
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef IO_SOCKET_INT_H
#define IO_SOCKET_INT_H

#include "io/sockets.h"
#include "util/coroutine.h"
#include "util/error.h"

/* Create a non-blocking socket for @name; its descriptor, or -errno. */
int socket_create(const SocketName *name);

/* Connecting to or listening on @addr failed with @ret: say in @errp where the kernel lacks a module. */
void socket_hint_vsock(const SocketAddress *addr, int ret, Error **errp);

/* Apply the options in the address to an established connection. */
void socket_apply_options(int fd, const SocketAddress *addr);

/*
 * The descriptor named by an address of type fd. It must be a socket, listening or not as @listening says. -1 with
 * @errp.
 */
int socket_get_fd(const SocketAddress *addr, bool listening, Error **errp);

#endif
