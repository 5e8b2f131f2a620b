/*
 * Secrets in files: read straight into a SecretBuffer
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include <sys/stat.h>

#include "crypto/secret-int.h"
#include "util/aio.h"
#include "util/thread-pool.h"

#define READ_BYTES 4096

/* Read once: bytes, 0 at the end, -EAGAIN, or another -errno with @errp. */
static ssize_t read_some(int fd, const char *filename, SecretBuffer *buf, Error **errp)
{
    secret_buffer_reserve(buf, buf->len + READ_BYTES);
    ssize_t n = RETRY_ON_EINTR(read(fd, buf->data + buf->len, READ_BYTES));
    if (n < 0) {
        int err = errno;

        if (err != EAGAIN) {
            error_setg_errno(errp, err, "Could not read '%s'", filename);
        }
        return -err;
    }
    buf->len += n;
    if (buf->len > QCRYPTO_SECRET_MAX_BYTES) {
        error_setg(errp, "'%s' has more than %d bytes", filename, QCRYPTO_SECRET_MAX_BYTES);
        return -EFBIG;
    }
    return n;
}

typedef struct ReadWork {
    const char *filename;
    SecretFileKind kind;
    SecretBuffer *buf;
    int pipe;           /* what is to be read by the caller; -1: nothing */
    Error **errp;
} ReadWork;

/* On a worker: open the file, and read it, unless it is a pipe. 0, or -errno with @errp, if that is an error. */
static int open_and_read(void *opaque)
{
    ReadWork *work = opaque;
    struct stat st;
    /* Without O_NONBLOCK, opening a pipe would wait for its writer. */
    g_auto_fd int fd = RETRY_ON_EINTR(open(work->filename, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK));

    if (fd < 0 || fstat(fd, &st) < 0) {
        int err = errno;

        if (err != ENOENT || work->kind != SECRET_FILE_OPTIONAL) {
            error_setg_errno(work->errp, err, "Could not open '%s'", work->filename);
        }
        return -err;
    }
    if (!S_ISREG(st.st_mode) && work->kind == SECRET_FILE_REGULAR) {
        return -EINVAL;
    }
    if (S_ISFIFO(st.st_mode)) {
        work->pipe = g_steal_auto_fd(&fd);
        return 0;
    }
    if (!S_ISREG(st.st_mode)) {
        error_setg(work->errp, "'%s' is neither a regular file nor a pipe", work->filename);
        return -EINVAL;
    }
    ssize_t n;
    while ((n = read_some(fd, work->filename, work->buf, work->errp)) > 0) {
        /* until its end */
    }
    return n;
}

/* Wait before the first read, too: a pipe that nobody has opened for writing yet would seem to be at its end. */
static bool coroutine_mixed_fn read_pipe(int fd, const char *filename, SecretBuffer *buf, Error **errp)
{
    ssize_t n;

    do {
        if (!qemu_co_wait_readable(fd)) {
            error_setg(errp, "Operation was cancelled while '%s' was read", filename);
            return false;
        }
        n = read_some(fd, filename, buf, errp);
    } while (n > 0 || n == -EAGAIN);
    return n == 0;
}

SecretBuffer *coroutine_mixed_fn secret_read_file(const char *filename, SecretFileKind kind, Error **errp)
{
    g_autoptr(SecretBuffer) buf = secret_buffer_new(0);
    ReadWork work = { .filename = filename, .kind = kind, .buf = buf, .pipe = -1, .errp = errp };

    if (thread_pool_submit_co(THREAD_POOL_IO, open_and_read, &work) < 0) {
        return NULL;
    }
    g_auto_fd int pipe = work.pipe;
    if (pipe >= 0 && !read_pipe(pipe, filename, buf, errp)) {
        return NULL;
    }
    return g_steal_pointer(&buf);
}
