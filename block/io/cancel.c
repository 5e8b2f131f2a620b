/*
 * Cancelling requests whose results nobody needs
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "block/graph/graph_int.h"
#include "block/graph/node.h"
#include "util/aio.h"

/* Time that requests have to end on their own at the end of a program. */
#define GRACE_NS (5 * NANOSECONDS_PER_SECOND)

static gint must_not_wait;      /* atomic */

bool bdrv_must_not_wait(void)
{
    return g_atomic_int_get(&must_not_wait);
}

void bdrv_cancel_in_flight(BlockDriverState *bs)
{
    if (bs->parents->len > 1) {
        return;
    }
    bdrv_driver_cancel_in_flight(bs);
    for (guint i = 0; i < bs->children->len; i++) {
        const BdrvChild *c = g_ptr_array_index(bs->children, i);

        bdrv_cancel_in_flight(c->bs);
    }
}

void bdrv_forget_writes(BlockDriverState *bs)
{
    if (bs->parents->len > 1) {
        return;
    }
    g_mutex_lock(&bs->reqs_lock);
    bs->flushed_gen = bs->write_gen;
    g_mutex_unlock(&bs->reqs_lock);
    for (guint i = 0; i < bs->children->len; i++) {
        const BdrvChild *c = g_ptr_array_index(bs->children, i);

        bdrv_forget_writes(c->bs);
    }
}

static void grace_is_over(void *opaque)
{
    /* First, so that no request starts waiting unnoticed. */
    g_atomic_int_set(&must_not_wait, 1);
    bdrv_for_each_node(bdrv_driver_cancel_in_flight);
}

void bdrv_cancel_in_flight_later(void)
{
    static AioTimer *timer;

    if (!timer) {
        timer = aio_timer_new(qemu_get_aio_context(), grace_is_over, NULL);
        aio_timer_mod_ns(timer, qemu_clock_get_ns() + GRACE_NS);
    }
}
