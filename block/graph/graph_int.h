/*
 * Shared declarations of the graph code
 *
 *     node.c           creating, finding, referencing and closing nodes
 *     child.c          edges whose parent is a node; the nodes above and below a node
 *     transaction.c    the steps that change edges
 *     perm.c           the permission pass over all nodes that a change affects
 *     lock.c           the graph lock, and operations with exclusive use of nodes
 *     drain.c          drained sections
 *     driver.c         the boundary to drivers: their control callbacks
 *     replace.c        replacing one node by another
 *     open.c           from a filename or options to a node
 *     filename.c       from a node to a filename that opens it again
 *     reopen.c         blockdev-reopen
 *     active.c         blockdev-set-active
 *     block-backend.c  BlockBackend, the parent at the top
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef BLOCK_GRAPH_INT_H
#define BLOCK_GRAPH_INT_H

#include "block/block_int.h"
#include "util/main-thread.h"
#include "util/transaction.h"

/*
 * The longest path through a graph, in edges. A request descends through every node on one coroutine stack of 256 KiB,
 * where a write takes up to 1 KiB a node, and twice that with AddressSanitizer.
 */
#define BDRV_MAX_DEPTH 100

/* Edges (child.c) */

/* The class of edges whose parent is a node. */
extern const BdrvChildClass child_of_bds;

/* @roots and all below them, each once, every node before its children. */
GPtrArray *bdrv_nodes_below(GPtrArray *roots);
/* Whether @bs is @root or below it. */
bool bdrv_is_below(BlockDriverState *bs, BlockDriverState *root);
/* @bs and all above it, each once, every node before its parents. */
GPtrArray *bdrv_nodes_above(BlockDriverState *bs);

/* False with @errp if an edge @name from @parent to @bs would create a cycle, or make the graph too deep. */
bool bdrv_check_new_edge(BlockDriverState *parent, const char *name, BlockDriverState *bs, Error **errp);

/*
 * Attach @bs to @parent, an object of class @klass, with these permissions; takes a reference to @bs on success. If
 * they conflict with those of others, returns NULL with @errp and changes nothing.
 */
BdrvChild *bdrv_attach_child(const BdrvChildClass *klass, void *parent, BlockDriverState *bs, const char *name,
                             uint32_t role, uint64_t perm, uint64_t shared, Error **errp);

/* Remove an edge, with its permissions and its reference. */
void coroutine_fn bdrv_co_detach_child(BdrvChild *child);

/* Change the permissions that a parent other than a node asks for; on failure nothing changed. */
bool bdrv_child_set_perm(BdrvChild *child, uint64_t perm, uint64_t shared, Error **errp);

/*
 * Steps of a graph transaction (transaction.c), for the holder of the graph lock. None of them checks permissions:
 * once all steps are prepared, bdrv_refresh_perms_list() does, in one pass over all that is affected.
 */
BdrvChild *bdrv_attach_child_tran(const BdrvChildClass *klass, void *parent, BlockDriverState *bs, const char *name,
                                  uint32_t role, uint64_t perm, uint64_t shared, Transaction *tran);
void bdrv_detach_child_tran(BdrvChild *child, Transaction *tran);
/* No request may be on its way through the edge. Takes a reference to @bs, and drops that to the old node. */
void bdrv_replace_child_tran(BdrvChild *child, BlockDriverState *bs, Transaction *tran);
void bdrv_child_set_perm_tran(BdrvChild *child, uint64_t perm, uint64_t shared, Transaction *tran);

/*
 * The permission pass (perm.c), for the holder of the graph lock: bring the permissions of @nodes and all below them in
 * line with what their parents ask for, visiting each node once, with its final sums. A step of @tran.
 */
bool bdrv_refresh_perms_list(GPtrArray *nodes, Transaction *tran, Error **errp);

/* Locks (lock.c) */

/*
 * Edges and permissions change only under the graph lock, on the main loop. It is held from the first step of a
 * transaction to its end and never across a yield, so it is never contended, which it asserts.
 */
void bdrv_graph_lock(void);
void bdrv_graph_unlock(void);
void bdrv_graph_assert_locked(void);

/*
 * References that a transaction no longer needs are dropped once its operation has released its nodes, since closing a
 * node waits, also for other operations.
 */
void bdrv_graph_defer_unref(BlockDriverState *bs);
void coroutine_mixed_fn bdrv_graph_put_deferred(void);

/*
 * Operations that change what a node is (reopen, resize, activate, replace) may take long and need their nodes to
 * themselves. Waits until no other operation has claimed any of @nodes, then claims all at once and takes references:
 * no deadlock, and operations on other nodes go on. An operation that flushes also claims everything below, since a
 * flush reaches nodes that another operation may have drained.
 */
void coroutine_fn bdrv_co_claim(GPtrArray *nodes);
void coroutine_fn bdrv_co_release(GPtrArray *nodes);
/* Wait until no other coroutine has any of @nodes. */
void coroutine_fn bdrv_co_wait_unclaimed(GPtrArray *nodes);

/* Nodes (node.c, open.c) */

/* Drop a reference; the last one in a coroutine of its own, since closing waits. */
void bdrv_unref_later(BlockDriverState *bs);

/* Flush all of @nodes; false with @errp, which names the first that failed. */
bool coroutine_fn bdrv_co_flush_all(GPtrArray *nodes, Error **errp);

/* Apply those of @bs->options that every driver has; false with @errp if they contradict each other. */
bool bdrv_take_common_options(BlockDriverState *bs, Error **errp);

/* Whether a child of this name is the bs->file of its parent. blkdebug has another name for it, as in QEMU. */
static inline bool bdrv_is_file_child(const char *name)
{
    return g_str_equal(name, "file") || g_str_equal(name, "image");
}

/* Make @bs, whose "file" is or will be @child_bs, read-only if that is and auto-read-only allows it. */
void bdrv_take_auto_read_only(BlockDriverState *bs, const BlockDriverState *child_bs);

/* Query the length and the limits from the driver again; false with @errp on failure. */
bool coroutine_fn bdrv_co_refresh(BlockDriverState *bs, Error **errp);

/* The length or the limits of @bs have changed: tell all above it. They are drained. */
void coroutine_fn bdrv_co_resized(BlockDriverState *bs);

/* The first node whose iothread is @iothread; NULL: none. */
BlockDriverState *bdrv_find_iothread_user(const IOThread *iothread);

/* Control callbacks of drivers (driver.c), with the default of block_int.h if one is missing. */
bool coroutine_fn bdrv_driver_open(BlockDriverState *bs, Error **errp);
void coroutine_fn bdrv_driver_close(BlockDriverState *bs);
int64_t coroutine_fn bdrv_driver_getlength(BlockDriverState *bs);
/* The driver has bdrv_co_reopen_prepare. Sets @reopen->prepared. */
bool coroutine_fn bdrv_driver_reopen_prepare(BDRVReopenState *reopen, Error **errp);
/* Commit or abort, if the driver is prepared. */
void coroutine_fn bdrv_driver_reopen_end(BDRVReopenState *reopen, bool commit);
bool bdrv_driver_check_perm(BlockDriverState *bs, uint64_t perm, uint64_t shared, Error **errp);
void bdrv_driver_set_perm(BlockDriverState *bs, uint64_t perm, uint64_t shared);
void bdrv_driver_abort_perm_update(BlockDriverState *bs);
void bdrv_driver_child_perm(BlockDriverState *bs, const char *name, uint32_t role, uint64_t perm, uint64_t shared,
                            uint64_t *nperm, uint64_t *nshared);
void bdrv_driver_drain_begin(BlockDriverState *bs);
void bdrv_driver_cancel_in_flight(BlockDriverState *bs);

/* Draining (drain.c) */

/* Stop the parents of @bs without waiting for requests in flight, and resume them once every such call is undone. */
void bdrv_quiesce(BlockDriverState *bs);
void bdrv_unquiesce(BlockDriverState *bs);

/*
 * Like bdrv_co_drained_begin(), but gives up once *@expired, which the main thread sets, followed by bdrv_drain_kick(),
 * and returns false. The section has begun nevertheless: end it with bdrv_drained_end_later(), which need not wait for
 * this to return.
 */
bool coroutine_fn bdrv_co_drained_begin_unless(BlockDriverState *bs, const bool *expired);
/* Like bdrv_co_drained_end(), for code that is no coroutine. */
void bdrv_drained_end_later(BlockDriverState *bs);

/* An edge was attached to a node, or is about to be detached: stop or resume its parent if the node is drained. */
void bdrv_drain_attach(BdrvChild *child);
void bdrv_drain_detach(BdrvChild *child);

/* -errno if data written to @bs may be lost: flushes fail with it until reopening @bs clears it. */
int bdrv_get_flush_error(BlockDriverState *bs);
void bdrv_clear_flush_error(BlockDriverState *bs);

/* A request began or ended at @bs or a BlockBackend; wakes drain. */
void bdrv_inc_in_flight(BlockDriverState *bs);
void bdrv_dec_in_flight(BlockDriverState *bs);
/* For a request that no BlockBackend above made (a job's, to the header of @bs): not while @bs is drained. */
void coroutine_fn bdrv_co_inc_in_flight(BlockDriverState *bs);
void bdrv_drain_kick(void);
/* Wait until @idle(@opaque). */
void coroutine_fn bdrv_co_wait_idle(bool (*idle)(void *opaque), void *opaque);

#endif
