/*
 * The graph lock, and operations that have nodes to themselves
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

void coroutine_mixed_fn bdrv_graph_unlock(void)
{
    g_autoptr(GPtrArray) unrefs = g_steal_pointer(&deferred);

    bdrv_graph_assert_locked();
    locked = false;
    for (guint i = 0; unrefs && i < unrefs->len; i++) {
        bdrv_co_unref(g_ptr_array_index(unrefs, i));
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

static bool any_claimed(GPtrArray *nodes)
{
    for (guint i = 0; i < nodes->len; i++) {
        if (((BlockDriverState *)g_ptr_array_index(nodes, i))->claimed) {
            return true;
        }
    }
    return false;
}

void coroutine_fn bdrv_co_claim(GPtrArray *nodes)
{
    GLOBAL_STATE_CODE();
    for (guint i = 0; i < nodes->len; i++) {
        bdrv_ref(g_ptr_array_index(nodes, i));
    }
    while (any_claimed(nodes)) {
        qemu_co_queue_wait(&waiting, NULL);
    }
    for (guint i = 0; i < nodes->len; i++) {
        ((BlockDriverState *)g_ptr_array_index(nodes, i))->claimed = true;
    }
}

void coroutine_fn bdrv_co_release(GPtrArray *nodes)
{
    GLOBAL_STATE_CODE();
    for (guint i = 0; i < nodes->len; i++) {
        ((BlockDriverState *)g_ptr_array_index(nodes, i))->claimed = false;
    }
    qemu_co_queue_restart_all(&waiting);
    for (guint i = 0; i < nodes->len; i++) {
        bdrv_co_unref(g_ptr_array_index(nodes, i));
    }
}
