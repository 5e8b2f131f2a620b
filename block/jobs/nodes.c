/*
 * Job: the nodes that it copies
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "block/block_int.h"
#include "block/jobs/job_int.h"

bool job_check_node(const BlockDriverState *bs, Error **errp)
{
    GLOBAL_STATE_CODE();
    if (bs->job) {
        error_setg(errp, "Node '%s' is busy: block device is in use by block job '%s' of type %s",
                   bdrv_get_display_name(bs), bs->job->id, JobType_str(bs->job->driver->type));
    }
    return !bs->job;
}

bool job_add_node(Job *job, BlockDriverState *bs, Error **errp)
{
    if (!job_check_node(bs, errp)) {
        return false;
    }
    if (!job->nodes) {
        job->nodes = g_ptr_array_new();
    }
    g_ptr_array_add(job->nodes, bs);
    bs->job = job;
    return true;
}

void job_remove_nodes(Job *job)
{
    for (guint i = 0; job->nodes && i < job->nodes->len; i++) {
        ((BlockDriverState *)g_ptr_array_index(job->nodes, i))->job = NULL;
    }
    g_clear_pointer(&job->nodes, g_ptr_array_unref);
}
