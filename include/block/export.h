/*
 * BlockExport: a node offered to others, over a protocol
 *
 *     BlockExport *exp = blk_exp_add(options, errp);      // options->type: which protocol
 *     ...
 *     blk_exp_del("export0", BLOCK_EXPORT_REMOVE_MODE_HARD, errp);
 *
 * An export has a BlockBackend of its own, whose permissions are those that its clients need. It goes when the
 * user has deleted it and the last client has left. All of it belongs to the main loop; only requests of
 * clients run in the loop of the I/O thread that the export had when the client came.
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
    /* Make it reachable; on failure nothing is left. @exp has its node, and goes by what @options say. */
    bool coroutine_fn (*create)(BlockExport *exp, const BlockExportOptions *options, Error **errp);
    /* Turn new clients away, and disconnect those there are. They hold references until they are gone. */
    void (*request_shutdown)(BlockExport *exp);
    /* Free what the instance owns; no reference is left. */
    void (*free)(BlockExport *exp);
} BlockExportDriver;

struct BlockExport {
    const BlockExportDriver *drv;
    char *id;
    int refcnt;
    bool user_owned;            /* not yet deleted */
    bool writable;
    bool writethrough;          /* every write is as with BDRV_REQ_FUA */
    BlockBackend *blk;
    IOThread *iothread;         /* where clients run that come from now on; NULL: the main loop */
    bool fixed_iothread;        /* it must not change */
};

/* The exports there are, each of one protocol; @options->node_name must name a node. NULL with @errp. */
BlockExport *coroutine_fn blk_exp_add(const BlockExportOptions *options, Error **errp);

BlockExport *blk_exp_find(const char *id);      /* NULL where there is none */
BlockExport *blk_exp_next(BlockExport *exp);    /* iterate; NULL: the first */

/*
 * Delete @id: with mode safe an error where clients are connected, with hard they are disconnected. It is
 * gone when the event BLOCK_EXPORT_DELETED is sent.
 */
bool blk_exp_del(const char *id, BlockExportRemoveMode mode, Error **errp);

/* Delete all exports and wait until they are gone. */
void coroutine_fn blk_exp_close_all(void);

BlockExportInfo *blk_exp_query(const BlockExport *exp);

/* For protocols. */
void blk_exp_ref(BlockExport *exp);
void blk_exp_unref(BlockExport *exp);
/* A request of a client failed below with @ret (-errno): tell the user. From any thread. */
void blk_exp_report_error(BlockExport *exp, bool is_write, int ret);
/* As if the user had deleted it, with mode hard. */
void blk_exp_request_shutdown(BlockExport *exp);

#endif
