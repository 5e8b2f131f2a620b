/*
 * Which code belongs to the main thread
 *
 * Jobs, exports, monitors and the graph's structure belong to the main thread. Functions that touch them say so, and
 * find a caller on the wrong thread in every build:
 *
 *     void job_start(Job *job)
 *     {
 *         GLOBAL_STATE_CODE();
 *         ...
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef UTIL_MAIN_THREAD_H
#define UTIL_MAIN_THREAD_H

#include <assert.h>
#include <stdbool.h>

/* Whether the caller runs on the thread that main() runs on. */
bool qemu_in_main_thread(void);

#define GLOBAL_STATE_CODE() assert(qemu_in_main_thread())

#endif
