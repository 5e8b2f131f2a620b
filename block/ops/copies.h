/*
 * Older copies of a volume that its storage knows of
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef BLOCK_OPS_COPIES_H
#define BLOCK_OPS_COPIES_H

#include "block/block-common.h"

/* A password of @bs was removed: warn if known copies of its header still have it. @job may be NULL. */
void coroutine_fn bdrv_warn_copies(BlockDriverState *bs, Job *job);

#endif
