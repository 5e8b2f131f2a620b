/*
 * Mirror: the checks (block/jobs/mirror-check.c), for the job
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef BLOCK_MIRROR_INT_H
#define BLOCK_MIRROR_INT_H

#include "block/mirror.h"

/* The node that the target will replace: @source, or one below it that shows the same. NULL with @errp. */
BlockDriverState *mirror_find_replaced(BlockDriverState *source, const char *name, Error **errp);

/* Fail if one of the two nodes is the other, or above it. */
bool mirror_check_nodes(BlockDriverState *source, BlockDriverState *target, Error **errp);

#endif
