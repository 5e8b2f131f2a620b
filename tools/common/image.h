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
    const char *format;         /* its driver, unless the options name one; NULL: probed */
    const char *cache;          /* cache mode; NULL: writeback */
    const char *aio;            /* threads, native or io_uring; NULL: the driver's default */
    const char *discard;        /* unmap or ignore, unless in the options; NULL: ignore */
    const char *detect_zeroes;  /* off, on or unmap, unless in the options; NULL: off */
    const char *header;         /* a file or device with its LUKS header; NULL: in the image, or in the options */
    /* ID of a secret, which overrides the options; NULL: none. An error for an image without encryption. */
    const char *key_secret;
    bool key_optional;          /* @key_secret is ignored for an image without encryption */
    int key_depth;              /* number of "file" options that lead to the node that @key_secret is for; 0: the top */
    const char *key_option;     /* for hints: option for its password; NULL: --key-file */
    bool is_target;             /* --header does not apply to it */
    char format_letter;         /* option for its format, if another image has one, too; 0: -f */
    const char *instead[2];     /* for hints: a command for unencrypted images, before and after the name; or NULL */
    bool typed_command;         /* named in a qemu-io command, not on the command line */
    uint64_t perm;
    uint64_t shared_perm;
    bool writable;              /* not read-only; implied by write or resize in @perm */
    bool force_share;
    bool no_io;                 /* metadata only: BDRV_O_NO_IO */
    /*
     * Optional further check before prompting for a password, called only then: @blk is the image, opened for metadata
     * only.
     */
    bool coroutine_fn (*check)(BlockBackend *blk, void *opaque, Error **errp);
    void *opaque;
    bool damaged;               /* with @no_io: damaged metadata is no error: BDRV_O_DAMAGED */
    bool describe;              /* with @no_io: BDRV_O_DESCRIBE */
} ToolImage;

/*
 * Open @image. If it is encrypted, no password is given, and standard input is a terminal, prompt for the password up
 * to TOOL_PASSWORD_TRIES times, after checking everything else. NULL with @errp.
 */
BlockBackend *coroutine_fn tool_image_open(const ToolImage *image, Error **errp);

/*
 * Open the metadata of @image, which needs no password. A command with several images checks all of them like this
 * before prompting for any password. NULL with @errp.
 */
BlockBackend *coroutine_fn tool_image_open_metadata(const ToolImage *image, Error **errp);

/* Append a hint to an error about @image, depending on its class. tool_image_open() does so itself. */
void coroutine_fn tool_image_append_hint(const ToolImage *image, Error **errp);

/* Whether an image, or a node below it, is encrypted. */
bool tool_image_is_encrypted(BlockBackend *blk);

/* The options that tool_image_open() uses, and the name in *@filename (NULL: it is in the options). */
struct json_object *tool_image_options(const ToolImage *image, const char **filename, Error **errp);

/* Split a cache mode's name into the options of a node (may be NULL) and whether to flush every write. */
bool tool_parse_cache_mode(const char *mode, struct json_object **cache, bool *writethrough, Error **errp);

#endif
