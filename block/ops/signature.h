/*
 * Signatures, within the block layer; the rest is in block/block.h
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef BLOCK_SIGNATURE_H
#define BLOCK_SIGNATURE_H

#include "block/block-common.h"

/* The LUKS header that begins with the @len bytes at @buf, for people; NULL: none. Caller frees. */
char *block_luks_signature(const void *buf, size_t len);

/* Whether a volume that starts with the @len bytes at @buf is a LUKS volume, or an image of another format than raw. */
bool block_is_image_start(const void *buf, size_t len);

/*
 * An image without a named format is in @blk, and no driver claims it: may it be raw? False with @errp, which names
 * the format, where it is one that we know but have no driver for. With BDRV_O_DESCRIBE, LUKS of any version may.
 */
bool coroutine_fn bdrv_check_raw_guess(BlockBackend *blk, BdrvOpenFlags flags, Error **errp);

/* The format that a raw node's content begins or ends with, for people; NULL: none. Caller frees. */
char *coroutine_fn bdrv_format_signature(BlockDriverState *bs);

#endif
