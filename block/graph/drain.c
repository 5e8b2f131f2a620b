/*
 * Draining: the users above a node stop, then the requests in flight end
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "block/graph/graph_int.h"
#include "util/aio.h"

#define LIMIT_NS (10 * NANOSECONDS_PER_SECOND)

/* Coroutines waiting for requests to end. Rare, so one queue serves all nodes. */
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

bool bdrv_must_not_delay(BlockDriverState *bs)
{
    return g_atomic_int_get(&bs->quiesce_counter) || g_atomic_int_get(&bs->awaited_counter);
}

/*
 * quiesce_counter counts the sections that keep a node quiet: its own, and one for each child that is quiesced. The
 * first stops the parents, the last resumes them. Each edge remembers whether it has stopped its parent, so edges may
 * come and go in between.
 */
void bdrv_drain_attach(BdrvChild *child)
{
    if (g_atomic_int_get(&child->bs->quiesce_counter) && !child->quiesced_parent) {
        child->quiesced_parent = true;
        child->klass->drained_begin(child);
    }
}

void bdrv_drain_detach(BdrvChild *child)
{
    if (child->quiesced_parent && !(child->bs && g_atomic_int_get(&child->bs->quiesce_counter))) {
        child->quiesced_parent = false;
        child->klass->drained_end(child);
    }
}

void bdrv_quiesce(BlockDriverState *bs)
{
    GLOBAL_STATE_CODE();
    if (g_atomic_int_add(&bs->quiesce_counter, 1) > 0) {
        return;
    }
    for (guint i = 0; i < bs->parents->len; i++) {
        bdrv_drain_attach(g_ptr_array_index(bs->parents, i));
    }
    bdrv_driver_drain_begin(bs);
}

void bdrv_unquiesce(BlockDriverState *bs)
{
    GLOBAL_STATE_CODE();
    if (!g_atomic_int_dec_and_test(&bs->quiesce_counter)) {
        return;
    }
    for (guint i = 0; i < bs->parents->len; i++) {
        bdrv_drain_detach(g_ptr_array_index(bs->parents, i));
    }
    bdrv_drain_kick();
}

/* Neither @opaque nor anything above it has a request in flight. */
static bool is_idle(void *opaque)
{
    g_autoptr(GPtrArray) above = bdrv_nodes_above(opaque);

    for (guint i = 0; i < above->len; i++) {
        BlockDriverState *bs = g_ptr_array_index(above, i);

        if (g_atomic_int_get(&bs->in_flight)) {
            return false;
        }
        for (guint j = 0; j < bs->parents->len; j++) {
            const BdrvChild *c = g_ptr_array_index(bs->parents, j);

            if (c->klass->is_busy(c)) {
                return false;
            }
        }
    }
    return true;
}

/* Tell drivers below @bs not to hold back requests that we wait for. */
static GPtrArray *await_below(BlockDriverState *bs)
{
    g_autoptr(GPtrArray) root = g_ptr_array_new();

    g_ptr_array_add(root, bs);
    GPtrArray *below = bdrv_nodes_below(root);
    for (guint i = 0; i < below->len; i++) {
        BlockDriverState *node = bdrv_ref(g_ptr_array_index(below, i));

        g_atomic_int_inc(&node->awaited_counter);
        bdrv_driver_drain_begin(node);
    }
    return below;
}

typedef struct Drain {
    BlockDriverState *bs;
    const bool *expired;
} Drain;

static bool is_idle_or_expired(void *opaque)
{
    const Drain *drain = opaque;

    return *drain->expired || is_idle(drain->bs);
}

bool coroutine_fn bdrv_co_drained_begin_unless(BlockDriverState *bs, const bool *expired)
{
    bdrv_ref(bs);
    bdrv_quiesce(bs);
    GPtrArray *below = await_below(bs);
    bdrv_co_wait_idle(is_idle_or_expired, &(Drain){ .bs = bs, .expired = expired });
    for (guint i = 0; i < below->len; i++) {
        BlockDriverState *node = g_ptr_array_index(below, i);

        g_atomic_int_add(&node->awaited_counter, -1);
        bdrv_unref_later(node);
    }
    g_ptr_array_unref(below);
    return !*expired;
}

void coroutine_fn bdrv_co_drained_begin(BlockDriverState *bs)
{
    static const bool never;

    bdrv_co_drained_begin_unless(bs, &never);
}

static void drain_expire(void *opaque)
{
    bool *expired = opaque;

    *expired = true;
    bdrv_drain_kick();
}

bool coroutine_fn bdrv_co_drained_begin_limited(BlockDriverState *bs, Error **errp)
{
    bool expired = false;
    AioTimer *timer = aio_timer_new(qemu_get_aio_context(), drain_expire, &expired);

    aio_timer_mod_ns(timer, qemu_clock_get_ns() + LIMIT_NS);
    bool ok = bdrv_co_drained_begin_unless(bs, &expired);
    aio_timer_free(timer);
    if (!ok) {
        error_setg(errp, "Node '%s' cannot be drained: a request in flight has not ended within %d seconds",
                   bdrv_get_display_name(bs), (int)(LIMIT_NS / NANOSECONDS_PER_SECOND));
    }
    return ok;
}

void bdrv_drained_end_later(BlockDriverState *bs)
{
    bdrv_unquiesce(bs);
    bdrv_unref_later(bs);
}

void coroutine_fn bdrv_co_drained_end(BlockDriverState *bs)
{
    bdrv_unquiesce(bs);
    bdrv_co_unref(bs);
}
