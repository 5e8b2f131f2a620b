/*
 * ThrottleGroup: nodes that share limits on bytes and requests per second
 *
 * A group is an object that the user creates; nodes of the throttle driver are its members:
 *
 *     --object throttle-group,id=g0,limits.iops-total=100,limits.bps-write=10000000
 *     --blockdev throttle,node-name=t0,throttle-group=g0,file=disk0
 *     --blockdev throttle,node-name=t1,throttle-group=g0,file=disk1
 *
 * Each member has two queues, for reads and for writes. In each direction one request of the group has the turn: it
 * sleeps until the limits let it start, then passes the turn to the next member with a waiting request. So members take
 * turns no matter how many requests they have, and the requests of one member start in order. Requests come from any
 * thread; all other functions are for the main thread.
 *
 * Requests of a member that is being drained do not wait, because the drained section waits for them. They are counted,
 * so that later requests make up for them. Requests of a cancelled coroutine do not wait, either; they are not counted
 * if it was abandoned, because they go no further.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef BLOCK_THROTTLE_GROUP_H
#define BLOCK_THROTTLE_GROUP_H

#include "block/block-common.h"
#include "util/throttle.h"

typedef struct ThrottleGroupMember ThrottleGroupMember;

/* Register the object type throttle-group; once, when the program starts. */
void throttle_group_register(void);

/* Lift the limits of all groups, at the end of the program, so that the requests it waits for are not held back. */
void throttle_groups_lift_limits(void);

/*
 * Make the node @bs a member of the group object @id. While it changes its group, it is a member twice. NULL with @errp
 * if there is no such group.
 */
ThrottleGroupMember *throttle_group_join(const char *id, BlockDriverState *bs, Error **errp);
/* The node is drained or closed, so no request waits. */
void throttle_group_leave(ThrottleGroupMember *member);

/* Wait until a request of @bytes may start, and count it. */
void coroutine_fn throttle_group_co_wait(ThrottleGroupMember *member, int64_t bytes, ThrottleDirection direction);

/* The node is being drained: start its waiting requests. */
void throttle_group_drain(ThrottleGroupMember *member);

#endif
