/*
 * Character devices, for the files that implement the kinds of them
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef CHARDEV_INT_H
#define CHARDEV_INT_H

#include "monitor/chardev.h"
#include "util/coroutine.h"

typedef struct ChardevDriver {
    size_t instance_size;       /* of a structure that begins with a Chardev */
    /* Make the device, from the branch of @backend that is the driver's; on failure free what was made. */
    bool coroutine_fn (*open)(Chardev *chr, const ChardevBackend *backend, Error **errp);
    /* Call chardev_connected() for connections from now on, or no more. A front end has come, or leaves. */
    void (*start)(Chardev *chr);
    void (*stop)(Chardev *chr);
    /* The front end is done with the last connection. Optional. */
    void (*disconnected)(Chardev *chr);
    void coroutine_fn (*close)(Chardev *chr);
} ChardevDriver;

struct Chardev {
    const ChardevDriver *drv;
    char *id;
    char *filename;     /* what it is, for people */
    bool attached;
    bool connected;
    ChardevOpened *opened;
    void *opaque;
};

Chardev *chardev_find(const char *id);      /* NULL where there is none */

/* Hand a new connection over to the front end. Takes over the references. */
void chardev_connected(Chardev *chr, IOChannel *in, IOChannel *out);

/* Wait for the first client of a server. False with @errp: the program is to end. */
bool coroutine_fn chardev_socket_wait(Chardev *chr, Error **errp);

extern const ChardevDriver chardev_file;
extern const ChardevDriver chardev_null;
extern const ChardevDriver chardev_socket;
extern const ChardevDriver chardev_stdio;

#endif
