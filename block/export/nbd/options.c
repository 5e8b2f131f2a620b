/*
 * NBD options: choosing an export by its name only, listing, structured replies, disconnecting
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "block/export/nbd/nbd-int.h"

void nbd_client_choose(NBDClient *client, NBDExport *exp)
{
    client->exp = exp;
    blk_exp_ref(&exp->common);
    /* Contexts chosen for another export do not count. */
    if (client->contexts_serial != exp->serial) {
        client->contexts = 0;
    }
}

/* The only way to refuse is to disconnect. */
static int coroutine_fn handle_export_name(NBDClient *client, const NBDOption *opt)
{
    g_autofree char *name = g_strndup((const char *)opt->data, opt->len);
    NBDExport *exp = opt->len <= NBD_MAX_STRING && strlen(name) == opt->len ? nbd_export_find(name) : NULL;
    uint8_t buf[8 + 2 + 124] = { 0 }, *p = buf;

    if (!exp) {
        return NBD_HANDSHAKE_ABORT;
    }
    p = nbd_put64(p, blk_getlength(exp->common.blk));
    nbd_put16(p, nbd_export_flags(exp, client));
    nbd_client_choose(client, exp);
    int ret = io_channel_co_write_all(client->ch, buf, client->no_zeroes ? 10 : sizeof(buf));
    return ret < 0 ? ret : NBD_HANDSHAKE_DONE;
}

static int coroutine_fn list_send_export(NBDClient *client, NBDExport *exp)
{
    size_t name_len = strlen(exp->name), desc_len = exp->description ? strlen(exp->description) : 0;
    g_autofree uint8_t *buf = g_malloc(4 + name_len + desc_len);
    uint8_t *p = nbd_put32(buf, name_len);

    memcpy(p, exp->name, name_len);
    if (desc_len) {
        memcpy(p + name_len, exp->description, desc_len);
    }
    return nbd_send_rep(client, NBD_OPT_LIST, NBD_REP_SERVER, buf, 4 + name_len + desc_len);
}

static int coroutine_fn handle_list(NBDClient *client, const NBDOption *opt)
{
    g_autoptr(GPtrArray) exports = g_ptr_array_new();
    int ret = 0;

    if (opt->len > 0) {
        return nbd_send_rep_err(client, opt->option, NBD_REP_ERR_INVALID, "LIST takes no data");
    }
    /* Exports may be deleted while sending waits. */
    for (NBDExport *exp = nbd_export_next(NULL); exp; exp = nbd_export_next(exp)) {
        blk_exp_ref(&exp->common);
        g_ptr_array_add(exports, exp);
    }
    for (guint i = 0; i < exports->len; i++) {
        NBDExport *exp = g_ptr_array_index(exports, i);

        if (ret == 0) {
            ret = list_send_export(client, exp);
        }
        blk_exp_unref(&exp->common);
    }
    return ret < 0 ? ret : nbd_send_rep(client, opt->option, NBD_REP_ACK, NULL, 0);
}

static int coroutine_fn handle_structured_reply(NBDClient *client, const NBDOption *opt)
{
    if (opt->len > 0 || client->structured) {
        return nbd_send_rep_err(client, opt->option, NBD_REP_ERR_INVALID,
                                client->structured ? "structured replies are on already"
                                                   : "STRUCTURED_REPLY takes no data");
    }
    client->structured = true;
    return nbd_send_rep(client, opt->option, NBD_REP_ACK, NULL, 0);
}

int coroutine_fn nbd_handle_option(NBDClient *client, const NBDOption *opt)
{
    switch (opt->option) {
    case NBD_OPT_EXPORT_NAME:
        return handle_export_name(client, opt);
    case NBD_OPT_ABORT:
        nbd_send_rep(client, opt->option, NBD_REP_ACK, NULL, 0);
        return NBD_HANDSHAKE_ABORT;
    case NBD_OPT_LIST:
        return handle_list(client, opt);
    case NBD_OPT_INFO:
    case NBD_OPT_GO:
        return nbd_handle_info(client, opt);
    case NBD_OPT_STRUCTURED_REPLY:
        return handle_structured_reply(client, opt);
    case NBD_OPT_LIST_META_CONTEXT:
    case NBD_OPT_SET_META_CONTEXT:
        return nbd_handle_meta_context(client, opt);
    default:
        return nbd_send_rep_err(client, opt->option, NBD_REP_ERR_UNSUP, "option %" PRIu32 " is not known",
                                opt->option);
    }
}
