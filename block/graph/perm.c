/*
 * Permissions: what the users of a node do, and what they allow others to do
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "block/graph/graph_int.h"

#define PERM_COUNT 4

uint64_t bdrv_qapi_perm_to_blk_perm(BlockPermission perm)
{
    static const uint64_t bits[BLOCK_PERMISSION__MAX] = {
        [BLOCK_PERMISSION_CONSISTENT_READ] = BLK_PERM_CONSISTENT_READ,
        [BLOCK_PERMISSION_WRITE] = BLK_PERM_WRITE,
        [BLOCK_PERMISSION_WRITE_UNCHANGED] = BLK_PERM_WRITE_UNCHANGED,
        [BLOCK_PERMISSION_RESIZE] = BLK_PERM_RESIZE,
    };

    return bits[perm];
}

char *bdrv_perm_names(uint64_t perm)
{
    static const char *const names[PERM_COUNT] = { "consistent read", "write", "write unchanged", "resize" };
    g_autoptr(GPtrArray) parts = g_ptr_array_new();

    for (size_t i = 0; i < PERM_COUNT; i++) {
        if (perm & 1 << i) {
            g_ptr_array_add(parts, (gpointer)names[i]);
        }
    }
    g_ptr_array_add(parts, NULL);
    return g_strjoinv(", ", (char **)parts->pdata);
}

/* A filter of a job has no needs of its own: the user at the top for whom it needs @perm. */
static const BdrvChild *find_needing_user(const BdrvChild *c, uint64_t perm)
{
    const BlockDriverState *parent = c->klass == &child_of_bds ? c->opaque : NULL;

    for (guint i = 0; parent && i < parent->parents->len; i++) {
        const BdrvChild *above = g_ptr_array_index(parent->parents, i);

        if (above->perm & perm) {
            return find_needing_user(above, perm);
        }
    }
    return c;
}

static bool is_filter_of_job(const BdrvChild *c)
{
    const BlockDriverState *parent = c->klass == &child_of_bds ? c->opaque : NULL;

    return parent && parent->drv->is_filter && parent->job;
}

/* Whether @a needs a permission that @b does not share. */
static bool edges_conflict(const BdrvChild *a, const BdrvChild *b, Error **errp)
{
    uint64_t missing = a->perm & ~b->shared_perm;

    if (!missing) {
        return false;
    }
    const BdrvChild *user = is_filter_of_job(a) ? find_needing_user(a, missing) : a;
    g_autofree char *perms = bdrv_perm_names(missing);
    g_autofree char *name = user->klass->describe(user);
    g_autofree char *user_a = a->klass->describe(a);
    g_autofree char *user_b = b->klass->describe(b);
    error_setg(errp, "Node '%s': %s needs permission '%s' as '%s'%s%s, which %s does not allow "
               "(uses node '%s' as '%s')", bdrv_get_display_name(a->bs), name, perms, user->name,
               user == a ? "" : " through ", user == a ? "" : user_a, user_b, bdrv_get_display_name(b->bs), b->name);
    return true;
}

static void report_conflict(BlockDriverState *bs, Error **errp)
{
    for (guint i = 0; i < bs->parents->len; i++) {
        for (guint j = 0; j < bs->parents->len; j++) {
            if (i != j && edges_conflict(g_ptr_array_index(bs->parents, i), g_ptr_array_index(bs->parents, j), errp)) {
                return;
            }
        }
    }
}

/* Sum up what all parents need and share; false with @errp if one needs what another does not share. */
static bool perm_sums(BlockDriverState *bs, uint64_t *perm, uint64_t *shared, Error **errp)
{
    guint unshared_by[PERM_COUNT] = { 0 };

    *perm = 0;
    *shared = BLK_PERM_ALL;
    for (guint i = 0; i < bs->parents->len; i++) {
        const BdrvChild *c = g_ptr_array_index(bs->parents, i);

        *perm |= c->perm;
        *shared &= c->shared_perm;
        for (int bit = 0; bit < PERM_COUNT; bit++) {
            unshared_by[bit] += !(c->shared_perm >> bit & 1);
        }
    }
    for (guint i = 0; i < bs->parents->len; i++) {
        const BdrvChild *c = g_ptr_array_index(bs->parents, i);

        for (int bit = 0; bit < PERM_COUNT; bit++) {
            /* Skip the edge itself, which may need what it does not share. */
            if (c->perm >> bit & 1 && unshared_by[bit] > !(c->shared_perm >> bit & 1)) {
                report_conflict(bs, errp);
                return false;
            }
        }
    }
    return true;
}

/*
 * A backing file is only read, and only if our users need consistent reads. Others may write to it if our users
 * tolerate changing data; writes that change nothing are always fine.
 */
static void perms_for_cow(uint64_t perm, uint64_t shared, uint64_t *nperm, uint64_t *nshared)
{
    *nperm = perm & BLK_PERM_CONSISTENT_READ;
    *nshared = BLK_PERM_CONSISTENT_READ | BLK_PERM_WRITE_UNCHANGED;
    if (shared & BLK_PERM_WRITE) {
        *nshared |= BLK_PERM_WRITE | BLK_PERM_RESIZE;
    }
}

void bdrv_default_perms(BlockDriverState *bs, const char *name, uint32_t role, uint64_t perm,
                        uint64_t shared, uint64_t *nperm, uint64_t *nshared)
{
    if (role & BDRV_CHILD_FILTERED) {
        *nperm = perm;
        *nshared = shared;
        return;
    }
    if (role & BDRV_CHILD_COW) {
        perms_for_cow(perm, shared, nperm, nshared);
        return;
    }
    if (role & BDRV_CHILD_METADATA) {
        perm |= BLK_PERM_CONSISTENT_READ;
        if (!bs->read_only) {
            perm |= BLK_PERM_WRITE | BLK_PERM_RESIZE;
        }
        shared &= ~(uint64_t)BLK_PERM_WRITE;
    }
    /* If others could resize the child, our length would be stale. */
    shared &= ~(uint64_t)BLK_PERM_RESIZE;
    *nperm = perm;
    *nshared = shared;
}

/* Report a user that needs to write to @bs, which is not possible because it is @why. */
static void refuse_writers(BlockDriverState *bs, uint64_t writes, const char *why, Error **errp)
{
    for (guint i = 0; i < bs->parents->len; i++) {
        const BdrvChild *c = g_ptr_array_index(bs->parents, i);

        if (c->perm & writes) {
            g_autofree char *user = c->klass->describe(c);
            g_autofree char *perms = bdrv_perm_names(c->perm & writes);

            error_setg(errp, "Block node '%s' is %s, but %s needs permission '%s'", bdrv_get_display_name(bs), why,
                       user, perms);
            return;
        }
    }
}

/* The sums of a node. Its driver has checked them, and learns of commit or abort. */
typedef struct NodePerm {
    BlockDriverState *bs;
    uint64_t perm;
    uint64_t shared;
} NodePerm;

static void node_perm_abort(void *opaque)
{
    NodePerm *p = opaque;

    bdrv_driver_abort_perm_update(p->bs);
}

static void node_perm_commit(void *opaque)
{
    NodePerm *p = opaque;

    bdrv_driver_set_perm(p->bs, p->perm, p->shared);
}

static bool check_node(BlockDriverState *bs, uint64_t perm, uint64_t shared, Transaction *tran, Error **errp)
{
    static const TransactionActionDrv drv = {
        .abort = node_perm_abort, .commit = node_perm_commit, .clean = g_free,
    };
    uint64_t writes = perm & (BLK_PERM_WRITE | BLK_PERM_WRITE_UNCHANGED | BLK_PERM_RESIZE);

    if (writes && (bs->read_only || bs->inactive)) {
        refuse_writers(bs, writes, bs->read_only ? "read-only" : "not active", errp);
        return false;
    }
    if (!bdrv_driver_check_perm(bs, perm, shared, errp)) {
        return false;
    }
    NodePerm *p = g_new(NodePerm, 1);

    *p = (NodePerm){ .bs = bs, .perm = perm, .shared = shared };
    tran_add(tran, &drv, p);
    return true;
}

/* Update the permissions of the edges below @bs for these sums; children whose edge changes are added to @affected. */
static void update_children(BlockDriverState *bs, uint64_t perm, uint64_t shared, GHashTable *affected,
                            Transaction *tran)
{
    for (guint i = 0; i < bs->children->len; i++) {
        BdrvChild *c = g_ptr_array_index(bs->children, i);
        uint64_t nperm, nshared;

        bdrv_driver_child_perm(bs, c->name, c->role, perm, shared, &nperm, &nshared);
        if (c->perm != nperm || c->shared_perm != nshared) {
            bdrv_child_set_perm_tran(c, nperm, nshared, tran);
            g_hash_table_add(affected, c->bs);
        }
    }
}

bool bdrv_refresh_perms_list(GPtrArray *nodes, Transaction *tran, Error **errp)
{
    g_autoptr(GPtrArray) order = bdrv_nodes_below(nodes);
    g_autoptr(GHashTable) affected = g_hash_table_new(NULL, NULL);

    bdrv_graph_assert_locked();
    for (guint i = 0; i < nodes->len; i++) {
        g_hash_table_add(affected, g_ptr_array_index(nodes, i));
    }
    /* Parents come first, so a node's sums are final when it is visited. */
    for (guint i = 0; i < order->len; i++) {
        BlockDriverState *bs = g_ptr_array_index(order, i);
        uint64_t perm, shared;

        if (!g_hash_table_contains(affected, bs)) {
            continue;
        }
        if (!perm_sums(bs, &perm, &shared, errp)) {
            return false;
        }
        if (bs->inactive) {
            /* Only reads are left. */
            shared = BLK_PERM_ALL;
        }
        if (!check_node(bs, perm, shared, tran, errp)) {
            return false;
        }
        update_children(bs, perm, shared, affected, tran);
    }
    return true;
}

bool bdrv_refresh_perms(BlockDriverState *bs, Transaction *tran, Error **errp)
{
    g_autoptr(GPtrArray) nodes = g_ptr_array_new();

    g_ptr_array_add(nodes, bs);
    bdrv_graph_lock();
    bool ok = bdrv_refresh_perms_list(nodes, tran, errp);
    tran_finalize(tran, ok);
    bdrv_graph_unlock();
    return ok;
}
