/*
 * How reliably overwriting destroys data: from the file through its file system to the devices below
 *
 * Each layer adds a note and may lower the assurance; none raises it. docs/secure-erase.md has the rules and the
 * reasons.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef BLOCK_DRIVERS_FILE_ERASE_H
#define BLOCK_DRIVERS_FILE_ERASE_H

#include <sys/stat.h>
#include <sys/vfs.h>

#include "block/block-common.h"

/* Access to the host; tests replace it. */
typedef struct EraseHost {
    int (*fstat)(int fd, struct stat *st);
    int (*fstatfs)(int fd, struct statfs *st);
    int (*ioctl)(int fd, unsigned long request, void *arg);
    const char *sysfs;      /* "/sys" */
    const char *proc;       /* "/proc" */
} EraseHost;
extern EraseHost erase_host;

/* Add a note, and lower the assurance to @level if that is weaker. */
void erase_note(BdrvEraseInfo *info, SecureEraseAssurance level, const char *fmt, ...) G_GNUC_PRINTF(3, 4);

/*
 * Judge @bytes at @offset of the open file or device @fd. @depth counts the layers (0 for the image itself). All of
 * these block.
 */
void erase_judge_fd(int fd, uint64_t offset, uint64_t bytes, unsigned depth, BdrvEraseInfo *info);
void erase_judge_file(int fd, const struct stat *st, uint64_t offset, uint64_t bytes, unsigned depth,
                      BdrvEraseInfo *info);
void erase_judge_device(dev_t dev, unsigned depth, BdrvEraseInfo *info);

/* The directory of @dev in sysfs, or NULL; caller frees. */
char *erase_sysfs_dir(dev_t dev);
/* Read a small text file, without leading and trailing white space. NULL if it cannot be read; caller frees. */
char *erase_read_text(const char *dir, const char *name);

#endif
