/*
 * I/O threads as objects that the user makes, and exports and nodes name by id
 *
 * Requests on a node may come from any thread: nodes do not belong to one. What a node has is a thread for those of
 * its users that name none themselves:
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

/* Make objects of type iothread known; once, when the program starts. */
void iothread_object_register(void);

/* A new reference to the I/O thread that the object @id holds; NULL with @errp. */
IOThread *iothread_lookup(const char *id, Error **errp);

/*
 * Let users of @bs, and of all nodes above and below it, run in @iothread (NULL: the main loop), exports that have a
 * thread already included. Clients that are connected stay where they are. False with @errp, and nothing changed, where
 * @bs is in use, unless @force, or an export has fixed-iothread.
 */
bool bdrv_set_iothread(BlockDriverState *bs, IOThread *iothread, bool force, Error **errp);

#endif
