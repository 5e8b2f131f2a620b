/*
 * NBD exports: names, and flags for clients
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "block/export/nbd/nbd-int.h"
#include "block/nbd.h"

NBDExport *nbd_export_next(NBDExport *exp)
{
    BlockExport *next = blk_exp_next(exp ? &exp->common : NULL);

    while (next && (next->drv != &blk_exp_nbd || !((NBDExport *)next)->listed)) {
        next = blk_exp_next(next);
    }
    return (NBDExport *)next;
}

NBDExport *nbd_export_find(const char *name)
{
    for (NBDExport *exp = nbd_export_next(NULL); exp; exp = nbd_export_next(exp)) {
        if (g_str_equal(exp->name, name)) {
            return exp;
        }
    }
    return NULL;
}

uint16_t nbd_export_flags(const NBDExport *exp, const NBDClient *client)
{
    uint16_t flags = NBD_FLAG_HAS_FLAGS | NBD_FLAG_SEND_FLUSH | NBD_FLAG_SEND_FUA | NBD_FLAG_SEND_CACHE;

    if (exp->common.writable) {
        flags |= NBD_FLAG_SEND_TRIM | NBD_FLAG_SEND_WRITE_ZEROES | NBD_FLAG_SEND_FAST_ZERO;
    } else {
        flags |= NBD_FLAG_READ_ONLY;
    }
    if (client->structured) {
        flags |= NBD_FLAG_SEND_DF;
    }
    /* Safe, because all clients share one node: a flush of one covers the writes of all. */
    if (nbd_server_max_connections() != 1) {
        flags |= NBD_FLAG_CAN_MULTI_CONN;
    }
    return flags;
}

static uint64_t last_serial;

static bool nbd_export_check_string(const char *what, const char *str, Error **errp)
{
    if (str && strlen(str) > NBD_MAX_STRING) {
        error_setg(errp, "The export's %s has %zu bytes, but NBD allows %d", what, strlen(str), NBD_MAX_STRING);
        return false;
    }
    return true;
}

static bool coroutine_fn nbd_export_create(BlockExport *common, const BlockExportOptions *options, Error **errp)
{
    NBDExport *exp = container_of(common, NBDExport, common);
    const BlockExportOptionsNbd *nbd = &options->u.nbd;
    const char *name = nbd->name ?: options->node_name;

    if (!nbd_server_is_running()) {
        error_setg(errp, "The NBD server is not running");
        return false;
    }
    if (!nbd_export_check_string("name", name, errp) ||
        !nbd_export_check_string("description", nbd->description, errp)) {
        return false;
    }
    if (nbd_export_find(name)) {
        error_setg(errp, "The NBD server has an export named '%s' already", name);
        return false;
    }
    if (!nbd_export_take_bitmaps(exp, nbd->bitmaps, errp)) {
        return false;
    }
    exp->serial = ++last_serial;
    exp->name = g_strdup(name);
    exp->description = g_strdup(nbd->description);
    exp->allocation_depth = nbd->has_allocation_depth && nbd->allocation_depth;
    exp->listed = true;
    return true;
}

static void nbd_export_request_shutdown(BlockExport *common)
{
    NBDExport *exp = container_of(common, NBDExport, common);

    exp->listed = false;
    nbd_server_disconnect(exp);
}

static void coroutine_fn nbd_export_free(BlockExport *common)
{
    NBDExport *exp = container_of(common, NBDExport, common);

    nbd_export_release_bitmaps(exp);
    g_free(exp->name);
    g_free(exp->description);
}

const BlockExportDriver blk_exp_nbd = {
    .type = BLOCK_EXPORT_TYPE_NBD,
    .instance_size = sizeof(NBDExport),
    .create = nbd_export_create,
    .request_shutdown = nbd_export_request_shutdown,
    .free = nbd_export_free,
};
