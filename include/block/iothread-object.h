/*
 * I/O threads as objects that the user makes, and exports name by id
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef BLOCK_IOTHREAD_OBJECT_H
#define BLOCK_IOTHREAD_OBJECT_H

#include "util/error.h"
#include "util/iothread.h"

/* Make objects of type iothread known; once, when the program starts. */
void iothread_object_register(void);

/* A new reference to the I/O thread that the object @id holds; NULL with @errp. */
IOThread *iothread_lookup(const char *id, Error **errp);

#endif
