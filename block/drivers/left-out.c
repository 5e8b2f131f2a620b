/*
 * Drivers that this build does without
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "config-host.h"
#include "block/drivers.h"
#include "block/nbd-list.h"

/* What a build without some library leaves out. */
static const struct {
    const char *format_name;
    const char *protocols;      /* a prefix of what its filenames begin with */
    const char *library;
    const char *package;        /* of Debian */
    const char *option;         /* of meson */
} left_out[] = {
#ifndef CONFIG_LIBISCSI
    { "iscsi", "iscsi", "libiscsi", "libiscsi-dev", "libiscsi" },
    { "iscsi", "iser", "libiscsi", "libiscsi-dev", "libiscsi" },
#endif
#ifndef CONFIG_LIBNBD
    { "nbd", "nbd", "libnbd", "libnbd-dev", "libnbd" },
#endif
#ifndef CONFIG_LIBRBD
    { "rbd", "rbd", "librbd", "librbd-dev", "librbd" },
#endif
    { NULL },
};

#ifndef CONFIG_LIBNBD
GPtrArray *coroutine_fn nbd_list_exports(const BlockdevOptionsNbd *o, Error **errp)
{
    bdrv_explain_missing_driver("nbd", strlen("nbd"), errp);
    return NULL;
}
#endif

void bdrv_explain_missing_driver(const char *name, size_t len, Error **errp)
{
    for (size_t i = 0; left_out[i].format_name; i++) {
        if (len >= strlen(left_out[i].protocols) && g_str_has_prefix(name, left_out[i].protocols)) {
            error_setg(errp, "Driver '%s' is not part of this build, which was made without %s",
                       left_out[i].format_name, left_out[i].library);
            error_append_hint(errp, "Install it (Debian: package %s), run meson setup --reconfigure -D%s=enabled in "
                              "the build directory, and build again.\n", left_out[i].package, left_out[i].option);
            return;
        }
    }
    error_setg(errp, "Unknown protocol '%.*s'", (int)len, name);
    error_append_hint(errp, "For a file whose name contains a colon, write ./ or file: before it.\n");
}
