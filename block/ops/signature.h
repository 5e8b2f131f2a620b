/*
 * Signatures, within the block layer; the rest is in block/block.h
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef BLOCK_SIGNATURE_H
#define BLOCK_SIGNATURE_H

#include <stddef.h>

/* The LUKS header that begins with the @len bytes at @buf, for people; NULL: none. Caller frees. */
char *block_luks_signature(const void *buf, size_t len);

#endif
