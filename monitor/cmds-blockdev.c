/*
 * Commands that change the block graph
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "block/block-backend.h"
#include "block/iothread-object.h"
#include "block/nbd.h"
#include "monitor/blockdev.h"
#include "qapi/qapi-commands.h"

static GPtrArray *owned;        /* of BlockDriverState, created by blockdev-add */

BlockDriverState *blockdev_find(const char *node_name, Error **errp)
{
    BlockDriverState *bs = bdrv_find_node(node_name);

    if (!bs) {
        error_setg(errp, "Cannot find device='' nor node-name='%s'", node_name);
    }
    return bs;
}

bool coroutine_fn blockdev_check_no_loop(const char *source, const char *target, Error **errp)
{
    BlockDriverState *source_bs = bdrv_find_node(source), *target_bs = bdrv_find_node(target);

    if (!source_bs || !target_bs) {
        return true;
    }
    bdrv_ref(source_bs);
    bdrv_ref(target_bs);
    bool ok = nbd_server_check_no_loop(target_bs, source_bs, errp);
    if (!ok) {
        error_prepend(errp, "Node '%s' cannot be the target for node '%s': ", target, source);
    }
    bdrv_co_unref(target_bs);
    bdrv_co_unref(source_bs);
    return ok;
}

bool coroutine_fn blockdev_add(const BlockdevOptions *options, Error **errp)
{
    if (!options->node_name) {
        error_setg(errp, "'node-name' must be specified for the root node");
        return false;
    }
    BlockDriverState *bs = bdrv_co_open_blockdev(options, 0, errp);
    if (bs) {
        if (!owned) {
            owned = g_ptr_array_new();
        }
        g_ptr_array_add(owned, bs);
    }
    return bs;
}

bool coroutine_fn qmp_blockdev_add(const BlockdevOptions *arg, Error **errp)
{
    return blockdev_add(arg, errp);
}

bool coroutine_fn qmp_x_blockdev_set_iothread(const XBlockdevSetIothreadArg *arg, Error **errp)
{
    g_autoptr(IOThread) iothread = NULL;
    BlockDriverState *bs = blockdev_find(arg->node_name, errp);

    if (bs && arg->iothread->type == QTYPE_QSTRING) {
        iothread = iothread_lookup(arg->iothread->u.s, errp);
        bs = iothread ? bs : NULL;
    }
    return bs && bdrv_set_iothread(bs, iothread, arg->has_force && arg->force, errp);
}

bool coroutine_fn qmp_blockdev_del(const BlockdevDelArg *arg, Error **errp)
{
    /* Another monitor may still be adding the node. */
    if (bdrv_co_cancel_open(arg->node_name)) {
        return true;
    }
    BlockDriverState *bs = bdrv_find_node(arg->node_name);
    if (!bs) {
        error_setg(errp, "Failed to find node with node-name='%s'", arg->node_name);
        return false;
    }
    /* Remove it from the list before we wait, so that nobody else deletes it, too. */
    if (!owned || !g_ptr_array_remove(owned, bs)) {
        error_setg(errp, "Node %s is not owned by the monitor", arg->node_name);
        return false;
    }
    if (!bdrv_co_wait_unshared(bs, errp)) {
        g_ptr_array_add(owned, bs);
        return false;
    }
    bdrv_co_unref(bs);
    return true;
}

void coroutine_fn blockdev_close_all(void)
{
    while (owned && owned->len) {
        BlockDriverState *bs = g_ptr_array_index(owned, owned->len - 1);

        g_ptr_array_remove_index(owned, owned->len - 1);
        bdrv_co_unref(bs);
    }
    g_clear_pointer(&owned, g_ptr_array_unref);
}

bool coroutine_fn qmp_blockdev_reopen(const BlockdevReopenArg *arg, Error **errp)
{
    return bdrv_co_reopen(arg->options, errp);
}

bool coroutine_fn qmp_block_resize(const BlockResizeArg *arg, Error **errp)
{
    const char *name = arg->device ?: arg->node_name;

    if (!name || (arg->device && arg->node_name)) {
        error_setg(errp, "Need exactly one of 'device' and 'node-name'");
        return false;
    }
    BlockDriverState *bs = blockdev_find(name, errp);
    if (!bs) {
        return false;
    }
    if (arg->size < 0) {
        error_setg(errp, "Parameter 'size' expects a >= 0 size");
        return false;
    }
    /* Shrinking would lose the data of users that write to the node. */
    bool shrinks = arg->size < bdrv_getlength(bs);
    BlockBackend *blk = blk_new("block_resize", BLK_PERM_RESIZE, BLK_PERM_ALL & ~(shrinks ? BLK_PERM_WRITE : 0));
    bool ok = blk_insert_bs(blk, bs, errp);
    if (!ok && shrinks) {
        error_prepend(errp, "Cannot shrink node '%s': ", bdrv_get_node_name(bs));
    }
    ok = ok && blk_co_truncate(blk, arg->size, false, PREALLOC_MODE_OFF, NULL, errp);
    blk_co_unref(blk);
    return ok;
}

bool coroutine_fn qmp_block_set_write_threshold(const BlockSetWriteThresholdArg *arg, Error **errp)
{
    BlockDriverState *bs = blockdev_find(arg->node_name, errp);

    if (bs) {
        bdrv_set_write_threshold(bs, arg->write_threshold);
    }
    return bs;
}

bool coroutine_fn qmp_blockdev_set_active(const BlockdevSetActiveArg *arg, Error **errp)
{
    GPtrArray *nodes;

    if (arg->node_name) {
        BlockDriverState *bs = blockdev_find(arg->node_name, errp);

        if (!bs) {
            return false;
        }
        nodes = g_ptr_array_new();
        g_ptr_array_add(nodes, bdrv_ref(bs));
    } else {
        nodes = bdrv_get_nodes();
    }
    bool ok = bdrv_co_set_active(nodes, arg->active, errp);
    bdrv_co_put_nodes(nodes);
    return ok;
}
