/*
 * Backup: a job that copies a node as it was when the job was created
 *
 *     Job *job = backup_job_create(arg, source, target, errp);
 *
 *     if (job) {
 *         job_start(job);         // or job_start_tran()
 *     }
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef BLOCK_BACKUP_H
#define BLOCK_BACKUP_H

#include "block/job.h"

/* Check what does not depend on the target: a command that creates it calls this first. False with @errp. */
bool backup_check(const BackupCommon *arg, BlockDriverState *source, Error **errp);

/*
 * Create the job that @arg describes. From now on, old data is saved before it is overwritten, so the copy shows the
 * source as it is when this function returns; to have several sources at the same point in time, drain them meanwhile.
 * The job takes references to the nodes. NULL with @errp.
 */
Job *coroutine_fn backup_job_create(const BackupCommon *arg, BlockDriverState *source, BlockDriverState *target,
                                    Error **errp);

#endif
