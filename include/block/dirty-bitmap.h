/*
 * Dirty bitmaps: which parts of a node have been written to
 *
 * One bit represents a granule of @granularity bytes, which begins at a multiple of that. Every write, zero write and
 * discard of the node sets the bits of the granules that it touches, just before it completes. It does so even if it
 * failed, because some of the data may have been written. So a reader that clears a bit first and then reads the
 * granule misses nothing:
 *
 *     BdrvDirtyBitmap *bitmap = bdrv_create_dirty_bitmap(bs, 64 * KiB, NULL, errp);
 *     int64_t start, bytes;
 *
 *     bdrv_set_dirty_bitmap(bitmap, 0, bdrv_getlength(bs));       // at first, everything must be copied
 *     while (bdrv_dirty_bitmap_next_dirty_area(bitmap, 0, INT64_MAX, 1 * MiB, &start, &bytes)) {
 *         bdrv_reset_dirty_bitmap(bitmap, start, bytes);
 *         ... read and copy ...                                   // on failure: set the bits again
 *     }
 *     bdrv_release_dirty_bitmap(bitmap);
 *
 * A bitmap is as long as its node. When a node grows, the new part is dirty.
 *
 * Bitmaps are created and released on the main thread. All other functions may be called from any thread, while writes
 * go on. Offsets and lengths are in bytes.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef BLOCK_DIRTY_BITMAP_H
#define BLOCK_DIRTY_BITMAP_H

#include "block/block-common.h"

typedef struct BdrvDirtyBitmap BdrvDirtyBitmap;

/*
 * Create a bitmap of @bs, all clean. @granularity: bytes, a power of 2. @name must be unique among the bitmaps of the
 * node, and lets others find it. NULL: a private bitmap, which the caller must release before the node is freed.
 * Returns NULL with @errp if the name is taken, or there is not enough memory.
 */
BdrvDirtyBitmap *bdrv_create_dirty_bitmap(BlockDriverState *bs, uint32_t granularity, const char *name, Error **errp);
/* @bitmap may be NULL. */
void bdrv_release_dirty_bitmap(BdrvDirtyBitmap *bitmap);

/* While a bitmap is disabled, writes to the node do not change it. */
void bdrv_disable_dirty_bitmap(BdrvDirtyBitmap *bitmap);
void bdrv_enable_dirty_bitmap(BdrvDirtyBitmap *bitmap);

/* Set the bits of all granules that the range touches. Anything beyond the end of the node is ignored. */
void bdrv_set_dirty_bitmap(BdrvDirtyBitmap *bitmap, int64_t offset, int64_t bytes);
/* Clear the bits of a range of whole granules, the last of which may be cut off by the end of the node. */
void bdrv_reset_dirty_bitmap(BdrvDirtyBitmap *bitmap, int64_t offset, int64_t bytes);

/* Number of dirty bytes. */
int64_t bdrv_get_dirty_count(const BdrvDirtyBitmap *bitmap);
uint32_t bdrv_dirty_bitmap_granularity(const BdrvDirtyBitmap *bitmap);

/*
 * Find the first dirty bytes from @start on and before @end: *@dirty_bytes, at most @max, at *@dirty_start. False if
 * there are none.
 */
bool bdrv_dirty_bitmap_next_dirty_area(const BdrvDirtyBitmap *bitmap, int64_t start, int64_t end, int64_t max,
                                       int64_t *dirty_start, int64_t *dirty_bytes);

/* For block/io, at the end of each request that may have changed data. */
void bdrv_set_dirty(BlockDriverState *bs, int64_t offset, int64_t bytes);

/* For block/graph: the node is about to have @length bytes. False with @errp if there is not enough memory. */
bool bdrv_resize_dirty_bitmaps(BlockDriverState *bs, int64_t length, Error **errp);
/* The node is being freed: release the bitmaps that have names. */
void bdrv_release_named_dirty_bitmaps(BlockDriverState *bs);

#endif
