/*
 * Replacing one node by another
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "block/graph/graph_int.h"

/* Point the parents of @from to @to, except those below @to, such as a filter inserted above @from. */
static bool move_parents(BlockDriverState *from, BlockDriverState *to, Transaction *tran, Error **errp)
{
    g_autoptr(GPtrArray) roots = g_ptr_array_new();
    g_autoptr(GPtrArray) parents = g_ptr_array_copy(from->parents, NULL, NULL);

    g_ptr_array_add(roots, to);
    g_autoptr(GPtrArray) below = bdrv_nodes_below(roots);
    for (guint i = 0; i < parents->len; i++) {
        BdrvChild *c = g_ptr_array_index(parents, i);
        BlockDriverState *parent = bdrv_child_parent(c);

        if ((c->klass->stays && c->klass->stays(c)) || (parent && g_ptr_array_find(below, parent, NULL))) {
            continue;
        }
        if (parent && !bdrv_check_new_edge(parent, c->name, to, errp)) {
            return false;
        }
        bdrv_replace_child_tran(c, to, tran);
    }
    g_ptr_array_add(roots, from);
    return bdrv_refresh_perms_list(roots, tran, errp);
}

bool coroutine_fn bdrv_co_replace_node(BlockDriverState *from, BlockDriverState *to, Error **errp)
{
    g_autoptr(GPtrArray) nodes = g_ptr_array_new();
    Transaction *tran = tran_new();

    g_ptr_array_add(nodes, from);
    g_ptr_array_add(nodes, to);
    bdrv_co_claim(nodes);
    bdrv_co_drained_begin(from);
    bdrv_co_drained_begin(to);
    bdrv_graph_lock();
    bool ok = move_parents(from, to, tran, errp);
    tran_finalize(tran, ok);
    bdrv_graph_unlock();
    if (ok) {
        bdrv_co_resized(to);
    }
    bdrv_co_drained_end(to);
    bdrv_co_drained_end(from);
    bdrv_co_release(nodes);
    return ok;
}

/* Point the edge, whose parent is drained, to @bs. */
static bool replace_child(BdrvChild *child, BlockDriverState *bs, Error **errp)
{
    BlockDriverState *parent = bdrv_child_parent(child);
    g_autoptr(GPtrArray) nodes = g_ptr_array_new();

    if (parent && !bdrv_check_new_edge(parent, child->name, bs, errp)) {
        return false;
    }
    Transaction *tran = tran_new();
    g_ptr_array_add(nodes, child->bs);
    g_ptr_array_add(nodes, bs);
    if (parent) {
        g_ptr_array_add(nodes, parent);
    }
    bdrv_graph_lock();
    bdrv_replace_child_tran(child, bs, tran);
    bool ok = bdrv_refresh_perms_list(nodes, tran, errp);
    tran_finalize(tran, ok);
    bdrv_graph_unlock();
    return ok;
}

bool coroutine_fn bdrv_co_replace_child(BdrvChild *child, BlockDriverState *bs, Error **errp)
{
    BlockDriverState *old = bdrv_ref(child->bs);

    /* This stops any kind of parent. */
    bdrv_co_drained_begin(old);
    bdrv_ref(bs);
    bool ok = replace_child(child, bs, errp);
    if (ok) {
        bdrv_co_resized(bs);
    }
    bdrv_co_drained_end(old);
    bdrv_co_unref(bs);
    bdrv_co_unref(old);
    bdrv_graph_put_deferred();
    return ok;
}
