/*
 * Mirror: a job that copies a node to another one and keeps the copy in sync
 *
 *     MirrorOptions options = { .job_id = "mirror0", .sync = MIRROR_SYNC_MODE_FULL };
 *     ok = mirror_start(source, target, &options, errp);
 *
 * docs/mirror.md describes how it works.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef BLOCK_MIRROR_H
#define BLOCK_MIRROR_H

#include "block/block-common.h"
#include "block/job.h"

/* As in blockdev-mirror; 0 or NULL is the default. Strings are copied. */
typedef struct MirrorOptions {
    const char *job_id;
    const char *filter_node_name;
    const char *replaces;
    MirrorSyncMode sync;
    MirrorCopyMode copy_mode;
    int64_t speed;              /* bytes per second; 0: no limit */
    uint32_t granularity;       /* bytes */
    int64_t buf_size;           /* bytes */
    BlockdevOnError on_source_error;
    BlockdevOnError on_target_error;
    JobCreateFlags flags;
    bool target_is_zero;
    bool no_unmap;              /* never deallocate zeroes in the target */
} MirrorOptions;

/*
 * Check the options, and that the job could start with a target of @target_bytes: a command that creates its target
 * calls this first. False with @errp.
 */
bool mirror_check(BlockDriverState *source, int64_t target_bytes, const MirrorOptions *options, Error **errp);

/*
 * Start a mirror of @source to @target. The job takes its own references to both. False with @errp, and no change, if
 * the options are not valid or a node is in use. Main loop only.
 */
bool coroutine_fn mirror_start(BlockDriverState *source, BlockDriverState *target, const MirrorOptions *options,
                               Error **errp);

#endif
