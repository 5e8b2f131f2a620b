/*
 * Targets that are streams rather than images: pipes, sockets, standard output
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef TOOLS_IMG_STREAM_H
#define TOOLS_IMG_STREAM_H

#include "util/coroutine.h"
#include "util/error.h"

/*
 * Whether @filename can only be written from start to end: a pipe, a socket, a terminal, and always standard output,
 * since a shell may redirect it to a file with contents.
 */
bool img_is_stream(const char *filename);

/* Whether the stream @filename is standard output. */
bool img_stream_is_stdout(const char *filename);

/* Open a stream for writing; waits for the reader of a pipe. Returns a descriptor to close, or -1 with @errp. */
int img_stream_open(const char *filename, Error **errp);

/* Write all of @bytes; 0 or -errno. */
int coroutine_fn img_stream_co_write(int fd, const void *buf, size_t bytes);

#endif
