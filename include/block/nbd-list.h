/*
 * Listing what an NBD server exports
 *
 *     g_autoptr(GPtrArray) exports = nbd_list_exports(&options, errp);
 *     if (!exports) {
 *         return false;
 *     }
 *     for (guint i = 0; i < exports->len; i++) {
 *         const NBDListedExport *e = g_ptr_array_index(exports, i);
 *         ...
 *     }
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef BLOCK_NBD_LIST_H
#define BLOCK_NBD_LIST_H

#include "util/coroutine.h"
#include "util/error.h"
#include "qapi/qapi-types.h"

/* All text is the server's, and may hold any characters. */
typedef struct NBDListedExport {
    char *name;
    char *description;
    bool has_info;                              /* the server describes the export: */
    int64_t size;                               /* bytes */
    uint16_t flags;                             /* NBD_FLAG_* of transmission */
    uint32_t min_block, opt_block, max_block;   /* bytes; 0: unknown */
    GPtrArray *contexts;                        /* of char *: its metadata contexts */
} NBDListedExport;

/*
 * Connect to the server of @o (whose export does not matter), and list its exports, of NBDListedExport. The array owns
 * them; NULL with @errp. Each step may take 20 seconds. Without libnbd, fails with an error that says so.
 */
GPtrArray *coroutine_fn nbd_list_exports(const BlockdevOptionsNbd *o, Error **errp);

#endif
