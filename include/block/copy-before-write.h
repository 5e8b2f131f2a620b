/*
 * The filter copy-before-write, as the backup job uses it
 *
 * The job opens the filter above its source, inserts it, and has the engine copy in the background what no write has
 * made the filter copy before:
 *
 *     BlockDriverState *filter = bdrv_co_open_blockdev(options, 0, errp);
 *
 *     bdrv_cbw_set_copy_options(filter, &(BlockCopyOptions){ .workers = 16, ... });
 *     if (bdrv_co_replace_node(source, filter, errp)) {                    // this is the point in time
 *         ok = block_copy_co_run(bdrv_cbw_get_copy(filter), job, errp);
 *         ...
 *         bdrv_cbw_drop(filter, true);
 *     }
 *
 * All functions are for the main loop.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef BLOCK_COPY_BEFORE_WRITE_H
#define BLOCK_COPY_BEFORE_WRITE_H

#include "block/copy.h"

/* Before the filter is used: have its copy made with workers, chunk_bytes and policies as in @options. */
void bdrv_cbw_set_copy_options(BlockDriverState *filter, const BlockCopyOptions *options);
BlockCopy *bdrv_cbw_get_copy(BlockDriverState *filter);
int64_t bdrv_cbw_get_cluster_bytes(BlockDriverState *filter);

/* Give up the copy: requests to the target end, and writes to the source no longer wait for it. */
void bdrv_cbw_cancel(BlockDriverState *filter);

/*
 * Drop the caller's reference to the filter, which copies no more. If it was @inserted, its parents use the source
 * again.
 */
void coroutine_fn bdrv_cbw_drop(BlockDriverState *filter, bool inserted);

#endif
