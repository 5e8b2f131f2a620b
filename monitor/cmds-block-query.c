/*
 * Commands that query the nodes of the block graph
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "block/block-backend.h"
#include "qapi/qapi-commands.h"

BlockDeviceInfoList *coroutine_fn qmp_query_named_block_nodes(const QueryNamedBlockNodesArg *arg, Error **errp)
{
    BlockDeviceInfoList *list = NULL;
    GPtrArray *nodes = bdrv_get_nodes();

    for (guint i = 0; i < nodes->len; i++) {
        QAPI_LIST_APPEND(list, bdrv_block_device_info(g_ptr_array_index(nodes, i)));
    }
    bdrv_co_put_nodes(nodes);
    return list;
}

BlockInfoList *coroutine_fn qmp_query_block(Error **errp)
{
    return NULL;
}

BlockStatsList *coroutine_fn qmp_query_blockstats(const QueryBlockstatsArg *arg, Error **errp)
{
    BlockStatsList *list = NULL;

    if (arg->has_query_nodes && arg->query_nodes) {
        GPtrArray *nodes = bdrv_get_nodes();

        for (guint i = 0; i < nodes->len; i++) {
            QAPI_LIST_APPEND(list, bdrv_query_bds_stats(g_ptr_array_index(nodes, i)));
        }
        bdrv_co_put_nodes(nodes);
    }
    return list;
}

XDbgBlockGraph *coroutine_fn qmp_x_debug_query_block_graph(Error **errp)
{
    return bdrv_co_get_xdbg_block_graph();
}
