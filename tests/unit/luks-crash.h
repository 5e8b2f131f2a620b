/*
 * What a power cut can leave of an operation on a Volume, state by state
 *
 * Between two flushes, each 512-byte sector may have reached the disk or not, in any order. For
 * every flush in the log, all these states are made from those that could be before it: all
 * subsets where there are at most 2^10, else a sample that prints its seed.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef TESTS_LUKS_CRASH_H
#define TESTS_LUKS_CRASH_H

#include "luks-volume.h"

/* Fails the test where @v, a state that a cut can leave, breaks what the operation promises. */
typedef void CrashCheck(Volume *v, void *opaque);

/*
 * @before: bytes of the volume before the operation, as many as it has now
 * Calls @check for each state. The log must end with a flush.
 */
void crash_enumerate(const Volume *v, const uint8_t *before, CrashCheck *check, void *opaque);

#endif
