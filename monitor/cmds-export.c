/*
 * Commands for exports and the NBD server
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include "block/export.h"
#include "block/nbd.h"
#include "io/sockets.h"
#include "qapi/qapi-commands.h"

bool coroutine_fn qmp_nbd_server_start(const NbdServerOptionsLegacy *arg, Error **errp)
{
    g_autoptr(NbdServerOptions) options = g_new0(NbdServerOptions, 1);

    options->has_handshake_max_seconds = arg->has_handshake_max_seconds;
    options->handshake_max_seconds = arg->handshake_max_seconds;
    options->tls_creds = g_strdup(arg->tls_creds);
    options->tls_authz = g_strdup(arg->tls_authz);
    options->has_max_connections = arg->has_max_connections;
    options->max_connections = arg->max_connections;
    options->addr = socket_address_flatten(arg->addr);
    return nbd_server_start(options, errp);
}

static bool nbd_server_check_running(Error **errp)
{
    if (!nbd_server_is_running()) {
        error_setg(errp, "The NBD server is not running");
    }
    return nbd_server_is_running();
}

bool coroutine_fn qmp_nbd_server_stop(Error **errp)
{
    if (!nbd_server_check_running(errp)) {
        return false;
    }
    nbd_server_stop();
    return true;
}

bool coroutine_fn qmp_nbd_server_add(const NbdServerAddOptions *arg, Error **errp)
{
    g_autoptr(BlockExportOptions) options = g_new0(BlockExportOptions, 1);
    BlockDriverState *bs = bdrv_find_node(arg->device);

    options->type = BLOCK_EXPORT_TYPE_NBD;
    options->id = g_strdup(arg->name ?: arg->device);
    options->node_name = g_strdup(arg->device);
    options->has_writable = true;
    options->writable = arg->has_writable && arg->writable && bs && !bdrv_is_read_only(bs);
    options->u.nbd.name = g_strdup(arg->name);
    options->u.nbd.description = g_strdup(arg->description);
    if (arg->bitmap) {
        BlockDirtyBitmapOrStr *bitmap = g_new0(BlockDirtyBitmapOrStr, 1);

        bitmap->type = QTYPE_QSTRING;
        bitmap->u.local = g_strdup(arg->bitmap);
        QAPI_LIST_APPEND(options->u.nbd.bitmaps, bitmap);
    }
    return blk_exp_add(options, errp);
}

bool coroutine_fn qmp_nbd_server_remove(const NbdServerRemoveArg *arg, Error **errp)
{
    BlockExport *exp = blk_exp_find(arg->name);

    if (!nbd_server_check_running(errp)) {
        return false;
    }
    if (!exp || exp->drv->type != BLOCK_EXPORT_TYPE_NBD) {
        error_setg(errp, "There is no NBD export with id '%s'", arg->name);
        return false;
    }
    return blk_exp_del(arg->name, arg->has_mode ? arg->mode : BLOCK_EXPORT_REMOVE_MODE_SAFE, errp);
}

bool coroutine_fn qmp_block_export_add(const BlockExportOptions *arg, Error **errp)
{
    return blk_exp_add(arg, errp);
}

bool coroutine_fn qmp_block_export_del(const BlockExportDelArg *arg, Error **errp)
{
    return blk_exp_del(arg->id, arg->has_mode ? arg->mode : BLOCK_EXPORT_REMOVE_MODE_SAFE, errp);
}

BlockExportInfoList *coroutine_fn qmp_query_block_exports(Error **errp)
{
    BlockExportInfoList *list = NULL;

    for (BlockExport *exp = blk_exp_next(NULL); exp; exp = blk_exp_next(exp)) {
        QAPI_LIST_APPEND(list, blk_exp_query(exp));
    }
    return list;
}
