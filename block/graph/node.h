/*
 * Creating and freeing nodes, for block/graph/open.c
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef BLOCK_GRAPH_NODE_H
#define BLOCK_GRAPH_NODE_H

#include "block/block_int.h"

/* Create a node without a driver. If @node_name is NULL, it is generated. NULL with @errp. */
BlockDriverState *bdrv_new(const char *node_name, Error **errp);

/* @bs is open: it can be found from now on. */
void bdrv_set_open(BlockDriverState *bs);

/* Free a node that was never opened, or is closed; detaches its children. */
void coroutine_fn bdrv_co_free(BlockDriverState *bs);

/* Call @fn with each node that is open or being closed. @fn must not wait. */
void bdrv_for_each_node(void (*fn)(BlockDriverState *bs));

#endif
