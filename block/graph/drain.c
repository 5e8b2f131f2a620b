/*
 * Draining: the users above a node stop, then the requests in flight end
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "block/block-backend.h"
#include "block/graph/graph_int.h"

/* Those who wait for requests to end; few and seldom, so one queue for all nodes will do. */
static GMutex lock;
static CoQueue waiters = { .last = &waiters.first };

void bdrv_drain_kick(void)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&lock);

    qemu_co_queue_restart_all(&waiters);
}

void coroutine_fn bdrv_co_wait_idle(bool (*idle)(void *opaque), void *opaque)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&lock);

    while (!idle(opaque)) {
        qemu_co_queue_wait(&waiters, &lock);
    }
}

void bdrv_inc_in_flight(BlockDriverState *bs)
{
    g_atomic_int_inc(&bs->in_flight);
}

void bdrv_dec_in_flight(BlockDriverState *bs)
{
    if (g_atomic_int_dec_and_test(&bs->in_flight) && g_atomic_int_get(&bs->quiesce_counter)) {
        bdrv_drain_kick();
    }
}

static bool not_quiesced(void *opaque)
{
    BlockDriverState *bs = opaque;

    return g_atomic_int_get(&bs->quiesce_counter) == 0;
}

void coroutine_fn bdrv_co_inc_in_flight(BlockDriverState *bs)
{
    bdrv_inc_in_flight(bs);
    while (!not_quiesced(bs)) {
        bdrv_dec_in_flight(bs);
        bdrv_co_wait_idle(not_quiesced, bs);
        bdrv_inc_in_flight(bs);
    }
}

/* Count sections at every node of @bs and above, and stop or release the users at the top. */
static void quiesce_up(BlockDriverState *bs, bool begin)
{
    g_atomic_int_add(&bs->quiesce_counter, begin ? 1 : -1);
    for (guint i = 0; i < bs->parents->len; i++) {
        BdrvChild *c = g_ptr_array_index(bs->parents, i);

        if (c->parent) {
            quiesce_up(c->parent, begin);
        } else if (begin) {
            blk_root_drained_begin(c->blk);
        } else {
            blk_root_drained_end(c->blk);
        }
    }
}

static void quiesce_down(BlockDriverState *bs, bool begin)
{
    for (guint i = 0; i < bs->children->len; i++) {
        BdrvChild *c = g_ptr_array_index(bs->children, i);

        g_atomic_int_add(&c->bs->quiesce_counter, begin ? 1 : -1);
        quiesce_down(c->bs, begin);
    }
}

/* Requests of users at the top keep every node on their way busy, so the top need not be asked. */
static bool idle_up(BlockDriverState *bs)
{
    if (g_atomic_int_get(&bs->in_flight)) {
        return false;
    }
    for (guint i = 0; i < bs->parents->len; i++) {
        BdrvChild *c = g_ptr_array_index(bs->parents, i);

        if (c->parent ? !idle_up(c->parent) : !blk_root_idle(c->blk)) {
            return false;
        }
    }
    return true;
}

static bool idle_down(BlockDriverState *bs)
{
    for (guint i = 0; i < bs->children->len; i++) {
        BdrvChild *c = g_ptr_array_index(bs->children, i);

        if (g_atomic_int_get(&c->bs->in_flight) || !idle_down(c->bs)) {
            return false;
        }
    }
    return true;
}

static bool subtree_idle(void *opaque)
{
    return idle_up(opaque) && idle_down(opaque);
}

void coroutine_fn bdrv_co_drained_begin(BlockDriverState *bs)
{
    quiesce_up(bs, true);
    quiesce_down(bs, true);
    bdrv_co_wait_idle(subtree_idle, bs);
}

void coroutine_fn bdrv_co_drained_end(BlockDriverState *bs)
{
    quiesce_down(bs, false);
    quiesce_up(bs, false);
    bdrv_drain_kick();
}
