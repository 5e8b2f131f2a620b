/*
 * The states in which a power cut can leave an operation on a Volume
 *
 * Between two flushes, each 512-byte sector may have reached the disk or not, in any order. For every flush in the log,
 * all these states are generated from those possible before it: all subsets if there are at most 2^10, otherwise a
 * sample whose seed is printed.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef TESTS_LUKS_CRASH_H
#define TESTS_LUKS_CRASH_H

#include "luks-volume.h"

/* Fail the test if @v, a possible state after a power cut, breaks a promise of the operation. */
typedef void CrashCheck(Volume *v, void *opaque);

/*
 * Call @check for each state. @before: contents of the volume before the operation, of the same length as now. The log
 * must end with a flush.
 */
void crash_enumerate(const Volume *v, const uint8_t *before, CrashCheck *check, void *opaque);

#endif
