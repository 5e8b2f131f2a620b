/*
 * Job: the error policy for failed requests
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "block/jobs/job_int.h"
#include "qapi/qapi-events.h"

static BlockErrorAction job_error_choose(BlockdevOnError on_error, int ret)
{
    switch (on_error) {
    case BLOCKDEV_ON_ERROR_IGNORE:
        return BLOCK_ERROR_ACTION_IGNORE;
    case BLOCKDEV_ON_ERROR_STOP:
        return BLOCK_ERROR_ACTION_STOP;
    case BLOCKDEV_ON_ERROR_ENOSPC:
    case BLOCKDEV_ON_ERROR_AUTO:
        return ret == -ENOSPC ? BLOCK_ERROR_ACTION_STOP : BLOCK_ERROR_ACTION_REPORT;
    default:
        return BLOCK_ERROR_ACTION_REPORT;
    }
}

BlockErrorAction job_error_action(Job *job, BlockdevOnError on_error, bool is_read, int ret)
{
    BlockErrorAction action = job_error_choose(on_error, ret);

    GLOBAL_STATE_CODE();
    if (!job) {
        return action;
    }
    if (!(job->flags & JOB_INTERNAL)) {
        qapi_event_send_block_job_error(&(BlockJobErrorArg){
            .device = job->id, .operation = is_read ? IO_OPERATION_TYPE_READ : IO_OPERATION_TYPE_WRITE,
            .action = action,
        });
    }
    if (action == BLOCK_ERROR_ACTION_STOP && !job->cancelled) {
        /* If several requests fail, keep the first error: it is the one the user has to deal with. */
        if (job->iostatus == BLOCK_DEVICE_IO_STATUS_OK) {
            job->iostatus = ret == -ENOSPC ? BLOCK_DEVICE_IO_STATUS_NOSPACE : BLOCK_DEVICE_IO_STATUS_FAILED;
        }
        job->user_paused = true;
        job_wake(job);
    }
    return action;
}
