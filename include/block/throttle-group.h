/*
 * ThrottleGroup: nodes that together keep to limits on bytes and requests a second
 *
 * A group is an object that the user makes; nodes of the throttle driver are its members:
 *
 *     --object throttle-group,id=g0,limits.iops-total=100,limits.bps-write=10000000
 *     --blockdev throttle,node-name=t0,throttle-group=g0,file=disk0
 *     --blockdev throttle,node-name=t1,throttle-group=g0,file=disk1
 *
 * Reads and writes wait in two queues for each member. In each direction one request of the group has the turn: it
 * sleeps until the limits let it start, then hands the turn to the next member that has one waiting. So members take
 * turns, whatever their number of requests, and a member's requests start in the order of their arrival. Requests come
 * from any thread, the rest from the main thread.
 *
 * Requests of a member that is being drained do not wait, since whoever drains it waits for them. They count, so that
 * later ones make up for it.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef BLOCK_THROTTLE_GROUP_H
#define BLOCK_THROTTLE_GROUP_H

#include "block/block-common.h"
#include "util/throttle.h"

typedef struct ThrottleGroupMember ThrottleGroupMember;

/* Make objects of type throttle-group known; once, when the program starts. */
void throttle_group_register(void);

/* Lift the limits of all groups: the program is to end, and requests that it waits for shall not wait for limits. */
void throttle_groups_lift_limits(void);

/*
 * Make the node @bs a member of the group that the object @id is. While it changes its group, it is a member twice.
 * NULL with @errp where there is no such group.
 */
ThrottleGroupMember *throttle_group_join(const char *id, BlockDriverState *bs, Error **errp);
/* No request waits, as the node is drained or closed. */
void throttle_group_leave(ThrottleGroupMember *member);

/* Wait until a request of @bytes may start, and count it. */
void coroutine_fn throttle_group_co_wait(ThrottleGroupMember *member, int64_t bytes, ThrottleDirection direction);

/* The node is being drained: let requests that wait start. */
void throttle_group_drain(ThrottleGroupMember *member);

#endif
