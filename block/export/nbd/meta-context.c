/*
 * NBD options LIST_META_CONTEXT and SET_META_CONTEXT: metadata contexts of an export
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "block/export/nbd/nbd-int.h"

#define BITMAP_PREFIX "qemu:dirty-bitmap:"

/* The names of all contexts by their ids; NULL: not offered. */
static GPtrArray *export_context_names(const NBDExport *exp)
{
    GPtrArray *names = g_ptr_array_new_with_free_func(g_free);

    g_ptr_array_add(names, g_strdup("base:allocation"));
    g_ptr_array_add(names, exp->allocation_depth ? g_strdup("qemu:allocation-depth") : NULL);
    for (guint i = 0; i < exp->bitmaps->len; i++) {
        const BdrvDirtyBitmap *bitmap = g_ptr_array_index(exp->bitmaps, i);

        g_ptr_array_add(names, g_strconcat(BITMAP_PREFIX, bdrv_dirty_bitmap_name(bitmap), NULL));
    }
    return names;
}

/* Whether @query matches the context @name: is the same or, when listing, a name space ("base:"). */
static bool context_query_matches(const char *query, const char *name, bool listing)
{
    return g_str_equal(query, name) ||
           (listing && g_str_has_suffix(query, ":") && g_str_has_prefix(name, query));
}

/* The contexts among @names that match @query; NULL matches all. */
static uint64_t contexts_find(const GPtrArray *names, const char *query, bool listing)
{
    uint64_t contexts = 0;

    for (guint i = 0; i < names->len; i++) {
        const char *name = g_ptr_array_index(names, i);

        if (name && (!query || context_query_matches(query, name, listing))) {
            contexts |= UINT64_C(1) << i;
        }
    }
    return contexts;
}

/* The contexts among @names that match the queries from @pos on; false if these are malformed. */
static bool context_parse_queries(const NBDOption *opt, size_t pos, const GPtrArray *names, uint64_t *contexts)
{
    bool listing = opt->option == NBD_OPT_LIST_META_CONTEXT;

    if (opt->len - pos < 4) {
        return false;
    }
    uint32_t n = nbd_get32(opt->data + pos);
    pos += 4;
    *contexts = listing && n == 0 ? contexts_find(names, NULL, listing) : 0;
    for (; n > 0; n--) {
        g_autofree char *query = nbd_option_string(opt, &pos);

        if (!query) {
            return false;
        }
        *contexts |= contexts_find(names, query, listing);
    }
    return pos == opt->len;
}

static int coroutine_fn context_send(NBDClient *client, const NBDOption *opt, guint id, const char *name)
{
    size_t len = strlen(name);
    g_autofree uint8_t *buf = g_malloc(4 + len);

    memcpy(nbd_put32(buf, id), name, len);
    return nbd_send_rep(client, opt->option, NBD_REP_META_CONTEXT, buf, 4 + len);
}

static int coroutine_fn context_send_all(NBDClient *client, const NBDOption *opt, const GPtrArray *names,
                                         uint64_t contexts)
{
    int ret = 0;

    for (guint i = 0; i < names->len && ret == 0; i++) {
        if (contexts & UINT64_C(1) << i) {
            ret = context_send(client, opt, i, g_ptr_array_index(names, i));
        }
    }
    return ret < 0 ? ret : nbd_send_rep(client, opt->option, NBD_REP_ACK, NULL, 0);
}

int coroutine_fn nbd_handle_meta_context(NBDClient *client, const NBDOption *opt)
{
    size_t pos = 0;
    g_autofree char *name = NULL;
    bool set = opt->option == NBD_OPT_SET_META_CONTEXT;
    uint64_t contexts;

    if (set) {
        /* In any case, an earlier choice is invalid. */
        client->contexts = 0;
        if (!client->structured) {
            return nbd_send_rep_err(client, opt->option, NBD_REP_ERR_INVALID,
                                    "metadata contexts need structured replies");
        }
    }
    name = nbd_option_string(opt, &pos);
    if (!name) {
        return nbd_send_rep_err(client, opt->option, NBD_REP_ERR_INVALID, "the export's name is malformed");
    }
    NBDExport *exp = nbd_export_find(name);
    if (!exp) {
        return nbd_send_rep_err(client, opt->option, NBD_REP_ERR_UNKNOWN, "there is no export '%s'", name);
    }
    g_autoptr(GPtrArray) names = export_context_names(exp);
    if (!context_parse_queries(opt, pos, names, &contexts)) {
        return nbd_send_rep_err(client, opt->option, NBD_REP_ERR_INVALID, "the queries are malformed");
    }
    if (set) {
        client->contexts = contexts;
        client->contexts_serial = exp->serial;
    }
    /* The export may be deleted while sending waits. */
    return context_send_all(client, opt, names, contexts);
}
