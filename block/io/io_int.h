/*
 * What the files of block/io share
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef BLOCK_IO_INT_H
#define BLOCK_IO_INT_H

#include "block/block_int.h"

/* A request needs one of @perm, which its parent must have requested. The main loop may change others meanwhile. */
static inline void bdrv_assert_perm(const BdrvChild *child, uint64_t perm)
{
    assert(qatomic_read(&child->perm) & perm);
}

/* The maximum bytes of one request to a driver with the limit @max (0: none), in whole blocks of @align. */
static inline int64_t bdrv_max_piece(int64_t max, int64_t align)
{
    max = MIN(max ?: BDRV_REQUEST_MAX_BYTES, BDRV_REQUEST_MAX_BYTES);
    return MAX(ROUND_DOWN(max, align), align);
}

/*
 * -ECANCELED once the client of a request is gone, else 0. Checked before each piece of a request, so that no further
 * piece begins, but not between two calls that belong together.
 */
static inline int bdrv_check_abandoned(void)
{
    return qemu_co_is_abandoned(qemu_coroutine_self()) ? -ECANCELED : 0;
}

/* The node of bs->file, or NULL. */
static inline BlockDriverState *bdrv_file_bs(const BlockDriverState *bs)
{
    return bs->file ? bs->file->bs : NULL;
}

/* For blkdebug: see BlockDriver. @bs may be NULL. */
static inline void bdrv_debug_event(BlockDriverState *bs, BlkdebugEvent event)
{
    if (bs && bs->drv->bdrv_debug_event) {
        bs->drv->bdrv_debug_event(bs, event);
    }
}

/* Flags that apply to writes of data and of zeroes, and are kept when one becomes the other. */
#define BDRV_REQ_ANY_WRITE (BDRV_REQ_FUA | BDRV_REQ_WRITE_UNCHANGED | BDRV_REQ_SERIALISING)

typedef enum BdrvTrackedRequestType {
    BDRV_TRACKED_READ,
    BDRV_TRACKED_WRITE,
    BDRV_TRACKED_DISCARD,
    BDRV_TRACKED_TRUNCATE,
    BDRV_TRACKED_LOCK,      /* a BdrvRangeLock */
} BdrvTrackedRequestType;

/* A request in flight at a node, or a range lock, in order of arrival. */
struct BdrvTrackedRequest {
    BlockDriverState *bs;
    int64_t offset;
    int64_t bytes;
    BdrvTrackedRequestType type;
    bool serialising;       /* overlapping requests wait for it, and it for them */
    Coroutine *owner;       /* of a lock; its own requests do not wait for it */
    BdrvTrackedRequest *prev, *next;
    CoQueue waiters;
};

/*
 * Count and track a request. Returns once all earlier requests that must not overlap it have ended. It waits only for
 * earlier ones, so there are no cycles.
 */
void coroutine_fn bdrv_tracked_request_begin(BdrvTrackedRequest *req, BlockDriverState *bs, int64_t offset,
                                             int64_t bytes, BdrvTrackedRequestType type, bool serialising);
void bdrv_tracked_request_end(BdrvTrackedRequest *req);

/* A write or discard that ends at @end begins. Any thread. */
void bdrv_write_threshold_check(BlockDriverState *bs, int64_t end);

/* 0, or -EIO if the range is not within the node. */
int bdrv_check_request(BlockDriverState *bs, int64_t offset, int64_t bytes);
/* The same for writes; -EPERM if the node is read-only or inactive. */
int bdrv_check_write(const BdrvChild *child, int64_t offset, int64_t bytes, BdrvRequestFlags flags);

/* Pass an aligned write to the driver, in pieces that it supports, and flush if FUA requires it. */
int coroutine_fn bdrv_aligned_pwritev(BlockDriverState *bs, int64_t offset, int64_t bytes, QEMUIOVector *qiov,
                                      BdrvRequestFlags flags);

/*
 * Whether a write with FUA that failed with @ret may have reached the storage @bs, which then could not make it
 * durable. A driver that is not the storage has passed the error on.
 */
static inline bool bdrv_may_be_flush_error(const BlockDriverState *bs, int ret, BdrvRequestFlags flags)
{
    return ret < 0 && ret != -ECANCELED && flags & BDRV_REQ_FUA && bs->drv->is_protocol;
}

/* Flush everything written so far, also by requests that have not ended yet. */
int coroutine_fn bdrv_flush_request(BlockDriverState *bs);

/* Record that a flush of @bs, or the flush of a write, has failed with @ret. */
void bdrv_set_flush_error(BlockDriverState *bs, int ret);

/* Write a checked range of any alignment, as a tracked request. */
int coroutine_fn bdrv_tracked_pwritev(BlockDriverState *bs, int64_t offset, int64_t bytes,
                                      QEMUIOVector *qiov, BdrvRequestFlags flags);

/*
 * driver.c: the driver's callbacks. All but the first must exist. The request is in flight and within the limits, its
 * flags are supported by the driver, and the node is writable if necessary.
 */
void bdrv_driver_refresh_limits(BlockDriverState *bs);
int coroutine_fn bdrv_driver_preadv(BlockDriverState *bs, int64_t offset, int64_t bytes, QEMUIOVector *qiov,
                                    BdrvRequestFlags flags);
int coroutine_fn bdrv_driver_pwritev(BlockDriverState *bs, int64_t offset, int64_t bytes, QEMUIOVector *qiov,
                                     BdrvRequestFlags flags);
int coroutine_fn bdrv_driver_pwrite_zeroes(BlockDriverState *bs, int64_t offset, int64_t bytes,
                                           BdrvRequestFlags flags);
int coroutine_fn bdrv_driver_pdiscard(BlockDriverState *bs, int64_t offset, int64_t bytes);
int coroutine_fn bdrv_driver_secure_discard(BlockDriverState *bs, int64_t offset, int64_t bytes);
int coroutine_fn bdrv_driver_flush(BlockDriverState *bs);
int coroutine_fn bdrv_driver_block_status(BlockDriverState *bs, int64_t offset, int64_t bytes, int64_t *pnum,
                                          int64_t *map, BlockDriverState **file);
bool coroutine_fn bdrv_driver_truncate(BlockDriverState *bs, int64_t offset, bool exact, PreallocMode prealloc,
                                       Job *job, Error **errp);

#endif
