/*
 * Commands and actions of transactions that start backup jobs
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "block/backup.h"
#include "block/block.h"
#include "block/copy-target.h"
#include "monitor/blockdev.h"
#include "monitor/transaction-actions.h"
#include "qapi/qapi-commands.h"

static BlockDriverState *backup_find_node(const char *name, Error **errp)
{
    BlockDriverState *bs = bdrv_find_node(name);

    if (!bs) {
        error_setg(errp, "Cannot find device='%s' nor node-name='%s'", name, name);
    }
    return bs;
}

static Job *coroutine_fn blockdev_backup_create(const BlockdevBackup *arg, Error **errp)
{
    BlockDriverState *source = backup_find_node(arg->device, errp);
    BlockDriverState *target = source ? backup_find_node(arg->target, errp) : NULL;

    return target ? backup_job_create(qapi_BlockdevBackup_base(arg), source, target, errp) : NULL;
}

bool coroutine_fn qmp_blockdev_backup(const BlockdevBackup *arg, Error **errp)
{
    bool ok = blockdev_check_no_loop(arg->device, arg->target, errp);
    Job *job = ok ? blockdev_backup_create(arg, errp) : NULL;

    if (job) {
        job_start(job);
    }
    return job;
}

static CopyTarget *coroutine_fn drive_backup_open(const DriveBackup *arg, Error **errp)
{
    BlockDriverState *source = backup_find_node(arg->device, errp);

    if (!source || !backup_check(qapi_DriveBackup_base(arg), source, errp)) {
        return NULL;
    }
    return copy_target_new(arg->job_id, &(CopyTargetOptions){
        .source = source, .filename = arg->target, .format = arg->format,
        .mode = arg->has_mode ? arg->mode : NEW_IMAGE_MODE_ABSOLUTE_PATHS, .unmap = true,
        .key_secret = arg->key_secret, .create_options = arg->create_options,
    }, errp);
}

bool coroutine_fn qmp_drive_backup(const DriveBackup *arg, Error **errp)
{
    CopyTarget *t = drive_backup_open(arg, errp);
    Job *job = t ? backup_job_create(qapi_DriveBackup_base(arg), t->source, t->bs, errp) : NULL;

    copy_target_free(t, job);
    if (job) {
        job_start(job);
    }
    return job;
}

/* Actions of transactions */

static void coroutine_fn backup_release_source(void *opaque)
{
    bdrv_co_drained_end(opaque);
}

/* Until the transaction ends, @bs does not change: all backups of the transaction show the same moment. */
static bool coroutine_fn backup_hold_source(BlockDriverState *bs, Transaction *tran, Error **errp)
{
    static const TransactionActionDrv drv = { .clean = backup_release_source };

    tran_add(tran, &drv, bs);
    return bdrv_co_drained_begin_limited(bs, errp);
}

static bool backup_start_tran(Job *job, Transaction *tran, JobTxn *job_txn)
{
    if (job && job_txn) {
        job_txn_add_job(job_txn, job);
    }
    if (job) {
        job_start_tran(job, tran);
    }
    return job;
}

bool coroutine_fn transaction_prepare_blockdev_backup(const TransactionAction *action, Transaction *tran,
                                                      JobTxn *job_txn, Error **errp)
{
    const BlockdevBackup *arg = action->u.blockdev_backup.data;
    bool ok = blockdev_check_no_loop(arg->device, arg->target, errp);
    BlockDriverState *source = ok ? backup_find_node(arg->device, errp) : NULL;

    if (!source || !backup_hold_source(source, tran, errp)) {
        return false;
    }
    return backup_start_tran(blockdev_backup_create(arg, errp), tran, job_txn);
}

static void coroutine_fn drive_backup_commit(void *opaque)
{
    copy_target_free(opaque, true);
}

static void coroutine_fn drive_backup_abort(void *opaque)
{
    copy_target_free(opaque, false);
}

bool coroutine_fn transaction_prepare_drive_backup(const TransactionAction *action, Transaction *tran, JobTxn *job_txn,
                                                   Error **errp)
{
    static const TransactionActionDrv drv = { .commit = drive_backup_commit, .abort = drive_backup_abort };
    const DriveBackup *arg = action->u.drive_backup.data;
    CopyTarget *t = drive_backup_open(arg, errp);

    if (!t) {
        return false;
    }
    tran_add(tran, &drv, t);
    if (!backup_hold_source(t->source, tran, errp)) {
        return false;
    }
    return backup_start_tran(backup_job_create(qapi_DriveBackup_base(arg), t->source, t->bs, errp), tran, job_txn);
}
