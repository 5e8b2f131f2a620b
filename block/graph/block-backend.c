/*
 * BlockBackend: a user of the graph
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
    bool follow;            /* follow when another node replaces ours */
    BdrvChild *root;
    gint in_flight;         /* atomic */
    gint quiesce_counter;   /* atomic */
    GMutex lock;
    CoQueue queued;         /* requests waiting for a drained section to end; under lock */
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

static char *root_describe(const BdrvChild *child)
{
    return g_strdup(((BlockBackend *)child->opaque)->name);
}

static void root_drained_begin(BdrvChild *child)
{
    BlockBackend *blk = child->opaque;

    g_atomic_int_inc(&blk->quiesce_counter);
}

static void root_drained_end(BdrvChild *child)
{
    BlockBackend *blk = child->opaque;

    if (g_atomic_int_dec_and_test(&blk->quiesce_counter)) {
        g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&blk->lock);
        qemu_co_queue_restart_all(&blk->queued);
    }
}

static bool root_is_busy(const BdrvChild *child)
{
    return g_atomic_int_get(&((BlockBackend *)child->opaque)->in_flight) > 0;
}

static bool root_check_inactive(const BdrvChild *child, Error **errp)
{
    error_setg(errp, "Node '%s' is in use by %s", bdrv_get_display_name(child->bs),
               ((BlockBackend *)child->opaque)->name);
    return false;
}

static bool root_stays(const BdrvChild *child)
{
    return !((BlockBackend *)child->opaque)->follow;
}

static const BdrvChildClass child_root = {
    .describe = root_describe,
    .drained_begin = root_drained_begin,
    .drained_end = root_drained_end,
    .is_busy = root_is_busy,
    .check_inactive = root_check_inactive,
    .stays = root_stays,
};

void blk_set_follow(BlockBackend *blk)
{
    blk->follow = true;
}

bool blk_insert_bs(BlockBackend *blk, BlockDriverState *bs, Error **errp)
{
    assert(!blk->root);
    blk->root = bdrv_attach_child(&child_root, blk, bs, "root", 0, blk->perm, blk->shared_perm, errp);
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

static bool blk_is_idle(void *opaque)
{
    BlockBackend *blk = opaque;

    return g_atomic_int_get(&blk->in_flight) == 0;
}

void coroutine_fn blk_co_unref(BlockBackend *blk)
{
    if (!blk || --blk->refcnt > 0) {
        return;
    }
    if (blk->root) {
        /* Make the end of a request wake us. */
        g_atomic_int_inc(&blk->quiesce_counter);
        bdrv_co_wait_idle(blk_is_idle, blk);
        bdrv_co_detach_child(blk->root);
    }
    g_mutex_clear(&blk->lock);
    g_free(blk->name);
    g_free(blk);
}

BlockDriverState *blk_bs(BlockBackend *blk)
{
    return blk->root ? blk->root->bs : NULL;
}

BdrvChild *blk_root(BlockBackend *blk)
{
    return blk->root;
}

void blk_end(BlockBackend *blk)
{
    if (g_atomic_int_dec_and_test(&blk->in_flight) && g_atomic_int_get(&blk->quiesce_counter)) {
        bdrv_drain_kick();
    }
}

bool blk_try_begin(BlockBackend *blk)
{
    /* Count first: drain raises quiesce_counter before it reads this count. */
    g_atomic_int_inc(&blk->in_flight);
    if (g_atomic_int_get(&blk->quiesce_counter)) {
        blk_end(blk);
        return false;
    }
    return true;
}

void coroutine_fn blk_co_begin(BlockBackend *blk)
{
    while (!blk_try_begin(blk)) {
        g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&blk->lock);
        while (g_atomic_int_get(&blk->quiesce_counter)) {
            qemu_co_queue_wait(&blk->queued, &blk->lock);
        }
    }
}

/* Wait for drained sections to end, then count a request; -errno if the user may not make it. */
static int coroutine_fn blk_begin_request(BlockBackend *blk, uint64_t perm)
{
    if (!blk->root) {
        return -ENOMEDIUM;
    }
    if (perm & ~blk->perm) {
        return -EPERM;
    }
    blk_co_begin(blk);
    return 0;
}

/* A write that changes nothing for readers needs the weaker permission only. */
static uint64_t write_perm(const BlockBackend *blk, BdrvRequestFlags flags)
{
    bool unchanged = flags & BDRV_REQ_WRITE_UNCHANGED && !(blk->perm & BLK_PERM_WRITE);

    return unchanged ? BLK_PERM_WRITE_UNCHANGED : BLK_PERM_WRITE;
}

int coroutine_fn blk_co_preadv(BlockBackend *blk, int64_t offset, int64_t bytes, QEMUIOVector *qiov,
                               BdrvRequestFlags flags)
{
    int ret = blk_begin_request(blk, BLK_PERM_CONSISTENT_READ);

    if (ret == 0) {
        ret = bdrv_co_preadv(blk->root, offset, bytes, qiov, flags);
        blk_end(blk);
    }
    return ret;
}

int coroutine_fn blk_co_pwritev(BlockBackend *blk, int64_t offset, int64_t bytes, QEMUIOVector *qiov,
                                BdrvRequestFlags flags)
{
    int ret = blk_begin_request(blk, write_perm(blk, flags));

    if (ret == 0) {
        ret = bdrv_co_pwritev(blk->root, offset, bytes, qiov, flags);
        blk_end(blk);
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
    int ret = blk_begin_request(blk, write_perm(blk, flags));

    if (ret == 0) {
        ret = bdrv_co_pwrite_zeroes(blk->root, offset, bytes, flags);
        blk_end(blk);
    }
    return ret;
}

int coroutine_fn blk_co_pdiscard(BlockBackend *blk, int64_t offset, int64_t bytes)
{
    int ret = blk_begin_request(blk, BLK_PERM_WRITE);

    if (ret == 0) {
        ret = bdrv_co_pdiscard(blk->root, offset, bytes);
        blk_end(blk);
    }
    return ret;
}

int coroutine_fn blk_co_flush(BlockBackend *blk)
{
    int ret = blk_begin_request(blk, 0);

    if (ret == 0) {
        ret = bdrv_co_flush(blk->root->bs);
        blk_end(blk);
    }
    return ret;
}

int coroutine_fn blk_co_block_status(BlockBackend *blk, int64_t offset, int64_t bytes, int64_t *pnum)
{
    int ret = blk_begin_request(blk, BLK_PERM_CONSISTENT_READ);

    if (ret == 0) {
        ret = bdrv_co_block_status(blk->root->bs, offset, bytes, pnum, NULL, NULL);
        blk_end(blk);
    }
    return ret;
}

/* The nodes from @bs down to its storage, in that order. */
static GPtrArray *nodes_to_storage(BlockDriverState *bs)
{
    GPtrArray *nodes = g_ptr_array_new();

    g_ptr_array_add(nodes, bs);
    while (bs->file) {
        bs = bs->file->bs;
        g_ptr_array_add(nodes, bs);
    }
    return nodes;
}

bool coroutine_fn blk_co_truncate(BlockBackend *blk, int64_t offset, bool exact, PreallocMode prealloc, Job *job,
                                  Error **errp)
{
    int ret = blk_begin_request(blk, BLK_PERM_RESIZE);

    if (ret < 0) {
        error_setg_errno(errp, -ret, "%s cannot resize its node", blk->name);
        return false;
    }
    blk_end(blk);
    g_autoptr(GPtrArray) nodes = nodes_to_storage(blk->root->bs);
    BlockDriverState *storage = g_ptr_array_index(nodes, nodes->len - 1);
    bdrv_co_claim(nodes);
    /* Requests above the storage depend on lengths and limits that are about to change. */
    bdrv_co_drained_begin(storage);
    bool ok = bdrv_co_truncate(blk->root, offset, exact, prealloc, job, errp);
    /* Lengths may have changed even on failure. */
    bdrv_co_resized(storage);
    bdrv_co_drained_end(storage);
    bdrv_co_release(nodes);
    return ok;
}

int64_t blk_getlength(BlockBackend *blk)
{
    return bdrv_getlength(blk_bs(blk));
}

int64_t coroutine_fn blk_co_getlength(BlockBackend *blk)
{
    int64_t ret = blk_begin_request(blk, 0);

    if (ret == 0) {
        ret = blk_getlength(blk);
        blk_end(blk);
    }
    return ret;
}
