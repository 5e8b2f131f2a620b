/*
 * Random bytes: getrandom(2)
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include <sys/random.h>

#include "crypto/random.h"

bool qcrypto_random_bytes(void *buf, size_t len, Error **errp)
{
    uint8_t *pos = buf;

    while (len > 0) {
        ssize_t n = RETRY_ON_EINTR(getrandom(pos, len, 0));

        if (n < 0) {
            error_setg_errno(errp, errno, "Could not get random bytes from the kernel");
            return false;
        }
        pos += n;
        len -= n;
    }
    return true;
}
