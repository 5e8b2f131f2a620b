/*
 * The nodes that the user has added: each is held by a reference until it is deleted
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef MONITOR_BLOCKDEV_H
#define MONITOR_BLOCKDEV_H

#include "block/block-common.h"

/* Open a node, which must have a name, and keep it, as blockdev-add does. */
bool coroutine_fn blockdev_add(const BlockdevOptions *options, Error **errp);

/* Release all nodes at the end of the program. They have no other users left. */
void coroutine_fn blockdev_close_all(void);

/* Find a node of that name, whoever created it. NULL with @errp. */
BlockDriverState *blockdev_find(const char *node_name, Error **errp);

/*
 * Fail if what is written to the node @target reaches the node @source through an export of this daemon: a copy would
 * never end. It is no error if one of the nodes does not exist.
 */
bool coroutine_fn blockdev_check_no_loop(const char *source, const char *target, Error **errp);

#endif
