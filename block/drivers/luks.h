/*
 * What the files of the luks driver share
 *
 *     luks.c          opening, length, permissions, requests; the BlockDriver table
 *     luks-create.c   create, format, measure
 *
 * Everything except the location of header and payload is in block/crypto/.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef BLOCK_DRIVERS_LUKS_H
#define BLOCK_DRIVERS_LUKS_H

#include "block/block_int.h"

bool coroutine_fn luks_co_create(const BlockdevCreateOptions *options, Job *job, Error **errp);
bool coroutine_fn luks_co_format(BlockBackend *file, BlockBackend *header,
                                 const BlockdevFormatOptions *options, Job *job, Error **errp);
BlockMeasureInfo *luks_measure(const BlockdevCreateOptions *options, int64_t size, Error **errp);

#endif
