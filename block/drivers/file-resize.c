/*
 * The length of a regular file, and preallocation
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include <sys/statvfs.h>

#include "block/drivers/file.h"
#include "util/thread-pool.h"

/*
 * Time for one piece of preallocation. Between pieces, progress is reported and a cancel honoured. The pieces grow as
 * far as this allows: some file systems allocate a TiB in that time, others write every block.
 */
#define PIECE_NS (100 * SCALE_MS)
#define PIECE_MIN_BYTES (1 * MiB)
#define ZEROES_BYTES (1 * MiB)

typedef struct ResizeWork {
    int fd;
    int64_t offset;
    int64_t bytes;
} ResizeWork;

static int set_length_worker(void *opaque)
{
    ResizeWork *work = opaque;

    return RETRY_ON_EINTR(ftruncate(work->fd, work->bytes)) < 0 ? -errno : 0;
}

static int allocate_worker(void *opaque)
{
    ResizeWork *work = opaque;
    int err;

    /* If the file system cannot do this, glibc touches every block. */
    do {
        err = posix_fallocate(work->fd, work->offset, work->bytes);
    } while (err == EINTR);
    return -err;
}

/*
 * Replace the descriptor for write_zeroes_worker(). The new one uses the page cache even if the node does not, because
 * the old end may be unaligned; and a failed sync of it does not hide the error from the node's own flushes.
 */
static int reopen_worker(void *opaque)
{
    ResizeWork *work = opaque;
    g_autofree char *path = g_strdup_printf("/proc/self/fd/%d", work->fd);

    work->fd = RETRY_ON_EINTR(open(path, O_WRONLY | O_CLOEXEC));
    return work->fd < 0 ? -errno : 0;
}

static int close_worker(void *opaque)
{
    ResizeWork *work = opaque;

    return close(work->fd);
}

static int write_zeroes_worker(void *opaque)
{
    ResizeWork *work = opaque;
    g_autofree void *zeroes = g_malloc0(ZEROES_BYTES);
    int64_t end = work->offset + work->bytes;

    for (int64_t pos = work->offset; pos < end;) {
        ssize_t n = RETRY_ON_EINTR(pwrite(work->fd, zeroes, MIN(ZEROES_BYTES, end - pos), pos));
        if (n <= 0) {
            return n < 0 ? -errno : -ENOSPC;
        }
        pos += n;
    }
    /* Otherwise the page cache would have to be written at the end, which cannot be cancelled. */
    return RETRY_ON_EINTR(fdatasync(work->fd)) < 0 ? -errno : 0;
}

/*
 * Check the free space first, rather than fill the file system up and fail then. Ignored if the file system does not
 * tell.
 */
static int check_space_worker(void *opaque)
{
    ResizeWork *work = opaque;
    struct statvfs st;

    if (fstatvfs(work->fd, &st) < 0 || st.f_blocks == 0 || st.f_frsize == 0) {
        return 0;
    }
    return (uint64_t)work->bytes / st.f_frsize > st.f_bfree ? -ENOSPC : 0;
}

/* Process the range of @work in pieces. 0 or -errno; -ECANCELED if @job was cancelled. */
static int coroutine_fn file_preallocate_range(const ResizeWork *work, int (*worker)(void *opaque), Job *job)
{
    int64_t end = work->offset + work->bytes, bytes = PIECE_MIN_BYTES;
    ResizeWork piece = { .fd = work->fd };
    int ret = 0;

    for (int64_t pos = work->offset; ret == 0 && pos < end; pos += piece.bytes) {
        int64_t start_ns = qemu_clock_get_ns();

        if (!job_may_go_on(job, NULL)) {
            return -ECANCELED;
        }
        piece.offset = pos;
        piece.bytes = MIN(bytes, end - pos);
        ret = thread_pool_submit_co(THREAD_POOL_IO, worker, &piece);
        job_progress_update(job, piece.bytes);
        if (qemu_clock_get_ns() - start_ns < PIECE_NS / 2) {
            bytes = MIN(bytes, INT64_MAX / 2) * 2;
        } else if (qemu_clock_get_ns() - start_ns > PIECE_NS) {
            bytes = MAX(bytes / 2, PIECE_MIN_BYTES);
        }
    }
    return ret;
}

/* Preallocate space beyond @old_bytes. */
static bool coroutine_fn file_preallocate(int fd, int64_t old_bytes, int64_t new_bytes, bool full, Job *job,
                                          Error **errp)
{
    ResizeWork work = { .fd = fd, .offset = old_bytes, .bytes = new_bytes - old_bytes };
    int ret = thread_pool_submit_co(THREAD_POOL_IO, check_space_worker, &work);

    if (ret == 0 && full) {
        ret = thread_pool_submit_co(THREAD_POOL_IO, reopen_worker, &work);
    }
    if (ret == 0) {
        ret = file_preallocate_range(&work, full ? write_zeroes_worker : allocate_worker, job);
    }
    if (work.fd >= 0 && work.fd != fd) {
        thread_pool_submit_co(THREAD_POOL_IO, close_worker, &work);
    }
    if (ret < 0 && job_may_go_on(job, errp)) {
        error_setg_errno(errp, -ret, "Could not preallocate %" PRId64 " bytes for the file",
                         new_bytes - old_bytes);
    }
    return ret == 0;
}

bool coroutine_fn file_resize(int fd, int64_t old_bytes, int64_t new_bytes, PreallocMode prealloc, Job *job,
                              Error **errp)
{
    ResizeWork work = { .fd = fd, .bytes = new_bytes };

    if (prealloc == PREALLOC_MODE_METADATA) {
        error_setg(errp, "Unsupported preallocation mode '%s'", PreallocMode_str(prealloc));
        return false;
    }
    if (prealloc != PREALLOC_MODE_OFF && new_bytes < old_bytes) {
        error_setg(errp, "Preallocation can't be used for shrinking files");
        return false;
    }
    job_progress_add_remaining(job, MAX(new_bytes - old_bytes, 0));
    if (prealloc != PREALLOC_MODE_OFF &&
        !file_preallocate(fd, old_bytes, new_bytes, prealloc == PREALLOC_MODE_FULL, job, errp)) {
        /* Free what was allocated. If this fails as well, there is nothing else to try. */
        work.bytes = old_bytes;
        thread_pool_submit_co(THREAD_POOL_IO, set_length_worker, &work);
        return false;
    }
    int ret = thread_pool_submit_co(THREAD_POOL_IO, set_length_worker, &work);
    if (ret < 0) {
        error_setg_errno(errp, -ret, "Failed to resize the file to %" PRId64 " bytes", new_bytes);
        return false;
    }
    if (prealloc == PREALLOC_MODE_OFF) {
        job_progress_update(job, MAX(new_bytes - old_bytes, 0));
    }
    return true;
}

bool coroutine_fn file_co_truncate(BlockDriverState *bs, int64_t offset, bool exact, PreallocMode prealloc, Job *job,
                                   Error **errp)
{
    BDRVFileState *s = bs->opaque;
    int64_t length = file_co_real_length(s);

    if (length < 0) {
        error_setg_errno(errp, -length, "Could not determine the length of '%s'", bs->filename);
        return false;
    }
    return file_resize(s->fd, length, offset, prealloc, job, errp);
}
