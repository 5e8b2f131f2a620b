/*
 * mirror_top: the filter that a mirror inserts above its source, to see writes
 *
 *     BlockDriverState *filter = mirror_top_new("filter0", source, errp);
 *     mirror_top_start(filter, &(MirrorTopOptions){ .copy = copy, .bitmap = bitmap, .target = target, ... });
 *     ok = bdrv_co_replace_node(source, filter, errp);        // now the users of the source are above the filter
 *     ...
 *     mirror_top_stop(filter);                                // while it is drained, or if later writes do not matter
 *     bdrv_co_replace_node(filter, filter->file->bs, &error_abort);
 *     bdrv_co_unref(filter);
 *
 * Each write, zero write or discard is marked in the bitmap, which must be disabled, when it ends. In mode
 * write-blocking, writes also go to the target before they end, and ranges written to both nodes are not marked.
 *
 * While it is started, the filter does not let other users write to the source, since it would not see their writes.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef BLOCK_MIRROR_TOP_H
#define BLOCK_MIRROR_TOP_H

#include "block/copy.h"

typedef struct MirrorTopOptions {
    BlockCopy *copy;            /* writes to both nodes lock ranges against it */
    BdrvDirtyBitmap *bitmap;
    BlockBackend *target;
    bool write_blocking;
    BdrvRequestFlags zero_flags;    /* for zero writes to the target */
    /*
     * A write to the target has failed with @ret, and its range is dirty now. Called on the main loop, in a coroutine;
     * the guest's write waits for it.
     */
    void coroutine_fn (*write_failed)(void *opaque, int64_t offset, int ret);
    void *opaque;
} MirrorTopOptions;

/* All functions: main thread, unless stated otherwise. @node_name may be NULL. NULL with @errp. */
BlockDriverState *coroutine_fn mirror_top_new(const char *node_name, BlockDriverState *source, Error **errp);
/* While the filter has no parents, or is drained. */
void mirror_top_start(BlockDriverState *filter, const MirrorTopOptions *options);
void mirror_top_stop(BlockDriverState *filter);
/*
 * In mode write-blocking, stop or resume writing to the target; while stopped, all writes are marked. Takes effect with
 * the next write. Any thread.
 */
void mirror_top_suspend(BlockDriverState *filter, bool suspend);
bool mirror_top_is_active(BlockDriverState *filter);

#endif
