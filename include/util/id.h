/*
 * Ids: the names that users give to objects, nodes, jobs and devices
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef UTIL_ID_H
#define UTIL_ID_H

#include <stdbool.h>

/* A letter, then letters, digits, '-', '.' and '_', as in QEMU. */
bool id_wellformed(const char *id);

#endif
