/*
 * The pid file of a daemon
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include <sys/stat.h>

#include "tools/common/pidfile.h"
#include "util/thread-pool.h"

static struct {
    const char *path;
    char *written;      /* absolute path of the written file; NULL: not written */
    int fd;             /* holds the lock; -1: there was no file yet */
} pidfile = { .fd = -1 };

static bool is_same_file(const char *path, const struct stat *st)
{
    struct stat now;

    return stat(path, &now) == 0 && now.st_dev == st->st_dev && now.st_ino == st->st_ino;
}

/* Lock @fd: 0, -errno, or 1 if it is no longer the file at the path. */
static int lock_file(int fd, Error **errp)
{
    struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
    struct stat st;

    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
        error_setg(errp, "Cannot use '%s' as pid file: it is not a regular file", pidfile.path);
        return -EINVAL;
    }
    if (fcntl(fd, F_SETLK, &lock) < 0) {
        int err = errno;

        error_setg_errno(errp, err, "Cannot lock pid file '%s'", pidfile.path);
        error_append_hint(errp, "Another process that uses it may be running.\n");
        return -err;
    }
    return is_same_file(pidfile.path, &st) ? 0 : 1;
}

/*
 * Open and lock the file, with additional @flags: 0 with pidfile.fd set, -ENOENT if there is none, or another -errno
 * with @errp. The owner may remove the file at this moment, and another process may create a new one, so check after
 * locking that it is still the file at the path.
 */
static int open_and_lock(int flags, Error **errp)
{
    int ret;

    do {
        g_auto_fd int fd = RETRY_ON_EINTR(open(pidfile.path, O_RDWR | O_CLOEXEC | O_NONBLOCK | O_NOCTTY | flags, 0600));

        if (fd < 0 && errno == ENOENT && !(flags & O_CREAT)) {
            return -ENOENT;
        }
        if (fd < 0) {
            int err = errno;
            error_setg_errno(errp, err, "Cannot open pid file '%s'", pidfile.path);
            return -err;
        }
        ret = lock_file(fd, errp);
        if (ret == 0) {
            pidfile.fd = g_steal_auto_fd(&fd);
        }
    } while (ret > 0);
    return ret;
}

bool pidfile_take(const char *path, Error **errp)
{
    pidfile.path = path;
    int ret = path ? open_and_lock(0, errp) : 0;
    return ret == 0 || ret == -ENOENT;
}

static int pidfile_write_work(void *opaque)
{
    Error **errp = opaque;
    g_autofree char *text = g_strdup_printf("%d\n", (int)getpid());

    if (pidfile.fd < 0 && open_and_lock(O_CREAT, errp) < 0) {
        return false;
    }
    if (ftruncate(pidfile.fd, 0) < 0 || pwrite(pidfile.fd, text, strlen(text), 0) != (ssize_t)strlen(text)) {
        error_setg_errno(errp, errno, "Failed to write pid file '%s'", pidfile.path);
        return false;
    }
    /* A daemon changes its directory before it removes the file. */
    pidfile.written = realpath(pidfile.path, NULL);
    return true;
}

bool coroutine_fn pidfile_write(Error **errp)
{
    return !pidfile.path || thread_pool_submit_co(THREAD_POOL_IO, pidfile_write_work, errp);
}

void pidfile_remove(void)
{
    struct stat st;

    if (pidfile.written && fstat(pidfile.fd, &st) == 0 && is_same_file(pidfile.written, &st)) {
        unlink(pidfile.written);
    }
    free(pidfile.written);
    pidfile.written = NULL;
}
