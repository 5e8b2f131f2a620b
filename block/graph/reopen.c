/*
 * Reopening: other options for nodes that are in use, for all of them or for none
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include <json.h>

#include "block/graph/graph_int.h"
#include "qapi/json.h"
#include "qapi/qapi.h"

/* One node, with what it was before. */
typedef struct Reopen {
    BlockDriverState *bs;
    bool prepared;              /* the driver has prepared itself */
    BlockdevOptions *options;
    bool read_only;
    bool force_share;
    bool discard_unmap;
    bool no_flush;
    BlockdevDetectZeroesOptions detect_zeroes;
} Reopen;

/* Options that may change, whatever the driver. */
static const char *const changeable[] = {
    "active", "read-only", "auto-read-only", "force-share", "cache", "discard", "detect-zeroes", NULL,
};

static bool may_change(const BlockDriverState *bs, const char *key)
{
    return g_strv_contains(changeable, key) ||
           (bs->drv->mutable_opts && g_strv_contains(bs->drv->mutable_opts, key));
}

/* Whether @value of option @key stands for the child that @bs has. */
static bool is_child_name(const BlockDriverState *bs, const char *key, struct json_object *value)
{
    for (guint i = 0; json_object_is_type(value, json_type_string) && i < bs->children->len; i++) {
        const BdrvChild *c = g_ptr_array_index(bs->children, i);

        if (g_str_equal(c->name, key)) {
            return g_str_equal(c->bs->node_name, json_object_get_string(value));
        }
    }
    return false;
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
            error_setg(errp, "Node '%s': cannot change the option '%s'", bs->node_name, key);
            return false;
        }
    }
    return true;
}

static bool check_options(const BlockDriverState *bs, const BlockdevOptions *options, Error **errp)
{
    g_autoptr(json_object) old = QAPI_TO_JSON(BlockdevOptions, bs->options);
    g_autoptr(json_object) new = QAPI_TO_JSON(BlockdevOptions, options);

    return check_unchanged(bs, new, old, new, errp) && check_unchanged(bs, old, old, new, errp);
}

static void save(Reopen *r, BlockDriverState *bs)
{
    *r = (Reopen){
        .bs = bs, .options = bs->options, .read_only = bs->read_only, .force_share = bs->force_share,
        .discard_unmap = bs->discard_unmap, .no_flush = bs->no_flush, .detect_zeroes = bs->detect_zeroes,
    };
}

static void restore(Reopen *r)
{
    BlockDriverState *bs = r->bs;

    qapi_free_BlockdevOptions(bs->options);
    bs->options = r->options;
    bs->read_only = r->read_only;
    bs->force_share = r->force_share;
    bs->discard_unmap = r->discard_unmap;
    bs->no_flush = r->no_flush;
    bs->detect_zeroes = r->detect_zeroes;
}

static bool wants_direct(const BlockdevOptions *o)
{
    return o->cache && o->cache->has_direct && o->cache->direct;
}

/* Give the node its new options, and let the driver prepare for them. */
static bool coroutine_fn prepare(Reopen *r, const BlockdevOptions *options, Error **errp)
{
    BlockDriverState *bs = r->bs;

    bs->options = QAPI_CLONE(BlockdevOptions, options);
    bool inactive = bs->inactive;
    bool ok = bdrv_take_common_options(bs, errp);
    bs->inactive = inactive;
    if (!ok) {
        return false;
    }
    if (bs->drv->bdrv_co_reopen_prepare) {
        r->prepared = bs->drv->bdrv_co_reopen_prepare(bs, errp);
        return r->prepared;
    }
    if (bs->drv->is_protocol &&
        (bs->read_only != r->read_only || wants_direct(bs->options) != wants_direct(r->options))) {
        error_setg(errp, "Node '%s': driver '%s' cannot change '%s' of a node that is open", bs->node_name,
                   bs->drv->format_name, bs->read_only != r->read_only ? "read-only" : "cache.direct");
        return false;
    }
    return true;
}

static void coroutine_fn roll_back(GArray *reopens)
{
    for (guint i = reopens->len; i > 0; i--) {
        Reopen *r = &g_array_index(reopens, Reopen, i - 1);

        restore(r);
    }
    /* What was granted before can be granted again. */
    for (guint i = 0; i < reopens->len; i++) {
        Reopen *r = &g_array_index(reopens, Reopen, i);

        bdrv_refresh_perms(r->bs, NULL);
        if (r->prepared) {
            r->bs->drv->bdrv_co_reopen_abort(r->bs);
        }
    }
}

/* Length and limits of those above follow from those below. */
static void coroutine_fn refresh_up(BlockDriverState *bs)
{
    bdrv_co_refresh(bs, NULL);
    for (guint i = 0; i < bs->parents->len; i++) {
        BdrvChild *c = g_ptr_array_index(bs->parents, i);

        if (c->parent) {
            refresh_up(c->parent);
        }
    }
}

static void coroutine_fn commit(GArray *reopens)
{
    for (guint i = 0; i < reopens->len; i++) {
        Reopen *r = &g_array_index(reopens, Reopen, i);

        if (r->prepared) {
            r->bs->drv->bdrv_co_reopen_commit(r->bs);
        }
        qapi_free_BlockdevOptions(r->options);
    }
    for (guint i = 0; i < reopens->len; i++) {
        refresh_up(g_array_index(reopens, Reopen, i).bs);
    }
}

/* With everything drained: change all nodes, or none. */
static bool coroutine_fn reopen_all(GArray *reopens, const BlockdevOptionsList *options, Error **errp)
{
    for (guint i = 0; i < options->n; i++) {
        Reopen r;

        save(&r, bdrv_find_node(options->items[i]->node_name));
        bool ok = prepare(&r, options->items[i], errp);
        g_array_append_val(reopens, r);
        if (!ok) {
            return false;
        }
    }
    for (guint i = 0; i < reopens->len; i++) {
        BlockDriverState *bs = g_array_index(reopens, Reopen, i).bs;

        if (bs->file) {
            bdrv_take_auto_read_only(bs, bs->file->bs);
        }
        if (!bdrv_refresh_perms(bs, errp)) {
            return false;
        }
    }
    return true;
}

/* Check what can be checked before anything stops. */
static bool check_all(const BlockdevOptionsList *options, Error **errp)
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

/* Flushes of a node that is read-only from then on would do nothing. */
static bool coroutine_fn flush_all(GPtrArray *nodes, Error **errp)
{
    for (guint i = 0; i < nodes->len; i++) {
        BlockDriverState *bs = g_ptr_array_index(nodes, i);
        int ret = bdrv_co_flush(bs);

        if (ret < 0) {
            error_setg_errno(errp, -ret, "Node '%s': could not flush", bs->node_name);
            return false;
        }
    }
    return true;
}

bool coroutine_fn bdrv_co_reopen(const BlockdevOptionsList *options, Error **errp)
{
    g_autoptr(GArray) reopens = g_array_new(FALSE, FALSE, sizeof(Reopen));

    if (!check_all(options, errp)) {
        return false;
    }
    g_autoptr(GPtrArray) nodes = g_ptr_array_new();
    for (size_t i = 0; i < options->n; i++) {
        g_ptr_array_add(nodes, bdrv_ref(bdrv_find_node(options->items[i]->node_name)));
    }
    for (guint i = 0; i < nodes->len; i++) {
        bdrv_co_drained_begin(g_ptr_array_index(nodes, i));
    }
    bool ok = flush_all(nodes, errp) && reopen_all(reopens, options, errp);
    if (ok) {
        commit(reopens);
    } else {
        roll_back(reopens);
    }
    for (guint i = nodes->len; i > 0; i--) {
        BlockDriverState *bs = g_ptr_array_index(nodes, i - 1);

        bdrv_co_drained_end(bs);
        bdrv_co_unref(bs);
    }
    return ok;
}
