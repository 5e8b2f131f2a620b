/*
 * Character devices: the source of a monitor's byte streams
 *
 * A device has one front end at a time, which is notified of each new connection: a channel to read from and one to
 * write to. For sockets they are the same. Either may be NULL: nothing to read, or output is discarded. When the front
 * end is done with a connection it says so, and a socket serves its next client.
 *
 *     static void opened(IOChannel *in, IOChannel *out, void *opaque) { ... }     // owns the references
 *
 *     Chardev *chr = chardev_attach("c0", errp);
 *     chardev_start(chr, opened, monitor);
 *     ...
 *     chardev_disconnected(chr);
 *     ...
 *     chardev_detach(chr);
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef MONITOR_CHARDEV_H
#define MONITOR_CHARDEV_H

#include "io/channel.h"
#include "qapi/qapi-types.h"
#include "util/error.h"

typedef struct Chardev Chardev;
typedef void ChardevOpened(IOChannel *in, IOChannel *out, void *opaque);

/* Create the device @id. When this returns, a socket is listening or connected. */
bool coroutine_fn chardev_add(const char *id, const ChardevBackend *backend, Error **errp);

/*
 * The same from the argument of --chardev, "socket,id=c0,path=/run/x,server=on,wait=off", some of whose option names
 * differ from the schema. Unless it says wait=off, this waits for the first client of a server. In both functions,
 * cancelling the coroutine ends all waits.
 */
bool coroutine_fn chardev_parse(const char *arg, Error **errp);

/* Whether the argument of --chardev asks for help, which has then been printed. */
bool chardev_is_help(const char *arg);

/* Devices must not use standard input and output: the program is going into the background. */
void chardev_forbid_stdio(void);

/* Fails while the device has a front end. */
bool coroutine_fn chardev_remove(const char *id, Error **errp);
/* All devices; NULL: none. */
ChardevInfoList *chardev_query(void);
/* Remove all devices. None has a front end. */
void coroutine_fn chardev_cleanup(void);

/* Become the front end of @id. NULL with @errp if there is no such device, or it has one. */
Chardev *chardev_attach(const char *id, Error **errp);
/* Call @opened for every connection from now on; for the first maybe at once. */
void chardev_start(Chardev *chr, ChardevOpened *opened, void *opaque);
/* The front end is done with the last connection. */
void chardev_disconnected(Chardev *chr);
void chardev_detach(Chardev *chr);

#endif
