/*
 * Secrets in files: read straight into a SecretBuffer
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include <sys/stat.h>

#include "crypto/secret-int.h"
#include "util/thread-pool.h"

#define READ_BYTES 4096

static bool read_all(int fd, const char *filename, SecretBuffer *buf, Error **errp)
{
    ssize_t n;

    do {
        secret_buffer_reserve(buf, buf->len + READ_BYTES);
        n = RETRY_ON_EINTR(read(fd, buf->data + buf->len, READ_BYTES));
        if (n < 0) {
            error_setg_errno(errp, errno, "Could not read '%s'", filename);
            return false;
        }
        buf->len += n;
        if (buf->len > QCRYPTO_SECRET_MAX_BYTES) {
            error_setg(errp, "'%s' has more than %d bytes", filename, QCRYPTO_SECRET_MAX_BYTES);
            return false;
        }
    } while (n > 0);
    return true;
}

typedef struct ReadJob {
    const char *filename;
    SecretBuffer *buf;
    Error **errp;
} ReadJob;

static int read_job(void *opaque)
{
    ReadJob *job = opaque;
    struct stat st;
    g_auto_fd int fd = RETRY_ON_EINTR(open(job->filename, O_RDONLY | O_CLOEXEC | O_NOCTTY));

    if (fd < 0 || fstat(fd, &st) < 0) {
        error_setg_errno(job->errp, errno, "Could not open '%s'", job->filename);
        return false;
    }
    if (!S_ISREG(st.st_mode) && !S_ISFIFO(st.st_mode)) {
        error_setg(job->errp, "'%s' is neither a regular file nor a pipe", job->filename);
        return false;
    }
    return read_all(fd, job->filename, job->buf, job->errp);
}

SecretBuffer *coroutine_mixed_fn secret_read_file(const char *filename, Error **errp)
{
    g_autoptr(SecretBuffer) buf = secret_buffer_new(0);
    ReadJob job = { .filename = filename, .buf = buf, .errp = errp };

    /* A pipe may keep its reader waiting, which an event loop must not. */
    if (!thread_pool_submit_co(THREAD_POOL_IO, read_job, &job)) {
        return NULL;
    }
    return g_steal_pointer(&buf);
}
