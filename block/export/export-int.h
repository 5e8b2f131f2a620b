/*
 * What the common part and the protocols of exports share
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef BLOCK_EXPORT_INT_H
#define BLOCK_EXPORT_INT_H

#include "block/export.h"

extern const BlockExportDriver blk_exp_nbd;

/* Delete all exports of @type and wait until they are gone. */
void coroutine_fn blk_exp_close_all_type(BlockExportType type);

#endif
