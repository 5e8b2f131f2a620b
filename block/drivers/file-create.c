/*
 * file: creating files
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "block/drivers/file.h"
#include "util/thread-pool.h"

typedef struct CreateWork {
    const char *filename;
    int fd;
    bool created;           /* it did not exist before */
} CreateWork;

static int create_worker(void *opaque)
{
    CreateWork *work = opaque;
    int flags = O_RDWR | O_CREAT | O_CLOEXEC | O_NONBLOCK;

    work->fd = RETRY_ON_EINTR(open(work->filename, flags | O_EXCL, 0644));
    work->created = work->fd >= 0;
    if (work->fd < 0 && errno == EEXIST) {
        work->fd = RETRY_ON_EINTR(open(work->filename, flags, 0644));
    }
    return work->fd < 0 ? -errno : 0;
}

static int empty_worker(void *opaque)
{
    CreateWork *work = opaque;

    return RETRY_ON_EINTR(ftruncate(work->fd, 0)) < 0 ? -errno : 0;
}

/* Not an error if the file system has no hints, or does not support this size. */
static void set_extent_size_hint(int fd, uint64_t bytes, const char *filename)
{
    struct fsxattr attr;

    if (ioctl(fd, FS_IOC_FSGETXATTR, &attr) == 0) {
        attr.fsx_xflags |= FS_XFLAG_EXTSIZE;
        attr.fsx_extsize = bytes;
        if (ioctl(fd, FS_IOC_FSSETXATTR, &attr) == 0) {
            return;
        }
    }
    warn_report("Could not set the extent size hint of '%s': %s", filename, g_strerror(errno));
}

/* Only has an effect on an empty file. File systems without copy-on-write refuse it, and do not need it. */
static void set_nocow(int fd)
{
    int attr;

    if (ioctl(fd, FS_IOC_GETFLAGS, &attr) == 0) {
        attr |= FS_NOCOW_FL;
        (void)ioctl(fd, FS_IOC_SETFLAGS, &attr);
    }
}

/* Space allocated block by block must survive a power cut. */
static int sync_worker(void *opaque)
{
    CreateWork *work = opaque;

    return RETRY_ON_EINTR(fsync(work->fd)) < 0 ? -errno : 0;
}

/* Lock the file against other users, then create the contents that @o describes. */
static bool coroutine_fn file_fill(CreateWork *work, const BlockdevCreateOptionsFile *o, FileLock *lock,
                                   Job *job, Error **errp)
{
    PreallocMode prealloc = o->has_preallocation ? o->preallocation : PREALLOC_MODE_OFF;
    struct stat st;

    if (fstat(work->fd, &st) < 0) {
        error_setg_errno(errp, errno, "Could not stat '%s'", o->filename);
        return false;
    }
    if (!S_ISREG(st.st_mode)) {
        error_setg(errp, "'file' driver requires '%s' to be a regular file", o->filename);
        return false;
    }
    file_lock_init(lock, file_lock_supported(work->fd));
    /* All data is lost, so nobody else may be writing. */
    if (!file_lock_prepare(lock, work->fd, BLK_PERM_WRITE | BLK_PERM_RESIZE,
                           BLK_PERM_ALL & ~(BLK_PERM_WRITE | BLK_PERM_RESIZE), o->filename, errp)) {
        return false;
    }
    int ret = thread_pool_submit_co(THREAD_POOL_IO, empty_worker, work);
    if (ret < 0) {
        error_setg_errno(errp, -ret, "Could not empty '%s'", o->filename);
        return false;
    }
    if (o->has_nocow && o->nocow) {
        set_nocow(work->fd);
    }
    if (o->has_extent_size_hint && o->extent_size_hint) {
        set_extent_size_hint(work->fd, o->extent_size_hint, o->filename);
    }
    if (!file_resize(work->fd, 0, o->size, prealloc, job, errp)) {
        return false;
    }
    ret = prealloc == PREALLOC_MODE_FULL ? thread_pool_submit_co(THREAD_POOL_IO, sync_worker, work) : 0;
    if (ret < 0) {
        error_setg_errno(errp, -ret, "Could not preallocate %" PRIu64 " bytes for the file", o->size);
    }
    return ret == 0;
}

bool coroutine_fn file_co_create(const BlockdevCreateOptions *options, Job *job, Error **errp)
{
    const BlockdevCreateOptionsFile *o = &options->u.file;
    CreateWork work = { .filename = o->filename };
    FileLock lock = { .enabled = false };

    if (!o->filename[0]) {
        error_setg(errp, "The 'file' block driver requires a file name");
        return false;
    }
    if (o->size > BDRV_MAX_LENGTH) {
        error_setg(errp, "Image size %" PRIu64 " is too large for a file", o->size);
        return false;
    }
    if (o->has_extent_size_hint && o->extent_size_hint > UINT32_MAX) {
        error_setg(errp, "Extent size hint is too large");
        return false;
    }
    if (o->has_preallocation && o->preallocation == PREALLOC_MODE_METADATA) {
        error_setg(errp, "Unsupported preallocation mode '%s'", PreallocMode_str(o->preallocation));
        return false;
    }
    int ret = thread_pool_submit_co(THREAD_POOL_IO, create_worker, &work);
    if (ret < 0) {
        error_setg_errno(errp, -ret, "Could not create '%s'", o->filename);
        return false;
    }
    bool ok = file_fill(&work, o, &lock, job, errp);
    if (!ok && work.created) {
        unlink(o->filename);
    }
    close(work.fd);
    return ok;
}
