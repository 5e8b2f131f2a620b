/*
 * Sets of file descriptors that somebody else has opened for us
 *
 * A set has a number and descriptors with different access modes. A file named /dev/fdset/N is opened with a copy of
 * the descriptor of set N that has the wanted mode.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef UTIL_FDSET_H
#define UTIL_FDSET_H

#include <stdbool.h>
#include <stdint.h>

#include "util/error.h"

/* Add @fd, which the set then owns, to set *@id; -1: to a new set, whose number is stored there. */
void fdset_add(int64_t *id, int fd, const char *opaque);

/* Close descriptor @fd of set @id, or all of them (@fd -1); false with @errp where there is no such thing. */
bool fdset_remove(int64_t id, int64_t fd, Error **errp);

/* Call @fn for every descriptor, those of one set after each other. */
void fdset_foreach(void (*fn)(int64_t id, int fd, const char *fd_opaque, void *opaque), void *opaque);

/*
 * As open() without O_CREAT, for any path; those that name a set included. A new descriptor or -errno. From any
 * thread.
 */
int qemu_open(const char *path, int flags);

#endif
