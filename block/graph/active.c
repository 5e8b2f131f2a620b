/*
 * Letting go of nodes while another process uses their images, as for migration
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "block/block-backend.h"
#include "block/graph/graph_int.h"

/* Nobody who would go on using @bs. */
static bool check_parents(BlockDriverState *bs, Error **errp)
{
    for (guint i = 0; i < bs->parents->len; i++) {
        const BdrvChild *c = g_ptr_array_index(bs->parents, i);

        if (c->blk) {
            error_setg(errp, "Node '%s' is in use by %s", bs->node_name, blk_name(c->blk));
            return false;
        }
        if (!c->parent->inactive) {
            error_setg(errp, "Node '%s' has the active parent node '%s'", bs->node_name, c->parent->node_name);
            return false;
        }
    }
    return true;
}

static bool coroutine_fn refresh_activity(BlockDriverState *bs, bool active, Error **errp)
{
    bs->inactive = !active;
    if (!bdrv_refresh_perms(bs, errp)) {
        bs->inactive = active;
        bdrv_refresh_perms(bs, NULL);
        return false;
    }
    /* The other process may have changed the length. */
    return !active || bdrv_co_refresh(bs, errp);
}

static bool coroutine_fn set_node_active(BlockDriverState *bs, bool active, Error **errp)
{
    if (bs->inactive == !active) {
        return true;
    }
    if (!active) {
        int ret = bdrv_co_flush(bs);

        if (ret < 0) {
            error_setg_errno(errp, -ret, "Node '%s': could not flush", bs->node_name);
            return false;
        }
    }
    /* Requests on other threads go by what changes here. Until they are at an end, an export may come. */
    bdrv_co_drained_begin(bs);
    bool ok = (active || check_parents(bs, errp)) && refresh_activity(bs, active, errp);
    bdrv_co_drained_end(bs);
    return ok;
}

/* All of them, or those that nobody goes on using. */
static bool coroutine_fn set_children_active(BlockDriverState *bs, bool active, Error **errp)
{
    for (guint i = 0; i < bs->children->len; i++) {
        BlockDriverState *child_bs = ((BdrvChild *)g_ptr_array_index(bs->children, i))->bs;

        if ((active || check_parents(child_bs, NULL)) && !bdrv_co_set_active(child_bs, active, errp)) {
            return false;
        }
    }
    return true;
}

bool coroutine_fn bdrv_co_set_active(BlockDriverState *bs, bool active, Error **errp)
{
    return active ? set_children_active(bs, true, errp) && set_node_active(bs, true, errp)
                  : set_node_active(bs, false, errp) && set_children_active(bs, false, errp);
}
