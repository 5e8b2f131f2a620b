/*
 * Image locks: tell other programs, including QEMU's, what a file is used for
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "block/drivers/file.h"

#define PERM_BYTE 100
#define UNSHARED_BYTE 200
#define PERM_COUNT 4

static int lock_byte(int fd, off_t byte, short type)
{
    struct flock fl = { .l_type = type, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1 };

    return RETRY_ON_EINTR(fcntl(fd, F_OFD_SETLK, &fl)) == 0 ? 0 : -errno;
}

/* Whether another user has locked @byte: 1, 0 or -errno. */
static int file_lock_is_taken(int fd, off_t byte)
{
    struct flock fl = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1 };

    if (RETRY_ON_EINTR(fcntl(fd, F_OFD_GETLK, &fl)) < 0) {
        return -errno;
    }
    return fl.l_type != F_UNLCK;
}

bool file_lock_supported(int fd)
{
    return file_lock_is_taken(fd, PERM_BYTE) >= 0;
}

void file_lock_init(FileLock *lock, bool enabled)
{
    *lock = (FileLock){ .enabled = enabled, .shared = BLK_PERM_ALL };
}

/* Lock the bytes from @base on whose bits are set in @wanted. */
static int file_lock_acquire(int fd, off_t base, uint64_t *held, uint64_t wanted)
{
    for (int i = 0; i < PERM_COUNT; i++) {
        uint64_t bit = UINT64_C(1) << i;

        if (wanted & ~*held & bit) {
            int ret = lock_byte(fd, base + i, F_RDLCK);
            if (ret < 0) {
                return ret;
            }
            *held |= bit;
        }
    }
    return 0;
}

static void file_lock_release(int fd, off_t base, uint64_t *held, uint64_t unwanted)
{
    for (int i = 0; i < PERM_COUNT; i++) {
        uint64_t bit = UINT64_C(1) << i;

        /* A byte that cannot be unlocked remains in @held: the file then counts as busier than it is. */
        if (unwanted & *held & bit && lock_byte(fd, base + i, F_UNLCK) == 0) {
            *held &= ~bit;
        }
    }
}

static void file_lock_error(Error **errp, int ret, const char *kind, uint64_t perm, const char *filename)
{
    g_autofree char *name = bdrv_perm_names(perm);

    if (ret < 0) {
        error_setg_errno(errp, -ret, "Failed to get %s\"%s\" lock of '%s'", kind, name, filename);
    } else {
        error_setg(errp, "Failed to get %s\"%s\" lock of '%s'", kind, name, filename);
    }
}

/* Check that no other user refuses to share @perm, or uses a permission missing from @shared. */
static bool file_lock_check_others(int fd, uint64_t perm, uint64_t shared, const char *filename, Error **errp)
{
    for (int i = 0; i < PERM_COUNT; i++) {
        uint64_t bit = UINT64_C(1) << i;
        int ret = perm & bit ? file_lock_is_taken(fd, UNSHARED_BYTE + i) : 0;

        if (ret != 0) {
            file_lock_error(errp, ret, "", bit, filename);
            return false;
        }
        ret = shared & bit ? 0 : file_lock_is_taken(fd, PERM_BYTE + i);
        if (ret != 0) {
            file_lock_error(errp, ret, "shared ", bit, filename);
            return false;
        }
    }
    return true;
}

bool file_lock_prepare(FileLock *lock, int fd, uint64_t perm, uint64_t shared, const char *filename,
                       Error **errp)
{
    ERRP_GUARD();

    if (!lock->enabled || (perm == lock->perm && shared == lock->shared)) {
        return true;
    }
    int ret = file_lock_acquire(fd, PERM_BYTE, &lock->held_perm, perm);
    if (ret < 0) {
        file_lock_error(errp, ret, "", perm, filename);
    } else {
        ret = file_lock_acquire(fd, UNSHARED_BYTE, &lock->held_unshared, ~shared & BLK_PERM_ALL);
        if (ret < 0) {
            file_lock_error(errp, ret, "shared ", ~shared & BLK_PERM_ALL, filename);
        }
    }
    if (ret == 0 && file_lock_check_others(fd, perm, shared, filename, errp)) {
        return true;
    }
    error_append_hint(errp, "Is another process using the image [%s]?\n", filename);
    file_lock_abort(lock, fd);
    return false;
}

void file_lock_commit(FileLock *lock, int fd, uint64_t perm, uint64_t shared)
{
    lock->perm = perm;
    lock->shared = shared;
    file_lock_abort(lock, fd);
}

void file_lock_abort(FileLock *lock, int fd)
{
    if (lock->enabled) {
        file_lock_release(fd, PERM_BYTE, &lock->held_perm, ~lock->perm);
        file_lock_release(fd, UNSHARED_BYTE, &lock->held_unshared, lock->shared);
    }
}

static int file_lock_copy_bytes(int fd, off_t base, uint64_t held)
{
    for (int i = 0; i < PERM_COUNT; i++) {
        int ret = lock_byte(fd, base + i, held & UINT64_C(1) << i ? F_RDLCK : F_UNLCK);

        if (ret < 0) {
            return ret;
        }
    }
    return 0;
}

int file_lock_copy(const FileLock *lock, int fd)
{
    int ret = lock->enabled ? file_lock_copy_bytes(fd, PERM_BYTE, lock->held_perm) : 0;

    return lock->enabled && ret == 0 ? file_lock_copy_bytes(fd, UNSHARED_BYTE, lock->held_unshared) : ret;
}
