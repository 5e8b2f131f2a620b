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
 * Open @filename where it can only be written from start to end: a pipe, a socket, a terminal, and standard
 * output in any case, since what a shell redirects it to may hold something already. Returns a descriptor,
 * which the caller closes, or -1: with @errp where it could not be opened, without where it is no stream.
 */
int img_stream_open(const char *filename, Error **errp);

/* Write all of @bytes; 0 or -errno. */
int coroutine_fn img_stream_co_write(int fd, const void *buf, size_t bytes);

#endif
