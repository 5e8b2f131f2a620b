/*
 * New files that only their owner can read: headers, from which passwords can be guessed
 *
 *     g_auto_fd int fd = img_create_private_file("disk.header", errp);
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef TOOLS_IMG_PRIVATE_FILE_H
#define TOOLS_IMG_PRIVATE_FILE_H

#include "util/error.h"

/*
 * Create a file, which must not exist, that only its owner can read and write. Returns a descriptor for writing, which
 * the caller closes; -1 with @errp.
 */
int img_create_private_file(const char *name, Error **errp);

#endif
