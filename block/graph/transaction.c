/*
 * The steps that change edges of the graph
 *
 * A step takes effect when it is prepared, so that later steps and the permission pass see it, and is undone on abort.
 * Nothing else runs in between: the graph lock is held, and nothing here waits.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "block/graph/graph_int.h"

/* The pointer in @parent to its child @name; NULL if there is no such pointer. */
static BdrvChild **named_child(BlockDriverState *parent, const char *name)
{
    if (bdrv_is_file_child(name)) {
        return &parent->file;
    }
    return g_str_equal(name, "backing") ? &parent->backing : NULL;
}

static void enter_parent(BdrvChild *child)
{
    BlockDriverState *parent = bdrv_child_parent(child);

    if (parent) {
        BdrvChild **pointer = named_child(parent, child->name);

        g_ptr_array_add(parent->children, child);
        if (pointer) {
            *pointer = child;
        }
    }
}

static void leave_parent(BdrvChild *child)
{
    BlockDriverState *parent = bdrv_child_parent(child);

    if (parent) {
        BdrvChild **pointer = named_child(parent, child->name);

        g_ptr_array_remove(parent->children, child);
        if (pointer && *pointer == child) {
            *pointer = NULL;
        }
    }
}

/* Point @child to @bs; the old and the new node may be NULL. */
static void child_set_bs(BdrvChild *child, BlockDriverState *bs)
{
    BlockDriverState *old = child->bs;

    /* Attach first, in case both are drained: the parent must not resume in between. */
    child->bs = bs;
    if (bs) {
        g_ptr_array_add(bs->parents, child);
        bdrv_drain_attach(child);
    }
    if (old) {
        g_ptr_array_remove(old->parents, child);
    }
    bdrv_drain_detach(child);
}

static void child_free(BdrvChild *child)
{
    g_free(child->name);
    g_free(child);
}

static void attach_abort(void *opaque)
{
    BdrvChild *child = opaque;
    BlockDriverState *bs = child->bs;

    leave_parent(child);
    child_set_bs(child, NULL);
    bdrv_graph_defer_unref(bs);
    child_free(child);
}

/* Without an I/O thread of its own, a node inherits its child's. */
static void attach_commit(void *opaque)
{
    BdrvChild *child = opaque;
    BlockDriverState *parent = bdrv_child_parent(child);

    if (parent && !parent->iothread && child->bs->iothread) {
        parent->iothread = iothread_ref(child->bs->iothread);
    }
}

BdrvChild *bdrv_attach_child_tran(const BdrvChildClass *klass, void *parent, BlockDriverState *bs, const char *name,
                                  uint32_t role, uint64_t perm, uint64_t shared, Transaction *tran)
{
    static const TransactionActionDrv drv = { .abort = attach_abort, .commit = attach_commit };
    BdrvChild *child = g_new0(BdrvChild, 1);

    bdrv_graph_assert_locked();
    *child = (BdrvChild){
        .name = g_strdup(name), .klass = klass, .opaque = parent, .role = role, .perm = perm, .shared_perm = shared,
    };
    child_set_bs(child, bdrv_ref(bs));
    enter_parent(child);
    tran_add(tran, &drv, child);
    return child;
}

typedef struct Replace {
    BdrvChild *child;
    BlockDriverState *old;
} Replace;

static void detach_abort(void *opaque)
{
    Replace *r = opaque;

    child_set_bs(r->child, r->old);
    enter_parent(r->child);
}

static void detach_commit(void *opaque)
{
    Replace *r = opaque;

    bdrv_graph_defer_unref(r->old);
    child_free(r->child);
}

void bdrv_detach_child_tran(BdrvChild *child, Transaction *tran)
{
    static const TransactionActionDrv drv = { .abort = detach_abort, .commit = detach_commit, .clean = g_free };
    Replace *r = g_new(Replace, 1);

    bdrv_graph_assert_locked();
    assert(!child->klass->is_busy(child));
    *r = (Replace){ .child = child, .old = child->bs };
    leave_parent(child);
    child_set_bs(child, NULL);
    tran_add(tran, &drv, r);
}

static void replace_abort(void *opaque)
{
    Replace *r = opaque;
    BlockDriverState *bs = r->child->bs;

    child_set_bs(r->child, r->old);
    bdrv_graph_defer_unref(bs);
}

static void replace_commit(void *opaque)
{
    Replace *r = opaque;

    bdrv_graph_defer_unref(r->old);
}

void bdrv_replace_child_tran(BdrvChild *child, BlockDriverState *bs, Transaction *tran)
{
    static const TransactionActionDrv drv = { .abort = replace_abort, .commit = replace_commit, .clean = g_free };
    Replace *r = g_new(Replace, 1);

    bdrv_graph_assert_locked();
    assert(!child->klass->is_busy(child));
    *r = (Replace){ .child = child, .old = child->bs };
    child_set_bs(child, bdrv_ref(bs));
    tran_add(tran, &drv, r);
}

typedef struct SetPerm {
    BdrvChild *child;
    uint64_t perm;
    uint64_t shared;
} SetPerm;

/* Requests on other threads read the permissions of their edges. */
static void child_set_perm(BdrvChild *child, uint64_t perm, uint64_t shared)
{
    qatomic_set(&child->perm, perm);
    child->shared_perm = shared;
}

static void set_perm_abort(void *opaque)
{
    SetPerm *saved = opaque;

    child_set_perm(saved->child, saved->perm, saved->shared);
}

void bdrv_child_set_perm_tran(BdrvChild *child, uint64_t perm, uint64_t shared, Transaction *tran)
{
    static const TransactionActionDrv drv = { .abort = set_perm_abort, .clean = g_free };
    SetPerm *saved = g_new(SetPerm, 1);

    bdrv_graph_assert_locked();
    *saved = (SetPerm){ .child = child, .perm = child->perm, .shared = child->shared_perm };
    child_set_perm(child, perm, shared);
    tran_add(tran, &drv, saved);
}
