/*
 * Older copies of a volume that its storage knows of: snapshots, clones, images in a trash
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "block/block_int.h"
#include "block/job.h"
#include "block/ops/copies.h"

typedef struct Copies {
    GString *known;             /* "node 'a': snapshot 'x', clone 'y'; node 'b': ..." */
    GString *unlisted;          /* why there may be more */
} Copies;

static void coroutine_fn copies_add_node(Copies *c, BlockDriverState *bs)
{
    g_autoptr(GPtrArray) texts = g_ptr_array_new_with_free_func(g_free);
    Error *err = NULL;

    if (!bs->drv->bdrv_co_list_copies(bs, texts, &err)) {
        g_string_append_printf(c->unlisted, "%s%s", c->unlisted->len ? "; " : "", error_get_pretty(err));
        error_free(err);
    }
    for (guint i = 0; i < texts->len; i++) {
        if (i == 0) {
            g_string_append_printf(c->known, "%snode '%s': ", c->known->len ? "; " : "", bdrv_get_display_name(bs));
        }
        g_string_append_printf(c->known, "%s%s", i ? ", " : "", (const char *)g_ptr_array_index(texts, i));
    }
}

/* Those of all storage below @bs or, without @all, of the one that holds its header. */
static void coroutine_fn copies_add_below(Copies *c, BlockDriverState *bs, bool all)
{
    BlockDriverState *header = all ? NULL : bdrv_get_child(bs, "header");

    if (bs->drv->bdrv_co_list_copies) {
        copies_add_node(c, bs);
    }
    if (header) {
        copies_add_below(c, header, all);
        return;
    }
    for (guint i = 0; i < bs->children->len; i++) {
        const BdrvChild *child = g_ptr_array_index(bs->children, i);

        copies_add_below(c, child->bs, all);
    }
}

/* @problem, the copies, and what could not be listed; NULL: there are none. Caller frees. */
static char *coroutine_fn copies_to_str(BlockDriverState *bs, bool all, const char *problem)
{
    g_autoptr(GString) known = g_string_new(NULL), unlisted = g_string_new(NULL);
    Copies c = { .known = known, .unlisted = unlisted };

    copies_add_below(&c, bs, all);
    if (unlisted->len) {
        return g_strdup_printf("%s%s%scould not determine whether the storage has %scopies: %s",
                               known->len ? problem : "", known->str, known->len ? "; " : "", known->len ? "more " : "",
                               unlisted->str);
    }
    return known->len ? g_strconcat(problem, known->str, NULL) : NULL;
}

bool coroutine_fn bdrv_check_copies(BlockDriverState *bs, SecureEraseScope scope, Error **errp)
{
    bool all = scope == SECURE_ERASE_SCOPE_IMAGE || scope == SECURE_ERASE_SCOPE_VOLUME;
    g_autofree char *text = copies_to_str(bs, all, "erasing does not reach the copies that the storage has of ");

    if (text) {
        error_setg(errp, "Node '%s': %s", bdrv_get_display_name(bs), text);
        error_append_hint(errp, "Passwords still open these copies. Remove the copies first, or erase nevertheless "
                          "with --force (in QMP: \"force\").\n");
    }
    return !text;
}

void coroutine_fn bdrv_warn_copies(BlockDriverState *bs, Job *job)
{
    g_autofree char *text = copies_to_str(bs, false, "the password that was removed may still open the copies that the "
                                          "storage has of ");

    if (text) {
        job_warn(job, "Node '%s': %s", bdrv_get_display_name(bs), text);
    }
}
