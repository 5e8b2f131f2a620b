/*
 * What the files of the blkdebug driver share
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef BLKDEBUG_H
#define BLKDEBUG_H

#include "util/coroutine.h"
#include "util/error.h"
#include "qapi/qapi-types.h"

/*
 * Append the rules in the file @filename to *@errors and *@states, which may be NULL. False with @errp, which names the
 * line; the lists stay valid.
 */
bool coroutine_fn blkdebug_read_config(const char *filename, BlkdebugInjectErrorOptionsList **errors,
                                       BlkdebugSetStateOptionsList **states, Error **errp);

#endif
