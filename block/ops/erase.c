/*
 * Secure erase: who may, and what it is worth on every layer of storage
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "block/block-backend.h"
#include "block/block_int.h"
#include "qapi/qapi.h"

static SecureEraseLayer *find_layer(const SecureEraseReport *report, const BlockDriverState *bs)
{
    for (size_t i = 0; report->layers && i < report->layers->n; i++) {
        if (g_str_equal(report->layers->items[i]->node_name, bs->node_name)) {
            return report->layers->items[i];
        }
    }
    return NULL;
}

static void add_note(SecureEraseLayer *layer, const char *note)
{
    for (size_t i = 0; i < layer->notes->n; i++) {
        if (g_str_equal(layer->notes->items[i], note)) {
            return;
        }
    }
    QAPI_LIST_APPEND(layer->notes, g_strdup(note));
}

/* Record what the layer of @bs promises for one more range. */
static SecureEraseLayer *add_layer(SecureEraseReport *report, BlockDriverState *bs,
                                   SecureEraseAssurance assurance)
{
    SecureEraseLayer *layer = find_layer(report, bs);

    if (!layer) {
        layer = g_new0(SecureEraseLayer, 1);
        layer->node_name = g_strdup(bs->node_name);
        layer->driver = g_strdup(bs->drv->format_name);
        layer->notes = g_new0(strList, 1);
        QAPI_LIST_APPEND(report->layers, layer);
    }
    layer->assurance = MAX(layer->assurance, assurance);
    return layer;
}

/* The bottom layer. */
static void coroutine_fn add_storage(BlockDriverState *bs, int64_t offset, int64_t bytes,
                                     SecureEraseReport *report)
{
    BdrvEraseInfo info = { .assurance = SECURE_ERASE_ASSURANCE_UNKNOWN };

    if (!bs->drv->bdrv_co_erase_info) {
        SecureEraseLayer *layer = add_layer(report, bs, SECURE_ERASE_ASSURANCE_UNKNOWN);
        add_note(layer, "this driver cannot tell whether overwriting replaces what was stored");
        return;
    }
    info.notes = g_ptr_array_new_with_free_func(g_free);
    bs->drv->bdrv_co_erase_info(bs, offset, bytes, &info);
    SecureEraseLayer *layer = add_layer(report, bs, info.assurance);
    for (guint i = 0; i < info.notes->len; i++) {
        add_note(layer, g_ptr_array_index(info.notes, i));
    }
    g_ptr_array_unref(info.notes);
}

static void coroutine_fn add_layers(BlockDriverState *bs, int64_t offset, int64_t bytes,
                                    SecureEraseReport *report)
{
    if (bs->drv->is_protocol) {
        add_storage(bs, offset, bytes, report);
        return;
    }
    add_layer(report, bs, SECURE_ERASE_ASSURANCE_OVERWRITTEN);
    if (bs->drv->is_filter) {
        add_layers(bs->file->bs, offset, bytes, report);
        return;
    }
    while (bytes > 0) {
        BlockDriverState *file = NULL;
        int64_t map, n;
        int ret = bdrv_co_block_status(bs, offset, bytes, &n, &map, &file);

        if (ret < 0 || !(ret & BDRV_BLOCK_OFFSET_VALID) || !file || file == bs) {
            SecureEraseLayer *layer = add_layer(report, bs, SECURE_ERASE_ASSURANCE_UNKNOWN);
            add_note(layer, "this driver cannot tell where it stores what is overwritten");
            return;
        }
        add_layers(file, map, n, report);
        offset += n;
        bytes -= n;
    }
}

void coroutine_fn bdrv_co_erase_add_layers(BdrvChild *child, int64_t offset, int64_t bytes,
                                           SecureEraseReport *report)
{
    add_layers(child->bs, offset, bytes, report);
}

void bdrv_erase_set_discarded(BdrvChild *child, SecureEraseReport *report)
{
    SecureEraseLayer *layer = find_layer(report, bdrv_protocol_node(child->bs));

    if (layer && layer->assurance > SECURE_ERASE_ASSURANCE_DEVICE_ERASED) {
        layer->assurance = SECURE_ERASE_ASSURANCE_DEVICE_ERASED;
        add_note(layer, "erased by the device's own command after overwriting");
    }
}

/* The node to erase: @bs, or a luks node on top of it, made for this. A new reference. */
static BlockDriverState *coroutine_fn erasable_node(BlockDriverState *bs, Error **errp)
{
    BlockdevRef file = { .type = QTYPE_QSTRING, .u.reference = bs->node_name };
    BlockdevOptions options = { .driver = BLOCKDEV_DRIVER_LUKS, .u.luks.file = &file };
    BlockDriverState *image = bdrv_skip_filters(bs);

    if (image->drv->bdrv_co_secure_erase) {
        return bdrv_ref(image);
    }
    return bdrv_co_open_blockdev(&options, BDRV_O_NO_IO | BDRV_O_DAMAGED, errp);
}

static bool coroutine_fn erase(BlockDriverState *bs, unsigned passes, bool force, Job *job,
                               SecureEraseReport *report, Error **errp)
{
    /* Keep out writers that would write again what has just been erased. */
    uint64_t shared = force ? BLK_PERM_ALL : BLK_PERM_ALL & ~(BLK_PERM_WRITE | BLK_PERM_RESIZE);
    BlockBackend *blk = blk_new("secure erase", 0, shared);
    bool ok = blk_insert_bs(blk, bs, errp);

    if (ok) {
        ok = bs->drv->bdrv_co_secure_erase(bs, report->scope, passes, force, job, report, errp);
    } else {
        error_append_hint(errp, "Stop what writes to it, or erase nevertheless with --in-use (in QMP: \"force\").\n");
    }
    blk_co_unref(blk);
    return ok;
}

SecureEraseReport *coroutine_fn bdrv_secure_erase(BlockDriverState *bs, SecureEraseScope scope,
                                                  unsigned passes, bool force, Job *job, Error **errp)
{
    g_autoptr(SecureEraseReport) report = g_new0(SecureEraseReport, 1);
    BlockDriverState *node = erasable_node(bs, errp);

    if (!node) {
        return NULL;
    }
    report->scope = scope;
    report->regions = g_new0(SecureEraseRegionList, 1);
    report->layers = g_new0(SecureEraseLayerList, 1);
    bool ok = erase(node, passes, force, job, report, errp);
    bdrv_co_unref(node);
    if (!ok) {
        return NULL;
    }
    for (size_t i = 0; i < report->layers->n; i++) {
        report->assurance = MAX(report->assurance, report->layers->items[i]->assurance);
    }
    return g_steal_pointer(&report);
}
