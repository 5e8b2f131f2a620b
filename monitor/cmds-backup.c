/*
 * Commands that start backup jobs
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "block/backup.h"
#include "qapi/qapi-commands.h"

bool coroutine_fn qmp_blockdev_backup(const BlockdevBackup *arg, Error **errp)
{
    Job *job = backup_job_create(arg, errp);

    if (job) {
        job_start(job);
    }
    return job;
}
