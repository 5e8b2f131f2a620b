/*
 * BlockBackend: a user's hold on the graph
 *
 * Programs, jobs and exports reach a node through a BlockBackend of their own, which says what they do with
 * it (permissions), waits while the node is drained, and checks every request.
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

/* @name tells people who the user is ("job 'j0'", "export 'e0'"), in errors about permissions. */
BlockBackend *blk_new(const char *name, uint64_t perm, uint64_t shared_perm);

/* Take a reference to @bs and the permissions on it; false with @errp, which names who is in the way. */
bool blk_insert_bs(BlockBackend *blk, BlockDriverState *bs, Error **errp);

/* Change the permissions; false with @errp and nothing changed. */
bool blk_set_perm(BlockBackend *blk, uint64_t perm, uint64_t shared_perm, Error **errp);

/* Open @filename and @options as bdrv_co_open() does, for this user alone. NULL with @errp. */
BlockBackend *coroutine_fn blk_co_new_open(const char *name, const char *filename,
                                           struct json_object *options, BdrvOpenFlags flags, uint64_t perm,
                                           uint64_t shared_perm, Error **errp);

/*
 * Where bdrv_co_replace_node() puts another node in the place of ours, change over to it, as an export does. By default
 * a user stays at its node.
 */
void blk_set_follow(BlockBackend *blk);

/* Call @func on the main loop whenever the length or the limits of the node have changed; @blk is drained then. */
typedef void BlkResizedFunc(void *opaque);
void blk_set_resized_func(BlockBackend *blk, BlkResizedFunc *func, void *opaque);

BlockBackend *blk_ref(BlockBackend *blk);
/* The last one waits for the requests in flight and lets go of the node. NULL is allowed. */
void coroutine_fn blk_co_unref(BlockBackend *blk);

const char *blk_name(const BlockBackend *blk);
BlockDriverState *blk_bs(BlockBackend *blk);    /* NULL where no node is inserted */
BdrvChild *blk_root(BlockBackend *blk);

/* Requests: 0 or -errno. Not within the node: -EIO. Not permitted: -EPERM. */
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
/* As bdrv_co_block_status(). */
int coroutine_fn blk_co_block_status(BlockBackend *blk, int64_t offset, int64_t bytes, int64_t *pnum);
/*
 * With everything above the storage drained, and told of its new length; main thread. @job (NULL: nobody watches) sees
 * the progress of preallocation; cancelling it leaves the old length.
 */
bool coroutine_fn blk_co_truncate(BlockBackend *blk, int64_t offset, bool exact, PreallocMode prealloc, Job *job,
                                  Error **errp);
int64_t blk_getlength(BlockBackend *blk);

#endif
