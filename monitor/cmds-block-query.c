/*
 * Commands that show the nodes of the block graph
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "block/block-backend.h"
#include "block/block_int.h"
#include "qapi/qapi-commands.h"

static BlockdevChildList *child_list(const BlockDriverState *bs)
{
    BlockdevChildList *list = g_new0(BlockdevChildList, 1);

    for (guint i = 0; i < bs->children->len; i++) {
        const BdrvChild *c = g_ptr_array_index(bs->children, i);
        BlockdevChild *child = g_new0(BlockdevChild, 1);

        child->child = g_strdup(c->name);
        child->node_name = g_strdup(c->bs->node_name);
        QAPI_LIST_APPEND(list, child);
    }
    return list;
}

static BlockDeviceInfo *coroutine_fn device_info(BlockDriverState *bs)
{
    BlockDeviceInfo *info = g_new0(BlockDeviceInfo, 1);
    const BlockdevCacheOptions *cache = bs->options->cache;

    info->file = g_strdup(bs->filename);
    info->node_name = g_strdup(bs->node_name);
    info->ro = bs->read_only;
    info->drv = g_strdup(bdrv_get_format_name(bs));
    info->children = child_list(bs);
    info->active = !bs->inactive;
    info->encrypted = bs->drv->bdrv_is_encrypted && bs->drv->bdrv_is_encrypted(bs);
    info->detect_zeroes = bs->detect_zeroes;
    info->image = bdrv_query_image_info(bs);
    info->cache = g_new0(BlockdevCacheInfo, 1);
    info->cache->writeback = true;
    info->cache->direct = cache && cache->has_direct && cache->direct;
    info->cache->no_flush = bs->no_flush;
    return info;
}

BlockDeviceInfoList *coroutine_fn qmp_query_named_block_nodes(const QueryNamedBlockNodesArg *arg, Error **errp)
{
    BlockDeviceInfoList *list = NULL;
    GPtrArray *nodes = bdrv_get_nodes();

    for (guint i = 0; i < nodes->len; i++) {
        QAPI_LIST_APPEND(list, device_info(g_ptr_array_index(nodes, i)));
    }
    bdrv_co_put_nodes(nodes);
    return list;
}

BlockInfoList *coroutine_fn qmp_query_block(Error **errp)
{
    return NULL;
}

static BlockStats *node_stats(BlockDriverState *bs)
{
    BlockStats *s = g_new0(BlockStats, 1);

    s->node_name = g_strdup(bs->node_name);
    s->stats = g_new0(BlockDeviceStats, 1);
    s->stats->wr_highest_offset = bdrv_get_wr_highest_offset(bs);
    s->stats->timed_stats = g_new0(BlockDeviceTimedStatsList, 1);
    if (bs->file) {
        s->parent = node_stats(bs->file->bs);
    }
    return s;
}

BlockStatsList *coroutine_fn qmp_query_blockstats(const QueryBlockstatsArg *arg, Error **errp)
{
    BlockStatsList *list = NULL;

    if (arg->has_query_nodes && arg->query_nodes) {
        GPtrArray *nodes = bdrv_get_nodes();

        for (guint i = 0; i < nodes->len; i++) {
            QAPI_LIST_APPEND(list, node_stats(g_ptr_array_index(nodes, i)));
        }
        bdrv_co_put_nodes(nodes);
    }
    return list;
}

static BlockPermissionList *permission_list(uint64_t perm)
{
    static const uint64_t bits[BLOCK_PERMISSION__MAX] = {
        [BLOCK_PERMISSION_CONSISTENT_READ] = BLK_PERM_CONSISTENT_READ,
        [BLOCK_PERMISSION_WRITE] = BLK_PERM_WRITE,
        [BLOCK_PERMISSION_WRITE_UNCHANGED] = BLK_PERM_WRITE_UNCHANGED,
        [BLOCK_PERMISSION_RESIZE] = BLK_PERM_RESIZE,
    };
    BlockPermissionList *list = g_new0(BlockPermissionList, 1);

    for (int i = 0; i < BLOCK_PERMISSION__MAX; i++) {
        if (perm & bits[i]) {
            QAPI_LIST_APPEND(list, (BlockPermission)i);
        }
    }
    return list;
}

/* The number of the vertex @key (a node or a BlockBackend), which becomes part of the graph. */
static uint64_t add_vertex(XDbgBlockGraph *graph, GHashTable *ids, const void *key, XDbgBlockGraphNodeType type,
                           const char *name)
{
    gpointer id = g_hash_table_lookup(ids, key);

    if (!id) {
        XDbgBlockGraphNode *node = g_new0(XDbgBlockGraphNode, 1);

        id = GINT_TO_POINTER(g_hash_table_size(ids) + 1);
        g_hash_table_insert(ids, (gpointer)key, id);
        *node = (XDbgBlockGraphNode){ .id = GPOINTER_TO_INT(id), .type = type, .name = g_strdup(name) };
        QAPI_LIST_APPEND(graph->nodes, node);
    }
    return GPOINTER_TO_INT(id);
}

static void add_edges_to(XDbgBlockGraph *graph, GHashTable *ids, const BlockDriverState *bs)
{
    uint64_t id = add_vertex(graph, ids, bs, XDBG_BLOCK_GRAPH_NODE_TYPE_BLOCK_DRIVER, bs->node_name);

    for (guint i = 0; i < bs->parents->len; i++) {
        const BdrvChild *c = g_ptr_array_index(bs->parents, i);
        XDbgBlockGraphEdge *edge = g_new0(XDbgBlockGraphEdge, 1);

        BlockDriverState *parent = bdrv_child_parent(c);
        g_autofree char *user = parent ? NULL : c->klass->describe(c);

        edge->parent = parent ? add_vertex(graph, ids, parent, XDBG_BLOCK_GRAPH_NODE_TYPE_BLOCK_DRIVER,
                                           parent->node_name)
                              : add_vertex(graph, ids, c->opaque, XDBG_BLOCK_GRAPH_NODE_TYPE_BLOCK_BACKEND, user);
        edge->child = id;
        edge->name = g_strdup(c->name);
        edge->perm = permission_list(c->perm);
        edge->shared_perm = permission_list(c->shared_perm);
        QAPI_LIST_APPEND(graph->edges, edge);
    }
}

XDbgBlockGraph *coroutine_fn qmp_x_debug_query_block_graph(Error **errp)
{
    XDbgBlockGraph *graph = g_new0(XDbgBlockGraph, 1);
    g_autoptr(GHashTable) ids = g_hash_table_new(NULL, NULL);
    GPtrArray *nodes = bdrv_get_nodes();

    graph->nodes = g_new0(XDbgBlockGraphNodeList, 1);
    graph->edges = g_new0(XDbgBlockGraphEdgeList, 1);
    for (guint i = 0; i < nodes->len; i++) {
        add_edges_to(graph, ids, g_ptr_array_index(nodes, i));
    }
    bdrv_co_put_nodes(nodes);
    return graph;
}
