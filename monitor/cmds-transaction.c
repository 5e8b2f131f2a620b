/*
 * The command transaction: actions that all take effect, or none of them
 *
 * An action is a step of a Transaction. One that starts a job creates it, has it join the transaction of jobs where
 * that is grouped, and starts it on commit, so that no job runs before all actions are prepared.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "block/job.h"
#include "qapi/qapi-commands.h"
#include "util/transaction.h"

/* Prepare an action: add its step to @tran, and its job, if any, to @job_txn (NULL: to none). False with @errp. */
typedef bool coroutine_fn PrepareAction(const TransactionAction *action, Transaction *tran, JobTxn *job_txn,
                                        Error **errp);

static bool coroutine_fn prepare_abort(const TransactionAction *action, Transaction *tran, JobTxn *job_txn,
                                       Error **errp)
{
    error_setg(errp, "Transaction aborted using Abort action");
    return false;
}

static PrepareAction *const prepare_action[TRANSACTION_ACTION_KIND__MAX] = {
    [TRANSACTION_ACTION_KIND_ABORT] = prepare_abort,
};

bool coroutine_fn qmp_transaction(const TransactionArg *arg, Error **errp)
{
    bool grouped = arg->properties && arg->properties->has_completion_mode &&
                   arg->properties->completion_mode == ACTION_COMPLETION_MODE_GROUPED;
    JobTxn *job_txn = grouped ? job_txn_new() : NULL;
    Transaction *tran = tran_new();
    bool ok = true;

    for (size_t i = 0; ok && i < arg->actions->n; i++) {
        const TransactionAction *action = arg->actions->items[i];

        ok = prepare_action[action->type](action, tran, job_txn, errp);
    }
    tran_finalize(tran, ok);
    job_txn_unref(job_txn);
    return ok;
}
