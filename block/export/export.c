/*
 * BlockExport: the list of exports, creation and deletion
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "block/block_int.h"
#include "block/export.h"
#include "block/export/export-int.h"
#include "block/iothread-object.h"
#include "qapi/qapi-events.h"
#include "util/id.h"

static const BlockExportDriver *const drivers[] = {
    &blk_exp_nbd,
};

static GPtrArray *exports;              /* of BlockExport, in the order of creation */
static CoQueue gone = { .last = &gone.first };      /* waits for exports to be deleted */

static const BlockExportDriver *export_find_driver(BlockExportType type)
{
    for (size_t i = 0; i < G_N_ELEMENTS(drivers); i++) {
        if (drivers[i]->type == type) {
            return drivers[i];
        }
    }
    return NULL;
}

BlockExport *blk_exp_next(BlockExport *exp)
{
    guint i = 0;

    if (exp) {
        bool found = g_ptr_array_find(exports, exp, &i);
        assert(found);
        i++;
    }
    return exports && i < exports->len ? g_ptr_array_index(exports, i) : NULL;
}

BlockExport *blk_exp_find(const char *id)
{
    for (BlockExport *exp = blk_exp_next(NULL); exp; exp = blk_exp_next(exp)) {
        if (g_str_equal(exp->id, id)) {
            return exp;
        }
    }
    return NULL;
}

static bool export_id_is_free(const char *id, Error **errp)
{
    if (blk_exp_find(id)) {
        error_setg(errp, "There is an export with id '%s' already", id);
        return false;
    }
    return true;
}

/* Set up the node and its BlockBackend; false with @errp. */
static bool coroutine_fn export_take_node(BlockExport *exp, const BlockExportOptions *options, Error **errp)
{
    BlockDriverState *bs = bdrv_find_node(options->node_name);
    g_autofree char *user = g_strdup_printf("export '%s'", exp->id);

    if (!bs) {
        error_setg(errp, "There is no node named '%s'", options->node_name);
        return false;
    }
    if (exp->writable && bs->read_only) {
        error_setg(errp, "Node '%s' is read-only, so export '%s' cannot be writable", options->node_name,
                   exp->id);
        return false;
    }
    exp->blk = blk_new(user, BLK_PERM_CONSISTENT_READ | (exp->writable ? BLK_PERM_WRITE : 0), BLK_PERM_ALL);
    bdrv_ref(bs);
    g_autoptr(GPtrArray) nodes = g_ptr_array_new();

    g_ptr_array_add(nodes, bs);
    blk_set_follow(exp->blk);
    bool ok = ((options->has_allow_inactive && options->allow_inactive) || bdrv_co_set_active(nodes, true, errp)) &&
              blk_insert_bs(exp->blk, bs, errp);
    if (ok && !exp->iothread && bs->iothread) {
        exp->iothread = iothread_ref(bs->iothread);
    }
    bdrv_co_unref(bs);
    return ok;
}

static void coroutine_fn exp_free(BlockExport *exp)
{
    blk_co_unref(exp->blk);
    iothread_unref(exp->iothread);
    g_free(exp->id);
    g_free(exp);
}

BlockExport *coroutine_fn blk_exp_add(const BlockExportOptions *options, Error **errp)
{
    ERRP_GUARD();
    const BlockExportDriver *drv = export_find_driver(options->type);
    BlockExport *exp;

    if (!id_wellformed(options->id)) {
        error_setg(errp, "'%s' is not a valid export id", options->id);
        error_append_hint(errp, "An id begins with a letter, followed by letters, digits, '-', '.' and '_'.\n");
        return NULL;
    }
    if (!export_id_is_free(options->id, errp)) {
        return NULL;
    }
    if (!drv) {
        error_setg(errp, "Export '%s': there are no exports of type '%s'", options->id,
                   BlockExportType_str(options->type));
        return NULL;
    }

    exp = g_malloc0(drv->instance_size);
    exp->drv = drv;
    exp->id = g_strdup(options->id);
    exp->refcnt = 1;
    exp->user_owned = true;
    exp->writable = options->has_writable && options->writable;
    exp->writethrough = options->has_writethrough && options->writethrough;
    exp->fixed_iothread = options->has_fixed_iothread && options->fixed_iothread;
    if (options->iothread) {
        exp->iothread = iothread_lookup(options->iothread, errp);
        if (!exp->iothread) {
            exp_free(exp);
            return NULL;
        }
    }
    /* Activating a node takes time, in which others may take the id. */
    if (!export_take_node(exp, options, errp) || !export_id_is_free(options->id, errp) ||
        !drv->create(exp, options, errp)) {
        exp_free(exp);
        return NULL;
    }
    if (!exports) {
        exports = g_ptr_array_new();
    }
    g_ptr_array_add(exports, exp);
    return exp;
}

void blk_exp_ref(BlockExport *exp)
{
    assert(exp->refcnt > 0);
    exp->refcnt++;
}

typedef struct IoError {
    BlockExport *exp;
    bool is_write;
    int ret;
} IoError;

static void export_send_io_error(void *opaque)
{
    g_autofree IoError *e = opaque;
    const BlockIoErrorArg event = {
        .qom_path = e->exp->id, .device = (char *)"", .node_name = blk_bs(e->exp->blk)->node_name,
        .operation = e->is_write ? IO_OPERATION_TYPE_WRITE : IO_OPERATION_TYPE_READ,
        .action = BLOCK_ERROR_ACTION_REPORT, .has_nospace = true, .nospace = e->ret == -ENOSPC,
        .reason = (char *)g_strerror(-e->ret),
    };

    qapi_event_send_block_io_error(&event);
}

void blk_exp_report_error(BlockExport *exp, bool is_write, int ret)
{
    IoError *e = g_new(IoError, 1);

    /* Only the main thread looks at the graph. The client's reference keeps the export until then. */
    *e = (IoError){ .exp = exp, .is_write = is_write, .ret = ret };
    aio_bh_schedule_oneshot(qemu_get_aio_context(), export_send_io_error, e);
}

static void coroutine_fn exp_co_delete(void *opaque)
{
    BlockExport *exp = opaque;
    g_autofree char *id = g_strdup(exp->id);

    exp->drv->free(exp);
    /* Wait until the node is free, so that a user that waits for the export can then delete the node. */
    blk_co_unref(g_steal_pointer(&exp->blk));
    g_ptr_array_remove(exports, exp);
    if (exports->len == 0) {
        g_clear_pointer(&exports, g_ptr_array_unref);
    }
    exp_free(exp);
    qapi_event_send_block_export_deleted(&(BlockExportDeletedArg){ .id = id });
    qemu_co_queue_restart_all(&gone);
}

void blk_exp_unref(BlockExport *exp)
{
    if (--exp->refcnt == 0) {
        aio_co_start(qemu_get_aio_context(), exp_co_delete, exp);
    }
}

void blk_exp_request_shutdown(BlockExport *exp)
{
    if (exp->user_owned) {
        exp->user_owned = false;
        exp->drv->request_shutdown(exp);
        if (exp->blk) {
            bdrv_cancel_in_flight(blk_bs(exp->blk));
        }
        blk_exp_unref(exp);
    }
}

bool blk_exp_del(const char *id, BlockExportRemoveMode mode, Error **errp)
{
    ERRP_GUARD();
    BlockExport *exp = blk_exp_find(id);

    if (!exp) {
        error_setg(errp, "There is no export with id '%s'", id);
        return false;
    }
    if (!exp->user_owned) {
        error_setg(errp, "Export '%s' is already shutting down", id);
        return false;
    }
    if (mode == BLOCK_EXPORT_REMOVE_MODE_SAFE && exp->refcnt > 1) {
        error_setg(errp, "Export '%s' is still in use", id);
        error_append_hint(errp, "Mode 'hard' disconnects its clients.\n");
        return false;
    }
    blk_exp_request_shutdown(exp);
    return true;
}

void coroutine_fn blk_exp_close_all_type(BlockExportType type)
{
    while (true) {
        bool any = false;

        for (BlockExport *exp = blk_exp_next(NULL); exp; exp = blk_exp_next(exp)) {
            if (exp->drv->type == type) {
                blk_exp_request_shutdown(exp);
                any = true;
            }
        }
        if (!any) {
            return;
        }
        qemu_co_queue_wait(&gone, NULL);
    }
}

void coroutine_fn blk_exp_close_all(void)
{
    for (size_t i = 0; i < G_N_ELEMENTS(drivers); i++) {
        blk_exp_close_all_type(drivers[i]->type);
    }
}

BlockExportInfo *blk_exp_query(const BlockExport *exp)
{
    BlockExportInfo *info = g_new0(BlockExportInfo, 1);

    info->id = g_strdup(exp->id);
    info->type = exp->drv->type;
    info->node_name = g_strdup(exp->blk ? blk_bs(exp->blk)->node_name : "");
    info->shutting_down = !exp->user_owned;
    return info;
}
