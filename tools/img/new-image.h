/*
 * Creating a new image, from options of -o
 *
 * Everything possible is checked before the first byte is written, and new files are removed if a later step fails: the
 * result is the finished image, or none.
 *
 *     g_auto(NewImage) image = { .filename = "disk.luks", .format = "luks", .bytes = 1 * GiB, .has_bytes = true };
 *
 *     ok = new_image_parse(&image, args.options, errp) && new_image_prepare(&image, errp) &&
 *          new_image_create(&image, false, errp);
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef TOOLS_IMG_NEW_IMAGE_H
#define TOOLS_IMG_NEW_IMAGE_H

#include "block/block.h"

struct json_object;

/* A file or device of a new image. */
typedef struct NewImageVolume {
    const char *filename;           /* NULL: none */
    struct json_object *protocol;   /* how to open it */
    bool is_new;                    /* it does not exist yet */
    BlockdevCreateOptions *created; /* it was created with these; NULL: not yet, or it was there */
    char *lost_uuid;                /* UUID of a LUKS volume that will be overwritten; or NULL */
} NewImageVolume;

typedef struct NewImage {
    /* set by the caller; the rest starts as zeroes */
    const char *filename;
    const char *header;         /* file or device for the header of "luks"; NULL: in @filename */
    const char *format;         /* "raw" or "luks"; others are an error */
    bool has_bytes;             /* @bytes is set; else the options contain the size */
    uint64_t bytes;             /* usable length; known after new_image_parse() */
    bool overwrite;             /* allow overwriting a file with a LUKS volume, as always for devices */
    const char *key_secret;     /* ID of a secret with its password; NULL: from the options, or prompted for */
    BlockDriverState *source;   /* if both are LUKS, options that are not given default to this node's; may be NULL */
    const char *source_secret;  /* the same for @key_secret */
    const char *key_option;     /* for hints: the option for the password, "--key-file FILE" */
    bool quiet;                 /* do not warn about destroying a LUKS volume */

    /* from new_image_parse() */
    struct json_object *options;    /* checked, with the size */

    /* from new_image_prepare() */
    NewImageVolume volume;          /* @filename */
    NewImageVolume header_volume;   /* @header */
} NewImage;

/* The type of the options for new images of @format, for ToolCommand.options_type; NULL with @errp if unsupported. */
const QAPIType *new_image_options_type(const char *format, Error **errp);

/* Check the format, and parse the options @text (may be NULL). False with @errp. */
bool new_image_parse(NewImage *image, const char *text, Error **errp);

/* Once parsed: the bytes that the image will need. Caller frees; NULL with @errp. */
BlockMeasureInfo *new_image_measure(const NewImage *image, Error **errp);

/* Once parsed: whether the image is only a header. */
bool new_image_is_detached(const NewImage *image);

/*
 * Once parsed: check everything except the password, without writing: existing volumes may be overwritten, are large
 * enough and writable, and are not in use. False with @errp.
 */
bool coroutine_fn new_image_check(NewImage *image, Error **errp);

/* Check existing volumes, and get a password, prompting for it if none is named. Nothing is written. */
bool coroutine_fn new_image_prepare(NewImage *image, Error **errp);

/* Create the image, as a job, and show its progress if @progress. */
bool coroutine_fn new_image_create(NewImage *image, bool progress, Error **errp);

/* Once prepared: whether it is an existing device. */
bool new_image_is_device(const NewImage *image);

/* Once prepared: ID of the secret with the password; NULL if it has none. */
const char *new_image_key_secret(const NewImage *image);

/* Remove what was created, unless it existed before. */
void coroutine_fn new_image_remove(const NewImage *image);

void new_image_clear(NewImage *image);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(NewImage, new_image_clear)

#endif
