/*
 * Transaction: steps that all take effect, or none
 *
 * A step is prepared first: it does everything that can fail or that later steps must see, and adds to the transaction
 * how to make this final and how to undo it. Once all steps are prepared, the caller commits, which cannot fail, or
 * aborts.
 *
 *     static void rename_abort(void *opaque)
 *     {
 *         Rename *r = opaque;
 *         set_name(r->node, r->old_name);
 *     }
 *     static const TransactionActionDrv rename_drv = { .abort = rename_abort, .clean = rename_free };
 *     ...
 *     Transaction *tran = tran_new();
 *     bool ok = prepare_rename(a, "x", tran, errp) && prepare_rename(b, "y", tran, errp);
 *     tran_finalize(tran, ok);
 *
 * A transaction belongs to one thread. Its callbacks may wait only if the steps say so.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef UTIL_TRANSACTION_H
#define UTIL_TRANSACTION_H

#include <stdbool.h>

typedef struct Transaction Transaction;

/* How a step ends. Each is optional. */
typedef struct TransactionActionDrv {
    void (*abort)(void *opaque);    /* undo it; the newest step is undone first */
    void (*commit)(void *opaque);   /* make it final; the oldest step first */
    void (*clean)(void *opaque);    /* after either, in the same order: free @opaque */
} TransactionActionDrv;

Transaction *tran_new(void);

/* Add a step that has been prepared. It owns @opaque until clean. */
void tran_add(Transaction *tran, const TransactionActionDrv *drv, void *opaque);

/* Commit if @commit, else abort; either way free @tran. */
void tran_finalize(Transaction *tran, bool commit);

#endif
