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
 * Users create bitmaps with names (QMP block-dirty-bitmap-add). A job or an export that works with one checks that
 * nobody else does, and marks it busy:
 *
 *     BdrvDirtyBitmap *bitmap = bdrv_lookup_dirty_bitmap("disk0", "b0", errp);
 *
 *     if (!bitmap || !bdrv_dirty_bitmap_check(bitmap, errp)) {
 *         return false;
 *     }
 *     bdrv_dirty_bitmap_set_busy(bitmap, "job 'backup0'");
 *     ...
 *     bdrv_co_dirty_bitmap_unset_busy(bitmap);
 *
 * Functions that find, create, release, hold or list bitmaps, or mark them busy, are for the main thread. The others
 * may be called from any thread, while writes go on. Offsets and lengths are in bytes.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef BLOCK_DIRTY_BITMAP_H
#define BLOCK_DIRTY_BITMAP_H

#include "block/block-common.h"
#include "util/transaction.h"

/* Bytes of a name, without the NUL at its end. */
#define BDRV_BITMAP_MAX_NAME_SIZE 1023

typedef struct BdrvDirtyBitmap BdrvDirtyBitmap;

/*
 * Create a bitmap of @bs, all clean. @granularity: bytes, a power of 2. @name must be unique among the bitmaps of the
 * node, and lets others find it. NULL: a private bitmap, which the caller must release before the node is freed.
 * Returns NULL with @errp if the name is taken or invalid, or there is not enough memory.
 */
BdrvDirtyBitmap *bdrv_create_dirty_bitmap(BlockDriverState *bs, uint32_t granularity, const char *name, Error **errp);
/* @bitmap may be NULL. */
void bdrv_release_dirty_bitmap(BdrvDirtyBitmap *bitmap);

/* Find a bitmap by name; NULL if there is none. */
BdrvDirtyBitmap *bdrv_find_dirty_bitmap(BlockDriverState *bs, const char *name);
/* Find a bitmap by the names of its node and its own; NULL with @errp. */
BdrvDirtyBitmap *bdrv_lookup_dirty_bitmap(const char *node, const char *name, Error **errp);

/* False with @errp, which names the user, while the bitmap is busy or another coroutine's transaction holds it. */
bool bdrv_dirty_bitmap_check(const BdrvDirtyBitmap *bitmap, Error **errp);
/*
 * Until unset, users cannot change the bitmap, and its node is not deleted. @user: for messages, as "export 'e0'". The
 * bitmap must not be busy.
 */
void bdrv_dirty_bitmap_set_busy(BdrvDirtyBitmap *bitmap, const char *user);
void coroutine_fn bdrv_co_dirty_bitmap_unset_busy(BdrvDirtyBitmap *bitmap);

/*
 * A private bitmap with the same bits, which from now on records, or not, as @bitmap does. It is not listed. NULL with
 * @errp. Restoring gives @bitmap the bits of its clone and its state, and releases the clone.
 */
BdrvDirtyBitmap *bdrv_clone_dirty_bitmap(BdrvDirtyBitmap *bitmap, Error **errp);
void bdrv_restore_dirty_bitmap(BdrvDirtyBitmap *bitmap, BdrvDirtyBitmap *clone);

/* While a bitmap is disabled, writes to the node do not change it. */
bool bdrv_dirty_bitmap_enabled(const BdrvDirtyBitmap *bitmap);
void bdrv_disable_dirty_bitmap(BdrvDirtyBitmap *bitmap);
void bdrv_enable_dirty_bitmap(BdrvDirtyBitmap *bitmap);

/* Set the bits of all granules that the range touches. Anything beyond the end of the node is ignored. */
void bdrv_set_dirty_bitmap(BdrvDirtyBitmap *bitmap, int64_t offset, int64_t bytes);
/* Clear the bits of a range of whole granules, the last of which may be cut off by the end of the node. */
void bdrv_reset_dirty_bitmap(BdrvDirtyBitmap *bitmap, int64_t offset, int64_t bytes);
/* Clear all bits. */
void bdrv_clear_dirty_bitmap(BdrvDirtyBitmap *bitmap);
/*
 * Set the bits of @dest for everything that is dirty in @src. The granularities and nodes may differ, but the lengths
 * must not. Check returns false with @errp if they do.
 */
bool bdrv_dirty_bitmap_check_merge(const BdrvDirtyBitmap *dest, const BdrvDirtyBitmap *src, Error **errp);
void bdrv_merge_dirty_bitmap(BdrvDirtyBitmap *dest, const BdrvDirtyBitmap *src);

/* The name; NULL if it is private. */
const char *bdrv_dirty_bitmap_name(const BdrvDirtyBitmap *bitmap);
/* The length of the node, in bytes. */
int64_t bdrv_dirty_bitmap_size(const BdrvDirtyBitmap *bitmap);
/* Number of dirty bytes. */
int64_t bdrv_get_dirty_count(const BdrvDirtyBitmap *bitmap);
uint32_t bdrv_dirty_bitmap_granularity(const BdrvDirtyBitmap *bitmap);

/*
 * Find the first dirty bytes from @start on and before @end: *@dirty_bytes, at most @max, at *@dirty_start. False if
 * there are none.
 */
bool bdrv_dirty_bitmap_next_dirty_area(const BdrvDirtyBitmap *bitmap, int64_t start, int64_t end, int64_t max,
                                       int64_t *dirty_start, int64_t *dirty_bytes);

/* The bitmaps of @bs, as query-named-block-nodes lists them; NULL if there are none. Caller frees. */
BlockDirtyInfoList *bdrv_query_dirty_bitmaps(BlockDriverState *bs);
/* Digest of the bits in hex, equal to QEMU's; caller frees. NULL with @errp. */
char *bdrv_dirty_bitmap_sha256(const BdrvDirtyBitmap *bitmap, Error **errp);

/*
 * Changes in a transaction (block/dirty-bitmap-tran.c), which take effect at once and can be undone:
 *
 *     if (!bdrv_co_hold_dirty_bitmap(bitmap, tran, errp) || !bdrv_save_dirty_bitmap(bitmap, tran, errp)) {
 *         return false;
 *     }
 *     bdrv_clear_dirty_bitmap(bitmap);
 *
 * Hold: until the transaction has ended, only the calling coroutine can use the bitmap, and its node is drained, so
 * that all steps see the same data. Waits, as does the end of the transaction.
 */
bool coroutine_fn bdrv_co_hold_dirty_bitmap(BdrvDirtyBitmap *bitmap, Transaction *tran, Error **errp);
/* The bitmap is about to change. If the transaction aborts, restore the bits and state that it would have had. */
bool bdrv_save_dirty_bitmap(BdrvDirtyBitmap *bitmap, Transaction *tran, Error **errp);
/* The bitmap has just been created: hold it, and release it if the transaction is aborted. */
bool coroutine_fn bdrv_co_created_dirty_bitmap(BdrvDirtyBitmap *bitmap, Transaction *tran, Error **errp);
/* Hide a bitmap that is held, and release it if the transaction commits. */
void bdrv_remove_dirty_bitmap(BdrvDirtyBitmap *bitmap, Transaction *tran);

/* For block/io, at the end of each request that may have changed data. */
void bdrv_set_dirty(BlockDriverState *bs, int64_t offset, int64_t bytes);

/* For block/graph: the node is about to have @length bytes. False with @errp, and no change, without enough memory. */
bool bdrv_resize_dirty_bitmaps(BlockDriverState *bs, int64_t length, Error **errp);
/* False with @errp, which names bitmap and user, if a bitmap of the node is busy: the node cannot be deleted. */
bool bdrv_check_no_busy_bitmap(BlockDriverState *bs, Error **errp);
/* The node is being freed: release the bitmaps that have names. */
void bdrv_release_named_dirty_bitmaps(BlockDriverState *bs);

#endif
