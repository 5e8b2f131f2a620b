/*
 * Commands that start a mirror
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "block/mirror.h"
#include "monitor/blockdev.h"
#include "qapi/qapi-commands.h"

bool coroutine_fn qmp_blockdev_mirror(const BlockdevMirrorArg *arg, Error **errp)
{
    bool manual_finalize = arg->has_auto_finalize && !arg->auto_finalize;
    bool manual_dismiss = arg->has_auto_dismiss && !arg->auto_dismiss;
    const MirrorOptions options = {
        .job_id = arg->job_id, .filter_node_name = arg->filter_node_name, .replaces = arg->replaces, .sync = arg->sync,
        .copy_mode = arg->copy_mode, .speed = arg->speed, .granularity = arg->granularity, .buf_size = arg->buf_size,
        .on_source_error = arg->on_source_error, .on_target_error = arg->on_target_error,
        .flags = (manual_finalize ? JOB_MANUAL_FINALIZE : 0) | (manual_dismiss ? JOB_MANUAL_DISMISS : 0),
        .target_is_zero = arg->target_is_zero,
    };
    BlockDriverState *source = blockdev_find(arg->device, errp);
    BlockDriverState *target = source ? blockdev_find(arg->target, errp) : NULL;

    return target && mirror_start(source, target, &options, errp);
}
