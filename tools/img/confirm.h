/*
 * Questions before something is destroyed that nobody can bring back
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef TOOLS_IMG_CONFIRM_H
#define TOOLS_IMG_CONFIRM_H

#include "block/block.h"

/* On a terminal, ask before the node @bs of the image @name is erased. False with @errp unless the answer is YES. */
bool coroutine_fn img_confirm_erase(BlockDriverState *bs, const char *name, SecureEraseScope scope, Error **errp);

/*
 * Before keyslot @slot (-1: the one that a password opens) of the image @name is emptied: where that is the last one,
 * and somebody sits at a terminal, ask, and after YES set *@force. Else the operation itself refuses the last one
 * unless forced. False with @errp where the answer is not YES.
 */
bool coroutine_fn img_confirm_last_password(BlockDriverState *bs, const char *name, int64_t slot, bool *force,
                                            Error **errp);

#endif
