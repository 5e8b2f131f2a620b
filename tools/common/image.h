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
    const char *discard;        /* unmap or ignore, unless the options say; NULL: ignore */
    const char *detect_zeroes;  /* off, on or unmap, unless the options say; NULL: off */
    const char *header;         /* a file or device with its LUKS header; NULL: in the image, unless the options say */
    /* ID of a secret that wins over what the options say; NULL: none. An image without encryption has no use for it. */
    const char *key_secret;
    bool key_optional;          /* that is no error */
    int key_depth;              /* it is for the node that so many "file" options lead to: 0 for the top */
    const char *key_option;     /* the option that names a password for this image; NULL: --key-file */
    bool is_target;             /* --header is not about this one */
    char format_letter;         /* the option for its format, where another image has one, too; 0: it is -f */
    const char *instead[2];     /* for an unencrypted image, before and after its name; NULL: the same with -f raw */
    bool typed_command;         /* it was named in a command of ours, and not on the command line */
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

/*
 * Open the metadata of @image, which takes no password. A command with several images looks at all of them like this
 * before a person is asked for the password of one. NULL with @errp.
 */
BlockBackend *coroutine_fn tool_image_open_metadata(const ToolImage *image, Error **errp);

/* What may help against an error about @image, where its class tells; tool_image_open() has done so. */
void coroutine_fn tool_image_append_hint(const ToolImage *image, Error **errp);

/* Whether an image, or a node that it leads to, is encrypted. */
bool tool_image_is_encrypted(BlockBackend *blk);

/* The options that tool_image_open() opens, with its name apart in *@filename (NULL: all is in the options). */
struct json_object *tool_image_options(const ToolImage *image, const char **filename, Error **errp);

/* Split a cache mode's name into the options of a node (may be NULL) and whether every write is to be flushed. */
bool tool_parse_cache_mode(const char *mode, struct json_object **cache, bool *writethrough, Error **errp);

#endif
