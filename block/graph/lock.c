/*
 * The graph lock, and operations with exclusive use of nodes
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "block/graph/graph_int.h"

static bool locked;
static GPtrArray *deferred;     /* of BlockDriverState: references to drop */

void bdrv_graph_lock(void)
{
    GLOBAL_STATE_CODE();
    assert(!locked);
    locked = true;
}

void bdrv_graph_unlock(void)
{
    bdrv_graph_assert_locked();
    locked = false;
}

void coroutine_mixed_fn bdrv_graph_put_deferred(void)
{
    g_autoptr(GPtrArray) nodes = g_steal_pointer(&deferred);

    GLOBAL_STATE_CODE();
    for (guint i = 0; nodes && i < nodes->len; i++) {
        bdrv_co_unref(g_ptr_array_index(nodes, i));
    }
}

void bdrv_graph_assert_locked(void)
{
    GLOBAL_STATE_CODE();
    assert(locked);
}

void bdrv_graph_defer_unref(BlockDriverState *bs)
{
    bdrv_graph_assert_locked();
    if (!deferred) {
        deferred = g_ptr_array_new();
    }
    g_ptr_array_add(deferred, bs);
}

/* Rare, so one queue serves all nodes. */
static CoQueue waiting = { .last = &waiting.first };

static bool claimed_by_others(GPtrArray *nodes)
{
    for (guint i = 0; i < nodes->len; i++) {
        const BlockDriverState *bs = g_ptr_array_index(nodes, i);

        if (bs->claimed_by && bs->claimed_by != qemu_coroutine_self()) {
            return true;
        }
    }
    return false;
}

void coroutine_fn bdrv_co_wait_unclaimed(GPtrArray *nodes)
{
    GLOBAL_STATE_CODE();
    while (claimed_by_others(nodes)) {
        qemu_co_queue_wait(&waiting, NULL);
    }
}

void coroutine_fn bdrv_co_claim(GPtrArray *nodes)
{
    for (guint i = 0; i < nodes->len; i++) {
        bdrv_ref(g_ptr_array_index(nodes, i));
    }
    bdrv_co_wait_unclaimed(nodes);
    for (guint i = 0; i < nodes->len; i++) {
        BlockDriverState *bs = g_ptr_array_index(nodes, i);

        assert(!bs->claimed_by);
        bs->claimed_by = qemu_coroutine_self();
    }
}

void coroutine_fn bdrv_co_release(GPtrArray *nodes)
{
    GLOBAL_STATE_CODE();
    for (guint i = 0; i < nodes->len; i++) {
        ((BlockDriverState *)g_ptr_array_index(nodes, i))->claimed_by = NULL;
    }
    qemu_co_queue_restart_all(&waiting);
    for (guint i = 0; i < nodes->len; i++) {
        bdrv_co_unref(g_ptr_array_index(nodes, i));
    }
    bdrv_graph_put_deferred();
}
