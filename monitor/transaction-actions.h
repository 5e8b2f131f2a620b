/*
 * The actions of the command transaction: functions that prepare them, see cmds-transaction.c
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef TRANSACTION_ACTIONS_H
#define TRANSACTION_ACTIONS_H

#include "block/job.h"
#include "util/transaction.h"

/*
 * Do everything that can fail, and add steps to @tran that undo it or make it permanent. @job_txn: the job transaction
 * for the action's job; NULL: it has its own. False with @errp; steps that were added are undone.
 */
typedef bool coroutine_fn TransactionPrepare(const TransactionAction *action, Transaction *tran, JobTxn *job_txn,
                                             Error **errp);

/* cmds-dirty-bitmap.c */
TransactionPrepare transaction_prepare_bitmap_add;
TransactionPrepare transaction_prepare_bitmap_remove;
TransactionPrepare transaction_prepare_bitmap_clear;
TransactionPrepare transaction_prepare_bitmap_enable;
TransactionPrepare transaction_prepare_bitmap_disable;
TransactionPrepare transaction_prepare_bitmap_merge;

/* cmds-backup.c */
TransactionPrepare transaction_prepare_blockdev_backup;
TransactionPrepare transaction_prepare_drive_backup;

#endif
