/*
 * What the files of the graph share with each other and with BlockBackend
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef BLOCK_GRAPH_INT_H
#define BLOCK_GRAPH_INT_H

#include "block/block_int.h"

/*
 * A new edge to @bs, with the permissions that the parent (@parent or @blk) asks for; takes a reference to
 * @bs on success. NULL with @errp, and nothing changed, where they conflict with those of others.
 */
BdrvChild *bdrv_attach_child(BlockDriverState *parent, BlockBackend *blk, BlockDriverState *bs,
                             const char *name, uint32_t role, uint64_t perm, uint64_t shared, Error **errp);

/* Remove an edge, which gives back its permissions and its reference. */
void coroutine_fn bdrv_co_detach_child(BdrvChild *child);

/* Change the permissions of an edge whose parent is a BlockBackend; on failure nothing changed. */
bool bdrv_child_set_perm(BdrvChild *child, uint64_t perm, uint64_t shared, Error **errp);

/*
 * Bring the permissions of @bs and all below it in line with what its parents ask for. On failure nothing
 * changed below @bs.
 */
bool bdrv_refresh_perms(BlockDriverState *bs, Error **errp);

/* Make bs->options effective that every driver has; false with @errp where they contradict each other. */
bool bdrv_take_common_options(BlockDriverState *bs, Error **errp);

/* @bs, whose "file" is or will be @child_bs, becomes read-only where that is, and auto-read-only allows it. */
void bdrv_take_auto_read_only(BlockDriverState *bs, const BlockDriverState *child_bs);

/* Ask the driver for the length and the limits again; false with @errp where it does not know. */
bool coroutine_fn bdrv_co_refresh(BlockDriverState *bs, Error **errp);

/* Whether no request of @blk is in flight. */
bool blk_root_idle(BlockBackend *blk);

/* The first node whose iothread is @iothread; NULL: none. */
BlockDriverState *bdrv_find_iothread_user(const IOThread *iothread);

/* An edge came or went: drained sections take in who is there now, and let go of who is not. */
void bdrv_drain_graph_changed(void);

/* A request began or ended at @bs or a BlockBackend; wakes those who drain. */
void bdrv_inc_in_flight(BlockDriverState *bs);
void bdrv_dec_in_flight(BlockDriverState *bs);
/* For a request that no BlockBackend above made (a job's, to the header of @bs): not while @bs is drained. */
void coroutine_fn bdrv_co_inc_in_flight(BlockDriverState *bs);
void bdrv_drain_kick(void);
/* Wait until @idle(@opaque). */
void coroutine_fn bdrv_co_wait_idle(bool (*idle)(void *opaque), void *opaque);

#endif
