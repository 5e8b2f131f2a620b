/*
 * Secure erase on files and devices of the host: the entry point and shared functions
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include <sys/ioctl.h>

#include "block/drivers/file.h"
#include "block/drivers/file-erase.h"
#include "util/thread-pool.h"

static int host_ioctl(int fd, unsigned long request, void *arg)
{
    return ioctl(fd, request, arg);
}

EraseHost erase_host = {
    .fstat = fstat,
    .fstatfs = fstatfs,
    .ioctl = host_ioctl,
    .sysfs = "/sys",
    .proc = "/proc",
};

void erase_note(BdrvEraseInfo *info, SecureEraseAssurance level, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    g_ptr_array_add(info->notes, g_strdup_vprintf(fmt, ap));
    va_end(ap);
    info->assurance = MAX(info->assurance, level);
}

char *erase_read_text(const char *dir, const char *name)
{
    g_autofree char *path = g_build_filename(dir, name, NULL);
    char *text = NULL;

    return g_file_get_contents(path, &text, NULL, NULL) ? g_strstrip(text) : NULL;
}

void erase_judge_fd(int fd, uint64_t offset, uint64_t bytes, unsigned depth, BdrvEraseInfo *info)
{
    struct stat st;

    if (erase_host.fstat(fd, &st) < 0) {
        erase_note(info, SECURE_ERASE_ASSURANCE_UNKNOWN, "could not be examined: %s", g_strerror(errno));
    } else if (S_ISBLK(st.st_mode)) {
        erase_judge_device(st.st_rdev, depth, info);
    } else if (S_ISREG(st.st_mode)) {
        erase_judge_file(fd, &st, offset, bytes, depth, info);
    } else {
        erase_note(info, SECURE_ERASE_ASSURANCE_UNKNOWN, "neither a regular file nor a block device");
    }
}

typedef struct EraseWork {
    int fd;
    int64_t offset;
    int64_t bytes;
    BdrvEraseInfo *info;
} EraseWork;

static int erase_worker(void *opaque)
{
    EraseWork *work = opaque;

    erase_judge_fd(work->fd, work->offset, work->bytes, 0, work->info);
    return 0;
}

void coroutine_fn file_co_erase_info(BlockDriverState *bs, int64_t offset, int64_t bytes,
                                     BdrvEraseInfo *info)
{
    BDRVFileState *s = bs->opaque;
    /* The file may have many extents, and a reopen may close the node's descriptor meanwhile. */
    g_auto_fd int fd = fcntl(s->fd, F_DUPFD_CLOEXEC, 0);
    EraseWork work = { .fd = fd, .offset = offset, .bytes = bytes, .info = info };

    info->assurance = SECURE_ERASE_ASSURANCE_OVERWRITTEN;
    if (fd < 0) {
        erase_note(info, SECURE_ERASE_ASSURANCE_UNKNOWN, "could not be examined: %s", g_strerror(errno));
        return;
    }
    thread_pool_submit_co(THREAD_POOL_IO, erase_worker, &work);
}
