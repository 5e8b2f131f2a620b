/*
 * Where a copy goes to: a new image, one that exists, or a stream
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef TOOLS_IMG_COPY_TARGET_H
#define TOOLS_IMG_COPY_TARGET_H

#include "tools/img/copy.h"

typedef struct ImgCopyTarget {
    const char *filename;       /* with @image_opts, the options of a node */
    bool image_opts;
    const char *format;         /* NULL with @image_opts: from those */
    const char *options;        /* as -o gives them, for a new image */
    const char *key_secret;     /* ID of a secret with its password; NULL: from the options, or asked for */
    const char *cache;          /* cache mode; NULL: writeback */
    bool progress;
} ImgCopyTarget;

/*
 * Check a target for img_copy_to_new() or img_copy_to_existing(): everything but its password. Nothing is written.
 * False with @errp.
 */
bool coroutine_fn img_copy_check_new(const ImgCopy *copy, const ImgCopyTarget *target, Error **errp);
bool coroutine_fn img_copy_check_existing(const ImgCopy *copy, const ImgCopyTarget *target, Error **errp);

/*
 * Make an image of the length that @copy has, and copy into it; it is removed where that fails. Where the
 * filename is that of a stream, the copy goes there as it is. @copy's own target is set here. False with @errp.
 */
bool coroutine_fn img_copy_to_new(ImgCopy *copy, const ImgCopyTarget *target, Error **errp);

/* Copy into an image that is there and long enough. */
bool coroutine_fn img_copy_to_existing(ImgCopy *copy, const ImgCopyTarget *target, Error **errp);

#endif
