/*
 * Requests in flight, and those that must not overlap: a write smaller than a block reads the block, changes a part of
 * it and writes it back, undisturbed; a job copies a range that must not change meanwhile
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "block/dirty-bitmap.h"
#include "block/graph/graph_int.h"
#include "block/io/io_int.h"

int bdrv_check_request(BlockDriverState *bs, int64_t offset, int64_t bytes)
{
    if (offset < 0 || bytes < 0 || offset > bs->length || bytes > bs->length - offset) {
        return -EIO;
    }
    return 0;
}

int bdrv_check_write(const BdrvChild *child, int64_t offset, int64_t bytes, BdrvRequestFlags flags)
{
    /* Users can cause this. The permission must not be granted now, but may have been before. */
    if (child->bs->read_only || child->bs->inactive) {
        return -EPERM;
    }
    bdrv_assert_perm(child, BLK_PERM_WRITE | (flags & BDRV_REQ_WRITE_UNCHANGED ? BLK_PERM_WRITE_UNCHANGED : 0));
    return bdrv_check_request(child->bs, offset, bytes);
}

static bool requests_overlap(const BdrvTrackedRequest *a, const BdrvTrackedRequest *b)
{
    return a->offset < b->offset + b->bytes && b->offset < a->offset + a->bytes;
}

/* Reads ignore locks, unless they are serialising. */
static bool request_ignores_locks(const BdrvTrackedRequest *req)
{
    return req->type == BDRV_TRACKED_READ && !req->serialising;
}

/* Whether one of the two has to wait for the other. */
static bool requests_conflict(const BdrvTrackedRequest *a, const BdrvTrackedRequest *b)
{
    return (a->serialising || b->serialising) && requests_overlap(a, b) &&
           !(a->type == BDRV_TRACKED_LOCK && request_ignores_locks(b)) &&
           !(b->type == BDRV_TRACKED_LOCK && request_ignores_locks(a));
}

/* The first earlier request that @req has to wait for, except its own lock and requests that wait for that. */
static BdrvTrackedRequest *request_find_conflict(const BdrvTrackedRequest *req)
{
    const BdrvTrackedRequest *own = NULL;
    Coroutine *self = qemu_coroutine_self();

    for (BdrvTrackedRequest *other = req->bs->tracked_first; other != req; other = other->next) {
        if (other->owner == self) {
            assert(!own && !req->owner);
            own = other;
        } else if (requests_conflict(req, other) && !(own && requests_conflict(own, other))) {
            return other;
        }
    }
    return NULL;
}

static void request_link(BdrvTrackedRequest *req)
{
    BlockDriverState *bs = req->bs;

    req->prev = bs->tracked_last;
    *(req->prev ? &req->prev->next : &bs->tracked_first) = req;
    bs->tracked_last = req;
}

static void request_unlink(BdrvTrackedRequest *req)
{
    *(req->prev ? &req->prev->next : &req->bs->tracked_first) = req->next;
    *(req->next ? &req->next->prev : &req->bs->tracked_last) = req->prev;
}

void coroutine_fn bdrv_tracked_request_begin(BdrvTrackedRequest *req, BlockDriverState *bs, int64_t offset,
                                             int64_t bytes, BdrvTrackedRequestType type, bool serialising)
{
    BdrvTrackedRequest *conflict;

    *req = (BdrvTrackedRequest){
        .bs = bs, .offset = offset, .bytes = bytes, .type = type, .serialising = serialising,
        .owner = type == BDRV_TRACKED_LOCK ? qemu_coroutine_self() : NULL,
    };
    qemu_co_queue_init(&req->waiters);
    bdrv_inc_in_flight(bs);
    if (type == BDRV_TRACKED_WRITE || type == BDRV_TRACKED_DISCARD) {
        /* Before it is executed: it may fail for lack of space. */
        bdrv_write_threshold_check(bs, offset + bytes);
    }

    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&bs->reqs_lock);
    request_link(req);
    bs->serialising += serialising;
    while (bs->serialising && (conflict = request_find_conflict(req))) {
        qemu_co_queue_wait(&conflict->waiters, &bs->reqs_lock);
    }
}

void bdrv_tracked_request_end(BdrvTrackedRequest *req)
{
    BlockDriverState *bs = req->bs;
    bool wrote = req->type != BDRV_TRACKED_READ && req->type != BDRV_TRACKED_LOCK;

    g_mutex_lock(&bs->reqs_lock);
    request_unlink(req);
    if (bs->serialising) {
        /* Else nobody waits. */
        qemu_co_queue_restart_all(&req->waiters);
    }
    bs->serialising -= req->serialising;
    bs->write_gen += wrote;
    if (req->type == BDRV_TRACKED_WRITE) {
        /* The last block may extend beyond the end. */
        bs->wr_highest_offset = MAX(bs->wr_highest_offset, MIN(req->offset + req->bytes, bs->length));
    }
    g_mutex_unlock(&bs->reqs_lock);
    if (wrote) {
        bdrv_set_dirty(bs, req->offset, req->bytes);
    }
    bdrv_dec_in_flight(bs);
}

int64_t bdrv_get_wr_highest_offset(BlockDriverState *bs)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&bs->reqs_lock);

    return bs->wr_highest_offset;
}

struct BdrvRangeLock {
    BdrvTrackedRequest req;
};

BdrvRangeLock *coroutine_fn bdrv_co_range_lock(BlockDriverState *bs, int64_t offset, int64_t bytes)
{
    BdrvRangeLock *lock = g_new(BdrvRangeLock, 1);
    int64_t start = ROUND_DOWN(offset, bs->bl.request_alignment);
    int64_t end = ROUND_UP(offset + bytes, bs->bl.request_alignment);

    bdrv_tracked_request_begin(&lock->req, bs, start, end - start, BDRV_TRACKED_LOCK, true);
    return lock;
}

void bdrv_range_unlock(BdrvRangeLock *lock)
{
    bdrv_tracked_request_end(&lock->req);
    g_free(lock);
}
