/*
 * What a build without the optional libraries says of their drivers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "config-host.h"

/* This program is such a build. */
#undef CONFIG_LIBISCSI
#undef CONFIG_LIBNBD
#undef CONFIG_LIBRBD
#include "../../block/drivers/left-out.c"

static void test_names_package_and_option(void)
{
    static const struct {
        const char *name, *library, *package, *option;
    } cases[] = {
        { "rbd", "'rbd' is not part of this build, which was made without librbd", "librbd-dev", "-Dlibrbd=enabled" },
        { "rbd:pool/image", "without librbd", "librbd-dev", "-Dlibrbd=enabled" },
        { "iscsi://host/target/0", "without libiscsi", "libiscsi-dev", "-Dlibiscsi=enabled" },
        { "iser://host/target/0", "without libiscsi", "libiscsi-dev", "-Dlibiscsi=enabled" },
        { "nbd", "'nbd' is not part of this build, which was made without libnbd", "libnbd-dev", "-Dlibnbd=enabled" },
        { "nbd:unix:/sock", "without libnbd", "libnbd-dev", "-Dlibnbd=enabled" },
        { "nbds+unix:///x?socket=/sock", "without libnbd", "libnbd-dev", "-Dlibnbd=enabled" },
        { "sheepdog:x", "Unknown protocol 'sheepdog'", "./", "file:" },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        Error *err = NULL;

        bdrv_explain_missing_driver(cases[i].name, strcspn(cases[i].name, ":"), &err);
        g_assert_nonnull(strstr(error_get_pretty(err), cases[i].library));
        g_assert_nonnull(strstr(error_get_hint(err), cases[i].package));
        g_assert_nonnull(strstr(error_get_hint(err), cases[i].option));
        error_free(err);
    }
}

/* What qemu-nbd --list shows. */
static void test_list_names_package(void)
{
    BlockdevOptionsNbd options = { 0 };
    Error *err = NULL;

    g_assert_null(nbd_list_exports(&options, &err));
    g_assert_nonnull(strstr(error_get_pretty(err), "without libnbd"));
    g_assert_nonnull(strstr(error_get_hint(err), "libnbd-dev"));
    error_free(err);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/left-out/names-package-and-option", test_names_package_and_option);
    g_test_add_func("/left-out/list-names-package", test_list_names_package);
    return g_test_run();
}
