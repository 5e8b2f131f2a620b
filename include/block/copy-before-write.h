/*
 * The filter copy-before-write, as the backup job and the driver snapshot-access use it
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
 * The functions for jobs are for the main loop.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef BLOCK_COPY_BEFORE_WRITE_H
#define BLOCK_COPY_BEFORE_WRITE_H

#include "block/copy.h"

/*
 * The unit of a copy from @source to @target, in bytes, at least @min_bytes; -1 with @errp if that is not valid.
 * @target NULL: it is not known yet, and may need larger units.
 */
int64_t bdrv_cbw_choose_cluster(uint64_t min_bytes, const BlockDriverState *source, const BlockDriverState *target,
                                Error **errp);
/* Before the filter is used: have its copy made with workers, chunk_bytes and policies as in @options. */
void bdrv_cbw_set_copy_options(BlockDriverState *filter, const BlockCopyOptions *options);
BlockCopy *bdrv_cbw_get_copy(BlockDriverState *filter);
int64_t bdrv_cbw_get_cluster_bytes(BlockDriverState *filter);

int coroutine_fn bdrv_cbw_co_flush_target(BlockDriverState *filter);

/* Give up the copy: requests to the target end, and writes to the source no longer wait for it. */
void bdrv_cbw_cancel(BlockDriverState *filter);

/* The same, and mark in @bitmap, which is as long as the source, what was not copied. */
void coroutine_fn bdrv_cbw_co_merge_todo(BlockDriverState *filter, BdrvDirtyBitmap *bitmap);

/* At the end of the program, give up all copies: nobody will read an old state any more. */
void bdrv_cbw_cancel_all(void);

/*
 * Drop the caller's reference to the filter, which copies no more. If it was @inserted, its parents use the source
 * again.
 */
void coroutine_fn bdrv_cbw_drop(BlockDriverState *filter, bool inserted);

/*
 * For snapshot-access: the state before the writes. Requests return -EACCES for what was not to be preserved, and once
 * the copy was given up. Any thread.
 */

/* Tells filters apart, also from those that are gone. */
unsigned bdrv_cbw_get_id(BlockDriverState *filter);
int64_t bdrv_cbw_get_snapshot_length(BlockDriverState *filter);
int coroutine_fn bdrv_cbw_co_preadv_snapshot(BlockDriverState *filter, int64_t offset, int64_t bytes,
                                             QEMUIOVector *qiov);
/* As BlockDriver.bdrv_co_block_status, without offsets. */
int coroutine_fn bdrv_cbw_co_snapshot_block_status(BlockDriverState *filter, int64_t offset, int64_t bytes,
                                                   int64_t *pnum);

#endif
