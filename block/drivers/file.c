/*
 * file: a regular file on the host
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include <json-c/json.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "block/drivers/file.h"
#include "qapi/json.h"
#include "util/fdset.h"
#include "util/thread-pool.h"

typedef struct OpenWork {
    const char *filename;
    int flags;
    int fd;
    struct stat st;
    bool device_read_only;      /* a block device that is write-protected */
    bool lockable;
} OpenWork;

/* All calls on a path, or a file just opened, that may have to wait for a server. */
static int open_worker(void *opaque)
{
    OpenWork *work = opaque;
    bool writable = (work->flags & O_ACCMODE) == O_RDWR;
    int read_only = 0;

    /* Without O_NONBLOCK, opening a FIFO would wait for its other end. */
    work->fd = qemu_open(work->filename, work->flags | O_NONBLOCK);
    if (work->fd < 0) {
        return work->fd;
    }
    if (fcntl(work->fd, F_SETFL, work->flags & O_DIRECT) < 0 || fstat(work->fd, &work->st) < 0) {
        return -errno;
    }
    /* The kernel allows opening them for writing. */
    if (writable && S_ISBLK(work->st.st_mode) && ioctl(work->fd, BLKROGET, &read_only) == 0 && read_only) {
        work->device_read_only = true;
        return -EROFS;
    }
    work->lockable = file_lock_supported(work->fd);
    return 0;
}

static bool file_wants_direct(const BlockdevOptions *o)
{
    return o->cache && o->cache->has_direct && o->cache->direct;
}

static bool file_not_writable(int ret)
{
    return ret == -EACCES || ret == -EPERM || ret == -EROFS;
}

static int coroutine_fn file_try_open(OpenWork *work)
{
    int ret = thread_pool_submit_co(THREAD_POOL_IO, open_worker, work);

    if (ret < 0 && work->fd >= 0) {
        close(work->fd);
    }
    return ret;
}

/*
 * Open @path for a node with options @o. *@read_only says how, and becomes true if auto-read-only allows that. Fills
 * @work. False with @errp, which calls the file @name.
 */
static bool coroutine_fn file_open_fd(const BlockdevOptions *o, const char *path, const char *name, bool *read_only,
                                      OpenWork *work, Error **errp)
{
    int o_direct = file_wants_direct(o) ? O_DIRECT : 0;

    *work = (OpenWork){ .filename = path, .flags = (*read_only ? O_RDONLY : O_RDWR) | o_direct };
    int ret = file_try_open(work);
    if (file_not_writable(ret) && !*read_only && o->has_auto_read_only && o->auto_read_only) {
        *read_only = true;
        work->flags = O_RDONLY | o_direct;
        ret = file_try_open(work);
    }
    if (ret == 0) {
        return true;
    }
    if (work->device_read_only) {
        error_setg(errp, "Could not open '%s' for writing: the device is read-only", name);
        error_append_hint(errp, "Open it with read-only=on, or with auto-read-only=on.\n");
        return false;
    }
    error_setg_errno(errp, -ret, "Could not open '%s'", name);
    if (ret == -EINVAL && o_direct) {
        error_append_hint(errp, "The file system may not support O_DIRECT: try without cache.direct.\n");
    }
    return false;
}

static bool file_choose_aio(BDRVFileState *s, const BlockdevOptionsFile *o, Error **errp)
{
    if (o->has_aio && o->aio == BLOCKDEV_AIO_OPTIONS_NATIVE && !s->direct) {
        error_setg(errp, "aio=native was specified, but it requires cache.direct=on, which was not specified");
        return false;
    }
    if (o->has_aio_max_batch && (o->aio_max_batch < 0 || o->aio_max_batch > INT_MAX)) {
        error_setg(errp, "aio-max-batch must be between 0 and %d", INT_MAX);
        return false;
    }
    s->max_batch = o->has_aio_max_batch ? o->aio_max_batch : 0;
    /* Linux AIO has no advantage over io_uring. */
    s->use_uring = !o->has_aio || o->aio != BLOCKDEV_AIO_OPTIONS_THREADS;
    s->copy_in_threads = !o->has_aio;
    int ret = o->has_aio && o->aio == BLOCKDEV_AIO_OPTIONS_IO_URING ? aio_setup_io_uring() : 0;
    if (ret < 0) {
        error_setg_errno(errp, -ret, "aio=io_uring is not available");
        error_append_hint(errp, "Leave aio out, or use aio=threads.\n");
        return false;
    }
    return true;
}

static bool file_check_type(BlockDriverState *bs, const char *filename, mode_t mode, bool device, Error **errp)
{
    if (!device && !S_ISREG(mode)) {
        error_setg(errp, "'%s' driver requires '%s' to be a regular file", bs->drv->format_name, filename);
        if (S_ISBLK(mode)) {
            error_append_hint(errp, "Use driver=host_device for a block device.\n");
        }
        return false;
    }
    if (device && !S_ISBLK(mode) && !S_ISCHR(mode)) {
        error_setg(errp, "'%s' driver requires '%s' to be either a character or block device",
                   bs->drv->format_name, filename);
        return false;
    }
    return true;
}

static bool file_setup_lock(BDRVFileState *s, const BlockdevOptionsFile *o, bool supported, Error **errp)
{
    OnOffAuto locking = o->has_locking ? o->locking : ON_OFF_AUTO_AUTO;

    if (locking == ON_OFF_AUTO_ON && !supported) {
        error_setg(errp, "locking=on: the file system of '%s' does not support locks", o->filename);
        return false;
    }
    file_lock_init(&s->lock, locking != ON_OFF_AUTO_OFF && supported);
    return true;
}

static int probe_limits_worker(void *opaque)
{
    file_probe_limits(opaque);
    return 0;
}

bool coroutine_fn file_open_common(BlockDriverState *bs, const BlockdevOptionsFile *o, bool device,
                                   Error **errp)
{
    ERRP_GUARD();
    BDRVFileState *s = bs->opaque;
    OpenWork work;

    s->reopen_fd = -1;
    s->direct = file_wants_direct(bs->options);
    if (!o->filename[0]) {
        error_setg(errp, "The '%s' block driver requires a file name", bs->drv->format_name);
        return false;
    }
    if (o->pr_manager) {
        error_setg(errp, "pr-manager is not supported");
        return false;
    }
    if (!file_choose_aio(s, o, errp)) {
        return false;
    }
    if (!file_open_fd(bs->options, o->filename, o->filename, &bs->read_only, &work, errp)) {
        return false;
    }
    s->fd = work.fd;
    s->is_blkdev = S_ISBLK(work.st.st_mode);
    if (!file_check_type(bs, o->filename, work.st.st_mode, device, errp) ||
        !file_setup_lock(s, o, work.lockable, errp)) {
        close(s->fd);
        return false;
    }
    thread_pool_submit_co(THREAD_POOL_IO, probe_limits_worker, s);
    /* Before a slash, a colon would end the name of a protocol. */
    bool has_protocol = o->filename[strcspn(o->filename, ":/")] == ':';
    bs->filename = g_strconcat(has_protocol ? "./" : "", o->filename, NULL);
    return true;
}

static bool coroutine_fn file_co_open(BlockDriverState *bs, Error **errp)
{
    return file_open_common(bs, &bs->options->u.file, false, errp);
}

static int close_worker(void *opaque)
{
    return close(*(int *)opaque);
}

void coroutine_fn file_co_close(BlockDriverState *bs)
{
    BDRVFileState *s = bs->opaque;

    thread_pool_submit_co(THREAD_POOL_IO, close_worker, &s->fd);
}

bool coroutine_fn file_co_reopen_prepare(BDRVReopenState *reopen, Error **errp)
{
    BlockDriverState *bs = reopen->bs;
    BDRVFileState *s = bs->opaque;
    /* The same file, even if it has been renamed. */
    g_autofree char *path = g_strdup_printf("/proc/self/fd/%d", s->fd);
    OpenWork work;

    if (!file_open_fd(reopen->options, path, bs->filename, &reopen->read_only, &work, errp)) {
        return false;
    }
    s->reopen_fd = work.fd;
    int ret = file_lock_copy(&s->lock, s->reopen_fd);
    if (ret < 0) {
        error_setg_errno(errp, -ret, "Could not lock '%s'", bs->filename);
        file_co_reopen_abort(bs);
        return false;
    }
    return true;
}

void coroutine_fn file_co_reopen_commit(BlockDriverState *bs)
{
    BDRVFileState *s = bs->opaque;
    int old_fd = s->fd;

    /* Releases the locks that the permissions no longer need. */
    file_lock_copy(&s->lock, s->reopen_fd);
    s->fd = s->reopen_fd;
    s->reopen_fd = -1;
    s->direct = file_wants_direct(bs->options);
    thread_pool_submit_co(THREAD_POOL_IO, close_worker, &old_fd);
    thread_pool_submit_co(THREAD_POOL_IO, probe_limits_worker, s);
}

void coroutine_fn file_co_reopen_abort(BlockDriverState *bs)
{
    BDRVFileState *s = bs->opaque;

    thread_pool_submit_co(THREAD_POOL_IO, close_worker, &s->reopen_fd);
    s->reopen_fd = -1;
}

typedef struct LengthWork {
    int fd;
    int64_t length;
} LengthWork;

/* A network file system or a FUSE server may take long to answer. */
static int length_worker(void *opaque)
{
    LengthWork *work = opaque;

    work->length = lseek(work->fd, 0, SEEK_END);
    return work->length < 0 ? -errno : 0;
}

int64_t coroutine_fn file_co_real_length(const BDRVFileState *s)
{
    LengthWork work = { .fd = s->fd };
    int ret = thread_pool_submit_co(THREAD_POOL_IO, length_worker, &work);

    return ret < 0 ? ret : work.length;
}

int64_t coroutine_fn file_co_getlength(BlockDriverState *bs)
{
    int64_t length = file_co_real_length(bs->opaque);

    return length < 0 ? length : ROUND_UP(length, BDRV_SECTOR_SIZE);
}

bool file_check_perm(BlockDriverState *bs, uint64_t perm, uint64_t shared, Error **errp)
{
    BDRVFileState *s = bs->opaque;

    if (!file_lock_prepare(&s->lock, s->fd, perm, shared, bs->filename, errp)) {
        return false;
    }
    int ret = s->reopen_fd >= 0 ? file_lock_copy(&s->lock, s->reopen_fd) : 0;
    if (ret < 0) {
        error_setg_errno(errp, -ret, "Could not lock '%s'", bs->filename);
        file_lock_abort(&s->lock, s->fd);
    }
    return ret == 0;
}

void file_set_perm(BlockDriverState *bs, uint64_t perm, uint64_t shared)
{
    BDRVFileState *s = bs->opaque;

    file_lock_commit(&s->lock, s->fd, perm, shared);
}

void file_abort_perm_update(BlockDriverState *bs)
{
    BDRVFileState *s = bs->opaque;

    file_lock_abort(&s->lock, s->fd);
}

int64_t coroutine_fn file_co_get_allocated_file_size(BlockDriverState *bs)
{
    BDRVFileState *s = bs->opaque;
    struct stat st;

    /* On a worker, nodes could go while a query looks at them, or stay longer than their deletion. */
    return fstat(s->fd, &st) < 0 ? -errno : (int64_t)st.st_blocks * 512;
}

static ImageInfoSpecific *file_get_specific_info(BlockDriverState *bs)
{
    BDRVFileState *s = bs->opaque;
    ImageInfoSpecific *info = g_new0(ImageInfoSpecific, 1);
    ImageInfoSpecificFile *data = g_new0(ImageInfoSpecificFile, 1);

    info->type = IMAGE_INFO_SPECIFIC_KIND_FILE;
    info->u.file.data = data;
    data->has_extent_size_hint = s->extent_size_hint != 0;
    data->extent_size_hint = s->extent_size_hint;
    return info;
}

bool file_parse_filename(const char *filename, struct json_object *options, Error **errp)
{
    const char *path = strchr(filename, ':') + 1;

    qapi_json_set_string(options, "filename", path);
    return true;
}

const BlockDriver bdrv_file = {
    .format_name = "file",
    .driver = BLOCKDEV_DRIVER_FILE,
    .instance_size = sizeof(BDRVFileState),
    .is_protocol = true,
    .protocol_names = (const char *const[]){ "file", NULL },
    .bdrv_parse_filename = file_parse_filename,

    .bdrv_co_open = file_co_open,
    .bdrv_co_close = file_co_close,
    .bdrv_co_reopen_prepare = file_co_reopen_prepare,
    .bdrv_co_reopen_commit = file_co_reopen_commit,
    .bdrv_co_reopen_abort = file_co_reopen_abort,
    .bdrv_co_getlength = file_co_getlength,
    .bdrv_refresh_limits = file_refresh_limits,
    .bdrv_check_perm = file_check_perm,
    .bdrv_set_perm = file_set_perm,
    .bdrv_abort_perm_update = file_abort_perm_update,

    .bdrv_co_preadv = file_co_preadv,
    .bdrv_co_pwritev = file_co_pwritev,
    .bdrv_co_flush = file_co_flush,
    .supported_write_flags = BDRV_REQ_FUA,
    .supported_zero_flags = BDRV_REQ_MAY_UNMAP | BDRV_REQ_NO_FALLBACK,
    .bdrv_co_pwrite_zeroes = file_co_pwrite_zeroes,
    .bdrv_co_pdiscard = file_co_pdiscard,
    .bdrv_co_block_status = file_co_block_status,
    .bdrv_co_truncate = file_co_truncate,

    .bdrv_co_get_allocated_file_size = file_co_get_allocated_file_size,
    .bdrv_get_specific_info = file_get_specific_info,
    .bdrv_co_create = file_co_create,
    .bdrv_co_erase_info = file_co_erase_info,
};
