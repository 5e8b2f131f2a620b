/*
 * Secrets in files: whole files, or parts of them, read straight into a SecretBuffer
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include <sys/stat.h>

#include "crypto/secret-int.h"
#include "util/aio.h"
#include "util/thread-pool.h"

#define READ_BYTES 4096

/* Which bytes to read, and from where. */
typedef struct SecretSource {
    const char *filename;   /* NULL: standard input */
    SecretFileKind kind;
    uint64_t skip;          /* bytes that are still to be left out */
    uint64_t size;          /* 0: up to the end */
    SecretBuffer *buf;
    int pipe;               /* what the worker leaves for the caller to read; -1: nothing */
    Error **errp;
} SecretSource;

static const char *source_name(const SecretSource *s)
{
    return s->filename ?: "standard input";
}

/* Read once: bytes, 0 at the end, -EAGAIN, or another -errno with an error set. */
static ssize_t source_read_some(SecretSource *s, int fd)
{
    SecretBuffer *buf = s->buf;
    size_t bytes = MIN(READ_BYTES, s->skip ?: s->size ? s->size - buf->len : READ_BYTES);

    secret_buffer_reserve(buf, buf->len + bytes);
    ssize_t n = RETRY_ON_EINTR(read(fd, buf->data + buf->len, bytes));
    if (n < 0) {
        int err = errno;

        if (err != EAGAIN) {
            error_setg_errno(s->errp, err, "Could not read '%s'", source_name(s));
        }
        return -err;
    }
    if (s->skip) {
        s->skip -= n;       /* the next bytes take the place of these */
        return n;
    }
    buf->len += n;
    if (buf->len > QCRYPTO_SECRET_MAX_BYTES) {
        error_setg(s->errp, "'%s' has more than %d bytes", source_name(s), QCRYPTO_SECRET_MAX_BYTES);
        return -EFBIG;
    }
    return n;
}

static int source_open(const SecretSource *s)
{
    /* Without O_NONBLOCK, opening a pipe would wait for its writer. */
    return s->filename ? RETRY_ON_EINTR(open(s->filename, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK))
                       : fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
}

/* Whether reading @fd may keep the reader waiting for somebody. */
static bool is_pipe(int fd, mode_t mode)
{
    return S_ISFIFO(mode) || S_ISSOCK(mode) || isatty(fd);
}

/* On a worker: open the file, and read it unless it is a pipe. 0, or -errno with an error set if it is one. */
static int source_open_and_read(void *opaque)
{
    SecretSource *s = opaque;
    struct stat st;
    g_auto_fd int fd = source_open(s);
    ssize_t n;

    if (fd < 0 || fstat(fd, &st) < 0) {
        int err = errno;

        if (err != ENOENT || s->kind != SECRET_FILE_OPTIONAL) {
            error_setg_errno(s->errp, err, "Could not open '%s'", source_name(s));
        }
        return -err;
    }
    if (!S_ISREG(st.st_mode) && s->kind == SECRET_FILE_REGULAR) {
        return -EINVAL;
    }
    /* A device need not have an end. */
    if (s->filename && !S_ISREG(st.st_mode) && !S_ISFIFO(st.st_mode) && (S_ISDIR(st.st_mode) || !s->size)) {
        error_setg(s->errp, "'%s' is neither a regular file nor a pipe", s->filename);
        return -EINVAL;
    }
    if (s->skip && lseek(fd, s->skip, SEEK_CUR) >= 0) {
        s->skip = 0;
    }
    if (is_pipe(fd, st.st_mode)) {
        s->pipe = g_steal_auto_fd(&fd);
        return 0;
    }
    do {
        n = source_read_some(s, fd);
    } while (n > 0);
    return n;
}

/* Wait before the first read, too: a pipe that nobody has opened for writing yet would seem to be at its end. */
static bool coroutine_mixed_fn source_read_pipe(SecretSource *s, int fd)
{
    ssize_t n;

    do {
        if (!qemu_co_wait_readable(fd)) {
            error_setg(s->errp, "Operation was cancelled while '%s' was read", source_name(s));
            return false;
        }
        n = source_read_some(s, fd);
    } while ((n > 0 && (!s->size || s->buf->len < s->size)) || n == -EAGAIN);
    return n >= 0;
}

static SecretBuffer *coroutine_mixed_fn source_read(SecretSource *s)
{
    g_autoptr(SecretBuffer) buf = secret_buffer_new(0);
    uint64_t offset = s->skip;

    s->buf = buf;
    s->pipe = -1;
    if (thread_pool_submit_co(THREAD_POOL_IO, source_open_and_read, s) < 0) {
        return NULL;
    }
    g_auto_fd int pipe = s->pipe;
    if (pipe >= 0 && !source_read_pipe(s, pipe)) {
        return NULL;
    }
    if (buf->len < s->size) {
        error_setg(s->errp, "'%s' has fewer than %" PRIu64 " bytes at offset %" PRIu64, source_name(s), s->size,
                   offset);
        return NULL;
    }
    return g_steal_pointer(&buf);
}

SecretBuffer *coroutine_mixed_fn secret_read_file(const char *filename, SecretFileKind kind, Error **errp)
{
    SecretSource source = { .filename = filename, .kind = kind, .errp = errp };

    return source_read(&source);
}

SecretBuffer *coroutine_mixed_fn qcrypto_secret_read_file(const char *filename, uint64_t offset, uint64_t size,
                                                          Error **errp)
{
    SecretSource source = { .filename = filename, .skip = offset, .size = size, .errp = errp };

    if (size > QCRYPTO_SECRET_MAX_BYTES) {
        error_setg(errp, "A secret cannot have more than %d bytes", QCRYPTO_SECRET_MAX_BYTES);
        return NULL;
    }
    return source_read(&source);
}
