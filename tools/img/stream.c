/*
 * Targets that are streams rather than images
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include <poll.h>
#include <sys/stat.h>

#include "tools/img/stream.h"
#include "util/thread-pool.h"

static bool is_stdout(const char *filename)
{
    static const char *const names[] = { "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1" };

    for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
        if (g_str_equal(filename, names[i])) {
            return true;
        }
    }
    return false;
}

bool img_is_stream(const char *filename)
{
    struct stat st;

    return is_stdout(filename) ||
           (stat(filename, &st) == 0 && (S_ISFIFO(st.st_mode) || S_ISSOCK(st.st_mode) || S_ISCHR(st.st_mode)));
}

bool img_stream_is_stdout(const char *filename)
{
    struct stat a, b;

    return is_stdout(filename) || (stat(filename, &a) == 0 && fstat(STDOUT_FILENO, &b) == 0 &&
                                   a.st_dev == b.st_dev && a.st_ino == b.st_ino);
}

int img_stream_open(const char *filename, Error **errp)
{
    /* open() does not work for sockets. */
    int fd = is_stdout(filename) ? fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1)
                                 : RETRY_ON_EINTR(open(filename, O_WRONLY | O_NOCTTY | O_CLOEXEC));

    if (fd < 0) {
        error_setg_errno(errp, errno, "Could not open '%s'", filename);
    }
    return fd;
}

typedef struct StreamWrite {
    int fd;
    const uint8_t *buf;
    size_t bytes;
} StreamWrite;

static int stream_write(void *opaque)
{
    StreamWrite *w = opaque;

    while (w->bytes) {
        ssize_t n = write(w->fd, w->buf, w->bytes);

        if (n < 0 && errno == EAGAIN) {
            /* The pipe is non-blocking, so wait here. */
            struct pollfd pfd = { .fd = w->fd, .events = POLLOUT };

            poll(&pfd, 1, -1);
        } else if (n < 0 && errno != EINTR) {
            return -errno;
        } else if (n > 0) {
            w->buf += n;
            w->bytes -= n;
        }
    }
    return 0;
}

int coroutine_fn img_stream_co_write(int fd, const void *buf, size_t bytes)
{
    StreamWrite w = { .fd = fd, .buf = buf, .bytes = bytes };

    return thread_pool_submit_co(THREAD_POOL_IO, stream_write, &w);
}
