/*
 * Holes in file and host_device: block status, discard, zeroing without writing
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include <linux/falloc.h>
#include <linux/fs.h>
#include <sys/ioctl.h>

#include "block/drivers/file.h"
#include "util/thread-pool.h"

typedef struct SpaceWork {
    BDRVFileState *s;
    int64_t offset;
    int64_t bytes;
    BdrvRequestFlags flags;
} SpaceWork;

/* Errors of a kernel or file system that lacks the operation entirely. */
static bool is_unsupported(int err)
{
    return err == EOPNOTSUPP || err == ENOSYS || err == ENOTTY;
}

/*
 * Call fallocate() unless *@unsupported says that it cannot work. EINVAL may be about this range only, so it is not
 * remembered; the caller can still write zeroes.
 */
static int do_fallocate(const SpaceWork *work, int mode, gint *unsupported)
{
    if (g_atomic_int_get(unsupported)) {
        return -ENOTSUP;
    }
    if (RETRY_ON_EINTR(fallocate(work->s->fd, mode, work->offset, work->bytes)) == 0) {
        return 0;
    }
    if (is_unsupported(errno)) {
        g_atomic_int_set(unsupported, 1);
        return -ENOTSUP;
    }
    return errno == EINVAL || errno == ENODEV ? -ENOTSUP : -errno;
}

static int do_ioctl_range(const SpaceWork *work, unsigned long request, gint *unsupported)
{
    uint64_t range[2] = { work->offset, work->bytes };

    if (g_atomic_int_get(unsupported)) {
        return -ENOTSUP;
    }
    if (RETRY_ON_EINTR(ioctl(work->s->fd, request, range)) == 0) {
        return 0;
    }
    if (is_unsupported(errno)) {
        g_atomic_int_set(unsupported, 1);
        return -ENOTSUP;
    }
    return errno == EINVAL ? -ENOTSUP : -errno;
}

static int punch_hole(const SpaceWork *work)
{
    return do_fallocate(work, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, &work->s->no_punch_hole);
}

static int zeroes_worker(void *opaque)
{
    SpaceWork *work = opaque;
    BDRVFileState *s = work->s;
    int ret = -ENOTSUP;

    if (work->flags & BDRV_REQ_MAY_UNMAP) {
        ret = punch_hole(work);
    }
    if (ret != -ENOTSUP) {
        return ret;
    }
    if (!s->is_blkdev) {
        return do_fallocate(work, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, &s->no_zero_range);
    }
    /* If the device has no command for it, the kernel writes zeroes out, which some callers do not want. */
    return work->flags & BDRV_REQ_NO_FALLBACK ? -ENOTSUP : do_ioctl_range(work, BLKZEROOUT, &s->no_zeroout);
}

int coroutine_fn file_co_pwrite_zeroes(BlockDriverState *bs, int64_t offset, int64_t bytes,
                                       BdrvRequestFlags flags)
{
    SpaceWork work = { .s = bs->opaque, .offset = offset, .bytes = bytes, .flags = flags };

    return thread_pool_submit_co(THREAD_POOL_IO, zeroes_worker, &work);
}

static int discard_worker(void *opaque)
{
    SpaceWork *work = opaque;

    return work->s->is_blkdev ? do_ioctl_range(work, BLKDISCARD, &work->s->no_discard) : punch_hole(work);
}

int coroutine_fn file_co_pdiscard(BlockDriverState *bs, int64_t offset, int64_t bytes)
{
    SpaceWork work = { .s = bs->opaque, .offset = offset, .bytes = bytes };

    return thread_pool_submit_co(THREAD_POOL_IO, discard_worker, &work);
}

typedef struct StatusWork {
    int fd;
    int64_t offset;
    bool data;
    int64_t end;        /* end of the extent at @offset; INT64_MAX: the end of the file */
} StatusWork;

/* Whether there is data at the offset, and how far it extends. If in doubt, it is data. */
static int status_worker(void *opaque)
{
    StatusWork *work = opaque;
    off_t data = lseek(work->fd, work->offset, SEEK_DATA);

    work->data = true;
    work->end = INT64_MAX;
    if (data < 0 && errno == ENXIO) {
        work->data = false;         /* a hole up to the end of the file */
    } else if (data > work->offset) {
        work->data = false;
        work->end = data;
    } else if (data == work->offset) {
        off_t hole = lseek(work->fd, work->offset, SEEK_HOLE);
        if (hole > work->offset) {
            work->end = hole;
        }
    }
    return 0;
}

int coroutine_fn file_co_block_status(BlockDriverState *bs, int64_t offset, int64_t bytes, int64_t *pnum,
                                      int64_t *map, BlockDriverState **file)
{
    BDRVFileState *s = bs->opaque;
    StatusWork work = { .fd = s->fd, .offset = offset };
    int64_t align = s->request_alignment;

    thread_pool_submit_co(THREAD_POOL_IO, status_worker, &work);
    *pnum = MIN(bytes, work.end - offset);
    if (work.data && *pnum < bytes) {
        *pnum = MIN(bytes, ROUND_UP(*pnum, align));
    } else if (!work.data && *pnum < bytes) {
        /* A block that is partly a hole counts as data. */
        *pnum = ROUND_DOWN(*pnum, align);
        if (*pnum == 0) {
            work.data = true;
            *pnum = MIN(bytes, align);
        }
    }
    *map = offset;
    *file = bs;
    return (work.data ? BDRV_BLOCK_DATA : BDRV_BLOCK_ZERO) | BDRV_BLOCK_OFFSET_VALID | BDRV_BLOCK_ALLOCATED;
}
