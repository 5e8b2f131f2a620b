/*
 * Targets of a copy: a new image, an existing one, or a stream
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef TOOLS_IMG_COPY_TARGET_H
#define TOOLS_IMG_COPY_TARGET_H

#include "tools/img/copy.h"

typedef struct ImgCopyTarget {
    const char *filename;       /* with @image_opts, the options of a node */
    bool image_opts;
    const char *format;         /* NULL with @image_opts, which contain it */
    const char *options;        /* of -o, for a new image */
    BlockDriverState *source;   /* of a new image, as in NewImage */
    const char *source_secret;  /* the same */
    const char *key_secret;     /* ID of a secret with its password; NULL: from the options, or prompted for */
    const char *cache;          /* cache mode; NULL: writeback */
    bool progress;
} ImgCopyTarget;

/*
 * Check everything except the password of a target for img_copy_to_new() or img_copy_to_existing(), without writing.
 * False with @errp.
 */
bool coroutine_fn img_copy_check_new(const ImgCopy *copy, const ImgCopyTarget *target, Error **errp);
bool coroutine_fn img_copy_check_existing(const ImgCopy *copy, const ImgCopyTarget *target, Error **errp);

/*
 * Create an image of the length of @copy, and copy into it; it is removed if that fails. If the filename is that of a
 * stream, write the copy to it. Sets the target of @copy. False with @errp.
 */
bool coroutine_fn img_copy_to_new(ImgCopy *copy, const ImgCopyTarget *target, Error **errp);

/* Copy into an existing image that is long enough. */
bool coroutine_fn img_copy_to_existing(ImgCopy *copy, const ImgCopyTarget *target, Error **errp);

#endif
