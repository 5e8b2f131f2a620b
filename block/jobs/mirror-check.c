/*
 * Mirror: checks before the job starts
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "block/block_int.h"
#include "block/graph/graph_int.h"
#include "block/jobs/mirror-int.h"

#define MIN_GRANULARITY 512
#define MAX_GRANULARITY (64 * MiB)

static bool mirror_check_options(const MirrorOptions *o, Error **errp)
{
    if (o->sync == MIRROR_SYNC_MODE_INCREMENTAL || o->sync == MIRROR_SYNC_MODE_BITMAP) {
        error_setg(errp, "Sync mode '%s' not supported", MirrorSyncMode_str(o->sync));
        return false;
    }
    if (o->granularity && (o->granularity < MIN_GRANULARITY || o->granularity > MAX_GRANULARITY ||
                           (o->granularity & (o->granularity - 1)))) {
        error_setg(errp, "Parameter 'granularity' expects a power of 2 in range [512B, 64MB]");
        return false;
    }
    if (o->buf_size < 0) {
        error_setg(errp, "Invalid parameter 'buf-size'");
        return false;
    }
    if (o->speed < 0) {
        error_setg(errp, "Parameter 'speed' expects a non-negative value");
        return false;
    }
    return true;
}

BlockDriverState *mirror_find_replaced(BlockDriverState *source, const char *name, Error **errp)
{
    BlockDriverState *bs = name ? bdrv_find_node(name) : source;

    if (!bs) {
        error_setg(errp, "Failed to find node with node-name='%s'", name);
        return NULL;
    }
    for (BlockDriverState *below = source; below != bs; below = below->file->bs) {
        if (!below->drv->is_filter) {
            error_setg(errp, "Cannot replace '%s' by a node mirrored from '%s', because it cannot be guaranteed that "
                       "doing so would not lead to an abrupt change of visible data", name,
                       bdrv_get_display_name(source));
            return NULL;
        }
    }
    return bs;
}

bool mirror_check(BlockDriverState *source, int64_t target_bytes, const MirrorOptions *o, Error **errp)
{
    if (!mirror_check_options(o, errp) || !mirror_find_replaced(source, o->replaces, errp) ||
        !job_check_node(source, errp)) {
        return false;
    }
    if (target_bytes < bdrv_getlength(source)) {
        error_setg(errp, "The target has %" PRId64 " bytes, fewer than the %" PRId64 " bytes of node '%s'",
                   target_bytes, bdrv_getlength(source), bdrv_get_display_name(source));
        return false;
    }
    if (!o->job_id) {
        error_setg(errp, "An explicit job ID is required for this node");
        return false;
    }
    return true;
}

bool mirror_check_nodes(BlockDriverState *source, BlockDriverState *target, Error **errp)
{
    if (source == target) {
        error_setg(errp, "Can't mirror node into itself");
        return false;
    }
    if (bdrv_is_below(source, target) || bdrv_is_below(target, source)) {
        bool above = bdrv_is_below(source, target);

        error_setg(errp, "Node '%s' cannot be the target for node '%s': it is %s it", bdrv_get_display_name(target),
                   bdrv_get_display_name(source), above ? "above" : "below");
        return false;
    }
    return true;
}
