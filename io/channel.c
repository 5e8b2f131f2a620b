/*
 * IOChannel: a byte stream on a descriptor, which coroutines read and write without blocking their loop
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "io/channel.h"
#include "util/aio.h"
#include "util/thread-pool.h"

/* Maximum number of descriptors received from a peer but not taken yet. */
#define FDS_MAX 16

typedef struct Waiter {
    Coroutine *co;
    IOWait wait;
} Waiter;

struct IOChannel {
    int refcnt;
    int fd;
    int old_flags;              /* flags of the descriptor; -1: nothing to restore */
    bool is_file;               /* a regular file: always ready, but may block all the same */
    bool is_socket;
    bool is_unix;
    bool is_tcp;
    bool shut;
    const IOChannelFilter *filter;
    void *filter_opaque;

    AioContext *ctx;            /* where the handlers are; NULL: none */
    Waiter waiters[2];          /* reader, writer */
    bool polled[2];             /* IO_WAIT_* */

    bool accept_fds;
    int fds[FDS_MAX];
    unsigned n_fds;
};

IOChannel *io_channel_new(int fd)
{
    IOChannel *ch = g_new0(IOChannel, 1);
    struct sockaddr_storage addr;
    socklen_t len = sizeof(addr);
    struct stat st;
    int flags = fcntl(fd, F_GETFL), on = 1;

    ch->refcnt = 1;
    ch->fd = fd;
    ch->old_flags = -1;
    bool known = fstat(fd, &st) == 0;
    ch->is_file = known && S_ISREG(st.st_mode);
    ch->is_socket = known && S_ISSOCK(st.st_mode);
    if (ch->is_socket && getsockname(fd, (struct sockaddr *)&addr, &len) == 0) {
        ch->is_unix = addr.ss_family == AF_UNIX;
        ch->is_tcp = addr.ss_family == AF_INET || addr.ss_family == AF_INET6;
    }
    if (ch->is_tcp) {
        /* Our writers write whole messages. */
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    }
    if (flags >= 0 && !(flags & O_NONBLOCK)) {
        if (!ch->is_socket) {
            ch->old_flags = flags;
        }
        fcntl(fd, F_SETFL, flags | O_NONBLOCK);
    }
    return ch;
}

IOChannel *io_channel_ref(IOChannel *ch)
{
    ch->refcnt++;
    return ch;
}

/* Make the loop watch for the events in @polled. */
static void channel_update_handlers(IOChannel *ch);

void io_channel_unref(IOChannel *ch)
{
    if (!ch || --ch->refcnt > 0) {
        return;
    }
    io_channel_detach(ch);
    if (ch->filter) {
        if (!ch->shut && ch->filter->bye) {
            ch->filter->bye(ch->filter_opaque);
        }
        ch->filter->free(ch->filter_opaque);
    }
    for (unsigned i = 0; i < ch->n_fds; i++) {
        close(ch->fds[i]);
    }
    if (ch->old_flags != -1) {
        fcntl(ch->fd, F_SETFL, ch->old_flags);
    }
    close(ch->fd);
    g_free(ch);
}

int io_channel_get_fd(const IOChannel *ch)
{
    return ch->fd;
}

void io_channel_set_filter(IOChannel *ch, const IOChannelFilter *filter, void *opaque)
{
    assert(!ch->filter && !ch->waiters[0].co && !ch->waiters[1].co);
    ch->filter = filter;
    ch->filter_opaque = opaque;
}

/* The descriptor is ready for @wait: wake the waiter, or stop watching if there is none. */
static void channel_ready(IOChannel *ch, IOWait wait)
{
    Coroutine *ready[G_N_ELEMENTS(ch->waiters)];
    unsigned n = 0;

    for (size_t i = 0; i < G_N_ELEMENTS(ch->waiters); i++) {
        Waiter *w = &ch->waiters[i];

        if (w->co && w->wait == wait) {
            ready[n++] = g_steal_pointer(&w->co);
        }
    }
    if (n == 0) {
        ch->polled[wait] = false;
        channel_update_handlers(ch);
    }
    /* The woken coroutine may free the channel or hand it to another thread: do not touch it from here on. */
    for (unsigned i = 0; i < n; i++) {
        aio_co_wake(ready[i]);
    }
}

static void channel_ready_in(void *opaque)
{
    channel_ready(opaque, IO_WAIT_IN);
}

static void channel_ready_out(void *opaque)
{
    channel_ready(opaque, IO_WAIT_OUT);
}

static void channel_update_handlers(IOChannel *ch)
{
    bool in = ch->polled[IO_WAIT_IN], out = ch->polled[IO_WAIT_OUT];

    if (ch->ctx) {
        aio_set_fd_handler(ch->ctx, ch->fd, in ? channel_ready_in : NULL, out ? channel_ready_out : NULL, ch);
        if (!in && !out) {
            ch->ctx = NULL;
        }
    }
}

void io_channel_detach(IOChannel *ch)
{
    assert(!ch->waiters[0].co && !ch->waiters[1].co);
    ch->polled[IO_WAIT_IN] = ch->polled[IO_WAIT_OUT] = false;
    channel_update_handlers(ch);
}

int coroutine_fn io_channel_co_wait(IOChannel *ch, bool is_writer, IOWait wait)
{
    Waiter *w = &ch->waiters[is_writer];
    AioContext *ctx = qemu_get_current_aio_context();

    if (ch->shut) {
        return -ESHUTDOWN;
    }
    assert(!w->co && (!ch->ctx || ch->ctx == ctx));
    *w = (Waiter){ .co = qemu_coroutine_self(), .wait = wait };
    /* Keep watching when the wait is over: most readers are back soon. */
    if (!ch->polled[wait]) {
        ch->ctx = ctx;
        ch->polled[wait] = true;
        channel_update_handlers(ch);
    }
    qemu_coroutine_yield();
    return ch->shut ? -ESHUTDOWN : 0;
}

/* Keep the descriptors that came with a message. */
static void channel_collect_fds(IOChannel *ch, struct msghdr *msg)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) {
            continue;
        }
        size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < n; i++) {
            int fd;

            memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
            if (ch->n_fds < FDS_MAX) {
                ch->fds[ch->n_fds++] = fd;
            } else {
                close(fd);
            }
        }
    }
}

/*
 * How many bytes to read at once so that descriptors come with the byte they were sent with. A read may join messages,
 * up to and including one with descriptors, and does not tell where that one begins. 0: the end, or -errno.
 */
static ssize_t channel_peek_len(IOChannel *ch, void *buf, size_t len)
{
    struct iovec iov = { .iov_base = buf, .iov_len = len };
    struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
    ssize_t n = RETRY_ON_EINTR(recvmsg(ch->fd, &msg, MSG_PEEK));

    if (n < 0) {
        return -errno;
    }
    /* There is no room for descriptors here, so some are ahead or arrived just now: look for them byte by byte. */
    return msg.msg_flags & MSG_CTRUNC ? 1 : n;
}

static ssize_t channel_read_with_fds(IOChannel *ch, void *buf, size_t len)
{
    ssize_t next = channel_peek_len(ch, buf, len);

    if (next <= 0) {
        return next;
    }
    union {
        struct cmsghdr align;
        char buf[CMSG_SPACE(sizeof(int) * FDS_MAX)];
    } control;
    struct iovec iov = { .iov_base = buf, .iov_len = next };
    struct msghdr msg = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control),
    };
    ssize_t n = RETRY_ON_EINTR(recvmsg(ch->fd, &msg, MSG_CMSG_CLOEXEC));

    if (n < 0) {
        return -errno;
    }
    channel_collect_fds(ch, &msg);
    return n;
}

ssize_t io_channel_raw_read(IOChannel *ch, void *buf, size_t len)
{
    if (ch->accept_fds) {
        return channel_read_with_fds(ch, buf, len);
    }
    ssize_t n = RETRY_ON_EINTR(read(ch->fd, buf, len));
    return n < 0 ? -errno : n;
}

static ssize_t channel_raw_writev(IOChannel *ch, struct iovec *iov, int niov)
{
    ssize_t n;

    niov = MIN(niov, IOV_MAX);
    if (ch->is_socket) {
        struct msghdr msg = { .msg_iov = iov, .msg_iovlen = niov };
        n = RETRY_ON_EINTR(sendmsg(ch->fd, &msg, MSG_NOSIGNAL));
    } else {
        n = RETRY_ON_EINTR(writev(ch->fd, iov, niov));
    }
    return n < 0 ? -errno : n;
}

ssize_t io_channel_raw_write(IOChannel *ch, const void *buf, size_t len)
{
    struct iovec iov = { .iov_base = (void *)buf, .iov_len = len };

    return channel_raw_writev(ch, &iov, 1);
}

ssize_t io_channel_try_read(IOChannel *ch, void *buf, size_t len, IOWait *wait)
{
    if (ch->shut) {
        return 0;
    }
    *wait = IO_WAIT_IN;
    return ch->filter ? ch->filter->read(ch->filter_opaque, buf, len, wait) : io_channel_raw_read(ch, buf, len);
}

typedef struct FileWork {
    IOChannel *ch;
    struct iovec *iov;
    int niov;
    ssize_t n;
} FileWork;

static int channel_read_file(void *opaque)
{
    FileWork *work = opaque;

    work->n = io_channel_raw_read(work->ch, work->iov->iov_base, work->iov->iov_len);
    return 0;
}

static int channel_write_file(void *opaque)
{
    FileWork *work = opaque;

    work->n = channel_raw_writev(work->ch, work->iov, work->niov);
    return 0;
}

/* Read or write a regular file on a worker. */
static ssize_t coroutine_fn channel_use_file(ThreadPoolFunc *func, IOChannel *ch, struct iovec *iov, int niov)
{
    FileWork work = { .ch = ch, .iov = iov, .niov = niov };

    thread_pool_submit_co(THREAD_POOL_IO, func, &work);
    return work.n;
}

ssize_t coroutine_fn io_channel_co_read(IOChannel *ch, void *buf, size_t len)
{
    struct iovec iov = { .iov_base = buf, .iov_len = len };
    IOWait wait;
    ssize_t n;

    if (ch->is_file) {
        return ch->shut ? 0 : channel_use_file(channel_read_file, ch, &iov, 1);
    }
    while ((n = io_channel_try_read(ch, buf, len, &wait)) == -EAGAIN) {
        io_channel_co_wait(ch, false, wait);
    }
    return n;
}

int coroutine_fn io_channel_co_read_all(IOChannel *ch, void *buf, size_t len)
{
    size_t done = 0;

    while (done < len) {
        ssize_t n = io_channel_co_read(ch, (char *)buf + done, len - done);

        if (n < 0) {
            return n;
        }
        if (n == 0) {
            return done ? -ECONNRESET : 0;
        }
        done += n;
    }
    return 1;
}

int coroutine_fn io_channel_co_writev_all(IOChannel *ch, struct iovec *iov, int niov)
{
    while (niov > 0) {
        IOWait wait = IO_WAIT_OUT;
        ssize_t n;

        if (iov->iov_len == 0) {
            iov++;
            niov--;
            continue;
        }
        if (ch->shut) {
            return -ESHUTDOWN;
        }
        n = ch->filter ? ch->filter->write(ch->filter_opaque, iov->iov_base, iov->iov_len, &wait)
            : ch->is_file ? channel_use_file(channel_write_file, ch, iov, niov)
            : channel_raw_writev(ch, iov, niov);
        if (n == -EAGAIN) {
            io_channel_co_wait(ch, true, wait);
            continue;
        }
        if (n < 0) {
            return n;
        }
        while (n > 0) {
            size_t step = MIN((size_t)n, iov->iov_len);

            iov->iov_base = (char *)iov->iov_base + step;
            iov->iov_len -= step;
            n -= step;
            if (iov->iov_len == 0) {
                iov++;
                niov--;
            }
        }
    }
    return 0;
}

int coroutine_fn io_channel_co_write_all(IOChannel *ch, const void *buf, size_t len)
{
    struct iovec iov = { .iov_base = (void *)buf, .iov_len = len };

    return io_channel_co_writev_all(ch, &iov, 1);
}

bool io_channel_is_shut(const IOChannel *ch)
{
    return ch->shut;
}

/* Whether the descriptor is in a state of @events, POLL*, or in error. */
static bool has_event(const IOChannel *ch, short events)
{
    struct pollfd pfd = { .fd = ch->fd, .events = events };

    return poll(&pfd, 1, 0) > 0;
}

bool io_channel_peer_is_gone(const IOChannel *ch)
{
    return has_event(ch, 0);
}

bool io_channel_peer_has_ended(const IOChannel *ch)
{
    return has_event(ch, POLLRDHUP);
}

void io_channel_shutdown(IOChannel *ch)
{
    if (ch->shut) {
        return;
    }
    if (ch->filter && ch->filter->bye) {
        ch->filter->bye(ch->filter_opaque);
    }
    ch->shut = true;
    if (ch->is_socket) {
        shutdown(ch->fd, SHUT_RDWR);
    }
    for (size_t i = 0; i < G_N_ELEMENTS(ch->waiters); i++) {
        if (ch->waiters[i].co) {
            aio_co_schedule(g_steal_pointer(&ch->waiters[i].co));
        }
    }
}

void io_channel_accept_fds(IOChannel *ch)
{
    ch->accept_fds = ch->is_unix && !ch->filter;
}

int io_channel_take_fd(IOChannel *ch)
{
    if (ch->n_fds == 0) {
        return -1;
    }
    int fd = ch->fds[0];
    memmove(ch->fds, ch->fds + 1, --ch->n_fds * sizeof(ch->fds[0]));
    return fd;
}
