/*
 * Secure erase on file systems: which of them overwrite in place, and which extents a file has
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include <linux/fiemap.h>
#include <linux/fs.h>

#include "block/drivers/file-erase.h"

#define EXTENTS_AT_ONCE 128

typedef struct EraseTarget {
    int fd;
    const struct stat *st;
    uint64_t offset;
    uint64_t bytes;
} EraseTarget;

/* Judge one type of file system. True if the storage below it counts as well. */
typedef bool JudgeFunc(const EraseTarget *t, const char *name, BdrvEraseInfo *info);

static void judge_extent(const struct fiemap_extent *e, const char *name, BdrvEraseInfo *info)
{
    if (e->fe_flags & FIEMAP_EXTENT_SHARED) {
        erase_note(info, SECURE_ERASE_ASSURANCE_MAY_SURVIVE, "%s: extents are shared with another file or a "
                   "snapshot, which keeps the old content", name);
    }
    if (e->fe_flags & FIEMAP_EXTENT_ENCODED && !(e->fe_flags & FIEMAP_EXTENT_DATA_ENCRYPTED)) {
        erase_note(info, SECURE_ERASE_ASSURANCE_MAY_SURVIVE, "%s: compressed extents are not overwritten in "
                   "place", name);
    }
    if (e->fe_flags & (FIEMAP_EXTENT_DATA_INLINE | FIEMAP_EXTENT_DATA_TAIL)) {
        erase_note(info, SECURE_ERASE_ASSURANCE_MAY_SURVIVE, "%s: content that is stored among metadata may "
                   "have copies in the journal", name);
    }
    if (e->fe_flags & (FIEMAP_EXTENT_UNKNOWN | FIEMAP_EXTENT_DELALLOC)) {
        erase_note(info, SECURE_ERASE_ASSURANCE_UNKNOWN, "%s: does not tell where all of the content is "
                   "stored", name);
    }
}

/* Look at all extents of the range. */
static void judge_extents(const EraseTarget *t, const char *name, BdrvEraseInfo *info)
{
    size_t size = sizeof(struct fiemap) + EXTENTS_AT_ONCE * sizeof(struct fiemap_extent);
    g_autofree struct fiemap *map = g_malloc0(size);
    uint64_t pos = t->offset;
    uint64_t end = t->bytes > UINT64_MAX - t->offset ? UINT64_MAX : t->offset + t->bytes;
    uint32_t seen = 0;

    while (pos < end) {
        memset(map, 0, size);
        map->fm_start = pos;
        map->fm_length = end - pos;
        map->fm_flags = FIEMAP_FLAG_SYNC;
        map->fm_extent_count = EXTENTS_AT_ONCE;
        if (erase_host.ioctl(t->fd, FS_IOC_FIEMAP, map) < 0) {
            erase_note(info, SECURE_ERASE_ASSURANCE_UNKNOWN, "%s: does not tell whether extents are shared "
                       "with another file: %s", name, g_strerror(errno));
            return;
        }
        if (map->fm_mapped_extents == 0) {
            return;
        }
        for (uint32_t i = 0; i < MIN(map->fm_mapped_extents, EXTENTS_AT_ONCE); i++) {
            struct fiemap_extent e = map->fm_extents[i];
            uint64_t next = e.fe_logical + e.fe_length;

            /* Report each reason once. */
            e.fe_flags &= ~seen;
            judge_extent(&e, name, info);
            seen |= e.fe_flags & ~(uint32_t)FIEMAP_EXTENT_DATA_ENCRYPTED;
            if (e.fe_flags & FIEMAP_EXTENT_LAST || next <= pos) {
                return;
            }
            pos = next;
        }
    }
}

static bool judge_in_place(const EraseTarget *t, const char *name, BdrvEraseInfo *info)
{
    erase_note(info, SECURE_ERASE_ASSURANCE_OVERWRITTEN, "%s: overwrites in place", name);
    return true;
}

/* With data=journal, or the file attribute for it, the file's data went through the journal. */
static bool judge_ext(const EraseTarget *t, const char *name, BdrvEraseInfo *info)
{
    g_autofree char *dir = erase_sysfs_dir(t->st->st_dev);
    g_autofree char *device = dir ? g_path_get_basename(dir) : NULL;
    g_autofree char *file = g_build_filename("fs", "ext4", device ?: "", "options", NULL);
    g_autofree char *options = erase_read_text(erase_host.proc, file);
    int attr;

    if (erase_host.ioctl(t->fd, FS_IOC_GETFLAGS, &attr) < 0 || !options) {
        erase_note(info, SECURE_ERASE_ASSURANCE_UNKNOWN, "%s: does not tell whether content goes through the "
                   "journal", name);
    } else if (attr & FS_JOURNAL_DATA_FL || strstr(options, "data=journal")) {
        erase_note(info, SECURE_ERASE_ASSURANCE_MAY_SURVIVE, "%s: content goes through the journal "
                   "(data=journal), which may hold copies", name);
    } else {
        judge_in_place(t, name, info);
    }
    judge_extents(t, name, info);
    return true;
}

static bool judge_xfs(const EraseTarget *t, const char *name, BdrvEraseInfo *info)
{
    struct fsxattr attr;

    if (erase_host.ioctl(t->fd, FS_IOC_FSGETXATTR, &attr) < 0 || attr.fsx_xflags & FS_XFLAG_REALTIME) {
        erase_note(info, SECURE_ERASE_ASSURANCE_UNKNOWN, "%s: the file may be on a realtime device, which "
                   "need not overwrite in place", name);
        return true;
    }
    judge_in_place(t, name, info);
    judge_extents(t, name, info);
    return true;
}

static bool judge_rewrites(const EraseTarget *t, const char *name, BdrvEraseInfo *info)
{
    erase_note(info, SECURE_ERASE_ASSURANCE_MAY_SURVIVE, "%s: writes new content elsewhere and leaves the "
               "old in place", name);
    return false;
}

static bool judge_btrfs(const EraseTarget *t, const char *name, BdrvEraseInfo *info)
{
    int attr;

    if (erase_host.ioctl(t->fd, FS_IOC_GETFLAGS, &attr) < 0 || !(attr & FS_NOCOW_FL)) {
        return judge_rewrites(t, name, info);
    }
    judge_extents(t, name, info);
    erase_note(info, SECURE_ERASE_ASSURANCE_UNKNOWN, "%s: copy-on-write is off for this file, but what its "
               "devices do is not known", name);
    return false;
}

/* A header line, then a line for each swap area. */
static bool judge_memory(const EraseTarget *t, const char *name, BdrvEraseInfo *info)
{
    g_autofree char *swaps = erase_read_text(erase_host.proc, "swaps");

    if (!swaps) {
        erase_note(info, SECURE_ERASE_ASSURANCE_UNKNOWN, "%s: overwrites in memory; whether any of it was "
                   "swapped out is not known", name);
    } else if (strchr(swaps, '\n')) {
        erase_note(info, SECURE_ERASE_ASSURANCE_MAY_SURVIVE, "%s: overwrites in memory, but pages that were "
                   "swapped out may be left in swap space", name);
    } else {
        erase_note(info, SECURE_ERASE_ASSURANCE_OVERWRITTEN, "%s: overwrites in memory, and there is no swap "
                   "space", name);
    }
    return false;
}

static bool judge_overlay(const EraseTarget *t, const char *name, BdrvEraseInfo *info)
{
    erase_note(info, SECURE_ERASE_ASSURANCE_MAY_SURVIVE, "%s: a lower layer may hold an older copy of the "
               "file", name);
    return false;
}

static bool judge_remote(const EraseTarget *t, const char *name, BdrvEraseInfo *info)
{
    erase_note(info, SECURE_ERASE_ASSURANCE_UNKNOWN, "%s: what stores the file is not visible from here",
               name);
    return false;
}

static const struct {
    uint32_t magic;         /* statfs f_type */
    const char *name;
    JudgeFunc *judge;
} file_systems[] = {
    { 0x0000ef53, "ext4",      judge_ext },         /* also ext2 and ext3 */
    { 0x58465342, "xfs",       judge_xfs },
    { 0x00004d44, "vfat",      judge_in_place },
    { 0x2011bab0, "exfat",     judge_in_place },
    { 0x01021994, "tmpfs",     judge_memory },
    { 0x858458f6, "ramfs",     judge_memory },
    { 0x9123683e, "btrfs",     judge_btrfs },
    { 0x2fc12fc1, "zfs",       judge_rewrites },
    { 0xca451a4e, "bcachefs",  judge_rewrites },
    { 0xf2f52010, "f2fs",      judge_rewrites },
    { 0x00003434, "nilfs2",    judge_rewrites },
    { 0x24051905, "ubifs",     judge_rewrites },
    { 0x000072b6, "jffs2",     judge_rewrites },
    { 0x794c7630, "overlayfs", judge_overlay },
    { 0x00006969, "nfs",       judge_remote },
    { 0xff534d42, "cifs",      judge_remote },
    { 0xfe534d42, "smb",       judge_remote },
    { 0x65735546, "fuse",      judge_remote },
    { 0x01021997, "9p",        judge_remote },
    { 0x00c36400, "ceph",      judge_remote },
};

void erase_judge_file(int fd, const struct stat *st, uint64_t offset, uint64_t bytes, unsigned depth,
                      BdrvEraseInfo *info)
{
    EraseTarget target = { .fd = fd, .st = st, .offset = offset, .bytes = bytes };
    struct statfs fs;

    if (erase_host.fstatfs(fd, &fs) < 0) {
        erase_note(info, SECURE_ERASE_ASSURANCE_UNKNOWN, "file system could not be examined: %s",
                   g_strerror(errno));
        return;
    }
    for (size_t i = 0; i < G_N_ELEMENTS(file_systems); i++) {
        if (file_systems[i].magic == (uint32_t)fs.f_type) {
            if (file_systems[i].judge(&target, file_systems[i].name, info)) {
                erase_judge_device(st->st_dev, depth, info);
            }
            return;
        }
    }
    erase_note(info, SECURE_ERASE_ASSURANCE_UNKNOWN, "file system of type 0x%x is not known",
               (unsigned)fs.f_type);
}
