/*
 * I/O threads as objects that the user creates, and that exports and nodes name by id
 *
 * Requests on a node may come from any thread: nodes do not belong to a thread. A node only has a default thread, for
 * those of its users that do not name one:
 *
 *     g_autoptr(IOThread) iothread = iothread_lookup("io0", errp);
 *     if (iothread && bdrv_set_iothread(bs, iothread, false, errp)) {
 *         // exports of bs run in io0 from now on
 *     }
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef BLOCK_IOTHREAD_OBJECT_H
#define BLOCK_IOTHREAD_OBJECT_H

#include "block/block.h"
#include "util/iothread.h"

/* Register the object type iothread; once, when the program starts. */
void iothread_object_register(void);

/* A new reference to the I/O thread of the object @id; NULL with @errp. */
IOThread *iothread_lookup(const char *id, Error **errp);

/*
 * Move users of @bs, and of all nodes above and below it, to @iothread (NULL: the main loop), including exports that
 * already have a thread. Connected clients stay where they are. False with @errp, and no change, if @bs is in use,
 * unless @force, or if an export has fixed-iothread.
 */
bool bdrv_set_iothread(BlockDriverState *bs, IOThread *iothread, bool force, Error **errp);

#endif
