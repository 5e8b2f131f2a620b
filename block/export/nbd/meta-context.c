/*
 * NBD options LIST_META_CONTEXT and SET_META_CONTEXT: metadata contexts of an export
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "block/export/nbd/nbd-int.h"

static const char *const context_names[NBD_CONTEXT__MAX] = {
    [NBD_CONTEXT_ALLOCATION] = "base:allocation",
    [NBD_CONTEXT_DEPTH] = "qemu:allocation-depth",
};

static bool export_has_context(const NBDExport *exp, int context)
{
    return context != NBD_CONTEXT_DEPTH || exp->allocation_depth;
}

/* Whether @query matches @context: its name or, when listing, only its name space ("base:"). */
static bool context_query_matches(const char *query, int context, bool listing)
{
    const char *name = context_names[context];
    size_t len = strlen(query);

    return g_str_equal(query, name) ||
           (listing && g_str_has_suffix(query, ":") && strncmp(query, name, len) == 0);
}

/* The contexts of @exp that match the queries from @pos on; false if these are malformed. */
static bool context_parse_queries(const NBDOption *opt, size_t pos, const NBDExport *exp, unsigned *contexts)
{
    bool listing = opt->option == NBD_OPT_LIST_META_CONTEXT;

    if (opt->len - pos < 4) {
        return false;
    }
    uint32_t n = nbd_get32(opt->data + pos);
    bool all = listing && n == 0;
    pos += 4;
    *contexts = 0;
    for (; n > 0; n--) {
        g_autofree char *query = nbd_option_string(opt, &pos);

        if (!query) {
            return false;
        }
        for (int i = 0; i < NBD_CONTEXT__MAX; i++) {
            if (context_query_matches(query, i, listing)) {
                *contexts |= 1U << i;
            }
        }
    }
    for (int i = 0; i < NBD_CONTEXT__MAX; i++) {
        if (all) {
            *contexts |= 1U << i;
        }
        if (!export_has_context(exp, i)) {
            *contexts &= ~(1U << i);
        }
    }
    return pos == opt->len;
}

static int coroutine_fn context_send_all(NBDClient *client, const NBDOption *opt, unsigned contexts)
{
    int ret = 0;

    for (int i = 0; i < NBD_CONTEXT__MAX && ret == 0; i++) {
        if (contexts & 1U << i) {
            size_t len = strlen(context_names[i]);
            uint8_t buf[64];

            memcpy(nbd_put32(buf, i), context_names[i], len);
            ret = nbd_send_rep(client, opt->option, NBD_REP_META_CONTEXT, buf, 4 + len);
        }
    }
    return ret < 0 ? ret : nbd_send_rep(client, opt->option, NBD_REP_ACK, NULL, 0);
}

int coroutine_fn nbd_handle_meta_context(NBDClient *client, const NBDOption *opt)
{
    size_t pos = 0;
    g_autofree char *name = NULL;
    bool set = opt->option == NBD_OPT_SET_META_CONTEXT;
    unsigned contexts;

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
    if (!context_parse_queries(opt, pos, exp, &contexts)) {
        return nbd_send_rep_err(client, opt->option, NBD_REP_ERR_INVALID, "the queries are malformed");
    }
    if (set) {
        client->contexts = contexts;
        g_free(client->contexts_name);
        client->contexts_name = g_steal_pointer(&name);
    }
    return context_send_all(client, opt, contexts);
}
