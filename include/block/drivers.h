/*
 * The available drivers: the tables that block/drivers/drivers.c lists
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef BLOCK_DRIVERS_H
#define BLOCK_DRIVERS_H

#include "block/block_int.h"

extern const BlockDriver bdrv_blkdebug;
extern const BlockDriver bdrv_copy_before_write;
extern const BlockDriver bdrv_file;
extern const BlockDriver bdrv_host_device;
extern const BlockDriver bdrv_iscsi;           /* with libiscsi */
extern const BlockDriver bdrv_luks;
extern const BlockDriver bdrv_nbd;             /* with libnbd */
extern const BlockDriver bdrv_null_aio;
extern const BlockDriver bdrv_null_co;
extern const BlockDriver bdrv_raw;
extern const BlockDriver bdrv_rbd;             /* with librbd */
extern const BlockDriver bdrv_snapshot_access;
extern const BlockDriver bdrv_throttle;

/* Whether the opening of @bs, a BlockDriverState, must end: the node is being deleted, or its coroutine cancelled. */
bool bdrv_opening_cancelled(void *bs);

/*
 * Open or reopen a node on read-only storage: *@read_only becomes true if @options have auto-read-only. If it stays
 * false, return false with @errp, which says @why.
 */
bool bdrv_apply_auto_read_only(const BlockdevOptions *options, bool *read_only, const char *why, Error **errp);

/* @text, which may come from a server, without control characters. Caller frees. */
char *bdrv_printable(const char *text);

/*
 * No driver answers to the first @len bytes of @name, a driver's name or what a filename begins with: say why in @errp,
 * and what to install where this build lacks a library.
 */
void bdrv_explain_missing_driver(const char *name, size_t len, Error **errp);

#endif
