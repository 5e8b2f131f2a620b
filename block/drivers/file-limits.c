/*
 * Limits of file and host_device: the alignment that direct I/O needs
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "block/drivers/file.h"

/* Enough for every device; used if no smaller alignment was found to work. */
#define ALIGN_MAX 4096

/* Ask the kernel (6.1 and later). True if it knows. */
static bool probe_statx(BDRVFileState *s)
{
#ifdef STATX_DIOALIGN
    struct statx st;

    if (statx(s->fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &st) < 0 || !(st.stx_mask & STATX_DIOALIGN) ||
        st.stx_dio_offset_align == 0) {
        return false;
    }
    s->request_alignment = st.stx_dio_offset_align;
    s->mem_alignment = MAX(st.stx_dio_mem_align, 1);
    return true;
#else
    return false;
#endif
}

static bool can_read(int fd, void *buf, size_t bytes)
{
    return RETRY_ON_EINTR(pread(fd, buf, bytes, 0)) >= 0;
}

/* Read with increasing alignments until the kernel accepts it. */
static void probe_trial(BDRVFileState *s)
{
    void *buf = NULL;

    /* At the end of the file, some file systems return before they check the alignment. */
    if (lseek(s->fd, 0, SEEK_END) < ALIGN_MAX || posix_memalign(&buf, ALIGN_MAX, 2 * ALIGN_MAX) != 0) {
        return;
    }
    for (uint32_t align = 512; align <= ALIGN_MAX; align *= 2) {
        if (can_read(s->fd, buf, align)) {
            s->request_alignment = align;
            break;
        }
    }
    for (uint32_t align = 512; align <= ALIGN_MAX; align *= 2) {
        if (can_read(s->fd, (char *)buf + align, s->request_alignment)) {
            s->mem_alignment = align;
            break;
        }
    }
    free(buf);
}

void file_probe_limits(BDRVFileState *s)
{
    struct fsxattr attr;
    int bytes;

    s->extent_size_hint = ioctl(s->fd, FS_IOC_FSGETXATTR, &attr) == 0 ? attr.fsx_extsize : 0;
    s->request_alignment = 1;
    s->mem_alignment = 1;
    if (s->is_blkdev) {
        s->logical_block = ioctl(s->fd, BLKSSZGET, &bytes) == 0 && bytes > 0 ? bytes : 512;
    }
    if (s->direct && !probe_statx(s)) {
        s->request_alignment = ALIGN_MAX;
        s->mem_alignment = ALIGN_MAX;
        probe_trial(s);
    }
}

void file_refresh_limits(BlockDriverState *bs)
{
    BDRVFileState *s = bs->opaque;

    bs->bl.request_alignment = s->request_alignment;
    bs->bl.min_mem_alignment = s->mem_alignment;
    bs->bl.opt_mem_alignment = MAX(s->mem_alignment, ALIGN_MAX);
    bs->bl.max_transfer = BDRV_REQUEST_MAX_BYTES;
    bs->bl.max_iov = IOV_MAX;
    bs->bl.pdiscard_alignment = s->logical_block;
    bs->bl.pwrite_zeroes_alignment = s->logical_block;
}
