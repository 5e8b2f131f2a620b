/*
 * The command transaction: a group of actions that all take effect, or none
 *
 * Each action has a function that prepares it: it does everything that can fail, and adds steps to a Transaction that
 * make this permanent or undo it. An action that starts a job also passes it to job_start_tran(), so that no job runs
 * before all actions are prepared, and none is left if one of them fails:
 *
 *     static bool coroutine_fn prepare_backup(const TransactionAction *action, Transaction *tran, JobTxn *job_txn,
 *                                             Error **errp)
 *     {
 *         Job *job = backup_job_create(action->u.blockdev_backup.data, errp);
 *
 *         if (!job) {
 *             return false;
 *         }
 *         if (job_txn) {
 *             job_txn_add_job(job_txn, job);
 *         }
 *         job_start_tran(job, tran);
 *         return true;
 *     }
 *
 * If something must not change between the first action and the last, such as the data of several disks, an action
 * drains its node while it prepares, with a step whose clean ends the drained section.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "monitor/transaction-actions.h"
#include "qapi/qapi-commands.h"

typedef struct ActionOps {
    TransactionPrepare *prepare;
    bool starts_job;
} ActionOps;

static bool coroutine_fn prepare_abort(const TransactionAction *action, Transaction *tran, JobTxn *job_txn,
                                       Error **errp)
{
    error_setg(errp, "Transaction aborted using Abort action");
    return false;
}

static const ActionOps action_ops[TRANSACTION_ACTION_KIND__MAX] = {
    [TRANSACTION_ACTION_KIND_ABORT] = { .prepare = prepare_abort },
    [TRANSACTION_ACTION_KIND_BLOCK_DIRTY_BITMAP_ADD] = { .prepare = transaction_prepare_bitmap_add },
    [TRANSACTION_ACTION_KIND_BLOCK_DIRTY_BITMAP_REMOVE] = { .prepare = transaction_prepare_bitmap_remove },
    [TRANSACTION_ACTION_KIND_BLOCK_DIRTY_BITMAP_CLEAR] = { .prepare = transaction_prepare_bitmap_clear },
    [TRANSACTION_ACTION_KIND_BLOCK_DIRTY_BITMAP_ENABLE] = { .prepare = transaction_prepare_bitmap_enable },
    [TRANSACTION_ACTION_KIND_BLOCK_DIRTY_BITMAP_DISABLE] = { .prepare = transaction_prepare_bitmap_disable },
    [TRANSACTION_ACTION_KIND_BLOCK_DIRTY_BITMAP_MERGE] = { .prepare = transaction_prepare_bitmap_merge },
    [TRANSACTION_ACTION_KIND_BLOCKDEV_BACKUP] = {
        .prepare = transaction_prepare_blockdev_backup, .starts_job = true,
    },
    [TRANSACTION_ACTION_KIND_DRIVE_BACKUP] = { .prepare = transaction_prepare_drive_backup, .starts_job = true },
};

/* The completion mode concerns jobs, so actions that start none do not support it. */
static bool check_completion_mode(const TransactionArg *arg, Error **errp)
{
    for (size_t i = 0; i < arg->actions->n; i++) {
        TransactionActionKind kind = arg->actions->items[i]->type;

        if (!action_ops[kind].starts_job) {
            error_setg(errp, "Action '%s' does not support transaction property completion-mode = %s",
                       TransactionActionKind_str(kind), ActionCompletionMode_str(arg->properties->completion_mode));
            return false;
        }
    }
    return true;
}

bool coroutine_fn qmp_transaction(const TransactionArg *arg, Error **errp)
{
    bool grouped = arg->properties && arg->properties->has_completion_mode &&
                   arg->properties->completion_mode == ACTION_COMPLETION_MODE_GROUPED;
    bool ok = true;

    if (grouped && !check_completion_mode(arg, errp)) {
        return false;
    }
    JobTxn *job_txn = grouped ? job_txn_new() : NULL;
    Transaction *tran = tran_new();
    for (size_t i = 0; ok && i < arg->actions->n; i++) {
        const TransactionAction *action = arg->actions->items[i];

        ok = action_ops[action->type].prepare(action, tran, job_txn, errp);
    }
    tran_finalize(tran, ok);
    job_txn_unref(job_txn);
    return ok;
}
