/*
 * Querying the whole graph: nodes, their users, and the edges between them
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "block/block_int.h"
#include "qapi/qapi.h"

static BlockPermissionList *permission_list(uint64_t perm)
{
    BlockPermissionList *list = g_new0(BlockPermissionList, 1);

    for (int i = 0; i < BLOCK_PERMISSION__MAX; i++) {
        if (perm & bdrv_qapi_perm_to_blk_perm(i)) {
            QAPI_LIST_APPEND(list, (BlockPermission)i);
        }
    }
    return list;
}

/* The number of the vertex @key (a node or a BlockBackend), which is added to @graph. */
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

XDbgBlockGraph *coroutine_fn bdrv_co_get_xdbg_block_graph(void)
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
