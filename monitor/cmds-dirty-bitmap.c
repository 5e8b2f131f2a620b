/*
 * Commands for dirty bitmaps, which are also actions of transactions
 *
 * Each has one function. With a transaction, it holds the bitmaps that it uses, so that everything can be undone.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "block/block.h"
#include "block/dirty-bitmap.h"
#include "monitor/blockdev.h"
#include "monitor/transaction-actions.h"
#include "qapi/qapi-commands.h"

#define MIN_GRANULARITY 512
#define DEFAULT_GRANULARITY (64 * KiB)

/* Find a bitmap that may be used, and hold it until the end of @tran (may be NULL). NULL with @errp. */
static BdrvDirtyBitmap *coroutine_fn bitmap_lookup(const char *node, const char *name, Transaction *tran, Error **errp)
{
    BdrvDirtyBitmap *bitmap = bdrv_lookup_dirty_bitmap(node, name, errp);

    if (!bitmap || !bdrv_dirty_bitmap_check(bitmap, errp)) {
        return NULL;
    }
    return !tran || bdrv_co_hold_dirty_bitmap(bitmap, tran, errp) ? bitmap : NULL;
}

/* The same for a bitmap that is about to change. */
static BdrvDirtyBitmap *coroutine_fn bitmap_lookup_save(const BlockDirtyBitmap *arg, Transaction *tran, Error **errp)
{
    BdrvDirtyBitmap *bitmap = bitmap_lookup(arg->node, arg->name, tran, errp);

    return bitmap && (!tran || bdrv_save_dirty_bitmap(bitmap, tran, errp)) ? bitmap : NULL;
}

static bool check_granularity(const BlockDirtyBitmapAdd *arg, Error **errp)
{
    if (arg->has_granularity &&
        (arg->granularity < MIN_GRANULARITY || arg->granularity & (arg->granularity - 1))) {
        error_setg(errp, "Granularity must be power of 2 and at least %d, not %" PRIu32, MIN_GRANULARITY,
                   arg->granularity);
        return false;
    }
    return true;
}

static bool coroutine_fn bitmap_add(const BlockDirtyBitmapAdd *arg, Transaction *tran, Error **errp)
{
    ERRP_GUARD();
    BlockDriverState *bs = blockdev_find(arg->node, errp);

    if (!bs || !check_granularity(arg, errp)) {
        return false;
    }
    if (arg->has_persistent && arg->persistent) {
        error_setg(errp, "Bitmap '%s' cannot be persistent: driver '%s' of node '%s' does not store bitmaps", arg->name,
                   bdrv_get_format_name(bs), arg->node);
        error_append_hint(errp, "Bitmaps are kept in memory only.\n");
        return false;
    }
    BdrvDirtyBitmap *bitmap = bdrv_create_dirty_bitmap(
        bs, arg->has_granularity ? arg->granularity : DEFAULT_GRANULARITY, arg->name, errp);
    if (!bitmap) {
        return false;
    }
    if (arg->has_disabled && arg->disabled) {
        bdrv_disable_dirty_bitmap(bitmap);
    }
    return !tran || bdrv_co_created_dirty_bitmap(bitmap, tran, errp);
}

static bool coroutine_fn bitmap_remove(const BlockDirtyBitmap *arg, Transaction *tran, Error **errp)
{
    BdrvDirtyBitmap *bitmap = bitmap_lookup(arg->node, arg->name, tran, errp);

    if (!bitmap) {
        return false;
    }
    if (tran) {
        bdrv_remove_dirty_bitmap(bitmap, tran);
    } else {
        bdrv_release_dirty_bitmap(bitmap);
    }
    return true;
}

/* Clear, enable or disable a bitmap. */
static bool coroutine_fn bitmap_change(const BlockDirtyBitmap *arg, void (*change)(BdrvDirtyBitmap *bitmap),
                                       Transaction *tran, Error **errp)
{
    BdrvDirtyBitmap *bitmap = bitmap_lookup_save(arg, tran, errp);

    if (bitmap) {
        change(bitmap);
    }
    return bitmap;
}

static BdrvDirtyBitmap *coroutine_fn bitmap_lookup_source(const BlockDirtyBitmapMerge *arg,
                                                          const BlockDirtyBitmapOrStr *source, Transaction *tran,
                                                          Error **errp)
{
    if (source->type == QTYPE_QSTRING) {
        return bitmap_lookup(arg->node, source->u.local, tran, errp);
    }
    return bitmap_lookup(source->u.external.node, source->u.external.name, tran, errp);
}

/* Find everything first, which may wait, then check and merge. */
static bool coroutine_fn bitmap_merge(const BlockDirtyBitmapMerge *arg, Transaction *tran, Error **errp)
{
    BdrvDirtyBitmap *target = bitmap_lookup(arg->node, arg->target, tran, errp);
    g_autoptr(GPtrArray) sources = g_ptr_array_new();

    for (size_t i = 0; target && i < arg->bitmaps->n; i++) {
        BdrvDirtyBitmap *source = bitmap_lookup_source(arg, arg->bitmaps->items[i], tran, errp);

        g_ptr_array_add(sources, source);
        target = source ? target : NULL;
    }
    for (guint i = 0; target && i < sources->len; i++) {
        target = bdrv_dirty_bitmap_check_merge(target, g_ptr_array_index(sources, i), errp) ? target : NULL;
    }
    if (!target || (tran && !bdrv_save_dirty_bitmap(target, tran, errp))) {
        return false;
    }
    for (guint i = 0; i < sources->len; i++) {
        bdrv_merge_dirty_bitmap(target, g_ptr_array_index(sources, i));
    }
    return true;
}

bool coroutine_fn qmp_block_dirty_bitmap_add(const BlockDirtyBitmapAdd *arg, Error **errp)
{
    return bitmap_add(arg, NULL, errp);
}

bool coroutine_fn qmp_block_dirty_bitmap_remove(const BlockDirtyBitmap *arg, Error **errp)
{
    return bitmap_remove(arg, NULL, errp);
}

bool coroutine_fn qmp_block_dirty_bitmap_clear(const BlockDirtyBitmap *arg, Error **errp)
{
    return bitmap_change(arg, bdrv_clear_dirty_bitmap, NULL, errp);
}

bool coroutine_fn qmp_block_dirty_bitmap_enable(const BlockDirtyBitmap *arg, Error **errp)
{
    return bitmap_change(arg, bdrv_enable_dirty_bitmap, NULL, errp);
}

bool coroutine_fn qmp_block_dirty_bitmap_disable(const BlockDirtyBitmap *arg, Error **errp)
{
    return bitmap_change(arg, bdrv_disable_dirty_bitmap, NULL, errp);
}

bool coroutine_fn qmp_block_dirty_bitmap_merge(const BlockDirtyBitmapMerge *arg, Error **errp)
{
    return bitmap_merge(arg, NULL, errp);
}

BlockDirtyBitmapSha256 *coroutine_fn qmp_x_debug_block_dirty_bitmap_sha256(const BlockDirtyBitmap *arg, Error **errp)
{
    BdrvDirtyBitmap *bitmap = bdrv_lookup_dirty_bitmap(arg->node, arg->name, errp);
    char *sha256 = bitmap ? bdrv_dirty_bitmap_sha256(bitmap, errp) : NULL;

    if (!sha256) {
        return NULL;
    }
    BlockDirtyBitmapSha256 *ret = g_new0(BlockDirtyBitmapSha256, 1);
    ret->sha256 = sha256;
    return ret;
}

bool coroutine_fn transaction_prepare_bitmap_add(const TransactionAction *action, Transaction *tran, JobTxn *job_txn,
                                                 Error **errp)
{
    return bitmap_add(action->u.block_dirty_bitmap_add.data, tran, errp);
}

bool coroutine_fn transaction_prepare_bitmap_remove(const TransactionAction *action, Transaction *tran, JobTxn *job_txn,
                                                    Error **errp)
{
    return bitmap_remove(action->u.block_dirty_bitmap_remove.data, tran, errp);
}

bool coroutine_fn transaction_prepare_bitmap_clear(const TransactionAction *action, Transaction *tran, JobTxn *job_txn,
                                                   Error **errp)
{
    return bitmap_change(action->u.block_dirty_bitmap_clear.data, bdrv_clear_dirty_bitmap, tran, errp);
}

bool coroutine_fn transaction_prepare_bitmap_enable(const TransactionAction *action, Transaction *tran, JobTxn *job_txn,
                                                    Error **errp)
{
    return bitmap_change(action->u.block_dirty_bitmap_enable.data, bdrv_enable_dirty_bitmap, tran, errp);
}

bool coroutine_fn transaction_prepare_bitmap_disable(const TransactionAction *action, Transaction *tran,
                                                     JobTxn *job_txn, Error **errp)
{
    return bitmap_change(action->u.block_dirty_bitmap_disable.data, bdrv_disable_dirty_bitmap, tran, errp);
}

bool coroutine_fn transaction_prepare_bitmap_merge(const TransactionAction *action, Transaction *tran, JobTxn *job_txn,
                                                   Error **errp)
{
    return bitmap_merge(action->u.block_dirty_bitmap_merge.data, tran, errp);
}
