/*
 * Targets that are no images but streams: pipes, sockets, standard output
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef TOOLS_IMG_STREAM_H
#define TOOLS_IMG_STREAM_H

#include "util/coroutine.h"
#include "util/error.h"

/*
 * Whether @filename can only be written from start to end: a pipe, a socket, a terminal, and always standard output,
 * since what a shell redirects it to may hold something already.
 */
bool img_is_stream(const char *filename);

/* Whether a stream is what standard output goes to. */
bool img_stream_is_stdout(const char *filename);

/* Open a stream for writing; a pipe waits for its reader. A descriptor, which the caller closes, or -1 with @errp. */
int img_stream_open(const char *filename, Error **errp);

/* Write all of @bytes; 0 or -errno. */
int coroutine_fn img_stream_co_write(int fd, const void *buf, size_t bytes);

#endif
