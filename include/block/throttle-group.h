/*
 * ThrottleGroup: limits on bytes and requests a second, for nodes that share them
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef BLOCK_THROTTLE_GROUP_H
#define BLOCK_THROTTLE_GROUP_H

/* Make objects of type throttle-group known; once, when the program starts. */
void throttle_group_register(void);

#endif
