/*
 * Opening images as the command line names them
 *
 *     ToolImage image = {
 *         .name = args.positional[0], .format = args.format, .image_opts = args.image_opts,
 *         .perm = BLK_PERM_CONSISTENT_READ, .shared_perm = BLK_PERM_ALL & ~BLK_PERM_RESIZE,
 *     };
 *     BlockBackend *blk = tool_image_open(&image, errp);
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef TOOLS_IMAGE_H
#define TOOLS_IMAGE_H

#include "block/block-backend.h"

struct json_object;

typedef struct ToolImage {
    const char *name;           /* a filename; with @image_opts, options such as driver=luks,file.filename=x */
    bool image_opts;
    const char *options;        /* more of such options; @name may be NULL then */
    const char *format;         /* its driver, where the options name none; NULL: found by looking at it */
    const char *cache;          /* cache mode; NULL: writeback */
    const char *aio;            /* threads, native or io_uring; NULL: what the driver chooses */
    bool unmap;                 /* discards and zeroes may make holes, unless the options say */
    const char *key_secret;     /* ID of a secret that wins over what the options say; NULL: none */
    int key_depth;              /* it is for the node that so many "file" options lead to: 0 for the top */
    uint64_t perm;
    uint64_t shared_perm;
    bool writable;              /* not read-only; implied by write or resize in @perm */
    bool force_share;
    bool no_io;                 /* metadata only: BDRV_O_NO_IO */
    /*
     * What else must hold before a password is asked for: @blk is the image, of which only metadata can be read. Called
     * with @opaque, and only where a password is asked for. NULL: nothing.
     */
    bool coroutine_fn (*check)(BlockBackend *blk, void *opaque, Error **errp);
    void *opaque;
    bool damaged;               /* with @no_io: damaged metadata is no error: BDRV_O_DAMAGED */
    bool describe;              /* with @no_io: BDRV_O_DESCRIBE */
} ToolImage;

/*
 * Open @image. Where it turns out to be encrypted, no password is named, and a person sits at a terminal, the password
 * is asked for, until it is right or TOOL_PASSWORD_TRIES were wrong; all that can be wrong besides it is found before
 * that. NULL with @errp.
 */
BlockBackend *coroutine_fn tool_image_open(const ToolImage *image, Error **errp);

/* The options that tool_image_open() opens, with its name apart in *@filename (NULL: all is in the options). */
struct json_object *tool_image_options(const ToolImage *image, const char **filename, Error **errp);

/* Split a cache mode's name into the options of a node (may be NULL) and whether every write is to be flushed. */
bool tool_parse_cache_mode(const char *mode, struct json_object **cache, bool *writethrough, Error **errp);

#endif
