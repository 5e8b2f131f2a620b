/*
 * Character devices with a single connection: files, standard input and output, and null
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include <sys/stat.h>
#include <termios.h>

#include "monitor/chardev/chardev-int.h"
#include "util/thread-pool.h"

/* An open device that waits for its first or next front end. */
typedef struct SimpleChardev {
    Chardev parent;
    IOChannel *in;
    IOChannel *out;
    bool restore_terminal;
    struct termios terminal;
} SimpleChardev;

static bool stdio_in_use;
static bool stdio_forbidden;

void chardev_forbid_stdio(void)
{
    stdio_forbidden = true;
}

static SimpleChardev *to_simple(Chardev *chr)
{
    return container_of(chr, SimpleChardev, parent);
}

typedef struct OpenWork {
    const char *name;
    int flags;
} OpenWork;

/*
 * On a worker: open a descriptor, or return -errno. A pipe does not need a peer: opened for both directions, it keeps
 * what is written until somebody reads it, and does not end between one writer and the next.
 */
static int simple_open_work(void *opaque)
{
    OpenWork *work = opaque;
    struct stat st;

    if (stat(work->name, &st) == 0 && S_ISFIFO(st.st_mode)) {
        work->flags = O_RDWR;
    }
    int fd = RETRY_ON_EINTR(open(work->name, work->flags | O_NONBLOCK | O_CLOEXEC | O_NOCTTY, 0666));
    return fd < 0 ? -errno : fd;
}

/* Open a file on a worker; NULL with @errp. */
static IOChannel *coroutine_fn simple_open_file(const char *name, int flags, Error **errp)
{
    OpenWork work = { .name = name, .flags = flags };
    int fd = thread_pool_submit_co(THREAD_POOL_IO, simple_open_work, &work);

    if (fd < 0) {
        error_setg_errno(errp, -fd, "Could not open '%s'", name);
        return NULL;
    }
    return io_channel_new(fd);
}

static bool coroutine_fn file_open(Chardev *chr, const ChardevBackend *backend, Error **errp)
{
    SimpleChardev *s = to_simple(chr);
    const ChardevFile *file = backend->u.file.data;
    bool append = file->has_append && file->append;

    if (file->in) {
        s->in = simple_open_file(file->in, O_RDONLY, errp);
        if (!s->in) {
            return false;
        }
    }
    s->out = simple_open_file(file->out, O_WRONLY | O_CREAT | (append ? O_APPEND : O_TRUNC), errp);
    if (!s->out) {
        io_channel_unref(s->in);
        return false;
    }
    return true;
}

static bool coroutine_fn stdio_open(Chardev *chr, const ChardevBackend *backend, Error **errp)
{
    SimpleChardev *s = to_simple(chr);
    const ChardevStdio *stdio = backend->u.stdio.data;

    if (stdio_forbidden) {
        error_setg(errp, "cannot use stdio in the background");
        return false;
    }
    if (stdio_in_use) {
        error_setg(errp, "cannot use stdio by multiple character devices");
        return false;
    }
    int in = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3), out = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
    if (in < 0 || out < 0) {
        error_setg_errno(errp, errno, "Could not use standard input and output");
        g_auto_fd int close_in = in, close_out = out;
        return false;
    }
    if (stdio->has_signal && !stdio->signal && tcgetattr(in, &s->terminal) == 0) {
        struct termios no_signals = s->terminal;

        no_signals.c_lflag &= ~(tcflag_t)ISIG;
        s->restore_terminal = tcsetattr(in, TCSANOW, &no_signals) == 0;
    }
    s->in = io_channel_new(in);
    s->out = io_channel_new(out);
    stdio_in_use = true;
    return true;
}

static bool coroutine_fn null_open(Chardev *chr, const ChardevBackend *backend, Error **errp)
{
    return true;
}

static void simple_start(Chardev *chr)
{
    SimpleChardev *s = to_simple(chr);

    if (s->in || s->out) {
        chardev_connected(chr, g_steal_pointer(&s->in), g_steal_pointer(&s->out));
    }
}

static void simple_stop(Chardev *chr)
{
}

static void coroutine_fn simple_close(Chardev *chr)
{
    SimpleChardev *s = to_simple(chr);

    io_channel_unref(s->in);
    io_channel_unref(s->out);
}

static void coroutine_fn stdio_close(Chardev *chr)
{
    SimpleChardev *s = to_simple(chr);

    if (s->restore_terminal) {
        tcsetattr(STDIN_FILENO, TCSANOW, &s->terminal);
    }
    simple_close(chr);
    stdio_in_use = false;
}

const ChardevDriver chardev_file = {
    .instance_size = sizeof(SimpleChardev),
    .open = file_open,
    .start = simple_start,
    .stop = simple_stop,
    .close = simple_close,
};

const ChardevDriver chardev_null = {
    .instance_size = sizeof(SimpleChardev),
    .open = null_open,
    .start = simple_start,
    .stop = simple_stop,
    .close = simple_close,
};

const ChardevDriver chardev_stdio = {
    .instance_size = sizeof(SimpleChardev),
    .open = stdio_open,
    .start = simple_start,
    .stop = simple_stop,
    .close = stdio_close,
};
