/*
 * What connecting and listening share
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef IO_SOCKET_INT_H
#define IO_SOCKET_INT_H

#include <sys/socket.h>

#include "qapi/qapi-types.h"
#include "util/coroutine.h"
#include "util/error.h"

typedef struct SocketName {
    struct sockaddr_storage addr;
    socklen_t len;
    int protocol;               /* for socket(): 0, or multi-path TCP */
} SocketName;

/* The addresses that @addr stands for, an array of SocketName; NULL with @errp. Looks names up. */
GArray *coroutine_fn socket_resolve(const SocketAddress *addr, bool passive, Error **errp);

/* A new non-blocking socket for @name, or -errno. */
int socket_create(const SocketName *name);

/* What the address asks of an established connection. */
void socket_apply_options(int fd, const SocketAddress *addr);

/* The descriptor that an address of type fd names, which must be a socket, listening or not. -1 with @errp. */
int socket_get_fd(const SocketAddress *addr, bool listening, Error **errp);

#endif
