/*
 * host_device: a block device of the host, such as a disk, a partition or a logical volume
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include <linux/fs.h>
#include <sys/ioctl.h>

#include "block/drivers.h"
#include "block/drivers/file.h"
#include "util/thread-pool.h"

static bool coroutine_fn host_device_co_open(BlockDriverState *bs, Error **errp)
{
    return file_open_common(bs, &bs->options->u.host_device, true, errp);
}

static bool coroutine_fn host_device_co_truncate(BlockDriverState *bs, int64_t offset, bool exact,
                                                 PreallocMode prealloc, Job *job, Error **errp)
{
    int64_t length = file_co_getlength(bs);

    if (prealloc != PREALLOC_MODE_OFF) {
        error_setg(errp, "Preallocation mode '%s' unsupported for devices", PreallocMode_str(prealloc));
    } else if (length < 0) {
        error_setg_errno(errp, -length, "Could not determine the length of '%s'", bs->filename);
    } else if (offset > length) {
        error_setg(errp, "Cannot grow device files: '%s' has %" PRId64 " bytes", bs->filename, length);
    } else if (exact && offset != length) {
        error_setg(errp, "Cannot resize device files: '%s' has %" PRId64 " bytes", bs->filename, length);
    } else {
        return true;
    }
    return false;
}

typedef struct SecureDiscardWork {
    int fd;
    uint64_t range[2];
} SecureDiscardWork;

static int secure_discard_worker(void *opaque)
{
    SecureDiscardWork *work = opaque;

    return ioctl(work->fd, BLKSECDISCARD, work->range) < 0 ? -errno : 0;
}

static int coroutine_fn host_device_co_secure_discard(BlockDriverState *bs, int64_t offset, int64_t bytes)
{
    BDRVFileState *s = bs->opaque;
    SecureDiscardWork work = { .fd = s->fd, .range = { offset, bytes } };

    if (!s->is_blkdev) {
        return -ENOTSUP;
    }
    /* The kernel returns EINVAL for a range of partial blocks, which is not possible here. */
    int ret = thread_pool_submit_co(THREAD_POOL_IO, secure_discard_worker, &work);
    return ret == -EOPNOTSUPP || ret == -ENOTTY || ret == -EINVAL ? -ENOTSUP : ret;
}

const BlockDriver bdrv_host_device = {
    .format_name = "host_device",
    .driver = BLOCKDEV_DRIVER_HOST_DEVICE,
    .instance_size = sizeof(BDRVFileState),
    .is_protocol = true,
    .protocol_names = (const char *const[]){ "host_device", NULL },
    .bdrv_parse_filename = file_parse_filename,

    .bdrv_co_open = host_device_co_open,
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
    .bdrv_co_truncate = host_device_co_truncate,

    .bdrv_co_get_allocated_file_size = file_co_get_allocated_file_size,
    .bdrv_co_secure_discard = host_device_co_secure_discard,
    .bdrv_co_erase_info = file_co_erase_info,
};
