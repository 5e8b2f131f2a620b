/*
 * Tests of transactions
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "util/transaction.h"

static GString *trace;

static void on_commit(void *opaque)
{
    g_string_append_printf(trace, "commit %s, ", (const char *)opaque);
}

static void on_abort(void *opaque)
{
    g_string_append_printf(trace, "abort %s, ", (const char *)opaque);
}

static void on_clean(void *opaque)
{
    g_string_append_printf(trace, "clean %s, ", (const char *)opaque);
}

static const TransactionActionDrv full_drv = { .commit = on_commit, .abort = on_abort, .clean = on_clean };
static const TransactionActionDrv abort_drv = { .abort = on_abort };
static const TransactionActionDrv commit_drv = { .commit = on_commit };

static void check(bool commit, const char *expected)
{
    Transaction *tran = tran_new();

    trace = g_string_new("");
    tran_add(tran, &full_drv, (void *)"a");
    tran_add(tran, &abort_drv, (void *)"b");
    tran_add(tran, &commit_drv, (void *)"c");
    tran_add(tran, &full_drv, (void *)"d");
    tran_finalize(tran, commit);
    g_assert_cmpstr(trace->str, ==, expected);
    g_string_free(trace, TRUE);
}

static void test_commit(void)
{
    check(true, "commit a, commit c, commit d, clean a, clean d, ");
}

static void test_abort(void)
{
    check(false, "abort d, abort b, abort a, clean d, clean a, ");
}

static void test_empty(void)
{
    tran_finalize(tran_new(), true);
    tran_finalize(tran_new(), false);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/transaction/commit", test_commit);
    g_test_add_func("/transaction/abort", test_abort);
    g_test_add_func("/transaction/empty", test_empty);
    return g_test_run();
}
