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

/* Threads cannot be tuned: a property may only state what is true anyway. */
static bool check_property(const char *id, const char *name, bool has, int64_t value, int64_t fact,
                           const char *why, Error **errp)
{
    if (has && value != fact) {
        error_setg(errp, "I/O thread '%s': '%s' can only be %" PRId64 ", since %s", id, name, fact, why);
        return false;
    }
    return true;
}

static bool check_properties(const char *id, const IothreadProperties *p, Error **errp)
{
    static const char polling[] = "its loop sleeps until there is something to do, and never polls";
    static const char workers[] = "all threads share one pool of 0 to 64 workers";

    return check_property(id, "poll-max-ns", p->has_poll_max_ns, p->poll_max_ns, 0, polling, errp) &&
           check_property(id, "poll-grow", p->has_poll_grow, p->poll_grow, 0, polling, errp) &&
           check_property(id, "poll-shrink", p->has_poll_shrink, p->poll_shrink, 0, polling, errp) &&
           check_property(id, "aio-max-batch", p->has_aio_max_batch, p->aio_max_batch, 0,
                          "'aio-max-batch' is an option of the file driver", errp) &&
           check_property(id, "thread-pool-min", p->has_thread_pool_min, p->thread_pool_min, 0, workers, errp) &&
           check_property(id, "thread-pool-max", p->has_thread_pool_max, p->thread_pool_max, 64, workers, errp);
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
    }
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

static const UserCreatableType iothread_type = {
    .type = OBJECT_TYPE_IOTHREAD,
    .create = iothread_create,
    .free = iothread_free,
    .used_by = iothread_used_by,
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
