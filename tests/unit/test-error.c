/*
 * Error: setting, prefixing, guarding and copying
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "util/error.h"

static bool fails(Error **errp)
{
    error_setg_errno(errp, ENOENT, "Could not open '%s'", "x");
    error_append_hint(errp, "Create it first.");
    return false;
}

static bool fails_guarded(Error **errp)
{
    ERRP_GUARD();
    if (!fails(errp)) {
        error_prepend(errp, "node 'a': ");
        g_assert_nonnull(*errp);
        return false;
    }
    return true;
}

static void test_message(void)
{
    g_autoptr(Error) err = NULL;

    g_assert_false(fails_guarded(&err));
    g_assert_cmpstr(error_get_pretty(err), ==, "node 'a': Could not open 'x': No such file or directory");
    g_assert_cmpstr(error_get_hint(err), ==, "Create it first.");
    g_assert_cmpstr(error_get_class_name(err), ==, "GenericError");
}

static void test_ignored(void)
{
    g_assert_false(fails_guarded(NULL));
}

static void test_class_and_copy(void)
{
    g_autoptr(Error) err = NULL;

    error_set(&err, ERROR_CLASS_DEVICE_NOT_FOUND, "no node '%s'", "n");
    g_autoptr(Error) copy = error_copy(err);
    g_assert_cmpstr(error_get_class_name(copy), ==, "DeviceNotFound");
    g_assert_cmpstr(error_get_pretty(copy), ==, "no node 'n'");
    g_assert_null(error_get_hint(copy));
}

static void test_errno_kept(void)
{
    errno = EBUSY;
    error_setg(NULL, "ignored");
    g_assert_cmpint(errno, ==, EBUSY);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/error/message", test_message);
    g_test_add_func("/error/ignored", test_ignored);
    g_test_add_func("/error/class-and-copy", test_class_and_copy);
    g_test_add_func("/error/errno-kept", test_errno_kept);
    return g_test_run();
}
