/*
 * Nodes and edges: making, finding, attaching, letting go
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "block/graph/graph_int.h"
#include "block/graph/node.h"
#include "qapi/qapi.h"
#include "util/id.h"

static GPtrArray *all_nodes;

/* The node of that name, even if it is on its way in or out. */
static BlockDriverState *find_any(const char *node_name)
{
    for (guint i = 0; all_nodes && i < all_nodes->len; i++) {
        BlockDriverState *bs = g_ptr_array_index(all_nodes, i);
        if (g_str_equal(bs->node_name, node_name)) {
            return bs;
        }
    }
    return NULL;
}

BlockDriverState *bdrv_new(const char *node_name, Error **errp)
{
    static unsigned generated;

    if (node_name) {
        if (!id_wellformed(node_name) || strlen(node_name) > 31) {
            error_setg(errp, "Invalid node-name: '%s'", node_name);
            error_append_hint(errp, "A node name is up to 31 letters, digits, '-', '.' and '_', "
                              "a letter first.");
            return NULL;
        }
        if (find_any(node_name)) {
            error_setg(errp, "Duplicate nodes with node-name='%s'", node_name);
            return NULL;
        }
    }

    BlockDriverState *bs = g_new0(BlockDriverState, 1);
    bs->node_name = node_name ? g_strdup(node_name) : g_strdup_printf("#block%03u", generated++);
    bs->children = g_ptr_array_new();
    bs->parents = g_ptr_array_new();
    bs->refcnt = 1;
    g_mutex_init(&bs->reqs_lock);
    g_queue_init(&bs->tracked_requests);

    if (!all_nodes) {
        all_nodes = g_ptr_array_new();
    }
    g_ptr_array_add(all_nodes, bs);
    return bs;
}

void coroutine_fn bdrv_co_free(BlockDriverState *bs)
{
    assert(bs->parents->len == 0);
    while (bs->children->len) {
        bdrv_co_detach_child(g_ptr_array_index(bs->children, bs->children->len - 1));
    }
    g_ptr_array_remove(all_nodes, bs);
    if (all_nodes->len == 0) {
        g_clear_pointer(&all_nodes, g_ptr_array_unref);
    }
    g_ptr_array_unref(bs->children);
    g_ptr_array_unref(bs->parents);
    g_mutex_clear(&bs->reqs_lock);
    qapi_free_BlockdevOptions(bs->options);
    iothread_unref(bs->iothread);
    g_free(bs->opaque);
    g_free(bs->node_name);
    g_free(bs->filename);
    g_free(bs);
}

BlockDriverState *bdrv_ref(BlockDriverState *bs)
{
    bs->refcnt++;
    return bs;
}

static bool node_idle(void *opaque)
{
    BlockDriverState *bs = opaque;

    return g_atomic_int_get(&bs->in_flight) == 0;
}

void coroutine_fn bdrv_co_unref(BlockDriverState *bs)
{
    if (!bs || --bs->refcnt > 0) {
        return;
    }
    bs->is_open = false;
    g_atomic_int_inc(&bs->quiesce_counter);
    bdrv_co_wait_idle(node_idle, bs);
    if (!bs->read_only) {
        bdrv_co_flush(bs);
    }
    if (bs->drv->bdrv_co_close) {
        bs->drv->bdrv_co_close(bs);
    }
    bdrv_co_free(bs);
}

BlockDriverState *bdrv_find_node(const char *node_name)
{
    BlockDriverState *bs = find_any(node_name);

    return bs && bs->is_open ? bs : NULL;
}

BlockDriverState *bdrv_find_iothread_user(const IOThread *iothread)
{
    for (guint i = 0; all_nodes && i < all_nodes->len; i++) {
        BlockDriverState *bs = g_ptr_array_index(all_nodes, i);

        if (bs->iothread == iothread) {
            return bs;
        }
    }
    return NULL;
}

GPtrArray *bdrv_get_nodes(void)
{
    GPtrArray *nodes = g_ptr_array_new();

    for (guint i = 0; all_nodes && i < all_nodes->len; i++) {
        BlockDriverState *bs = g_ptr_array_index(all_nodes, i);

        if (bs->is_open) {
            g_ptr_array_add(nodes, bdrv_ref(bs));
        }
    }
    return nodes;
}

void coroutine_fn bdrv_co_put_nodes(GPtrArray *nodes)
{
    for (guint i = 0; i < nodes->len; i++) {
        bdrv_co_unref(g_ptr_array_index(nodes, i));
    }
    g_ptr_array_unref(nodes);
}

BlockDriverState *bdrv_protocol_node(BlockDriverState *bs)
{
    while (bs->file) {
        bs = bs->file->bs;
    }
    return bs;
}

BlockDriverState *bdrv_skip_filters(BlockDriverState *bs)
{
    while (bs->drv->is_filter) {
        bs = bs->file->bs;
    }
    return bs;
}

const char *bdrv_get_format_name(const BlockDriverState *bs)
{
    return bs->drv->format_name;
}

int64_t bdrv_getlength(const BlockDriverState *bs)
{
    return bs->length;
}

static bool reaches(BlockDriverState *from, BlockDriverState *to)
{
    if (from == to) {
        return true;
    }
    for (guint i = 0; i < from->children->len; i++) {
        BdrvChild *child = g_ptr_array_index(from->children, i);
        if (reaches(child->bs, to)) {
            return true;
        }
    }
    return false;
}

BdrvChild *bdrv_attach_child(BlockDriverState *parent, BlockBackend *blk, BlockDriverState *bs,
                             const char *name, uint32_t role, uint64_t perm, uint64_t shared, Error **errp)
{
    if (parent && reaches(bs, parent)) {
        error_setg(errp, "Making '%s' a '%s' child of '%s' would create a cycle", bs->node_name, name,
                   parent->node_name);
        return NULL;
    }

    BdrvChild *child = g_new0(BdrvChild, 1);
    *child = (BdrvChild){
        .bs = bs, .name = g_strdup(name), .role = role, .parent = parent, .blk = blk,
        .perm = perm, .shared_perm = shared,
    };
    g_ptr_array_add(bs->parents, child);
    if (!bdrv_refresh_perms(bs, errp)) {
        g_ptr_array_remove(bs->parents, child);
        g_free(child->name);
        g_free(child);
        return NULL;
    }
    bdrv_ref(bs);
    if (parent) {
        g_ptr_array_add(parent->children, child);
        if (g_str_equal(name, "file")) {
            parent->file = child;
        }
        if (!parent->iothread && bs->iothread) {
            parent->iothread = iothread_ref(bs->iothread);
        }
    }
    bdrv_drain_graph_changed();
    return child;
}

void coroutine_fn bdrv_co_detach_child(BdrvChild *child)
{
    BlockDriverState *bs = child->bs;

    if (child->parent) {
        g_ptr_array_remove(child->parent->children, child);
        if (child->parent->file == child) {
            child->parent->file = NULL;
        }
    }
    g_ptr_array_remove(bs->parents, child);
    bdrv_drain_graph_changed();
    /* Fewer permissions than before: no conflict can come of that. */
    bdrv_refresh_perms(bs, NULL);
    g_free(child->name);
    g_free(child);
    bdrv_co_unref(bs);
}
