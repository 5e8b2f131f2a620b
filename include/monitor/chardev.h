/*
 * Character devices: where a monitor gets its byte streams from
 *
 * A device has one front end at a time, which is told of each new connection: a channel to read from and one to write
 * to (one and the same for sockets; either may be NULL: nothing will come, nothing is wanted). When the front end is
 * done with a connection it says so, and a socket goes on to its next client.
 *
 *     static void opened(IOChannel *in, IOChannel *out, void *opaque) { ... }     // references are the front end's
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

/* Make the device @id. A socket listens, or is connected, when this returns. */
bool coroutine_fn chardev_add(const char *id, const ChardevBackend *backend, Error **errp);

/*
 * The same from the argument of --chardev, "socket,id=c0,path=/run/x,server=on,wait=off", whose option names are
 * partly not those of the schema. Where it does not say wait=off, it waits for the first client of a server. All waits
 * of both end when the coroutine is cancelled.
 */
bool coroutine_fn chardev_parse(const char *arg, Error **errp);

/* Whether the argument of --chardev asks for help, which was then printed. */
bool chardev_is_help(const char *arg);

/* Standard input and output are not there for devices: the program goes into the background. */
void chardev_forbid_stdio(void);

/* Fails while it has a front end. */
bool coroutine_fn chardev_remove(const char *id, Error **errp);
/* What there is; NULL: nothing. */
ChardevInfoList *chardev_query(void);
/* Remove all; none has a front end. */
void coroutine_fn chardev_cleanup(void);

/* Become the front end of @id: NULL with @errp where there is no such device, or it has one. */
Chardev *chardev_attach(const char *id, Error **errp);
/* Call @opened for every connection from now on, maybe for the first at once. */
void chardev_start(Chardev *chr, ChardevOpened *opened, void *opaque);
/* Done with the connection that was handed over last. */
void chardev_disconnected(Chardev *chr);
void chardev_detach(Chardev *chr);

#endif
