/*
 * The command transaction
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "qapi/qapi-commands.h"

bool coroutine_fn qmp_transaction(const TransactionArg *arg, Error **errp)
{
    for (size_t i = 0; i < arg->actions->n; i++) {
        if (arg->actions->items[i]->type == TRANSACTION_ACTION_KIND_ABORT) {
            error_setg(errp, "Transaction aborted using Abort action");
            return false;
        }
    }
    return true;
}
