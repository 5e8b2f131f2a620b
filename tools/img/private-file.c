/*
 * New files that only their owner can read: headers, from which passwords can be guessed
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "tools/img/private-file.h"

int img_create_private_file(const char *name, Error **errp)
{
    int fd = RETRY_ON_EINTR(open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));

    if (fd < 0) {
        error_setg_errno(errp, errno, "Could not create '%s'", name);
    }
    return fd;
}
