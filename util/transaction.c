/*
 * Transactions: a list of steps, undone from its end
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "util/transaction.h"

typedef struct TransactionAction {
    const TransactionActionDrv *drv;
    void *opaque;
} TransactionAction;

struct Transaction {
    GArray *actions;    /* of TransactionAction, in order of their preparation */
};

Transaction *tran_new(void)
{
    Transaction *tran = g_new0(Transaction, 1);

    tran->actions = g_array_new(FALSE, FALSE, sizeof(TransactionAction));
    return tran;
}

void tran_add(Transaction *tran, const TransactionActionDrv *drv, void *opaque)
{
    TransactionAction action = { .drv = drv, .opaque = opaque };

    g_array_append_val(tran->actions, action);
}

/* The action that is number @i in the order of a commit, or of an abort. */
static TransactionAction *action_at(Transaction *tran, guint i, bool commit)
{
    return &g_array_index(tran->actions, TransactionAction, commit ? i : tran->actions->len - 1 - i);
}

void tran_finalize(Transaction *tran, bool commit)
{
    for (guint i = 0; i < tran->actions->len; i++) {
        TransactionAction *action = action_at(tran, i, commit);
        void (*func)(void *opaque) = commit ? action->drv->commit : action->drv->abort;

        if (func) {
            func(action->opaque);
        }
    }
    for (guint i = 0; i < tran->actions->len; i++) {
        TransactionAction *action = action_at(tran, i, commit);

        if (action->drv->clean) {
            action->drv->clean(action->opaque);
        }
    }
    g_array_unref(tran->actions);
    g_free(tran);
}
