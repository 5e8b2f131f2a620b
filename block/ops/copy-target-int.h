/*
 * The volumes of a CopyTarget: payload and, if detached, header (block/ops/copy-target-volume.c)
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef BLOCK_COPY_TARGET_INT_H
#define BLOCK_COPY_TARGET_INT_H

#include "block/block.h"

struct json_object;

typedef struct TargetVolume {
    const char *purpose;            /* of its option, for messages */
    struct json_object *options;    /* of its protocol node */
    BlockDriverState *bs;           /* NULL before it is open */
    bool created;                   /* the file did not exist before */
    BlockdevCreateOptions *image;   /* created on a server with these; NULL: none */
} TargetVolume;

/* Find out the protocol of @filename. NULL with @errp if it has none. */
TargetVolume *coroutine_fn target_volume_new(const char *purpose, const char *filename, Error **errp);

/* Close it; unless @keep, delete what was created. @v may be NULL. */
void coroutine_fn target_volume_free(TargetVolume *v, bool keep);

/*
 * Open the volume for writing. With @create, create a file that does not exist, which only its owner can read if
 * @is_private, or an RBD image, which must not exist. A volume that existed keeps its contents.
 */
bool coroutine_fn target_volume_open(TargetVolume *v, bool create, bool is_private, Job *job, Error **errp);

/* Fail if the volume is, or may be, part of @bs, or an export by this daemon of something above or below it. */
bool coroutine_fn target_volume_check_apart(const TargetVolume *v, BlockDriverState *bs, Error **errp);

/* Fail if another node has opened the volume, and one of its users does not let others write to it. */
bool coroutine_fn target_volume_check_unused(const TargetVolume *v, Error **errp);

/*
 * Before an image is created in the volume, check that it has or can have @bytes, that nobody else uses it, and that no
 * LUKS volume in a file would be lost. Nothing is written.
 */
bool coroutine_fn target_volume_check(const TargetVolume *v, int64_t bytes, Error **errp);

/* Drop the contents of a volume that can be resized, and make it @bytes long. */
bool coroutine_fn target_volume_resize(const TargetVolume *v, int64_t bytes, PreallocMode prealloc, Job *job,
                                       Error **errp);

/* Whether the open volume has a fixed length, as devices do. */
bool target_volume_is_fixed(const TargetVolume *v);

#endif
