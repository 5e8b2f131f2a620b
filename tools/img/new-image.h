/*
 * Making a new image, from options as -o gives them
 *
 * All that can be checked is checked before the first byte is written, and what was made is removed where a
 * later step fails: whoever calls finds the finished image, or none.
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

/* A file or device that a new image is made of. */
typedef struct NewImageVolume {
    const char *filename;           /* NULL: there is none */
    struct json_object *protocol;   /* how to open it */
    bool is_new;                    /* there is nothing of this name yet */
    char *lost_uuid;                /* of a LUKS volume that will be overwritten; or NULL */
} NewImageVolume;

typedef struct NewImage {
    /* set by the caller; the rest starts as zeroes */
    const char *filename;
    const char *header;         /* file or device for the header of "luks"; NULL: in @filename */
    const char *format;         /* "raw" or "luks"; others are an error */
    bool has_bytes;             /* @bytes is set; else the options have to say */
    uint64_t bytes;             /* usable length; known after new_image_parse() */
    bool overwrite;             /* also a file with a LUKS volume in it; a device always is */
    const char *key_secret;     /* ID of a secret with its password; NULL: that in the options, or asked for */
    const char *key_option;     /* the option that would give it, for a hint: "--key-file FILE" */
    bool quiet;                 /* do not say which LUKS volume that destroys */

    /* from new_image_parse() */
    struct json_object *options;    /* checked, with the size */

    /* from new_image_prepare() */
    NewImageVolume volume;          /* @filename */
    NewImageVolume header_volume;   /* @header */
} NewImage;

/*
 * The options that new images of @format take, for the options_type of a command; NULL with @errp where no image of it
 * can be made.
 */
const QAPIType *new_image_options_type(const char *format, Error **errp);

/* Check the format, and read the options @text (may be NULL). False with @errp. */
bool new_image_parse(NewImage *image, const char *text, Error **errp);

/*
 * The options of a copy of @source in @format: where both are LUKS, how @source is encrypted, as far as @options
 * (of -o; may be NULL) do not say otherwise. Caller frees.
 */
char *new_image_inherit_options(const char *format, BlockDriverState *source, const char *options);

/* Once parsed: the bytes it will take. Caller frees; NULL with @errp. */
BlockMeasureInfo *new_image_measure(const NewImage *image, Error **errp);

/* Once parsed: it is to be a header alone. */
bool new_image_is_detached(const NewImage *image);

/*
 * Once parsed: check everything but the password: what is there already may be overwritten, is large enough, can be
 * written to, and is in use by nobody. Nothing is written. False with @errp.
 */
bool coroutine_fn new_image_check(NewImage *image, Error **errp);

/* Look at what is there already, and have a password, asking where none is named. Nothing is written. */
bool coroutine_fn new_image_prepare(NewImage *image, Error **errp);

/* Make it, as a job whose progress is drawn where @progress. */
bool coroutine_fn new_image_create(NewImage *image, bool progress, Error **errp);

/* Once prepared: it is a device, which is not made but used as it is. */
bool new_image_is_device(const NewImage *image);

/* Once prepared: ID of the secret with the password; NULL where it has none. */
const char *new_image_key_secret(const NewImage *image);

/* Remove the file, if there was none of this name before. */
void new_image_remove(const NewImage *image);

void new_image_clear(NewImage *image);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(NewImage, new_image_clear)

#endif
