/*
 * NBD exports: the dirty bitmaps that are offered as metadata contexts
 *
 * An export keeps its bitmaps busy, so the list and their names never change while it exists.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "block/block_int.h"
#include "block/export/nbd/nbd-int.h"

/* The node whose data @bs shows where it has none of its own; NULL: none. */
static BlockDriverState *node_below(const BlockDriverState *bs)
{
    if (bs->drv->is_filter) {
        return bs->file->bs;
    }
    return bs->backing ? bs->backing->bs : NULL;
}

/* Find a bitmap of the exported node, or of one whose data it shows; NULL with @errp. */
static BdrvDirtyBitmap *bitmap_find_local(const NBDExport *exp, const char *name, Error **errp)
{
    ERRP_GUARD();
    BlockDriverState *bs = blk_bs(exp->common.blk);
    BdrvDirtyBitmap *bitmap = bdrv_find_dirty_bitmap(bs, name);

    while (!bitmap && (bs = node_below(bs))) {
        bitmap = bdrv_find_dirty_bitmap(bs, name);
    }
    if (!bitmap) {
        error_setg(errp, "Bitmap '%s' is not found", name);
        error_append_hint(errp, "Node '%s' has no bitmap of that name.\n",
                          bdrv_get_display_name(blk_bs(exp->common.blk)));
        return NULL;
    }
    /* Clients of a read-only export expect that nothing changes. */
    if (!exp->common.writable && !bs->read_only && !bs->inactive && bdrv_dirty_bitmap_enabled(bitmap)) {
        error_setg(errp, "Enabled bitmap '%s' incompatible with readonly export", name);
        error_append_hint(errp, "Disable it first with block-dirty-bitmap-disable.\n");
        return NULL;
    }
    return bitmap;
}

static BdrvDirtyBitmap *bitmap_find(const NBDExport *exp, const BlockDirtyBitmapOrStr *ref, Error **errp)
{
    BdrvDirtyBitmap *bitmap = ref->type == QTYPE_QSTRING
                                  ? bitmap_find_local(exp, ref->u.local, errp)
                                  : bdrv_lookup_dirty_bitmap(ref->u.external.node, ref->u.external.name, errp);

    return bitmap && bdrv_dirty_bitmap_check(bitmap, errp) ? bitmap : NULL;
}

/* Clients know bitmaps by their names only. */
static bool bitmaps_check_name(GPtrArray *bitmaps, const char *name, Error **errp)
{
    for (guint i = 0; i < bitmaps->len; i++) {
        if (g_str_equal(bdrv_dirty_bitmap_name(g_ptr_array_index(bitmaps, i)), name)) {
            error_setg(errp, "The export would have two bitmaps named '%s'", name);
            return false;
        }
    }
    return true;
}

bool nbd_export_take_bitmaps(NBDExport *exp, const BlockDirtyBitmapOrStrList *refs, Error **errp)
{
    g_autoptr(GPtrArray) bitmaps = g_ptr_array_new();
    g_autofree char *user = g_strdup_printf("export '%s'", exp->common.id);

    if (refs && refs->n > NBD_MAX_BITMAPS) {
        error_setg(errp, "An NBD export can have at most %d bitmaps", NBD_MAX_BITMAPS);
        return false;
    }
    for (size_t i = 0; refs && i < refs->n; i++) {
        BdrvDirtyBitmap *bitmap = bitmap_find(exp, refs->items[i], errp);

        if (!bitmap || !bitmaps_check_name(bitmaps, bdrv_dirty_bitmap_name(bitmap), errp)) {
            return false;
        }
        g_ptr_array_add(bitmaps, bitmap);
    }
    for (guint i = 0; i < bitmaps->len; i++) {
        bdrv_dirty_bitmap_set_busy(g_ptr_array_index(bitmaps, i), user);
    }
    exp->bitmaps = g_steal_pointer(&bitmaps);
    return true;
}

void coroutine_fn nbd_export_release_bitmaps(NBDExport *exp)
{
    for (guint i = 0; i < exp->bitmaps->len; i++) {
        bdrv_co_dirty_bitmap_unset_busy(g_ptr_array_index(exp->bitmaps, i));
    }
    g_ptr_array_unref(exp->bitmaps);
}
