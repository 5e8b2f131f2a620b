/*
 * Older copies of a volume that its storage knows of: snapshots, clones, what was moved to a trash
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "block/block_int.h"
#include "block/job.h"
#include "block/ops/copies.h"

/* Those of all storage below @bs or, without @all, of the one that holds its header. */
static void coroutine_fn copies_add_below(BlockDriverState *bs, bool all, GPtrArray *copies)
{
    BlockDriverState *header = all ? NULL : bdrv_get_child(bs, "header");

    if (bs->drv->bdrv_co_list_copies) {
        int ret = bs->drv->bdrv_co_list_copies(bs, copies);

        if (ret < 0) {
            g_ptr_array_add(copies, g_strdup_printf("copies that cannot be listed (%s)", g_strerror(-ret)));
        }
    }
    if (header) {
        copies_add_below(header, all, copies);
        return;
    }
    for (guint i = 0; i < bs->children->len; i++) {
        const BdrvChild *child = g_ptr_array_index(bs->children, i);

        copies_add_below(child->bs, all, copies);
    }
}

/* "snapshot 'a', clone 'b'"; NULL: there are none. Caller frees. */
static char *coroutine_fn copies_to_str(BlockDriverState *bs, bool all)
{
    g_autoptr(GPtrArray) copies = g_ptr_array_new_with_free_func(g_free);

    copies_add_below(bs, all, copies);
    if (copies->len == 0) {
        return NULL;
    }
    g_ptr_array_add(copies, NULL);
    return g_strjoinv(", ", (char **)copies->pdata);
}

bool coroutine_fn bdrv_check_copies(BlockDriverState *bs, SecureEraseScope scope, Error **errp)
{
    bool all = scope == SECURE_ERASE_SCOPE_IMAGE || scope == SECURE_ERASE_SCOPE_VOLUME;
    g_autofree char *copies = copies_to_str(bs, all);

    if (copies) {
        error_setg(errp, "Node '%s': erasing it does not reach %s", bdrv_get_display_name(bs), copies);
        error_append_hint(errp, "Passwords still open what these hold. Remove them first; or erase this all the same, "
                          "with --force (in QMP: \"force\").\n");
    }
    return !copies;
}

void coroutine_fn bdrv_warn_copies(BlockDriverState *bs, Job *job)
{
    g_autofree char *copies = copies_to_str(bs, false);

    if (copies) {
        job_warn(job, "Node '%s': the password that was removed may still open %s", bdrv_get_display_name(bs), copies);
    }
}
