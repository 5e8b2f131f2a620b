/*
 * The length of a regular file, and space set aside for it
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include <sys/statvfs.h>

#include "block/drivers/file.h"
#include "util/thread-pool.h"

/* Writing zeroes pauses, reports and stops between pieces of this size. */
#define PIECE_BYTES (64 * MiB)
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

    /* Where the file system cannot, glibc touches every block. */
    do {
        err = posix_fallocate(work->fd, work->offset, work->bytes);
    } while (err == EINTR);
    return -err;
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
    return 0;
}

/* Rather than fill the file system up and fail then. What it does not tell does not count. */
static int check_space_worker(void *opaque)
{
    ResizeWork *work = opaque;
    struct statvfs st;

    if (fstatvfs(work->fd, &st) < 0 || st.f_blocks == 0 || st.f_frsize == 0) {
        return 0;
    }
    return (uint64_t)work->bytes / st.f_frsize > st.f_bfree ? -ENOSPC : 0;
}

/* Set space aside for what lies beyond @old_bytes. */
static bool coroutine_fn preallocate(int fd, int64_t old_bytes, int64_t new_bytes, bool full, Job *job,
                                     Error **errp)
{
    ResizeWork work = { .fd = fd, .bytes = new_bytes - old_bytes };
    int64_t piece = full ? PIECE_BYTES : INT64_MAX;
    int ret = thread_pool_submit_co(THREAD_POOL_IO, check_space_worker, &work);

    for (int64_t pos = old_bytes; ret == 0 && pos < new_bytes; pos += work.bytes) {
        if (!job_pause_point(job, errp)) {
            return false;
        }
        work.offset = pos;
        work.bytes = MIN(piece, new_bytes - pos);
        ret = thread_pool_submit_co(THREAD_POOL_IO, full ? write_zeroes_worker : allocate_worker, &work);
        job_progress_update(job, work.bytes);
    }
    if (ret < 0) {
        error_setg_errno(errp, -ret, "Could not preallocate %" PRId64 " bytes for the file",
                         new_bytes - old_bytes);
        return false;
    }
    return true;
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
    job_progress_set_remaining(job, MAX(new_bytes - old_bytes, 0));
    if (prealloc != PREALLOC_MODE_OFF &&
        !preallocate(fd, old_bytes, new_bytes, prealloc == PREALLOC_MODE_FULL, job, errp)) {
        /* Give back what was allocated; nothing more can be done where this fails, too. */
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

bool coroutine_fn file_co_truncate(BlockDriverState *bs, int64_t offset, bool exact, PreallocMode prealloc,
                                   Error **errp)
{
    BDRVFileState *s = bs->opaque;
    int64_t length = file_real_length(s);

    if (length < 0) {
        error_setg_errno(errp, -length, "Could not determine the length of '%s'", bs->filename);
        return false;
    }
    /* The old end need not be aligned for direct I/O; that requests meanwhile use the cache does no harm. */
    bool cached = s->direct && prealloc == PREALLOC_MODE_FULL && fcntl(s->fd, F_SETFL, 0) == 0;
    bool ok = file_resize(s->fd, length, offset, prealloc, NULL, errp);
    if (cached && fcntl(s->fd, F_SETFL, O_DIRECT) < 0) {
        warn_report("'%s': could not turn the page cache off again", bs->filename);
    }
    return ok;
}
