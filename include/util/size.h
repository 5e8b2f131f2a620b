/*
 * Sizes as people write them: "512", "64K", "1.5G", "0x1000"
 *
 * Suffixes are powers of 1024, in either case: B K M G T P E. A fraction needs a suffix larger than
 * B.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef UTIL_SIZE_H
#define UTIL_SIZE_H

#include <stdint.h>

/*
 * Parse all of @str into *@bytes. Returns 0, -EINVAL where it is not a size (signs and spaces
 * included), or -ERANGE where it does not fit.
 */
int qemu_strtosz(const char *str, uint64_t *bytes);

#endif
