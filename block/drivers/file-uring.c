/*
 * io_uring for the file driver
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "config-host.h"
#include "block/drivers/file.h"
#include "util/aio.h"

#ifdef CONFIG_IO_URING
#include <liburing.h>

#ifdef CONFIG_VALGRIND
#include <valgrind/memcheck.h>
#endif

/* Valgrind does not see what the kernel writes into memory through the ring. */
static void uring_tell_valgrind(const FileRequest *req, ssize_t left)
{
#ifdef CONFIG_VALGRIND
    for (int i = 0; left > 0 && i < req->niov; i++) {
        size_t n = MIN((size_t)left, req->iov[i].iov_len);

        VALGRIND_MAKE_MEM_DEFINED(req->iov[i].iov_base, n);
        left -= n;
    }
#endif
}

static void prep_transfer(struct io_uring_sqe *sqe, void *opaque)
{
    FileRequest *req = opaque;

    if (req->write) {
        io_uring_prep_writev2(sqe, req->fd, req->iov, req->niov, req->offset, req->rwf_flags);
    } else {
        io_uring_prep_readv(sqe, req->fd, req->iov, req->niov, req->offset);
    }
}

int coroutine_fn file_uring_transfer(FileRequest *req)
{
    if (aio_setup_io_uring() < 0) {
        return -EAGAIN;
    }
    int ret = aio_co_uring(prep_transfer, req, req->max_batch);
    if (!req->write) {
        uring_tell_valgrind(req, ret);
    }
    return ret;
}

#else

int coroutine_fn file_uring_transfer(FileRequest *req)
{
    return -EAGAIN;
}

#endif
