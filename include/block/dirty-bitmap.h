/*
 * Dirty bitmaps: which parts of a node have been written to
 *
 * One bit stands for a granule, @granularity bytes at a multiple of that. Every write, zero write and discard of the
 * node sets the bits of the granules that it touches, just before it completes, even if it failed: nobody knows how far
 * it got. So whoever clears a bit first and reads the granule afterwards misses nothing:
 *
 *     BdrvDirtyBitmap *bitmap = bdrv_create_dirty_bitmap(bs, 64 * KiB, NULL, errp);
 *     int64_t start, bytes;
 *
 *     bdrv_set_dirty_bitmap(bitmap, 0, bdrv_getlength(bs));       // to begin with, all is to be copied
 *     while (bdrv_dirty_bitmap_next_dirty_area(bitmap, 0, INT64_MAX, 1 * MiB, &start, &bytes)) {
 *         bdrv_reset_dirty_bitmap(bitmap, start, bytes);
 *         ... read and copy ...                                   // on failure: set the bits again
 *     }
 *     bdrv_release_dirty_bitmap(bitmap);
 *
 * A bitmap is as long as its node. What a node grows by is dirty.
 *
 * Bitmaps are made and released on the main thread; all else may be called from any thread, while writes go on.
 * Offsets and lengths are in bytes.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef BLOCK_DIRTY_BITMAP_H
#define BLOCK_DIRTY_BITMAP_H

#include "block/block-common.h"

typedef struct BdrvDirtyBitmap BdrvDirtyBitmap;

/*
 * A bitmap of @bs, with nothing dirty. @granularity: bytes, a power of 2. @name, unique among the bitmaps of the node,
 * lets others find it; NULL: a bitmap of the caller's alone, which must release it before the node goes. NULL with
 * @errp: the name is taken, or so many bits need too much memory.
 */
BdrvDirtyBitmap *bdrv_create_dirty_bitmap(BlockDriverState *bs, uint32_t granularity, const char *name, Error **errp);
/* NULL is allowed. */
void bdrv_release_dirty_bitmap(BdrvDirtyBitmap *bitmap);

/* While a bitmap is disabled, writes to the node leave it as it is. */
void bdrv_disable_dirty_bitmap(BdrvDirtyBitmap *bitmap);
void bdrv_enable_dirty_bitmap(BdrvDirtyBitmap *bitmap);

/* Set the bits of all granules that the range touches. What lies beyond the end does not count. */
void bdrv_set_dirty_bitmap(BdrvDirtyBitmap *bitmap, int64_t offset, int64_t bytes);
/* Clear the bits of a range that consists of whole granules; the last may be cut off by the end of the node. */
void bdrv_reset_dirty_bitmap(BdrvDirtyBitmap *bitmap, int64_t offset, int64_t bytes);

/* How many bytes are dirty. */
int64_t bdrv_get_dirty_count(const BdrvDirtyBitmap *bitmap);
uint32_t bdrv_dirty_bitmap_granularity(const BdrvDirtyBitmap *bitmap);

/*
 * The first dirty bytes from @start on and before @end: at *@dirty_start there are *@dirty_bytes of them, up to @max.
 * False: there are none.
 */
bool bdrv_dirty_bitmap_next_dirty_area(const BdrvDirtyBitmap *bitmap, int64_t start, int64_t end, int64_t max,
                                       int64_t *dirty_start, int64_t *dirty_bytes);

/* For block/io, at the end of each request that may have changed data. */
void bdrv_set_dirty(BlockDriverState *bs, int64_t offset, int64_t bytes);

/* For block/graph: the node is about to have @length bytes. False with @errp where there is not enough memory. */
bool bdrv_resize_dirty_bitmaps(BlockDriverState *bs, int64_t length, Error **errp);
/* The node is being freed: release the bitmaps that have names. */
void bdrv_release_named_dirty_bitmaps(BlockDriverState *bs);

#endif
