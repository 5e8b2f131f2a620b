/*
 * throttle: a filter whose requests obey the limits of a throttle group
 *
 * Every request that changes data counts as a write of that many bytes, as in QEMU, including discards and zero writes.
 * Flushes and block status are not limited.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "block/block_int.h"
#include "block/drivers.h"
#include "block/throttle-group.h"

typedef struct BDRVThrottleState {
    ThrottleGroupMember *member;
    ThrottleGroupMember *new_member;    /* of the new group, during blockdev-reopen */
} BDRVThrottleState;

static bool coroutine_fn throttle_co_open(BlockDriverState *bs, Error **errp)
{
    BDRVThrottleState *s = bs->opaque;
    const BlockdevOptionsThrottle *o = &bs->options->u.throttle;

    s->member = throttle_group_join(o->throttle_group, bs, errp);
    if (!s->member) {
        return false;
    }
    if (!bdrv_co_open_child(bs, "file", o->file, BDRV_CHILD_FILTERED, errp)) {
        throttle_group_leave(s->member);
        return false;
    }
    return true;
}

static void coroutine_fn throttle_co_close(BlockDriverState *bs)
{
    BDRVThrottleState *s = bs->opaque;

    throttle_group_leave(s->member);
}

static bool coroutine_fn throttle_co_reopen_prepare(BDRVReopenState *reopen, Error **errp)
{
    BDRVThrottleState *s = reopen->bs->opaque;

    s->new_member = throttle_group_join(reopen->options->u.throttle.throttle_group, reopen->bs, errp);
    return s->new_member;
}

static void coroutine_fn throttle_co_reopen_commit(BlockDriverState *bs)
{
    BDRVThrottleState *s = bs->opaque;

    throttle_group_leave(s->member);
    s->member = g_steal_pointer(&s->new_member);
}

static void coroutine_fn throttle_co_reopen_abort(BlockDriverState *bs)
{
    BDRVThrottleState *s = bs->opaque;

    throttle_group_leave(g_steal_pointer(&s->new_member));
}

static void throttle_drain_begin(BlockDriverState *bs)
{
    BDRVThrottleState *s = bs->opaque;

    throttle_group_drain(s->member);
}

/* The child aligns requests itself. If they were aligned here, they could go beyond its end. */
static void throttle_refresh_limits(BlockDriverState *bs)
{
    bs->bl.request_alignment = 1;
}

static void coroutine_fn throttle_wait_read(BlockDriverState *bs, int64_t bytes)
{
    BDRVThrottleState *s = bs->opaque;

    throttle_group_co_wait(s->member, bytes, THROTTLE_READ);
}

static void coroutine_fn throttle_wait_write(BlockDriverState *bs, int64_t bytes)
{
    BDRVThrottleState *s = bs->opaque;

    throttle_group_co_wait(s->member, bytes, THROTTLE_WRITE);
}

static int coroutine_fn throttle_co_preadv(BlockDriverState *bs, int64_t offset, int64_t bytes, QEMUIOVector *qiov,
                                           BdrvRequestFlags flags)
{
    throttle_wait_read(bs, bytes);
    return bdrv_co_preadv(bs->file, offset, bytes, qiov, flags);
}

static int coroutine_fn throttle_co_pwritev(BlockDriverState *bs, int64_t offset, int64_t bytes, QEMUIOVector *qiov,
                                            BdrvRequestFlags flags)
{
    throttle_wait_write(bs, bytes);
    return bdrv_co_pwritev(bs->file, offset, bytes, qiov, flags);
}

static int coroutine_fn throttle_co_pwrite_zeroes(BlockDriverState *bs, int64_t offset, int64_t bytes,
                                                  BdrvRequestFlags flags)
{
    throttle_wait_write(bs, bytes);
    return bdrv_co_pwrite_zeroes(bs->file, offset, bytes, flags);
}

static int coroutine_fn throttle_co_pdiscard(BlockDriverState *bs, int64_t offset, int64_t bytes)
{
    throttle_wait_write(bs, bytes);
    return bdrv_co_pdiscard(bs->file, offset, bytes);
}

static int coroutine_fn throttle_co_secure_discard(BlockDriverState *bs, int64_t offset, int64_t bytes)
{
    throttle_wait_write(bs, bytes);
    return bdrv_co_secure_discard(bs->file, offset, bytes);
}

static const char *const mutable_opts[] = { "throttle-group", NULL };

const BlockDriver bdrv_throttle = {
    .format_name = "throttle",
    .driver = BLOCKDEV_DRIVER_THROTTLE,
    .instance_size = sizeof(BDRVThrottleState),
    .is_filter = true,
    .mutable_opts = mutable_opts,
    .strong_runtime_opts = mutable_opts,

    .bdrv_co_open = throttle_co_open,
    .bdrv_co_close = throttle_co_close,
    .bdrv_co_reopen_prepare = throttle_co_reopen_prepare,
    .bdrv_co_reopen_commit = throttle_co_reopen_commit,
    .bdrv_co_reopen_abort = throttle_co_reopen_abort,
    .bdrv_drain_begin = throttle_drain_begin,
    .bdrv_refresh_limits = throttle_refresh_limits,

    .bdrv_co_preadv = throttle_co_preadv,
    .bdrv_co_pwritev = throttle_co_pwritev,
    .supported_write_flags = BDRV_REQ_FUA | BDRV_REQ_OWN_BUFFER | BDRV_REQ_WRITE_UNCHANGED,
    .supported_zero_flags = BDRV_REQ_FUA | BDRV_REQ_MAY_UNMAP | BDRV_REQ_NO_FALLBACK | BDRV_REQ_WRITE_UNCHANGED,
    .bdrv_co_pwrite_zeroes = throttle_co_pwrite_zeroes,
    .bdrv_co_pdiscard = throttle_co_pdiscard,
    .bdrv_co_secure_discard = throttle_co_secure_discard,
};
