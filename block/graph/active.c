/*
 * Deactivating nodes while another process uses their images, as in migration
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "block/graph/graph_int.h"

/* The other process may have changed lengths. A node comes before its parents. */
static bool coroutine_fn refresh_all(GPtrArray *nodes, Error **errp)
{
    for (guint i = nodes->len; i > 0; i--) {
        if (!bdrv_co_refresh(g_ptr_array_index(nodes, i - 1), errp)) {
            return false;
        }
    }
    return true;
}

static void set_active_abort(void *opaque)
{
    BlockDriverState *bs = opaque;

    bs->inactive = !bs->inactive;
}

static void set_active_tran(BlockDriverState *bs, bool active, Transaction *tran)
{
    static const TransactionActionDrv drv = { .abort = set_active_abort };

    if (bs->inactive == active) {
        bs->inactive = !active;
        tran_add(tran, &drv, bs);
    }
}

/* False with @errp if @bs is still in use. */
static bool check_parents(BlockDriverState *bs, Error **errp)
{
    for (guint i = 0; i < bs->parents->len; i++) {
        const BdrvChild *c = g_ptr_array_index(bs->parents, i);

        if (!c->klass->check_inactive(c, errp)) {
            return false;
        }
    }
    return true;
}

/*
 * Change all of @nodes in one transaction. Parents come first, so they are inactive before their children check.
 */
static bool set_active_all(GPtrArray *nodes, bool active, Error **errp)
{
    Transaction *tran = tran_new();

    bool ok = true;

    bdrv_graph_lock();
    for (guint i = 0; ok && i < nodes->len; i++) {
        BlockDriverState *bs = g_ptr_array_index(nodes, i);

        ok = active || check_parents(bs, errp);
        set_active_tran(bs, active, tran);
    }
    ok = ok && bdrv_refresh_perms_list(nodes, tran, errp);
    tran_finalize(tran, ok);
    bdrv_graph_unlock();
    return ok;
}

/* With all of @nodes drained. A user may appear while requests drain, so check for users only now. */
static bool coroutine_fn set_active_drained(GPtrArray *nodes, bool active, Error **errp)
{
    if ((!active && !bdrv_co_flush_all(nodes, errp)) || !set_active_all(nodes, active, errp)) {
        return false;
    }
    if (active && !refresh_all(nodes, errp)) {
        set_active_all(nodes, false, NULL);
        return false;
    }
    return true;
}

/*
 * The nodes that change with @roots: also those below, unless another active node uses them. Parents come before
 * children; nodes that need no change are left out.
 */
static GPtrArray *collect_nodes(GPtrArray *roots, bool active)
{
    g_autoptr(GPtrArray) below = bdrv_nodes_below(roots);
    GPtrArray *nodes = g_ptr_array_new();

    for (guint i = 0; i < below->len; i++) {
        BlockDriverState *bs = g_ptr_array_index(below, i);
        bool follows = active || g_ptr_array_find(roots, bs, NULL);

        if (!follows) {
            follows = true;
            for (guint j = 0; follows && j < bs->parents->len; j++) {
                const BdrvChild *c = g_ptr_array_index(bs->parents, j);
                BlockDriverState *parent = bdrv_child_parent(c);

                follows = parent && (parent->inactive || g_ptr_array_find(nodes, parent, NULL));
            }
        }
        if (follows && bs->inactive == active) {
            g_ptr_array_add(nodes, bs);
        }
    }
    return nodes;
}

bool coroutine_fn bdrv_co_set_active(GPtrArray *roots, bool active, Error **errp)
{
    g_autoptr(GPtrArray) nodes = collect_nodes(roots, active);

    g_autoptr(GPtrArray) claimed = bdrv_nodes_below(nodes);

    bdrv_co_claim(claimed);
    for (guint i = 0; i < nodes->len; i++) {
        bdrv_co_drained_begin(g_ptr_array_index(nodes, i));
    }
    bool ok = set_active_drained(nodes, active, errp);
    for (guint i = 0; i < nodes->len; i++) {
        bdrv_co_drained_end(g_ptr_array_index(nodes, i));
    }
    bdrv_co_release(claimed);
    return ok;
}
