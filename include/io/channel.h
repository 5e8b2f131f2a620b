/*
 * IOChannel: a byte stream on a descriptor, which coroutines read and write without blocking their loop
 *
 *     g_autoptr(IOChannel) ch = io_channel_new(fd);
 *     ssize_t n = io_channel_co_read(ch, buf, sizeof(buf));       // waits until there is something
 *     int ret = io_channel_co_write_all(ch, buf, n);
 *
 * One coroutine may read while another writes; both run in the same event loop. To end the connection from elsewhere in
 * that loop, call io_channel_shutdown(), which makes both return, and drop the reference.
 *
 * TLS is a filter: after the handshake, bytes go through it instead of directly to the descriptor
 * (io_channel_set_filter()).
 *
 * Functions return bytes or -errno.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef IO_CHANNEL_H
#define IO_CHANNEL_H

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "util/coroutine.h"

typedef struct IOChannel IOChannel;

typedef enum IOWait {
    IO_WAIT_IN,
    IO_WAIT_OUT,
} IOWait;

/*
 * A filter between the user of a channel and its descriptor. Both functions make one attempt: they return bytes (0 from
 * a read: end of stream), -errno, or -EAGAIN with the event to wait for in *@wait.
 */
typedef struct IOChannelFilter {
    ssize_t (*read)(void *opaque, void *buf, size_t len, IOWait *wait);
    ssize_t (*write)(void *opaque, const void *buf, size_t len, IOWait *wait);
    /* Tell the peer that this is the end, in one attempt that may fail. Optional. */
    void (*bye)(void *opaque);
    void (*free)(void *opaque);
} IOChannelFilter;

/*
 * Create a channel on @fd (socket, pipe, terminal or file), which it owns and makes non-blocking. If other processes
 * may share the descriptor, its mode is restored at the end.
 */
IOChannel *io_channel_new(int fd);
IOChannel *io_channel_ref(IOChannel *ch);
/* The last unref closes the descriptor. No coroutine may be waiting. @ch may be NULL. */
void io_channel_unref(IOChannel *ch);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(IOChannel, io_channel_unref)

int io_channel_get_fd(const IOChannel *ch);

/* Insert @filter, which takes over @opaque, between user and descriptor. At most once; no coroutine may be waiting. */
void io_channel_set_filter(IOChannel *ch, const IOChannelFilter *filter, void *opaque);

/* One attempt on the descriptor itself, for filters. -EAGAIN if it would block. */
ssize_t io_channel_raw_read(IOChannel *ch, void *buf, size_t len);
ssize_t io_channel_raw_write(IOChannel *ch, const void *buf, size_t len);

/*
 * Wait until the descriptor is ready for @wait. A reader (@is_writer false) and a writer may wait at once, each for
 * either event. 0, or -ESHUTDOWN once the channel is shut down.
 */
int coroutine_fn io_channel_co_wait(IOChannel *ch, bool is_writer, IOWait wait);

/* Detach from this thread's loop before another thread uses the channel. No coroutine may be waiting. */
void io_channel_detach(IOChannel *ch);

/* Read at least one byte and at most @len. 0: the peer has ended the stream, or the channel was shut down. */
ssize_t coroutine_fn io_channel_co_read(IOChannel *ch, void *buf, size_t len);

/* The same in one attempt: -EAGAIN if there is nothing yet, with the event to wait for in *@wait. */
ssize_t io_channel_try_read(IOChannel *ch, void *buf, size_t len, IOWait *wait);

/* Read exactly @len bytes and return 1. 0: the stream ended before the first; -ECONNRESET: it ended in between. */
int coroutine_fn io_channel_co_read_all(IOChannel *ch, void *buf, size_t len);

/* Write everything: 0 or -errno. Changes @iov. */
int coroutine_fn io_channel_co_writev_all(IOChannel *ch, struct iovec *iov, int niov);
int coroutine_fn io_channel_co_write_all(IOChannel *ch, const void *buf, size_t len);

/* Whether io_channel_shutdown() was called; whether the peer can neither send nor receive any more. */
bool io_channel_is_shut(const IOChannel *ch);
bool io_channel_peer_is_gone(const IOChannel *ch);
/* Whether the peer sends nothing more, although some of its data may not have been read yet. */
bool io_channel_peer_has_ended(const IOChannel *ch);

/* Shut down both directions and wake waiting coroutines, whose requests fail. May be called again. */
void io_channel_shutdown(IOChannel *ch);

/*
 * Descriptors that a peer sends over a unix socket. io_channel_accept_fds() enables this, on a channel without a
 * filter. Then the descriptors that came with some bytes are available once these have been read, and belong to the
 * first byte of that read. io_channel_take_fd() returns the oldest one, which the caller then owns; -1: none.
 * Descriptors beyond a limit are closed.
 */
void io_channel_accept_fds(IOChannel *ch);
int io_channel_take_fd(IOChannel *ch);

#endif
