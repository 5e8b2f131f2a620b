/*
 * The boundary to drivers for control callbacks; block/io/driver.c calls those of requests
 *
 * All of them run on the main thread. The wrappers assert what block_int.h promises to drivers before a call, and what
 * drivers promise after it.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "block/graph/graph_int.h"

/* Nothing is in flight, and nothing begins. */
static void assert_quiet(BlockDriverState *bs)
{
    GLOBAL_STATE_CODE();
    assert(g_atomic_int_get(&bs->quiesce_counter) > 0 && g_atomic_int_get(&bs->in_flight) == 0);
}

bool coroutine_fn bdrv_driver_open(BlockDriverState *bs, Error **errp)
{
    ERRP_GUARD();

    GLOBAL_STATE_CODE();
    assert(qemu_in_coroutine() && !bs->is_open);
    bool ok = bs->drv->bdrv_co_open(bs, errp);
    assert(ok == !*errp);
    return ok;
}

void coroutine_fn bdrv_driver_close(BlockDriverState *bs)
{
    assert_quiet(bs);
    if (bs->drv->bdrv_co_close) {
        bs->drv->bdrv_co_close(bs);
    }
}

int64_t coroutine_fn bdrv_driver_getlength(BlockDriverState *bs)
{
    GLOBAL_STATE_CODE();
    return bs->drv->bdrv_co_getlength ? bs->drv->bdrv_co_getlength(bs) : bdrv_getlength(bs->file->bs);
}

bool coroutine_fn bdrv_driver_reopen_prepare(BDRVReopenState *reopen, Error **errp)
{
    ERRP_GUARD();

    assert_quiet(reopen->bs);
    assert(!reopen->prepared);
    reopen->prepared = reopen->bs->drv->bdrv_co_reopen_prepare(reopen, errp);
    assert(reopen->prepared == !*errp);
    return reopen->prepared;
}

void coroutine_fn bdrv_driver_reopen_end(BDRVReopenState *reopen, bool commit)
{
    const BlockDriver *drv = reopen->bs->drv;

    assert_quiet(reopen->bs);
    if (reopen->prepared) {
        (commit ? drv->bdrv_co_reopen_commit : drv->bdrv_co_reopen_abort)(reopen->bs);
    }
}

bool bdrv_driver_check_perm(BlockDriverState *bs, uint64_t perm, uint64_t shared, Error **errp)
{
    ERRP_GUARD();

    bdrv_graph_assert_locked();
    bool ok = !bs->drv->bdrv_check_perm || bs->drv->bdrv_check_perm(bs, perm, shared, errp);
    assert(ok == !*errp);
    return ok;
}

void bdrv_driver_set_perm(BlockDriverState *bs, uint64_t perm, uint64_t shared)
{
    bdrv_graph_assert_locked();
    if (bs->drv->bdrv_set_perm) {
        bs->drv->bdrv_set_perm(bs, perm, shared);
    }
}

void bdrv_driver_abort_perm_update(BlockDriverState *bs)
{
    bdrv_graph_assert_locked();
    if (bs->drv->bdrv_abort_perm_update) {
        bs->drv->bdrv_abort_perm_update(bs);
    }
}

void bdrv_driver_child_perm(BlockDriverState *bs, const char *name, uint32_t role, uint64_t perm, uint64_t shared,
                            uint64_t *nperm, uint64_t *nshared)
{
    GLOBAL_STATE_CODE();
    (bs->drv->bdrv_child_perm ?: bdrv_default_perms)(bs, name, role, perm, shared, nperm, nshared);
    if (bs->force_share) {
        *nshared = BLK_PERM_ALL;
    }
}

void bdrv_driver_drain_begin(BlockDriverState *bs)
{
    GLOBAL_STATE_CODE();
    if (bs->drv && bs->drv->bdrv_drain_begin) {
        bs->drv->bdrv_drain_begin(bs);
    }
}

void bdrv_driver_cancel_in_flight(BlockDriverState *bs)
{
    GLOBAL_STATE_CODE();
    if (bs->drv->bdrv_cancel_in_flight) {
        bs->drv->bdrv_cancel_in_flight(bs);
    }
}
