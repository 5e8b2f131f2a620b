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

/*
 * A drained section, with the counters that it has raised: those of all nodes above and below its root, and of the
 * users at the top. When the graph changes meanwhile, others take their place.
 */
typedef struct DrainSection {
    BlockDriverState *root;
    GPtrArray *nodes;           /* of BlockDriverState, one as often as paths lead to it */
    GPtrArray *users;           /* of BlockBackend */
} DrainSection;

static GPtrArray *sections;

static void collect_up(DrainSection *section, BlockDriverState *bs)
{
    g_ptr_array_add(section->nodes, bs);
    for (guint i = 0; i < bs->parents->len; i++) {
        BdrvChild *c = g_ptr_array_index(bs->parents, i);

        if (c->parent) {
            collect_up(section, c->parent);
        } else {
            g_ptr_array_add(section->users, c->blk);
        }
    }
}

static void collect_down(DrainSection *section, BlockDriverState *bs)
{
    for (guint i = 0; i < bs->children->len; i++) {
        BdrvChild *c = g_ptr_array_index(bs->children, i);

        g_ptr_array_add(section->nodes, c->bs);
        collect_down(section, c->bs);
    }
}

/* Raise the counters around the root of @section; they go into new arrays. */
static void quiesce(DrainSection *section)
{
    section->nodes = g_ptr_array_new();
    section->users = g_ptr_array_new();
    collect_up(section, section->root);
    collect_down(section, section->root);
    for (guint i = 0; i < section->nodes->len; i++) {
        BlockDriverState *bs = g_ptr_array_index(section->nodes, i);

        g_atomic_int_inc(&bs->quiesce_counter);
        if (bs->drv->bdrv_drain_begin) {
            bs->drv->bdrv_drain_begin(bs);
        }
    }
    for (guint i = 0; i < section->users->len; i++) {
        blk_root_drained_begin(g_ptr_array_index(section->users, i));
    }
}

/* Lower the counters in these arrays, and free them. */
static void release(GPtrArray *nodes, GPtrArray *users)
{
    for (guint i = 0; i < nodes->len; i++) {
        BlockDriverState *bs = g_ptr_array_index(nodes, i);
        g_atomic_int_add(&bs->quiesce_counter, -1);
    }
    for (guint i = 0; i < users->len; i++) {
        blk_root_drained_end(g_ptr_array_index(users, i));
    }
    g_ptr_array_unref(nodes);
    g_ptr_array_unref(users);
}

void bdrv_drain_graph_changed(void)
{
    for (guint i = 0; sections && i < sections->len; i++) {
        DrainSection *section = g_ptr_array_index(sections, i);
        GPtrArray *nodes = section->nodes, *users = section->users;

        /* First up, then down: a counter that stays raised is never 0 in between. */
        quiesce(section);
        release(nodes, users);
    }
    if (sections) {
        bdrv_drain_kick();
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
    DrainSection *section = g_new0(DrainSection, 1);

    section->root = bdrv_ref(bs);
    quiesce(section);
    if (!sections) {
        sections = g_ptr_array_new();
    }
    g_ptr_array_add(sections, section);
    bdrv_co_wait_idle(subtree_idle, bs);
}

void coroutine_fn bdrv_co_drained_end(BlockDriverState *bs)
{
    DrainSection *section = NULL;
    guint i = 0;

    for (; !section; i++) {
        DrainSection *candidate = g_ptr_array_index(sections, i);
        section = candidate->root == bs ? candidate : NULL;
    }
    g_ptr_array_remove_index(sections, i - 1);
    if (sections->len == 0) {
        g_clear_pointer(&sections, g_ptr_array_unref);
    }
    release(section->nodes, section->users);
    g_free(section);
    bdrv_drain_kick();
    bdrv_co_unref(bs);
}
