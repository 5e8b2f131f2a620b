/*
 * I/O threads as objects, and who runs in them
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "block/export.h"
#include "block/graph/graph_int.h"
#include "block/iothread-object.h"
#include "crypto/object.h"

#define THREAD_POOL_MAX_DEFAULT 64

static bool check_property(const char *id, const char *name, int64_t value, Error **errp)
{
    if (value < 0) {
        error_setg(errp, "I/O thread '%s': %s value must be in range [0, %" PRId64 "]", id, name, INT64_MAX);
        return false;
    }
    return true;
}

/* What QEMU takes. Those that are not given are 0. */
static bool check_properties(const char *id, const IothreadProperties *p, Error **errp)
{
    int64_t pool_max = p->has_thread_pool_max ? p->thread_pool_max : THREAD_POOL_MAX_DEFAULT;

    if (!check_property(id, "poll-max-ns", p->poll_max_ns, errp) ||
        !check_property(id, "poll-grow", p->poll_grow, errp) ||
        !check_property(id, "poll-shrink", p->poll_shrink, errp) ||
        !check_property(id, "aio-max-batch", p->aio_max_batch, errp) ||
        !check_property(id, "thread-pool-min", p->thread_pool_min, errp)) {
        return false;
    }
    if (pool_max <= 0 || pool_max > INT_MAX || p->thread_pool_min > pool_max) {
        error_setg(errp, "I/O thread '%s': bad thread-pool-min/thread-pool-max values", id);
        return false;
    }
    return true;
}

static bool iothread_set(void *obj, const ObjectOptions *options, Error **errp)
{
    const IothreadProperties *p = &options->u.iothread;

    if (!check_properties(options->id, p, errp)) {
        return false;
    }
    aio_context_set_max_batch(iothread_get_aio_context(obj), MIN(p->aio_max_batch, INT_MAX));
    return true;
}

static void iothread_get(void *obj, ObjectOptions *options)
{
    IothreadProperties *p = &options->u.iothread;

    p->has_poll_max_ns = p->has_poll_grow = p->has_poll_shrink = true;
    p->has_aio_max_batch = p->has_thread_pool_min = true;
    if (!p->has_thread_pool_max) {
        p->has_thread_pool_max = true;
        p->thread_pool_max = THREAD_POOL_MAX_DEFAULT;
    }
}

static void *iothread_create(const ObjectOptions *options, Error **errp)
{
    ERRP_GUARD();
    g_autofree char *name = g_strconcat("IO ", options->id, NULL);

    if (!check_properties(options->id, &options->u.iothread, errp)) {
        return NULL;
    }
    IOThread *iothread = iothread_new(name, errp);
    if (!iothread) {
        error_prepend(errp, "I/O thread '%s': ", options->id);
        return NULL;
    }
    iothread_set(iothread, options, &error_abort);
    return iothread;
}

static void iothread_free(void *obj)
{
    iothread_unref(obj);
}

static char *iothread_used_by(void *obj)
{
    for (BlockExport *exp = blk_exp_next(NULL); exp; exp = blk_exp_next(exp)) {
        if (exp->iothread == obj) {
            return g_strdup_printf("export '%s'", exp->id);
        }
    }
    BlockDriverState *bs = bdrv_find_iothread_user(obj);
    if (bs) {
        return g_strdup_printf("node '%s'", bs->node_name);
    }
    return iothread_is_shared(obj) ? g_strdup("clients that are still connected") : NULL;
}

static const char *const writable[] = {
    "aio-max-batch", "poll-grow", "poll-max-ns", "poll-shrink", "thread-pool-max", "thread-pool-min", NULL
};

static const UserCreatableType iothread_type = {
    .type = OBJECT_TYPE_IOTHREAD,
    .create = iothread_create,
    .free = iothread_free,
    .used_by = iothread_used_by,
    .writable = writable,
    .set = iothread_set,
    .get = iothread_get,
};

void iothread_object_register(void)
{
    user_creatable_register(&iothread_type);
}

IOThread *iothread_lookup(const char *id, Error **errp)
{
    IOThread *iothread = user_creatable_lookup(id, OBJECT_TYPE_IOTHREAD, errp);

    return iothread ? iothread_ref(iothread) : NULL;
}

/* @bs and all nodes connected to it, up and down. */
static void collect_connected(GHashTable *nodes, BlockDriverState *bs)
{
    if (!g_hash_table_add(nodes, bs)) {
        return;
    }
    for (guint i = 0; i < bs->parents->len; i++) {
        BlockDriverState *parent = bdrv_child_parent(g_ptr_array_index(bs->parents, i));

        if (parent) {
            collect_connected(nodes, parent);
        }
    }
    for (guint i = 0; i < bs->children->len; i++) {
        const BdrvChild *c = g_ptr_array_index(bs->children, i);

        collect_connected(nodes, c->bs);
    }
}

/* May all of @nodes get @iothread? */
static bool check_exports(GHashTable *nodes, const IOThread *iothread, Error **errp)
{
    for (BlockExport *exp = blk_exp_next(NULL); exp; exp = blk_exp_next(exp)) {
        if (exp->fixed_iothread && exp->iothread != iothread && exp->blk &&
            g_hash_table_contains(nodes, blk_bs(exp->blk))) {
            error_setg(errp, "Cannot change the I/O thread of node '%s': export '%s' has fixed-iothread=on",
                       blk_bs(exp->blk)->node_name, exp->id);
            return false;
        }
    }
    return true;
}

static void change_ref(IOThread **to, IOThread *iothread)
{
    IOThread *old = *to;

    *to = iothread ? iothread_ref(iothread) : NULL;
    iothread_unref(old);
}

bool bdrv_set_iothread(BlockDriverState *bs, IOThread *iothread, bool force, Error **errp)
{
    g_autoptr(GHashTable) nodes = g_hash_table_new(NULL, NULL);
    GHashTableIter iter;
    gpointer node;

    for (guint i = 0; !force && i < bs->parents->len; i++) {
        const BdrvChild *c = g_ptr_array_index(bs->parents, i);

        if (!bdrv_child_parent(c)) {
            g_autofree char *user = c->klass->describe(c);

            error_setg(errp, "Node '%s' is in use by %s (use force=true to override this check)", bs->node_name, user);
            return false;
        }
    }
    collect_connected(nodes, bs);
    if (!check_exports(nodes, iothread, errp)) {
        return false;
    }
    g_hash_table_iter_init(&iter, nodes);
    while (g_hash_table_iter_next(&iter, &node, NULL)) {
        change_ref(&((BlockDriverState *)node)->iothread, iothread);
    }
    for (BlockExport *exp = blk_exp_next(NULL); exp; exp = blk_exp_next(exp)) {
        if (exp->blk && g_hash_table_contains(nodes, blk_bs(exp->blk))) {
            change_ref(&exp->iothread, iothread);
        }
    }
    return true;
}
