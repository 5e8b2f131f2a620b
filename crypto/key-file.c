/*
 * Key files: whole files, or parts of them, read straight into a SecretBuffer
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include <sys/stat.h>

#include "crypto/secret.h"
#include "util/thread-pool.h"

#define READ_BYTES 4096

/* Which bytes to read, and from where. */
typedef struct SecretSource {
    const char *filename;   /* NULL: standard input */
    uint64_t offset;
    uint64_t size;          /* 0: up to the end */
    SecretBuffer *buf;
    Error **errp;
} SecretSource;

static const char *source_name(const SecretSource *s)
{
    return s->filename ?: "standard input";
}

/* Append up to @bytes to the buffer; how many it were is in *@done. */
static bool read_some(const SecretSource *s, int fd, size_t bytes, size_t *done)
{
    SecretBuffer *buf = s->buf;

    secret_buffer_reserve(buf, buf->len + bytes);
    ssize_t n = RETRY_ON_EINTR(read(fd, buf->data + buf->len, bytes));
    if (n < 0) {
        error_setg_errno(s->errp, errno, "Could not read '%s'", source_name(s));
        return false;
    }
    buf->len += n;
    *done = n;
    return true;
}

/* What cannot be sought in is read, and forgotten. */
static bool skip(const SecretSource *s, int fd)
{
    if (!s->offset || lseek(fd, s->offset, SEEK_CUR) >= 0) {
        return true;
    }
    for (uint64_t rest = s->offset; rest;) {
        size_t n;

        s->buf->len = 0;
        if (!read_some(s, fd, MIN(rest, READ_BYTES), &n)) {
            return false;
        }
        if (n == 0) {
            break;          /* nothing is left to be read either */
        }
        rest -= n;
    }
    s->buf->len = 0;
    return true;
}

static bool read_all(const SecretSource *s, int fd)
{
    size_t n;

    do {
        size_t rest = s->size ? s->size - s->buf->len : READ_BYTES;

        if (!read_some(s, fd, MIN(rest, READ_BYTES), &n)) {
            return false;
        }
        if (s->buf->len > QCRYPTO_SECRET_MAX_BYTES) {
            error_setg(s->errp, "'%s' has more than %d bytes", source_name(s), QCRYPTO_SECRET_MAX_BYTES);
            return false;
        }
    } while (n > 0 && s->buf->len != s->size);
    if (s->buf->len < s->size) {
        error_setg(s->errp, "'%s' has fewer than %" PRIu64 " bytes at offset %" PRIu64, source_name(s), s->size,
                   s->offset);
        return false;
    }
    return true;
}

static int read_job(void *opaque)
{
    SecretSource *s = opaque;
    struct stat st;
    g_auto_fd int fd = s->filename ? RETRY_ON_EINTR(open(s->filename, O_RDONLY | O_CLOEXEC | O_NOCTTY))
                                   : fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);

    if (fd < 0 || fstat(fd, &st) < 0) {
        error_setg_errno(s->errp, errno, "Could not open '%s'", source_name(s));
        return false;
    }
    /* A device need not have an end. */
    if (s->filename && !S_ISREG(st.st_mode) && !S_ISFIFO(st.st_mode) && (S_ISDIR(st.st_mode) || !s->size)) {
        error_setg(s->errp, "'%s' is neither a regular file nor a pipe", s->filename);
        return false;
    }
    return skip(s, fd) && read_all(s, fd);
}

SecretBuffer *coroutine_mixed_fn qcrypto_secret_read_file(const char *filename, uint64_t offset, uint64_t size,
                                                          Error **errp)
{
    g_autoptr(SecretBuffer) buf = secret_buffer_new(0);
    SecretSource source = { .filename = filename, .offset = offset, .size = size, .buf = buf, .errp = errp };

    if (size > QCRYPTO_SECRET_MAX_BYTES) {
        error_setg(errp, "A secret cannot have more than %d bytes", QCRYPTO_SECRET_MAX_BYTES);
        return NULL;
    }
    /* A pipe may keep its reader waiting, which an event loop must not. */
    if (!thread_pool_submit_co(THREAD_POOL_IO, read_job, &source)) {
        return NULL;
    }
    return g_steal_pointer(&buf);
}
