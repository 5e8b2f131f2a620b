/*
 * Edges whose parent is a node, and the nodes above and below a node
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "block/graph/graph_int.h"
#include "block/job.h"
#include "util/aio.h"

static char *child_of_bds_describe(const BdrvChild *child)
{
    const BlockDriverState *bs = child->opaque;
    const char *name = bdrv_get_display_name(bs);

    if (bs->drv->is_filter && bs->job) {
        return name == bs->node_name ? g_strdup_printf("job '%s' (node '%s')", bs->job->id, name)
                                     : g_strdup_printf("job '%s'", bs->job->id);
    }
    /* A filename also belongs to the nodes below, so add the format. */
    return name == bs->node_name ? g_strdup_printf("node '%s'", name)
                                 : g_strdup_printf("%s node '%s'", bdrv_get_format_name(bs), name);
}

static void child_of_bds_drained_begin(BdrvChild *child)
{
    bdrv_quiesce(child->opaque);
}

static void child_of_bds_drained_end(BdrvChild *child)
{
    bdrv_unquiesce(child->opaque);
}

static bool child_of_bds_is_busy(const BdrvChild *child)
{
    return g_atomic_int_get(&((BlockDriverState *)child->opaque)->in_flight) > 0;
}

static void coroutine_fn child_of_bds_resized(BdrvChild *child)
{
    /* On failure the parent keeps the old length. */
    bdrv_co_refresh(child->opaque, NULL);
}

static bool child_of_bds_check_inactive(const BdrvChild *child, Error **errp)
{
    BlockDriverState *parent = child->opaque;

    if (!parent->inactive) {
        error_setg(errp, "Node '%s' has the active parent node '%s'", bdrv_get_display_name(child->bs),
                   bdrv_get_display_name(parent));
    }
    return parent->inactive;
}

const BdrvChildClass child_of_bds = {
    .describe = child_of_bds_describe,
    .drained_begin = child_of_bds_drained_begin,
    .drained_end = child_of_bds_drained_end,
    .is_busy = child_of_bds_is_busy,
    .resized = child_of_bds_resized,
    .check_inactive = child_of_bds_check_inactive,
};

BlockDriverState *bdrv_child_parent(const BdrvChild *child)
{
    return child->klass == &child_of_bds ? child->opaque : NULL;
}

/* Append @bs after everything below it; callers reverse the order. */
static void visit_below(BlockDriverState *bs, GHashTable *seen, GPtrArray *order)
{
    if (!g_hash_table_add(seen, bs)) {
        return;
    }
    for (guint i = 0; i < bs->children->len; i++) {
        visit_below(((BdrvChild *)g_ptr_array_index(bs->children, i))->bs, seen, order);
    }
    g_ptr_array_add(order, bs);
}

static void visit_above(BlockDriverState *bs, GHashTable *seen, GPtrArray *order)
{
    if (!g_hash_table_add(seen, bs)) {
        return;
    }
    for (guint i = 0; i < bs->parents->len; i++) {
        BlockDriverState *parent = bdrv_child_parent(g_ptr_array_index(bs->parents, i));

        if (parent) {
            visit_above(parent, seen, order);
        }
    }
    g_ptr_array_add(order, bs);
}

static void ptr_array_reverse(GPtrArray *array)
{
    for (guint i = 0; i < array->len / 2; i++) {
        gpointer other = array->pdata[array->len - 1 - i];

        array->pdata[array->len - 1 - i] = array->pdata[i];
        array->pdata[i] = other;
    }
}

GPtrArray *bdrv_nodes_below(GPtrArray *roots)
{
    g_autoptr(GHashTable) seen = g_hash_table_new(NULL, NULL);
    GPtrArray *order = g_ptr_array_new();

    for (guint i = 0; i < roots->len; i++) {
        visit_below(g_ptr_array_index(roots, i), seen, order);
    }
    ptr_array_reverse(order);
    return order;
}

bool bdrv_is_below(BlockDriverState *bs, BlockDriverState *root)
{
    g_autoptr(GPtrArray) above = bdrv_nodes_above(bs);

    return g_ptr_array_find(above, root, NULL);
}

GPtrArray *bdrv_nodes_above(BlockDriverState *bs)
{
    g_autoptr(GHashTable) seen = g_hash_table_new(NULL, NULL);
    GPtrArray *order = g_ptr_array_new();

    visit_above(bs, seen, order);
    ptr_array_reverse(order);
    return order;
}

/* Number of edges on the longest path that ends (@up) or begins at @order[0]; all its nodes are in @order. */
static int longest_path(GPtrArray *order, bool up)
{
    g_autoptr(GHashTable) lengths = g_hash_table_new(NULL, NULL);
    int longest = 0;

    for (guint i = 0; i < order->len; i++) {
        BlockDriverState *bs = g_ptr_array_index(order, i);
        GPtrArray *edges = up ? bs->parents : bs->children;
        int length = GPOINTER_TO_INT(g_hash_table_lookup(lengths, bs));

        longest = MAX(longest, length);
        for (guint j = 0; j < edges->len; j++) {
            BdrvChild *c = g_ptr_array_index(edges, j);
            BlockDriverState *next = up ? bdrv_child_parent(c) : c->bs;

            if (next && GPOINTER_TO_INT(g_hash_table_lookup(lengths, next)) < length + 1) {
                g_hash_table_insert(lengths, next, GINT_TO_POINTER(length + 1));
            }
        }
    }
    return longest;
}

bool bdrv_check_new_edge(BlockDriverState *parent, const char *name, BlockDriverState *bs, Error **errp)
{
    g_autoptr(GPtrArray) root = g_ptr_array_new();

    g_ptr_array_add(root, bs);
    g_autoptr(GPtrArray) below = bdrv_nodes_below(root);
    g_autoptr(GPtrArray) above = bdrv_nodes_above(parent);

    if (g_ptr_array_find(below, parent, NULL)) {
        error_setg(errp, "Making '%s' a '%s' child of '%s' would create a cycle", bdrv_get_display_name(bs), name,
                   bdrv_get_display_name(parent));
        return false;
    }
    if (longest_path(above, true) + 1 + longest_path(below, false) > BDRV_MAX_DEPTH) {
        error_setg(errp, "Node '%s' cannot become '%s' of node '%s': more than %d nodes would be stacked",
                   bdrv_get_display_name(bs), name, bdrv_get_display_name(parent), BDRV_MAX_DEPTH);
        return false;
    }
    return true;
}

/* Run the permission pass for @bs and finalize the transaction. */
static bool child_tran_finalize(BlockDriverState *bs, Transaction *tran, Error **errp)
{
    g_autoptr(GPtrArray) nodes = g_ptr_array_new();

    g_ptr_array_add(nodes, bs);
    bool ok = bdrv_refresh_perms_list(nodes, tran, errp);
    tran_finalize(tran, ok);
    return ok;
}

BdrvChild *bdrv_attach_child(const BdrvChildClass *klass, void *parent, BlockDriverState *bs, const char *name,
                             uint32_t role, uint64_t perm, uint64_t shared, Error **errp)
{
    GLOBAL_STATE_CODE();
    if (klass == &child_of_bds && !bdrv_check_new_edge(parent, name, bs, errp)) {
        return NULL;
    }
    Transaction *tran = tran_new();

    bdrv_graph_lock();
    BdrvChild *child = bdrv_attach_child_tran(klass, parent, bs, name, role, perm, shared, tran);
    bool ok = child_tran_finalize(bs, tran, errp);
    bdrv_graph_unlock();
    bdrv_graph_put_deferred();
    return ok ? child : NULL;
}

void coroutine_fn bdrv_co_detach_child(BdrvChild *child)
{
    BlockDriverState *bs = child->bs;
    Transaction *tran = tran_new();

    bdrv_graph_lock();
    bdrv_detach_child_tran(child, tran);
    tran_finalize(tran, true);
    /* Fewer permissions than before. If the storage fails to drop its locks, they stay as strict as before. */
    child_tran_finalize(bs, tran_new(), NULL);
    bdrv_graph_unlock();
    bdrv_graph_put_deferred();
}

bool bdrv_child_set_perm(BdrvChild *child, uint64_t perm, uint64_t shared, Error **errp)
{
    Transaction *tran = tran_new();

    bdrv_graph_lock();
    bdrv_child_set_perm_tran(child, perm, shared, tran);
    bool ok = child_tran_finalize(child->bs, tran, errp);
    bdrv_graph_unlock();
    return ok;
}

void coroutine_fn bdrv_co_resized(BlockDriverState *bs)
{
    /* A parent is told once per child; the last call comes after all its children have changed. */
    g_autoptr(GPtrArray) above = bdrv_nodes_above(bs);

    for (guint i = 0; i < above->len; i++) {
        bdrv_ref(g_ptr_array_index(above, i));
    }
    for (guint i = 0; i < above->len; i++) {
        BlockDriverState *node = g_ptr_array_index(above, i);

        /* Refreshing may yield. Parents attached meanwhile already know the new length. */
        for (guint j = 0; j < node->parents->len; j++) {
            BdrvChild *c = g_ptr_array_index(node->parents, j);

            if (c->klass->resized) {
                c->klass->resized(c);
            }
        }
    }
    for (guint i = 0; i < above->len; i++) {
        bdrv_unref_later(g_ptr_array_index(above, i));
    }
}

/* Whether somebody above relies on the present length. Formats that write do not: they do not let others resize. */
static bool length_is_needed(BlockDriverState *bs)
{
    g_autoptr(GPtrArray) above = bdrv_nodes_above(bs);

    for (guint i = 0; i < above->len; i++) {
        const BlockDriverState *node = g_ptr_array_index(above, i);

        for (guint j = 0; j < node->parents->len; j++) {
            const BdrvChild *c = g_ptr_array_index(node->parents, j);
            const BlockDriverState *parent = bdrv_child_parent(c);
            bool is_format = parent && !(parent->drv->is_filter && parent->drv->bdrv_child_perm);

            if (!is_format && !(c->shared_perm & BLK_PERM_RESIZE)) {
                return true;
            }
        }
    }
    return false;
}

static void coroutine_fn storage_resized_entry(void *opaque)
{
    BlockDriverState *bs = opaque;
    g_autoptr(GPtrArray) nodes = g_ptr_array_new();
    Error *err = NULL;

    g_ptr_array_add(nodes, bs);
    bdrv_co_claim(nodes);
    bdrv_co_drained_begin(bs);
    int64_t before = bs->length, now = bdrv_driver_getlength(bs);
    if (now != before && length_is_needed(bs)) {
        error_setg(&err, "it will be noticed with block_resize, once no job needs the old size");
    } else if (now != before && bdrv_co_refresh(bs, &err)) {
        bdrv_co_resized(bs);
    }
    if (err || now < before) {
        warn_report("Node '%s': its storage was resized by somebody else from %" PRId64 " to %" PRId64 " bytes%s%s",
                    bdrv_get_display_name(bs), before, now, err ? ": " : "", err ? error_get_pretty(err) : "");
    }
    error_free(err);
    bdrv_co_drained_end(bs);
    bdrv_co_release(nodes);
    bdrv_co_unref(bs);
}

void bdrv_storage_resized(BlockDriverState *bs)
{
    GLOBAL_STATE_CODE();
    if (bs->is_open) {
        aio_co_start(qemu_get_aio_context(), storage_resized_entry, bdrv_ref(bs));
    }
}
