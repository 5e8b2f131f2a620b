/*
 * Dirty bitmaps in transactions
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "block/block_int.h"
#include "block/dirty-bitmap-int.h"

static void hold_clean(void *opaque)
{
    BdrvDirtyBitmap *bitmap = opaque;

    if (--bitmap->holds == 0) {
        bitmap->held_by = NULL;
    }
    bdrv_co_drained_end(bitmap->bs);
}

static const TransactionActionDrv hold_drv = { .clean = hold_clean };

bool coroutine_fn bdrv_co_hold_dirty_bitmap(BdrvDirtyBitmap *bitmap, Transaction *tran, Error **errp)
{
    assert(!bitmap->held_by || bitmap->held_by == qemu_coroutine_self());
    bitmap->held_by = qemu_coroutine_self();
    bitmap->holds++;
    tran_add(tran, &hold_drv, bitmap);
    return bdrv_co_drained_begin_limited(bitmap->bs, errp);
}

typedef struct SavedBitmap {
    BdrvDirtyBitmap *bitmap;
    BdrvDirtyBitmap *clone;     /* records what the bitmap would record if it had not been changed */
} SavedBitmap;

static void save_abort(void *opaque)
{
    SavedBitmap *saved = opaque;

    bdrv_restore_dirty_bitmap(saved->bitmap, saved->clone);
}

static void save_commit(void *opaque)
{
    bdrv_release_dirty_bitmap(((SavedBitmap *)opaque)->clone);
}

static const TransactionActionDrv save_drv = { .abort = save_abort, .commit = save_commit, .clean = g_free };

bool bdrv_save_dirty_bitmap(BdrvDirtyBitmap *bitmap, Transaction *tran, Error **errp)
{
    BdrvDirtyBitmap *clone = bdrv_clone_dirty_bitmap(bitmap, errp);

    if (clone) {
        SavedBitmap *saved = g_new(SavedBitmap, 1);

        *saved = (SavedBitmap){ .bitmap = bitmap, .clone = clone };
        tran_add(tran, &save_drv, saved);
    }
    return clone;
}

/* A bitmap that is released with the end of the transaction. Others may use it until then, so clean does it. */
typedef struct PendingRelease {
    BdrvDirtyBitmap *bitmap;
    bool due;
} PendingRelease;

static void pending_release_set_due(void *opaque)
{
    ((PendingRelease *)opaque)->due = true;
}

static void pending_release_clean(void *opaque)
{
    g_autofree PendingRelease *pending = opaque;
    BlockDriverState *bs = pending->bitmap->bs;

    if (pending->due) {
        bdrv_release_dirty_bitmap(pending->bitmap);
    }
    bdrv_co_unref(bs);
}

static void pending_release_add(BdrvDirtyBitmap *bitmap, const TransactionActionDrv *drv, Transaction *tran)
{
    PendingRelease *pending = g_new(PendingRelease, 1);

    bdrv_ref(bitmap->bs);
    *pending = (PendingRelease){ .bitmap = bitmap };
    tran_add(tran, drv, pending);
}

static const TransactionActionDrv created_drv = { .abort = pending_release_set_due, .clean = pending_release_clean };

bool coroutine_fn bdrv_co_created_dirty_bitmap(BdrvDirtyBitmap *bitmap, Transaction *tran, Error **errp)
{
    pending_release_add(bitmap, &created_drv, tran);
    return bdrv_co_hold_dirty_bitmap(bitmap, tran, errp);
}

static void remove_abort(void *opaque)
{
    ((PendingRelease *)opaque)->bitmap->hidden = false;
}

static const TransactionActionDrv remove_drv = {
    .abort = remove_abort,
    .commit = pending_release_set_due,
    .clean = pending_release_clean,
};

void bdrv_remove_dirty_bitmap(BdrvDirtyBitmap *bitmap, Transaction *tran)
{
    bitmap->hidden = true;
    pending_release_add(bitmap, &remove_drv, tran);
}
