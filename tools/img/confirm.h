/*
 * Asking for confirmation before data is destroyed
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef TOOLS_IMG_CONFIRM_H
#define TOOLS_IMG_CONFIRM_H

#include "block/block.h"

/* On a terminal, ask before the node @bs of the image @name is erased. False with @errp unless the answer is YES. */
bool coroutine_fn img_confirm_erase(BlockDriverState *bs, const char *name, SecureEraseScope scope, Error **errp);

/*
 * Call this before removing keyslot @slot (-1: the one that a password opens) of the image @name. On a terminal, asks
 * if that is the last one, and sets *@force if the answer is YES; otherwise the operation itself refuses to remove the
 * last one without force. False with @errp if the answer is not YES.
 */
bool coroutine_fn img_confirm_last_password(BlockDriverState *bs, const char *name, int64_t slot, bool *force,
                                            Error **errp);

#endif
