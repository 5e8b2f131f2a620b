/*
 * Commands that start a mirror
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "block/copy-target.h"
#include "block/mirror.h"
#include "monitor/blockdev.h"
#include "qapi/qapi-commands.h"

/* The flags of a job; by default it is finalized and dismissed by itself. */
static JobCreateFlags job_flags(bool has_finalize, bool auto_finalize, bool has_dismiss, bool auto_dismiss)
{
    return (has_finalize && !auto_finalize ? JOB_MANUAL_FINALIZE : 0) |
           (has_dismiss && !auto_dismiss ? JOB_MANUAL_DISMISS : 0);
}

bool coroutine_fn qmp_blockdev_mirror(const BlockdevMirrorArg *arg, Error **errp)
{
    const MirrorOptions options = {
        .job_id = arg->job_id, .filter_node_name = arg->filter_node_name, .replaces = arg->replaces, .sync = arg->sync,
        .copy_mode = arg->copy_mode, .speed = arg->speed, .granularity = arg->granularity, .buf_size = arg->buf_size,
        .on_source_error = arg->on_source_error, .on_target_error = arg->on_target_error,
        .flags = job_flags(arg->has_auto_finalize, arg->auto_finalize, arg->has_auto_dismiss, arg->auto_dismiss),
        .target_is_zero = arg->target_is_zero,
    };

    if (!blockdev_check_no_loop(arg->device, arg->target, errp)) {
        return false;
    }
    BlockDriverState *source = blockdev_find(arg->device, errp);
    BlockDriverState *target = source ? blockdev_find(arg->target, errp) : NULL;

    return target && mirror_start(source, target, &options, errp);
}

bool coroutine_fn qmp_drive_mirror(const DriveMirrorArg *arg, Error **errp)
{
    MirrorOptions options = {
        .job_id = arg->job_id, .replaces = arg->replaces, .sync = arg->sync, .copy_mode = arg->copy_mode,
        .speed = arg->speed, .granularity = arg->granularity, .buf_size = arg->buf_size,
        .on_source_error = arg->on_source_error, .on_target_error = arg->on_target_error,
        .flags = job_flags(arg->has_auto_finalize, arg->auto_finalize, arg->has_auto_dismiss, arg->auto_dismiss),
        .no_unmap = arg->has_unmap && !arg->unmap,
    };
    BlockDriverState *source = blockdev_find(arg->device, errp);

    if (!source) {
        return false;
    }
    if (arg->replaces && arg->has_clone_header && arg->clone_header) {
        error_setg(errp, "Parameters 'clone-header' and 'replaces' exclude each other: a clone replaces the storage "
                   "below node '%s'", arg->device);
        return false;
    }
    if (arg->replaces && !arg->node_name) {
        error_setg(errp, "a node-name must be provided when replacing a named node of the graph");
        return false;
    }
    const CopyTargetOptions target_options = {
        .source = source, .filename = arg->target, .format = arg->format, .node_name = arg->node_name,
        .mode = arg->has_mode ? arg->mode : NEW_IMAGE_MODE_ABSOLUTE_PATHS, .unmap = !options.no_unmap,
        .key_secret = arg->key_secret, .create_options = arg->create_options,
        .clone_header = arg->has_clone_header && arg->clone_header,
    };
    CopyTarget *t = NULL;
    if (mirror_check(source, bdrv_getlength(source), &options, errp)) {
        t = copy_target_new(arg->job_id, &target_options, errp);
    }
    options.target_is_zero = t && t->is_zero;
    bool ok = t && mirror_start(t->source, t->bs, &options, errp);
    copy_target_free(t, ok);
    return ok;
}
