/*
 * Permissions: what the users of a node do, and what they let others do
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "block/block-backend.h"
#include "block/graph/graph_int.h"

char *bdrv_perm_names(uint64_t perm)
{
    static const char *const names[] = { "consistent read", "write", "write unchanged", "resize" };
    g_autoptr(GPtrArray) parts = g_ptr_array_new();

    for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
        if (perm & 1 << i) {
            g_ptr_array_add(parts, (gpointer)names[i]);
        }
    }
    g_ptr_array_add(parts, NULL);
    return g_strjoinv(", ", (char **)parts->pdata);
}

static char *user_name(const BdrvChild *c)
{
    return c->parent ? g_strdup_printf("node '%s'", c->parent->node_name) : g_strdup(blk_name(c->blk));
}

/* @a needs something that @b does not share. */
static bool check_conflict(const BdrvChild *a, const BdrvChild *b, Error **errp)
{
    uint64_t missing = a->perm & ~b->shared_perm;

    if (!missing) {
        return true;
    }
    g_autofree char *perms = bdrv_perm_names(missing);
    g_autofree char *user_a = user_name(a);
    g_autofree char *user_b = user_name(b);
    error_setg(errp, "Node '%s': %s needs permission '%s' as '%s', which %s does not allow "
               "(uses node '%s' as '%s')", a->bs->node_name, user_a, perms, a->name, user_b,
               b->bs->node_name, b->name);
    return false;
}

static bool cumulative_perms(BlockDriverState *bs, uint64_t *perm, uint64_t *shared, Error **errp)
{
    *perm = 0;
    *shared = BLK_PERM_ALL;
    for (guint i = 0; i < bs->parents->len; i++) {
        const BdrvChild *a = g_ptr_array_index(bs->parents, i);

        for (guint j = 0; j < bs->parents->len; j++) {
            if (i != j && !check_conflict(a, g_ptr_array_index(bs->parents, j), errp)) {
                return false;
            }
        }
        *perm |= a->perm;
        *shared &= a->shared_perm;
    }
    return true;
}

void bdrv_default_perms(BlockDriverState *bs, const char *name, uint32_t role, uint64_t perm,
                        uint64_t shared, uint64_t *nperm, uint64_t *nshared)
{
    if (role & BDRV_CHILD_FILTERED) {
        *nperm = perm;
        *nshared = shared;
        return;
    }
    if (role & BDRV_CHILD_METADATA) {
        perm |= BLK_PERM_CONSISTENT_READ;
        if (!bs->read_only) {
            perm |= BLK_PERM_WRITE | BLK_PERM_RESIZE;
        }
        shared &= ~(uint64_t)BLK_PERM_WRITE;
    }
    /* A resize of the child behind our back would leave a stale length. */
    shared &= ~(uint64_t)BLK_PERM_RESIZE;
    *nperm = perm;
    *nshared = shared;
}

/* What a refresh has done so far, for undoing it. */
typedef struct PermUpdate {
    GPtrArray *checked;     /* of BlockDriverState, in order of their check */
    GArray *edges;          /* of SavedEdge */
    GArray *perms;          /* of uint64_t[2], one for each of checked */
} PermUpdate;

typedef struct SavedEdge {
    BdrvChild *child;
    uint64_t perm;
    uint64_t shared;
} SavedEdge;

typedef struct NodePerm {
    uint64_t perm;
    uint64_t shared;
} NodePerm;

/* Nobody may write to @bs, as @why says, but somebody needs to. */
static void refuse_writers(BlockDriverState *bs, uint64_t writes, const char *why, Error **errp)
{
    for (guint i = 0; i < bs->parents->len; i++) {
        const BdrvChild *c = g_ptr_array_index(bs->parents, i);

        if (c->perm & writes) {
            g_autofree char *user = user_name(c);
            g_autofree char *perms = bdrv_perm_names(c->perm & writes);

            error_setg(errp, "Block node '%s' is %s, but %s needs permission '%s'", bs->node_name, why, user, perms);
            return;
        }
    }
}

/* Requests on other threads look at the permissions of their edges meanwhile. */
static void set_perm(BdrvChild *c, uint64_t perm, uint64_t shared)
{
    qatomic_set(&c->perm, perm);
    c->shared_perm = shared;
}

static bool check_node(BlockDriverState *bs, PermUpdate *update, Error **errp)
{
    const BlockDriver *drv = bs->drv;
    NodePerm p;

    if (!cumulative_perms(bs, &p.perm, &p.shared, errp)) {
        return false;
    }
    uint64_t writes = p.perm & (BLK_PERM_WRITE | BLK_PERM_WRITE_UNCHANGED | BLK_PERM_RESIZE);
    if (writes && bs->read_only) {
        refuse_writers(bs, writes, "read-only", errp);
        return false;
    }
    if (writes && bs->inactive) {
        refuse_writers(bs, writes, "not active", errp);
        return false;
    }
    if (bs->inactive) {
        /* All that is left is reads. */
        p.shared = BLK_PERM_ALL;
    }
    if (drv->bdrv_check_perm && !drv->bdrv_check_perm(bs, p.perm, p.shared, errp)) {
        return false;
    }
    g_ptr_array_add(update->checked, bs);
    g_array_append_val(update->perms, p);

    for (guint i = 0; i < bs->children->len; i++) {
        BdrvChild *c = g_ptr_array_index(bs->children, i);
        SavedEdge saved = { .child = c, .perm = c->perm, .shared = c->shared_perm };
        uint64_t perm, shared;

        g_array_append_val(update->edges, saved);
        (drv->bdrv_child_perm ?: bdrv_default_perms)(bs, c->name, c->role, p.perm, p.shared, &perm, &shared);
        set_perm(c, perm, bs->force_share ? BLK_PERM_ALL : shared);
        if ((c->perm != saved.perm || c->shared_perm != saved.shared) && !check_node(c->bs, update, errp)) {
            return false;
        }
    }
    return true;
}

bool bdrv_refresh_perms(BlockDriverState *bs, Error **errp)
{
    PermUpdate update = {
        .checked = g_ptr_array_new(),
        .edges = g_array_new(FALSE, FALSE, sizeof(SavedEdge)),
        .perms = g_array_new(FALSE, FALSE, sizeof(NodePerm)),
    };
    bool ok = check_node(bs, &update, errp);

    for (guint i = update.edges->len; !ok && i > 0; i--) {
        SavedEdge *saved = &g_array_index(update.edges, SavedEdge, i - 1);
        set_perm(saved->child, saved->perm, saved->shared);
    }
    for (guint i = 0; i < update.checked->len; i++) {
        BlockDriverState *node = g_ptr_array_index(update.checked, i);
        NodePerm *p = &g_array_index(update.perms, NodePerm, i);

        if (ok && node->drv->bdrv_set_perm) {
            node->drv->bdrv_set_perm(node, p->perm, p->shared);
        } else if (!ok && node->drv->bdrv_abort_perm_update) {
            node->drv->bdrv_abort_perm_update(node);
        }
    }
    g_ptr_array_unref(update.checked);
    g_array_unref(update.edges);
    g_array_unref(update.perms);
    return ok;
}

bool bdrv_child_set_perm(BdrvChild *child, uint64_t perm, uint64_t shared, Error **errp)
{
    uint64_t old_perm = child->perm, old_shared = child->shared_perm;

    set_perm(child, perm, shared);
    if (!bdrv_refresh_perms(child->bs, errp)) {
        set_perm(child, old_perm, old_shared);
        return false;
    }
    return true;
}
