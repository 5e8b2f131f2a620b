/*
 * Commands that change the block graph
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "block/block-backend.h"
#include "block/block_int.h"
#include "block/iothread-object.h"
#include "monitor/blockdev.h"
#include "qapi/qapi-commands.h"

static GPtrArray *owned;        /* of BlockDriverState that blockdev-add has made */

/* Clients of several monitors change the graph one after the other: what one has checked stays so until it is done. */
static bool changing;
static CoQueue waiting = { .last = &waiting.first };

static void coroutine_fn graph_lock(void)
{
    while (changing) {
        qemu_co_queue_wait(&waiting, NULL);
    }
    changing = true;
}

static void graph_unlock(void)
{
    changing = false;
    qemu_co_queue_next(&waiting);
}

BlockDriverState *blockdev_find(const char *node_name, Error **errp)
{
    BlockDriverState *bs = bdrv_find_node(node_name);

    if (!bs) {
        error_setg(errp, "Cannot find device='' nor node-name='%s'", node_name);
    }
    return bs;
}

bool coroutine_fn blockdev_add(const BlockdevOptions *options, Error **errp)
{
    if (!options->node_name) {
        error_setg(errp, "'node-name' must be specified for the root node");
        return false;
    }
    graph_lock();
    BlockDriverState *bs = bdrv_co_open_blockdev(options, 0, errp);
    if (bs) {
        if (!owned) {
            owned = g_ptr_array_new();
        }
        g_ptr_array_add(owned, bs);
    }
    graph_unlock();
    return bs;
}

bool coroutine_fn qmp_blockdev_add(const BlockdevOptions *arg, Error **errp)
{
    return blockdev_add(arg, errp);
}

static bool check_deletable(BlockDriverState *bs, Error **errp)
{
    if (!owned || !g_ptr_array_find(owned, bs, NULL)) {
        error_setg(errp, "Node %s is not owned by the monitor", bs->node_name);
        return false;
    }
    if (bs->parents->len) {
        const BdrvChild *c = g_ptr_array_index(bs->parents, 0);

        if (c->parent) {
            error_setg(errp, "Node %s is in use: it is '%s' of node '%s'", bs->node_name, c->name,
                       c->parent->node_name);
        } else {
            error_setg(errp, "Node %s is in use by %s", bs->node_name, blk_name(c->blk));
        }
        return false;
    }
    if (bs->refcnt > 1) {
        error_setg(errp, "Node %s is in use: an operation on it is under way", bs->node_name);
        return false;
    }
    return true;
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

static bool coroutine_fn delete_node(const char *node_name, Error **errp)
{
    BlockDriverState *bs = bdrv_find_node(node_name);

    if (!bs) {
        error_setg(errp, "Failed to find node with node-name='%s'", node_name);
        return false;
    }
    if (!check_deletable(bs, errp)) {
        return false;
    }
    g_ptr_array_remove(owned, bs);
    bdrv_co_unref(bs);
    return true;
}

bool coroutine_fn qmp_blockdev_del(const BlockdevDelArg *arg, Error **errp)
{
    graph_lock();
    bool ok = delete_node(arg->node_name, errp);
    graph_unlock();
    return ok;
}

void coroutine_fn blockdev_close_all(void)
{
    graph_lock();
    while (owned && owned->len) {
        BlockDriverState *bs = g_ptr_array_index(owned, owned->len - 1);

        g_ptr_array_remove_index(owned, owned->len - 1);
        bdrv_co_unref(bs);
    }
    g_clear_pointer(&owned, g_ptr_array_unref);
    graph_unlock();
}

bool coroutine_fn qmp_blockdev_reopen(const BlockdevReopenArg *arg, Error **errp)
{
    graph_lock();
    bool ok = bdrv_co_reopen(arg->options, errp);
    graph_unlock();
    return ok;
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
    BlockBackend *blk = blk_new("block_resize", BLK_PERM_RESIZE, BLK_PERM_ALL);
    bool ok = blk_insert_bs(blk, bs, errp) && blk_co_truncate(blk, arg->size, false, PREALLOC_MODE_OFF, errp);
    blk_co_unref(blk);
    return ok;
}

static bool is_child(const BlockDriverState *bs)
{
    bool ret = false;

    for (guint i = 0; i < bs->parents->len; i++) {
        ret |= ((const BdrvChild *)g_ptr_array_index(bs->parents, i))->parent != NULL;
    }
    return ret;
}

static bool coroutine_fn set_all_active(bool active, Error **errp)
{
    GPtrArray *nodes = bdrv_get_nodes();
    bool ok = true;

    /* First those on top, which the others follow. Who has not, then, is in use. */
    for (guint i = 0; ok && i < 2 * nodes->len; i++) {
        BlockDriverState *bs = g_ptr_array_index(nodes, i % nodes->len);

        ok = (i < nodes->len && is_child(bs)) || bdrv_co_set_active(bs, active, errp);
    }
    bdrv_co_put_nodes(nodes);
    return ok;
}

static bool coroutine_fn set_active(const BlockdevSetActiveArg *arg, Error **errp)
{
    if (!arg->node_name) {
        return set_all_active(arg->active, errp);
    }
    BlockDriverState *bs = blockdev_find(arg->node_name, errp);
    return bs && bdrv_co_set_active(bs, arg->active, errp);
}

bool coroutine_fn qmp_blockdev_set_active(const BlockdevSetActiveArg *arg, Error **errp)
{
    graph_lock();
    bool ok = set_active(arg, errp);
    graph_unlock();
    return ok;
}
