/*
 * BlockBackend: a user's hold on the graph
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "block/block-backend.h"
#include "block/graph/graph_int.h"

struct BlockBackend {
    char *name;
    int refcnt;
    uint64_t perm;
    uint64_t shared_perm;
    BdrvChild *root;
    gint in_flight;         /* atomic */
    gint quiesce_counter;   /* atomic */
    GMutex lock;
    CoQueue queued;         /* requests that wait for the end of a drained section; under lock */
};

BlockBackend *blk_new(const char *name, uint64_t perm, uint64_t shared_perm)
{
    BlockBackend *blk = g_new0(BlockBackend, 1);

    blk->name = g_strdup(name);
    blk->refcnt = 1;
    blk->perm = perm;
    blk->shared_perm = shared_perm;
    g_mutex_init(&blk->lock);
    qemu_co_queue_init(&blk->queued);
    return blk;
}

bool blk_insert_bs(BlockBackend *blk, BlockDriverState *bs, Error **errp)
{
    assert(!blk->root);
    blk->root = bdrv_attach_child(NULL, blk, bs, "root", 0, blk->perm, blk->shared_perm, errp);
    return blk->root;
}

bool blk_set_perm(BlockBackend *blk, uint64_t perm, uint64_t shared_perm, Error **errp)
{
    if (blk->root && !bdrv_child_set_perm(blk->root, perm, shared_perm, errp)) {
        return false;
    }
    blk->perm = perm;
    blk->shared_perm = shared_perm;
    return true;
}

BlockBackend *coroutine_fn blk_co_new_open(const char *name, const char *filename,
                                           struct json_object *options, BdrvOpenFlags flags, uint64_t perm,
                                           uint64_t shared_perm, Error **errp)
{
    BlockDriverState *bs = bdrv_co_open(filename, options, flags, errp);

    if (!bs) {
        return NULL;
    }
    BlockBackend *blk = blk_new(name, perm, shared_perm);
    if (!blk_insert_bs(blk, bs, errp)) {
        blk_co_unref(blk);
        blk = NULL;
    }
    bdrv_co_unref(bs);
    return blk;
}

BlockBackend *blk_ref(BlockBackend *blk)
{
    blk->refcnt++;
    return blk;
}

bool blk_root_idle(BlockBackend *blk)
{
    return g_atomic_int_get(&blk->in_flight) == 0;
}

static bool blk_idle(void *opaque)
{
    return blk_root_idle(opaque);
}

void coroutine_fn blk_co_unref(BlockBackend *blk)
{
    if (!blk || --blk->refcnt > 0) {
        return;
    }
    if (blk->root) {
        /* So that the end of a request wakes us. */
        g_atomic_int_inc(&blk->quiesce_counter);
        bdrv_co_wait_idle(blk_idle, blk);
        bdrv_co_detach_child(blk->root);
    }
    g_mutex_clear(&blk->lock);
    g_free(blk->name);
    g_free(blk);
}

const char *blk_name(const BlockBackend *blk)
{
    return blk->name;
}

BlockDriverState *blk_bs(BlockBackend *blk)
{
    return blk->root ? blk->root->bs : NULL;
}

BdrvChild *blk_root(BlockBackend *blk)
{
    return blk->root;
}

void blk_root_drained_begin(BlockBackend *blk)
{
    g_atomic_int_inc(&blk->quiesce_counter);
}

void blk_root_drained_end(BlockBackend *blk)
{
    if (g_atomic_int_dec_and_test(&blk->quiesce_counter)) {
        g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&blk->lock);
        qemu_co_queue_restart_all(&blk->queued);
    }
}

static void blk_end_request(BlockBackend *blk)
{
    if (g_atomic_int_dec_and_test(&blk->in_flight) && g_atomic_int_get(&blk->quiesce_counter)) {
        bdrv_drain_kick();
    }
}

/* Wait out drained sections, then count a request; -errno where it must not be made. */
static int coroutine_fn blk_begin_request(BlockBackend *blk, uint64_t perm)
{
    if (!blk->root) {
        return -ENOMEDIUM;
    }
    if (perm & ~blk->perm) {
        return -EPERM;
    }
    /* Counting comes first: who drains looks at the count after it has set the other. */
    g_atomic_int_inc(&blk->in_flight);
    while (g_atomic_int_get(&blk->quiesce_counter)) {
        blk_end_request(blk);
        {
            g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&blk->lock);
            while (g_atomic_int_get(&blk->quiesce_counter)) {
                qemu_co_queue_wait(&blk->queued, &blk->lock);
            }
        }
        g_atomic_int_inc(&blk->in_flight);
    }
    return 0;
}

int coroutine_fn blk_co_preadv(BlockBackend *blk, int64_t offset, int64_t bytes, QEMUIOVector *qiov,
                               BdrvRequestFlags flags)
{
    int ret = blk_begin_request(blk, BLK_PERM_CONSISTENT_READ);

    if (ret == 0) {
        ret = bdrv_co_preadv(blk->root, offset, bytes, qiov, flags);
        blk_end_request(blk);
    }
    return ret;
}

int coroutine_fn blk_co_pwritev(BlockBackend *blk, int64_t offset, int64_t bytes, QEMUIOVector *qiov,
                                BdrvRequestFlags flags)
{
    int ret = blk_begin_request(blk, BLK_PERM_WRITE);

    if (ret == 0) {
        ret = bdrv_co_pwritev(blk->root, offset, bytes, qiov, flags);
        blk_end_request(blk);
    }
    return ret;
}

int coroutine_fn blk_co_pread(BlockBackend *blk, int64_t offset, int64_t bytes, void *buf)
{
    QEMUIOVector qiov;

    qemu_iovec_init_buf(&qiov, buf, bytes);
    return blk_co_preadv(blk, offset, bytes, &qiov, 0);
}

int coroutine_fn blk_co_pwrite(BlockBackend *blk, int64_t offset, int64_t bytes, const void *buf,
                               BdrvRequestFlags flags)
{
    QEMUIOVector qiov;

    qemu_iovec_init_buf(&qiov, (void *)buf, bytes);
    return blk_co_pwritev(blk, offset, bytes, &qiov, flags);
}

int coroutine_fn blk_co_pwrite_zeroes(BlockBackend *blk, int64_t offset, int64_t bytes,
                                      BdrvRequestFlags flags)
{
    int ret = blk_begin_request(blk, BLK_PERM_WRITE);

    if (ret == 0) {
        ret = bdrv_co_pwrite_zeroes(blk->root, offset, bytes, flags);
        blk_end_request(blk);
    }
    return ret;
}

int coroutine_fn blk_co_pdiscard(BlockBackend *blk, int64_t offset, int64_t bytes)
{
    int ret = blk_begin_request(blk, BLK_PERM_WRITE);

    if (ret == 0) {
        ret = bdrv_co_pdiscard(blk->root, offset, bytes);
        blk_end_request(blk);
    }
    return ret;
}

int coroutine_fn blk_co_flush(BlockBackend *blk)
{
    int ret = blk_begin_request(blk, 0);

    if (ret == 0) {
        ret = bdrv_co_flush(blk->root->bs);
        blk_end_request(blk);
    }
    return ret;
}

int coroutine_fn blk_co_block_status(BlockBackend *blk, int64_t offset, int64_t bytes, int64_t *pnum)
{
    int ret = blk_begin_request(blk, BLK_PERM_CONSISTENT_READ);

    if (ret == 0) {
        ret = bdrv_co_block_status(blk->root->bs, offset, bytes, pnum, NULL, NULL);
        blk_end_request(blk);
    }
    return ret;
}

bool coroutine_fn blk_co_truncate(BlockBackend *blk, int64_t offset, bool exact, PreallocMode prealloc,
                                  Error **errp)
{
    int ret = blk_begin_request(blk, BLK_PERM_RESIZE);

    if (ret < 0) {
        error_setg_errno(errp, -ret, "%s cannot resize its node", blk->name);
        return false;
    }
    blk_end_request(blk);
    /* Requests on other threads go by the lengths and the limits of all nodes down to the storage. */
    BlockDriverState *storage = bdrv_protocol_node(blk->root->bs);
    bdrv_co_drained_begin(storage);
    bool ok = bdrv_co_truncate(blk->root, offset, exact, prealloc, errp);
    bdrv_co_drained_end(storage);
    return ok;
}

int64_t blk_getlength(BlockBackend *blk)
{
    return bdrv_getlength(blk_bs(blk));
}
