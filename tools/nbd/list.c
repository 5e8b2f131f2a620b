/*
 * qemu-nbd --list: list the exports of a server
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include "block/nbd-list.h"
#include "tools/nbd/serve.h"

static void print_export(const NBDListedExport *e)
{
    static const char *const flags[] = {
        NULL, "readonly", "flush", "fua", "rotational", "trim", "zeroes", "df", "multi", NULL, "cache", "fast-zero",
    };
    g_autofree char *name = g_strescape(e->name, NULL);
    g_autofree char *description = g_strescape(e->description, NULL);

    printf(" export: '%s'\n", name);
    if (*description) {
        printf("  description: %s\n", description);
    }
    if (e->has_info) {
        printf("  size:  %" PRId64 "\n  flags: 0x%x (", e->size, e->flags);
        for (size_t i = 0; i < G_N_ELEMENTS(flags); i++) {
            if (e->flags & 1 << i && flags[i]) {
                printf(" %s", flags[i]);
            }
        }
        printf(" )\n");
    }
    if (e->min_block) {
        printf("  min block: %" PRIu32 "\n  opt block: %" PRIu32 "\n  max block: %" PRIu32 "\n", e->min_block,
               e->opt_block, e->max_block);
    }
    if (e->contexts->len) {
        printf("  available meta contexts: %u\n", e->contexts->len);
    }
    for (guint i = 0; i < e->contexts->len; i++) {
        g_autofree char *context = g_strescape(g_ptr_array_index(e->contexts, i), NULL);
        printf("   %s\n", context);
    }
}

bool coroutine_fn nbd_list(const NbdOptions *o, Error **errp)
{
    BlockdevOptionsNbd server = {
        .server = o->server->addr, .tls_creds = o->server->tls_creds, .tls_hostname = (char *)o->tls_hostname,
    };
    g_autoptr(GPtrArray) exports = nbd_list_exports(&server, errp);

    if (!exports) {
        return false;
    }
    printf("exports available: %u\n", exports->len);
    for (guint i = 0; i < exports->len; i++) {
        print_export(g_ptr_array_index(exports, i));
    }
    return true;
}
