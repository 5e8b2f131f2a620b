/*
 * What qemu-img's other commands share with keyslot
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef TOOLS_IMG_KEYSLOT_H
#define TOOLS_IMG_KEYSLOT_H

#include "block/block-backend.h"

/*
 * Check before prompting for passwords that keyslot @slot, or any if that is -1, is free for a new one. The library
 * checks again, and reports all else: an image that is not encrypted, a keyslot that does not exist.
 */
bool coroutine_fn img_keyslot_check_free(BlockBackend *blk, int64_t slot, Error **errp);

#endif
