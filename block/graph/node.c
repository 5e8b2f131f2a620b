/*
 * Nodes: creating, finding, referencing, closing
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "block/dirty-bitmap.h"
#include "block/graph/graph_int.h"
#include "block/graph/node.h"
#include "qapi/qapi.h"
#include "util/id.h"

static GPtrArray *all_nodes;
/* Woken when a node is freed or opened, or only one reference to it is left. */
static CoQueue changed = { .last = &changed.first };

/* The node called @node_name, even while it opens or closes. */
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

bool bdrv_check_node_name(const char *node_name, Error **errp)
{
    GLOBAL_STATE_CODE();
    if (!id_wellformed(node_name) || strlen(node_name) > 31) {
        error_setg(errp, "Invalid node-name: '%s'", node_name);
        error_append_hint(errp, "A node name is up to 31 letters, digits, '-', '.' and '_', "
                          "a letter first.\n");
        return false;
    }
    if (find_any(node_name)) {
        error_setg(errp, "Duplicate nodes with node-name='%s'", node_name);
        return false;
    }
    return true;
}

BlockDriverState *bdrv_new(const char *node_name, Error **errp)
{
    static unsigned generated;

    GLOBAL_STATE_CODE();
    if (node_name && !bdrv_check_node_name(node_name, errp)) {
        return NULL;
    }

    BlockDriverState *bs = g_new0(BlockDriverState, 1);
    bs->node_name = node_name ? g_strdup(node_name) : g_strdup_printf("#block%03u", generated++);
    bs->children = g_ptr_array_new();
    bs->parents = g_ptr_array_new();
    bs->refcnt = 1;
    g_mutex_init(&bs->reqs_lock);
    g_mutex_init(&bs->dirty_bitmaps_lock);

    if (!all_nodes) {
        all_nodes = g_ptr_array_new();
    }
    g_ptr_array_add(all_nodes, bs);
    return bs;
}

void coroutine_fn bdrv_co_free(BlockDriverState *bs)
{
    /* A walk up from a child may have found it and taken a reference. */
    while (bs->refcnt > 1) {
        qemu_co_queue_wait(&changed, NULL);
    }
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
    bdrv_release_named_dirty_bitmaps(bs);
    g_mutex_clear(&bs->dirty_bitmaps_lock);
    qapi_free_BlockdevOptions(bs->options);
    iothread_unref(bs->iothread);
    g_free(bs->opaque);
    g_free(bs->node_name);
    g_free(bs->filename);
    g_free(bs);
    qemu_co_queue_restart_all(&changed);
}

BlockDriverState *bdrv_ref(BlockDriverState *bs)
{
    GLOBAL_STATE_CODE();
    bs->refcnt++;
    return bs;
}

static bool node_idle(void *opaque)
{
    BlockDriverState *bs = opaque;

    return g_atomic_int_get(&bs->in_flight) == 0;
}

static void coroutine_fn flush_before_close(BlockDriverState *bs)
{
    g_autoptr(GPtrArray) nodes = g_ptr_array_new();

    g_ptr_array_add(nodes, bs);
    g_autoptr(GPtrArray) below = bdrv_nodes_below(nodes);
    /* An operation may have drained nodes below. Operations that begin later wait for us. */
    bdrv_co_wait_unclaimed(below);
    bdrv_co_flush(bs);
}

void coroutine_fn bdrv_co_unref(BlockDriverState *bs)
{
    if (!bs) {
        return;
    }
    GLOBAL_STATE_CODE();
    if (--bs->refcnt > 0) {
        if (bs->refcnt == 1) {
            qemu_co_queue_restart_all(&changed);
        }
        return;
    }
    bs->refcnt = 1;
    bs->is_open = false;
    bs->is_closing = true;
    bdrv_quiesce(bs);
    bdrv_co_wait_idle(node_idle, bs);
    if (!bs->read_only) {
        flush_before_close(bs);
    }
    bdrv_driver_close(bs);
    bdrv_co_free(bs);
}

static void coroutine_fn unref_entry(void *opaque)
{
    bdrv_co_unref(opaque);
}

void bdrv_unref_later(BlockDriverState *bs)
{
    if (bs->refcnt > 1) {
        bdrv_co_unref(bs);      /* which does not wait */
    } else {
        aio_co_start(qemu_get_aio_context(), unref_entry, bs);
    }
}

bool coroutine_fn bdrv_co_wait_unshared(BlockDriverState *bs, Error **errp)
{
    while (bs->refcnt > 1 && bs->parents->len == 0 && bdrv_check_no_busy_bitmap(bs, NULL)) {
        qemu_co_queue_wait(&changed, NULL);
    }
    if (bs->parents->len == 0) {
        return bdrv_check_no_busy_bitmap(bs, errp);
    }
    const BdrvChild *c = g_ptr_array_index(bs->parents, 0);
    g_autofree char *user = c->klass->describe(c);

    if (bdrv_child_parent(c)) {
        error_setg(errp, "Node %s is in use: it is '%s' of %s", bdrv_get_display_name(bs), c->name, user);
    } else {
        error_setg(errp, "Node %s is in use by %s", bdrv_get_display_name(bs), user);
    }
    return false;
}

void bdrv_set_open(BlockDriverState *bs)
{
    bs->is_open = true;
    bs->opening_for = NULL;
    bs->opening_job = NULL;
    qemu_co_queue_restart_all(&changed);
}

bool coroutine_fn bdrv_co_cancel_open(const char *node_name)
{
    BlockDriverState *bs = find_any(node_name);

    GLOBAL_STATE_CODE();
    if (!bs || bs->is_open || bs->is_closing || bs->opening_for || bs->opening_job) {
        return false;
    }
    bs->open_cancelled = true;
    while (find_any(node_name) == bs && !bs->is_open) {
        qemu_co_queue_wait(&changed, NULL);
    }
    return find_any(node_name) != bs;
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

void bdrv_for_each_node(void (*fn)(BlockDriverState *bs))
{
    for (guint i = 0; all_nodes && i < all_nodes->len; i++) {
        BlockDriverState *bs = g_ptr_array_index(all_nodes, i);

        if (bs->is_open || bs->is_closing) {
            fn(bs);
        }
    }
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
    GLOBAL_STATE_CODE();
    while (bs->drv->is_filter) {
        bs = bs->file->bs;
    }
    return bs;
}

BlockDriverState *bdrv_get_child(const BlockDriverState *bs, const char *name)
{
    for (guint i = 0; i < bs->children->len; i++) {
        BdrvChild *child = g_ptr_array_index(bs->children, i);

        if (g_str_equal(child->name, name)) {
            return child->bs;
        }
    }
    return NULL;
}

const char *bdrv_get_node_name(const BlockDriverState *bs)
{
    return bs->node_name;
}

const char *bdrv_get_display_name(const BlockDriverState *bs)
{
    /* While a node is being opened, the file node below may already have its filename. */
    const char *filename = bs->filename ?: bs->file ? bs->file->bs->filename : NULL;

    /* No user gives a node such a name. */
    if (bs->node_name[0] != '#') {
        return bs->node_name;
    }
    return filename && *filename ? filename : bs->drv->format_name;
}

const char *bdrv_get_format_name(const BlockDriverState *bs)
{
    return bs->drv->format_name;
}

const BlockdevOptions *bdrv_get_options(const BlockDriverState *bs)
{
    return bs->options;
}

bool bdrv_is_read_only(const BlockDriverState *bs)
{
    return bs->read_only;
}

bool bdrv_is_encrypted(BlockDriverState *bs)
{
    return bs->drv->bdrv_is_encrypted && bs->drv->bdrv_is_encrypted(bs);
}

int64_t bdrv_getlength(const BlockDriverState *bs)
{
    return bs->length;
}
