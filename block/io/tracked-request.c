/*
 * Requests in flight, and those that must not overlap: a write that is smaller than a block reads the block,
 * changes a part and writes it back, which nothing may disturb
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
    /* A user's doing, who must not be granted the permission then, but may have had it before. */
    if (child->bs->read_only || child->bs->inactive) {
        return -EPERM;
    }
    bdrv_assert_perm(child, BLK_PERM_WRITE | (flags & BDRV_REQ_WRITE_UNCHANGED ? BLK_PERM_WRITE_UNCHANGED : 0));
    return bdrv_check_request(child->bs, offset, bytes);
}

static bool overlaps(const BdrvTrackedRequest *a, const BdrvTrackedRequest *b)
{
    return a->offset < b->offset + b->bytes && b->offset < a->offset + a->bytes;
}

/* The first earlier request that @req has to wait for. */
static BdrvTrackedRequest *find_conflict(const BdrvTrackedRequest *req)
{
    for (GList *l = req->bs->tracked_requests.head; l != &req->link; l = l->next) {
        BdrvTrackedRequest *other = l->data;

        if ((req->serialising || other->serialising) && overlaps(req, other)) {
            return other;
        }
    }
    return NULL;
}

void coroutine_fn bdrv_tracked_request_begin(BdrvTrackedRequest *req, BlockDriverState *bs, int64_t offset,
                                             int64_t bytes, bool serialising)
{
    BdrvTrackedRequest *conflict;

    *req = (BdrvTrackedRequest){
        .bs = bs, .offset = offset, .bytes = bytes, .serialising = serialising, .link.data = req,
    };
    qemu_co_queue_init(&req->waiters);
    bdrv_inc_in_flight(bs);

    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&bs->reqs_lock);
    g_queue_push_tail_link(&bs->tracked_requests, &req->link);
    bs->serialising += serialising;
    while (bs->serialising && (conflict = find_conflict(req))) {
        qemu_co_queue_wait(&conflict->waiters, &bs->reqs_lock);
    }
}

static void request_end(BdrvTrackedRequest *req, bool wrote)
{
    BlockDriverState *bs = req->bs;

    g_mutex_lock(&bs->reqs_lock);
    g_queue_unlink(&bs->tracked_requests, &req->link);
    bs->serialising -= req->serialising;
    bs->write_gen += wrote;
    /* A change of length covers all that is behind it, and writes nothing. */
    if (wrote && req->bytes <= bs->length - req->offset) {
        bs->wr_highest_offset = MAX(bs->wr_highest_offset, (uint64_t)(req->offset + req->bytes));
    }
    qemu_co_queue_restart_all(&req->waiters);
    g_mutex_unlock(&bs->reqs_lock);
    if (wrote) {
        bdrv_set_dirty(bs, req->offset, req->bytes);
    }
    bdrv_dec_in_flight(bs);
}

void bdrv_tracked_request_end(BdrvTrackedRequest *req)
{
    request_end(req, false);
}

void bdrv_tracked_write_end(BdrvTrackedRequest *req)
{
    request_end(req, true);
}
