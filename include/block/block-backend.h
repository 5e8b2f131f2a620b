/*
 * BlockBackend: a user's connection to the graph
 *
 * Programs, jobs and exports each reach a node through a BlockBackend of their own. It declares how they use the node
 * (permissions), holds back requests while the node is drained, and checks every request.
 *
 *     BlockBackend *blk = blk_new("convert target", BLK_PERM_WRITE, BLK_PERM_ALL);
 *     if (blk_insert_bs(blk, bs, errp)) {
 *         ret = blk_co_pwrite(blk, 0, 512, buf, 0);
 *     }
 *     blk_co_unref(blk);
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef BLOCK_BACKEND_H
#define BLOCK_BACKEND_H

#include "block/block.h"

/* @name describes the user ("job 'j0'", "export 'e0'") in permission errors. */
BlockBackend *blk_new(const char *name, uint64_t perm, uint64_t shared_perm);

/* Take a reference to @bs and the permissions on it. False with @errp, which names the conflicting user. */
bool blk_insert_bs(BlockBackend *blk, BlockDriverState *bs, Error **errp);

/* Change the permissions. False with @errp, and no change, if other users do not share them. */
bool blk_set_perm(BlockBackend *blk, uint64_t perm, uint64_t shared_perm, Error **errp);

/* Open a node as bdrv_co_open() does, for this user alone. NULL with @errp. */
BlockBackend *coroutine_fn blk_co_new_open(const char *name, const char *filename,
                                           struct json_object *options, BdrvOpenFlags flags, uint64_t perm,
                                           uint64_t shared_perm, Error **errp);

/*
 * Follow bdrv_co_replace_node() from the current node to its replacement, as exports do. By default a user stays at its
 * node.
 */
void blk_set_follow(BlockBackend *blk);

BlockBackend *blk_ref(BlockBackend *blk);
/* The last reference waits for the requests in flight and releases the node. @blk may be NULL. */
void coroutine_fn blk_co_unref(BlockBackend *blk);

BlockDriverState *blk_bs(BlockBackend *blk);    /* NULL if no node is inserted */
BdrvChild *blk_root(BlockBackend *blk);

/*
 * Several requests as one: blk_co_begin() waits for drained sections to end, and no section begins before blk_end().
 * In between, make the requests to blk_root(), because those functions never wait. blk_try_begin() returns false
 * instead of waiting. From any thread.
 *
 *     blk_co_begin(blk);
 *     ret = bdrv_co_preadv(blk_root(blk), 0, 512, &qiov, 0);
 *     ...
 *     blk_end(blk);
 */
void coroutine_fn blk_co_begin(BlockBackend *blk);
bool blk_try_begin(BlockBackend *blk);
void blk_end(BlockBackend *blk);

/* Requests. 0 or -errno: -EIO if the range is not within the node, -EPERM without the permission. */
int coroutine_fn blk_co_preadv(BlockBackend *blk, int64_t offset, int64_t bytes, QEMUIOVector *qiov,
                               BdrvRequestFlags flags);
int coroutine_fn blk_co_pwritev(BlockBackend *blk, int64_t offset, int64_t bytes, QEMUIOVector *qiov,
                                BdrvRequestFlags flags);
int coroutine_fn blk_co_pread(BlockBackend *blk, int64_t offset, int64_t bytes, void *buf);
int coroutine_fn blk_co_pwrite(BlockBackend *blk, int64_t offset, int64_t bytes, const void *buf,
                               BdrvRequestFlags flags);
int coroutine_fn blk_co_pwrite_zeroes(BlockBackend *blk, int64_t offset, int64_t bytes,
                                      BdrvRequestFlags flags);
int coroutine_fn blk_co_pdiscard(BlockBackend *blk, int64_t offset, int64_t bytes);
int coroutine_fn blk_co_flush(BlockBackend *blk);
/* Like bdrv_co_block_status(). */
int coroutine_fn blk_co_block_status(BlockBackend *blk, int64_t offset, int64_t bytes, int64_t *pnum);
/*
 * Resize, with everything above the storage drained and notified of its new length. Main thread only. @job may be NULL;
 * it shows the progress of preallocation, and cancelling it keeps the old length.
 */
bool coroutine_fn blk_co_truncate(BlockBackend *blk, int64_t offset, bool exact, PreallocMode prealloc, Job *job,
                                  Error **errp);
/* Bytes. Main thread only; elsewhere the node may be resized or replaced meanwhile. */
int64_t blk_getlength(BlockBackend *blk);
/* The same as a request, from any thread: waits for a drained section to end. -ENOMEDIUM if there is no node. */
int64_t coroutine_fn blk_co_getlength(BlockBackend *blk);

#endif
