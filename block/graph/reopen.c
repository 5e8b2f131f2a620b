/*
 * Reopening: change the options of nodes in use, of all of them or of none
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include <json-c/json.h>

#include "block/graph/graph_int.h"
#include "qapi/json.h"
#include "qapi/qapi.h"

/* Options that may change with any driver. */
static const char *const changeable[] = {
    "active", "read-only", "auto-read-only", "force-share", "cache", "discard", "detect-zeroes", NULL,
};

static bool may_change(const BlockDriverState *bs, const char *key)
{
    return g_strv_contains(changeable, key) ||
           (bs->drv->mutable_opts && g_strv_contains(bs->drv->mutable_opts, key));
}

/* The child that option @key of @bs names; NULL if there is none. */
static BdrvChild *find_child(const BlockDriverState *bs, const char *key)
{
    for (guint i = 0; i < bs->children->len; i++) {
        BdrvChild *c = g_ptr_array_index(bs->children, i);

        if (g_str_equal(c->name, key)) {
            return c;
        }
    }
    return NULL;
}

/* A filter's child and a backing file may be replaced. */
static bool may_replace_child(const BdrvChild *child)
{
    return child->role & (BDRV_CHILD_FILTERED | BDRV_CHILD_COW);
}

/* Whether @value names the child @key, or a node that may replace it. */
static bool is_child_name(const BlockDriverState *bs, const char *key, struct json_object *value)
{
    const BdrvChild *c = find_child(bs, key);

    return c && json_object_is_type(value, json_type_string) &&
           (may_replace_child(c) || g_str_equal(c->bs->node_name, json_object_get_string(value)));
}

/* Each option in @keys_of is the same in @old and @new, or may change. */
static bool check_unchanged(const BlockDriverState *bs, struct json_object *keys_of, struct json_object *old,
                            struct json_object *new, Error **errp)
{
    json_object_object_foreach(keys_of, key, unused) {
        struct json_object *old_value = NULL, *new_value = NULL;

        (void)unused;
        json_object_object_get_ex(old, key, &old_value);
        json_object_object_get_ex(new, key, &new_value);
        if (!may_change(bs, key) && !json_object_equal(old_value, new_value) && !is_child_name(bs, key, new_value)) {
            error_setg(errp, "Node '%s': cannot change the option '%s'", bdrv_get_display_name(bs), key);
            return false;
        }
    }
    return true;
}

static bool check_options(const BlockDriverState *bs, const BlockdevOptions *options, Error **errp)
{
    g_autoptr(json_object) old = QAPI_TO_JSON(BlockdevOptions, bs->options);
    g_autoptr(json_object) new = QAPI_TO_JSON(BlockdevOptions, options);

    if (bs->drv->is_internal) {
        error_setg(errp, "Node '%s' belongs to a job and cannot be reopened", bdrv_get_display_name(bs));
        return false;
    }
    return check_unchanged(bs, new, old, new, errp) && check_unchanged(bs, old, old, new, errp);
}

static bool wants_direct(const BlockdevOptions *o)
{
    return o->cache && o->cache->has_direct && o->cache->direct;
}

static bool has_read_only(const BlockdevOptions *o)
{
    return o->has_read_only && o->read_only;
}

static void reopen_free(gpointer opaque)
{
    BDRVReopenState *r = opaque;

    /* The old options, once committed. */
    qapi_free_BlockdevOptions(r->options);
    g_free(r);
}

/* Let each driver prepare for the new options. The nodes themselves stay unchanged. */
static bool coroutine_fn prepare_drivers(GPtrArray *reopens, Error **errp)
{
    for (guint i = 0; i < reopens->len; i++) {
        BDRVReopenState *r = g_ptr_array_index(reopens, i);
        BlockDriverState *bs = r->bs;

        if (bs->drv->bdrv_co_reopen_prepare) {
            if (!bdrv_driver_reopen_prepare(r, errp)) {
                return false;
            }
        } else if (bs->drv->is_protocol &&
                   (bs->read_only != r->read_only || wants_direct(bs->options) != wants_direct(r->options))) {
            error_setg(errp, "Node '%s': driver '%s' cannot change '%s' of a node that is open",
                       bdrv_get_display_name(bs),
                       bs->drv->format_name, bs->read_only != r->read_only ? "read-only" : "cache.direct");
            return false;
        }
    }
    return true;
}

/* A node with new options, and its old state. */
typedef struct SetOptions {
    BDRVReopenState *r;
    BlockDriverState saved;
} SetOptions;

static void swap_options(BDRVReopenState *r)
{
    BlockdevOptions *options = r->bs->options;

    r->bs->options = r->options;
    r->options = options;
}

static void set_options_abort(void *opaque)
{
    SetOptions *s = opaque;
    BlockDriverState *bs = s->r->bs;

    swap_options(s->r);
    bs->read_only = s->saved.read_only;
    bs->force_share = s->saved.force_share;
    bs->discard_unmap = s->saved.discard_unmap;
    bs->no_flush = s->saved.no_flush;
    bs->detect_zeroes = s->saved.detect_zeroes;
}

static bool set_options_tran(BDRVReopenState *r, Transaction *tran, Error **errp)
{
    static const TransactionActionDrv drv = { .abort = set_options_abort, .clean = g_free };
    SetOptions *s = g_new(SetOptions, 1);
    BlockDriverState *bs = r->bs;
    bool inactive = bs->inactive;

    *s = (SetOptions){ .r = r, .saved = *bs };
    swap_options(r);
    tran_add(tran, &drv, s);
    bool ok = bdrv_take_common_options(bs, errp);
    bs->read_only = r->read_only;
    bs->inactive = inactive;
    return ok;
}

/* Replace children by the nodes that the options name. */
static bool replace_children_tran(const BDRVReopenState *r, Transaction *tran, Error **errp)
{
    g_autoptr(json_object) options = QAPI_TO_JSON(BlockdevOptions, r->bs->options);
    g_autoptr(GPtrArray) children = g_ptr_array_copy(r->bs->children, NULL, NULL);

    for (guint i = 0; i < children->len; i++) {
        BdrvChild *c = g_ptr_array_index(children, i);
        struct json_object *value;

        if (!json_object_object_get_ex(options, c->name, &value) || !json_object_is_type(value, json_type_string) ||
            g_str_equal(json_object_get_string(value), c->bs->node_name)) {
            continue;
        }
        BlockDriverState *bs = bdrv_find_node(json_object_get_string(value));
        if (!bs) {
            error_set(errp, ERROR_CLASS_DEVICE_NOT_FOUND, "Cannot find device='' nor node-name='%s'",
                      json_object_get_string(value));
            return false;
        }
        if (!bdrv_check_new_edge(r->bs, c->name, bs, errp)) {
            return false;
        }
        bdrv_replace_child_tran(c, bs, tran);
    }
    return true;
}

static void add_children(GPtrArray *nodes, const BlockDriverState *bs)
{
    for (guint i = 0; i < bs->children->len; i++) {
        g_ptr_array_add(nodes, ((BdrvChild *)g_ptr_array_index(bs->children, i))->bs);
    }
}

/* Give all nodes their new options and children, or none of them. */
static bool reopen_change_all(GPtrArray *reopens, Error **errp)
{
    g_autoptr(GPtrArray) nodes = g_ptr_array_new();
    Transaction *tran = tran_new();
    bool ok = true;

    bdrv_graph_lock();
    for (guint i = 0; ok && i < reopens->len; i++) {
        BDRVReopenState *r = g_ptr_array_index(reopens, i);

        g_ptr_array_add(nodes, r->bs);
        add_children(nodes, r->bs);
        ok = set_options_tran(r, tran, errp) && replace_children_tran(r, tran, errp);
        add_children(nodes, r->bs);
    }
    for (guint i = 0; ok && i < reopens->len; i++) {
        BlockDriverState *bs = ((BDRVReopenState *)g_ptr_array_index(reopens, i))->bs;

        if (bs->file) {
            bdrv_take_auto_read_only(bs, bs->file->bs);
        }
    }
    ok = ok && bdrv_refresh_perms_list(nodes, tran, errp);
    tran_finalize(tran, ok);
    bdrv_graph_unlock();
    return ok;
}

/* With all nodes drained. */
static bool coroutine_fn reopen_drained(GPtrArray *reopens, Error **errp)
{
    bool ok = prepare_drivers(reopens, errp) && reopen_change_all(reopens, errp);

    for (guint i = 0; i < reopens->len; i++) {
        bdrv_driver_reopen_end(g_ptr_array_index(reopens, i), ok);
    }
    for (guint i = 0; ok && i < reopens->len; i++) {
        BlockDriverState *bs = ((BDRVReopenState *)g_ptr_array_index(reopens, i))->bs;

        bdrv_co_refresh(bs, NULL);
        bdrv_co_resized(bs);
    }
    return ok;
}

/* Checks that need no drained section. */
static bool reopen_check_all(const BlockdevOptionsList *options, Error **errp)
{
    for (size_t i = 0; i < options->n; i++) {
        const BlockdevOptions *o = options->items[i];
        BlockDriverState *bs;

        if (!o->node_name) {
            error_setg(errp, "node-name not specified");
            return false;
        }
        bs = bdrv_find_node(o->node_name);
        if (!bs) {
            error_setg(errp, "Failed to find node with node-name='%s'", o->node_name);
            return false;
        }
        for (size_t j = 0; j < i; j++) {
            if (g_str_equal(options->items[j]->node_name, o->node_name)) {
                error_setg(errp, "Node '%s' is named twice", o->node_name);
                return false;
            }
        }
        if (!check_options(bs, o, errp)) {
            return false;
        }
    }
    return true;
}

bool coroutine_fn bdrv_co_flush_all(GPtrArray *nodes, Error **errp)
{
    bool ok = true;

    for (guint i = 0; i < nodes->len; i++) {
        BlockDriverState *bs = g_ptr_array_index(nodes, i);
        int ret = bdrv_co_flush(bs);

        if (ret < 0 && ok) {
            error_setg_errno(errp, -ret, "Node '%s': could not flush", bdrv_get_display_name(bs));
            ok = false;
        }
    }
    return ok;
}

/* Nodes known to have lost data. Reopening recovers them, so their flush may fail. */
static GPtrArray *find_lost(GPtrArray *nodes)
{
    GPtrArray *lost = g_ptr_array_new();

    for (guint i = 0; i < nodes->len; i++) {
        if (bdrv_get_flush_error(g_ptr_array_index(nodes, i))) {
            g_ptr_array_add(lost, g_ptr_array_index(nodes, i));
        }
    }
    return lost;
}

static BDRVReopenState *reopen_new(const BlockdevOptions *options)
{
    BDRVReopenState *r = g_new0(BDRVReopenState, 1);

    r->bs = bdrv_find_node(options->node_name);
    r->options = QAPI_CLONE(BlockdevOptions, options);
    r->read_only = has_read_only(options);
    return r;
}

bool coroutine_fn bdrv_co_reopen(const BlockdevOptionsList *options, Error **errp)
{
    g_autoptr(GPtrArray) reopens = g_ptr_array_new_with_free_func(reopen_free);
    g_autoptr(GPtrArray) nodes = g_ptr_array_new();

    if (!reopen_check_all(options, errp)) {
        return false;
    }
    for (size_t i = 0; i < options->n; i++) {
        BDRVReopenState *r = reopen_new(options->items[i]);

        g_ptr_array_add(reopens, r);
        g_ptr_array_add(nodes, r->bs);
    }
    g_autoptr(GPtrArray) claimed = bdrv_nodes_below(nodes);
    bdrv_co_claim(claimed);
    for (guint i = 0; i < nodes->len; i++) {
        bdrv_co_drained_begin(g_ptr_array_index(nodes, i));
    }
    g_autoptr(GPtrArray) lost = find_lost(nodes);
    /*
     * Check again: another operation may have changed these nodes while we waited. Flush first: flushing a node that is
     * read-only would do nothing.
     */
    bool ok = reopen_check_all(options, errp) && (bdrv_co_flush_all(nodes, lost->len ? NULL : errp) || lost->len) &&
              reopen_drained(reopens, errp);
    for (guint i = 0; ok && i < lost->len; i++) {
        bdrv_clear_flush_error(g_ptr_array_index(lost, i));
    }
    for (guint i = 0; i < nodes->len; i++) {
        bdrv_co_drained_end(g_ptr_array_index(nodes, i));
    }
    bdrv_co_release(claimed);
    return ok;
}
