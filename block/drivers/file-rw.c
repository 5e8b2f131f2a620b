/*
 * Reads, writes and flushes of file and host_device
 *
 * Data in the page cache is read directly. Everything else goes to io_uring or to worker threads.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include <sys/uio.h>

#include "block/drivers/file.h"
#include "util/thread-pool.h"

/* Copying more than this from the page cache would block the event loop for too long. */
#define INLINE_READ_MAX_BYTES (64 * KiB)

/*
 * From this size on, reads from the page cache go to worker threads, which copy on several processors: io_uring would
 * copy on the event loop's processor. Writes to one file are serialized by the kernel anyway.
 */
#define THREAD_READ_MIN_BYTES (512 * KiB)

static int transfer_worker(void *opaque)
{
    FileRequest *req = opaque;
    ssize_t ret = req->write ? pwritev2(req->fd, req->iov, req->niov, req->offset, req->rwf_flags)
                             : preadv(req->fd, req->iov, req->niov, req->offset);

    return ret < 0 ? -errno : (int)ret;
}

/* Read without waiting. Returns bytes or -EAGAIN. */
static int file_read_cached(BDRVFileState *s, FileRequest *req)
{
    ssize_t ret;

    if (g_atomic_int_get(&s->no_nowait)) {
        return -EAGAIN;
    }
    ret = preadv2(req->fd, req->iov, req->niov, req->offset, RWF_NOWAIT);
    if (ret < 0 && errno == EOPNOTSUPP) {
        g_atomic_int_set(&s->no_nowait, 1);
    }
    return ret < 0 ? -EAGAIN : (int)ret;
}

static int coroutine_fn file_transfer(BDRVFileState *s, FileRequest *req, int64_t bytes)
{
    bool copies = !req->write && !s->direct;
    bool use_uring = s->use_uring && !(copies && s->copy_in_threads && bytes >= THREAD_READ_MIN_BYTES);
    int ret = -EAGAIN;

    if (copies && bytes <= INLINE_READ_MAX_BYTES) {
        ret = file_read_cached(s, req);
    }
    if (ret == -EAGAIN && use_uring) {
        ret = file_uring_transfer(req);
    }
    if (ret == -EAGAIN) {
        ret = thread_pool_submit_co(THREAD_POOL_IO, transfer_worker, req);
    }
    return ret;
}

/* Transfer all of @qiov, in as many pieces as the kernel needs. */
static int coroutine_fn file_transfer_all(BDRVFileState *s, FileRequest *req, QEMUIOVector *qiov)
{
    int64_t start = req->offset;
    int64_t bytes = qiov->size, done = 0;

    while (done < bytes) {
        QEMUIOVector rest;

        if (done > 0) {
            qemu_iovec_init_slice(&rest, qiov, done, bytes - done);
        } else {
            qemu_iovec_init_external(&rest, qiov->iov, qiov->niov);
        }
        req->iov = rest.iov;
        req->niov = rest.niov;
        req->offset = start + done;
        int ret = file_transfer(s, req, bytes - done);
        if (done > 0) {
            qemu_iovec_destroy(&rest);
        }
        if (ret > 0) {
            done += ret;
        } else if (ret == 0 && req->write) {
            return -ENOSPC;
        } else if (ret == 0) {
            /* The end of the file: truncated by another program, or within the last block of direct I/O. */
            qemu_iovec_memset(qiov, done, 0, bytes - done);
            break;
        } else if (ret != -EINTR && ret != -EAGAIN) {
            return ret;
        }
    }
    return 0;
}

static int coroutine_fn file_co_rw(BlockDriverState *bs, FileRequest *req, QEMUIOVector *qiov)
{
    BDRVFileState *s = bs->opaque;
    QEMUIOVector bounce;
    int ret;

    req->fd = s->fd;
    req->max_batch = s->max_batch;
    if (!s->direct || qemu_iovec_is_aligned(qiov, s->mem_alignment)) {
        return file_transfer_all(s, req, qiov);
    }
    void *buf = qemu_blockalign(bs, qiov->size);
    qemu_iovec_init_buf(&bounce, buf, qiov->size);
    if (req->write) {
        qemu_iovec_to_buf(qiov, 0, buf, qiov->size);
    }
    ret = file_transfer_all(s, req, &bounce);
    if (ret == 0 && !req->write) {
        qemu_iovec_from_buf(qiov, 0, buf, qiov->size);
    }
    qemu_vfree(buf);
    return ret;
}

int coroutine_fn file_co_preadv(BlockDriverState *bs, int64_t offset, int64_t bytes, QEMUIOVector *qiov,
                                BdrvRequestFlags flags)
{
    FileRequest req = { .offset = offset };

    return file_co_rw(bs, &req, qiov);
}

typedef struct CutWork {
    int fd;
    int64_t bytes;
} CutWork;

static int cut_worker(void *opaque)
{
    CutWork *work = opaque;

    return ftruncate(work->fd, work->bytes) < 0 ? -errno : 0;
}

int coroutine_fn file_co_pwritev(BlockDriverState *bs, int64_t offset, int64_t bytes, QEMUIOVector *qiov,
                                 BdrvRequestFlags flags)
{
    BDRVFileState *s = bs->opaque;
    FileRequest req = {
        .write = true,
        .offset = offset,
        .rwf_flags = flags & BDRV_REQ_FUA ? RWF_DSYNC : 0,
    };
    int ret = file_co_rw(bs, &req, qiov);

    if (ret == 0 && s->direct && !s->is_blkdev && offset + bytes > bs->length) {
        /* Rounding up to a block of direct I/O has extended the file beyond its last sector. */
        CutWork work = { .fd = s->fd, .bytes = bs->length };
        ret = thread_pool_submit_co(THREAD_POOL_IO, cut_worker, &work);
    }
    return ret;
}

static int flush_worker(void *opaque)
{
    BDRVFileState *s = opaque;

    return RETRY_ON_EINTR(fdatasync(s->fd)) < 0 ? -errno : 0;
}

int coroutine_fn file_co_flush(BlockDriverState *bs)
{
    return thread_pool_submit_co(THREAD_POOL_IO, flush_worker, bs->opaque);
}
