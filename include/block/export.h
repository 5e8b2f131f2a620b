/*
 * BlockExport: a node offered to clients over a protocol
 *
 *     BlockExport *exp = blk_exp_add(options, errp);      // options->type: which protocol
 *     ...
 *     blk_exp_del("export0", BLOCK_EXPORT_REMOVE_MODE_HARD, errp);
 *
 * An export has a BlockBackend of its own, with the permissions that its clients need. It is freed when the user has
 * deleted it and the last client has left. Everything runs on the main loop, except the clients' requests: they run in
 * the loop of the I/O thread that the export had when the client connected.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef BLOCK_EXPORT_H
#define BLOCK_EXPORT_H

#include "block/block-backend.h"
#include "util/iothread.h"

typedef struct BlockExport BlockExport;

/* What a protocol provides. */
typedef struct BlockExportDriver {
    BlockExportType type;
    size_t instance_size;       /* of a structure that begins with a BlockExport */
    /* Make the export reachable. @exp has its node already. On failure nothing is left behind. */
    bool coroutine_fn (*create)(BlockExport *exp, const BlockExportOptions *options, Error **errp);
    /* Refuse new clients and disconnect existing ones. They hold references until they are gone. */
    void (*request_shutdown)(BlockExport *exp);
    /* Free what the instance owns. There are no references left. */
    void coroutine_fn (*free)(BlockExport *exp);
} BlockExportDriver;

struct BlockExport {
    const BlockExportDriver *drv;
    char *id;
    int refcnt;
    bool user_owned;            /* not yet deleted */
    bool writable;
    bool writethrough;          /* every write is done with BDRV_REQ_FUA */
    BlockBackend *blk;
    IOThread *iothread;         /* where new clients run; NULL: the main loop */
    bool fixed_iothread;        /* it must not change */
};

/* Add an export. @options->node_name must name a node. NULL with @errp. */
BlockExport *coroutine_fn blk_exp_add(const BlockExportOptions *options, Error **errp);

BlockExport *blk_exp_find(const char *id);      /* NULL if there is none */
BlockExport *blk_exp_next(BlockExport *exp);    /* the export after @exp; NULL: the first */

/*
 * Delete @id. If clients are connected, mode safe fails, and mode hard disconnects them. The export is gone when the
 * event BLOCK_EXPORT_DELETED is sent.
 */
bool blk_exp_del(const char *id, BlockExportRemoveMode mode, Error **errp);

/* Delete all exports and wait until they are gone. */
void coroutine_fn blk_exp_close_all(void);

BlockExportInfo *blk_exp_query(const BlockExport *exp);

/* For protocols. */
void blk_exp_ref(BlockExport *exp);
void blk_exp_unref(BlockExport *exp);
/*
 * A request of a client failed below the export with @ret (-errno): notify the user. From any thread; the client drops
 * its reference to the export on the main loop, later.
 */
void blk_exp_report_error(BlockExport *exp, bool is_write, int ret);
/* As if the user had deleted the export with mode hard. */
void blk_exp_request_shutdown(BlockExport *exp);

#endif
