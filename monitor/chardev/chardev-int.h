/*
 * Character devices, for the files that implement their types
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef CHARDEV_INT_H
#define CHARDEV_INT_H

#include "monitor/chardev.h"
#include "util/coroutine.h"

typedef struct ChardevDriver {
    size_t instance_size;       /* of a structure that begins with a Chardev */
    /* Create the device from its branch of @backend. On failure free what was allocated. */
    bool coroutine_fn (*open)(Chardev *chr, const ChardevBackend *backend, Error **errp);
    /* Start or stop calling chardev_connected() for connections: a front end has been attached, or leaves. */
    void (*start)(Chardev *chr);
    void (*stop)(Chardev *chr);
    /* The front end is done with the last connection. Optional. */
    void (*disconnected)(Chardev *chr);
    void coroutine_fn (*close)(Chardev *chr);
} ChardevDriver;

struct Chardev {
    const ChardevDriver *drv;
    char *id;
    char *filename;     /* description, for messages */
    bool attached;
    bool connected;
    ChardevOpened *opened;
    void *opaque;
};

Chardev *chardev_find(const char *id);      /* NULL if there is none */

/* Pass a new connection to the front end. Takes over the references. */
void chardev_connected(Chardev *chr, IOChannel *in, IOChannel *out);

/* Wait for the first client of a server. False with @errp if the program is ending. */
bool coroutine_fn chardev_socket_wait(Chardev *chr, Error **errp);

extern const ChardevDriver chardev_file;
extern const ChardevDriver chardev_null;
extern const ChardevDriver chardev_socket;
extern const ChardevDriver chardev_stdio;

#endif
