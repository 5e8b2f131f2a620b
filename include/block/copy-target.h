/*
 * CopyTarget: a new or existing volume, opened as the target of a copy by drive-mirror or drive-backup
 *
 * The target of an encrypted node is encrypted with the same cipher options and secret, unless the caller chooses
 * others. Its volume key is always a new one, except for a clone of the encrypted bytes.
 *
 *     CopyTarget *t = copy_target_new("job0", &(CopyTargetOptions){
 *         .source = bs, .filename = "/backup/disk.luks", .mode = NEW_IMAGE_MODE_ABSOLUTE_PATHS,
 *     }, errp);
 *     bool ok = t && start_job("job0", t->source, t->bs, errp);
 *     copy_target_free(t, ok);
 *
 * All that can be checked is checked before a file is created or a byte is written, and files that were created are
 * removed if a later step fails.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef BLOCK_COPY_TARGET_H
#define BLOCK_COPY_TARGET_H

#include "block/block.h"

typedef struct CopyTargetOptions {
    BlockDriverState *source;
    const char *filename;       /* of any protocol, or "json:{...}" with options of one */
    const char *format;         /* NULL: luks if the source is encrypted; else raw, or if it exists, probed */
    const char *node_name;      /* of the target; NULL: generated */
    NewImageMode mode;
    bool unmap;                 /* pass discards on to the target's storage */
    const char *key_secret;     /* ID of the secret for the target; NULL: the one of the source */
    const TargetCreateOptions *create_options;  /* override the source's; may be NULL */
    bool clone_header;          /* copy the bytes below the source's luks node, with header and keys */
} CopyTargetOptions;

typedef struct CopyTarget {
    /* Each a reference: */
    BlockDriverState *source;   /* what to copy: CopyTargetOptions.source or, for a clone, the node below it */
    BlockDriverState *bs;       /* as long as @source; writable */
    bool is_zero;               /* all of it reads as zeroes */
    struct TargetVolume *payload, *header;      /* internal */
} CopyTarget;

/*
 * Create the target, or open an existing one. Deriving its keys can take seconds: meanwhile "query-jobs" lists the work
 * as job @job_id, which job-cancel ends, and other clients are served. No job of that ID exists afterwards, so that the
 * caller can start one. NULL with @errp. Main loop.
 */
CopyTarget *coroutine_fn copy_target_new(const char *job_id, const CopyTargetOptions *options, Error **errp);

/*
 * Drop the references. Unless @keep, first remove the files that copy_target_new() created. @target may be NULL.
 */
void coroutine_fn copy_target_free(CopyTarget *target, bool keep);

#endif
