/*
 * The available drivers: the tables that block/drivers/drivers.c lists
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef BLOCK_DRIVERS_H
#define BLOCK_DRIVERS_H

#include "block/block_int.h"

extern const BlockDriver bdrv_file;
extern const BlockDriver bdrv_host_device;
extern const BlockDriver bdrv_luks;
extern const BlockDriver bdrv_null_aio;
extern const BlockDriver bdrv_null_co;
extern const BlockDriver bdrv_raw;
extern const BlockDriver bdrv_throttle;

#endif
