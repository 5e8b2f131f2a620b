/*
 * Sets of file descriptors that another program has opened for us
 *
 * A set has a number, and descriptors with different access modes. A file named /dev/fdset/N is opened as a copy of the
 * descriptor in set N that has the requested mode.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef UTIL_FDSET_H
#define UTIL_FDSET_H

#include <stdbool.h>
#include <stdint.h>

#include "util/error.h"

/* Add @fd to set *@id, which then owns it; -1: to a new set, whose number is stored there. */
void fdset_add(int64_t *id, int fd, const char *opaque);

/* Close descriptor @fd of set @id, or all of them (@fd -1); false with @errp if there is none. */
bool fdset_remove(int64_t id, int64_t fd, Error **errp);

/* Call @fn for every descriptor, one set after the other. */
void fdset_foreach(void (*fn)(int64_t id, int fd, const char *fd_opaque, void *opaque), void *opaque);

/* Like open() without O_CREAT, for any path, including those of sets. A new descriptor or -errno. From any thread. */
int qemu_open(const char *path, int flags);

#endif
