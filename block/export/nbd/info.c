/*
 * NBD options INFO and GO: querying and choosing an export
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "block/block_int.h"
#include "block/export/nbd/nbd-int.h"

/* Suits all clients, and disks. */
#define PREFERRED_BLOCK_BYTES 4096

/* The items that the client asks for, as bits by NBD_INFO_*; -1 if the request is malformed. */
static int info_parse_requests(const NBDOption *opt, size_t pos)
{
    int asked = 0;

    if (opt->len - pos < 2) {
        return -1;
    }
    uint16_t n = nbd_get16(opt->data + pos);
    pos += 2;
    if (opt->len - pos != 2U * n) {
        return -1;
    }
    for (; n > 0; n--, pos += 2) {
        uint16_t info = nbd_get16(opt->data + pos);

        if (info <= NBD_INFO_BLOCK_SIZE) {
            asked |= 1 << info;
        }
    }
    return asked;
}

static int coroutine_fn info_send_string(NBDClient *client, const NBDOption *opt, uint16_t info, const char *str)
{
    size_t len = strlen(str);
    g_autofree uint8_t *buf = g_malloc(2 + len);

    memcpy(nbd_put16(buf, info), str, len);
    return nbd_send_rep(client, opt->option, NBD_REP_INFO, buf, 2 + len);
}

/* The block size that the node supports without read-modify-write. It must divide the size of the export. */
static uint32_t min_block_bytes(const NBDExport *exp)
{
    uint32_t min = blk_bs(exp->common.blk)->bl.request_alignment;

    return QEMU_IS_ALIGNED(blk_getlength(exp->common.blk), min) ? MIN(min, 64 * KiB) : 1;
}

static int coroutine_fn info_send_block_size(NBDClient *client, const NBDOption *opt, uint32_t min)
{
    uint8_t buf[14], *p = buf;

    p = nbd_put16(p, NBD_INFO_BLOCK_SIZE);
    p = nbd_put32(p, min);
    p = nbd_put32(p, MAX(min, PREFERRED_BLOCK_BYTES));
    nbd_put32(p, NBD_MAX_BUFFER);
    return nbd_send_rep(client, opt->option, NBD_REP_INFO, buf, sizeof(buf));
}

static int coroutine_fn info_send_export(NBDClient *client, const NBDOption *opt, const NBDExport *exp)
{
    uint8_t buf[12], *p = buf;

    p = nbd_put16(p, NBD_INFO_EXPORT);
    p = nbd_put64(p, blk_getlength(exp->common.blk));
    nbd_put16(p, nbd_export_flags(exp, client));
    return nbd_send_rep(client, opt->option, NBD_REP_INFO, buf, sizeof(buf));
}

/*
 * Send everything that was asked for, and always the export and its block sizes: 0 or -errno. A client that does not
 * ask for block sizes may use any: its requests are widened. If the blocks are larger, it gets an error before it
 * chooses, and otherwise a minimum of 1.
 */
static int coroutine_fn info_send_all(NBDClient *client, const NBDOption *opt, const NBDExport *exp, int asked)
{
    bool obeys = asked & 1 << NBD_INFO_BLOCK_SIZE;
    uint32_t min = min_block_bytes(exp);
    int ret = 0;

    if (asked & 1 << NBD_INFO_NAME) {
        ret = info_send_string(client, opt, NBD_INFO_NAME, exp->name);
    }
    if (ret == 0 && asked & 1 << NBD_INFO_DESCRIPTION && exp->description) {
        ret = info_send_string(client, opt, NBD_INFO_DESCRIPTION, exp->description);
    }
    if (ret == 0) {
        ret = info_send_block_size(client, opt, obeys || opt->option == NBD_OPT_INFO ? min : 1);
    }
    if (ret == 0) {
        ret = info_send_export(client, opt, exp);
    }
    if (ret == 0 && opt->option == NBD_OPT_INFO && !obeys && min > 1) {
        return nbd_send_rep_err(client, opt->option, NBD_REP_ERR_BLOCK_SIZE_REQD,
                                "the smallest block has %" PRIu32 " bytes: ask for NBD_INFO_BLOCK_SIZE", min);
    }
    return ret < 0 ? ret : nbd_send_rep(client, opt->option, NBD_REP_ACK, NULL, 0);
}

int coroutine_fn nbd_handle_info(NBDClient *client, const NBDOption *opt)
{
    size_t pos = 0;
    g_autofree char *name = nbd_option_string(opt, &pos);
    int asked = name ? info_parse_requests(opt, pos) : -1;

    if (asked < 0) {
        return nbd_send_rep_err(client, opt->option, NBD_REP_ERR_INVALID, "the request is malformed");
    }
    NBDExport *exp = nbd_export_find(name);
    if (!exp) {
        return nbd_send_rep_err(client, opt->option, NBD_REP_ERR_UNKNOWN, "there is no export '%s'", name);
    }
    /* The export may be deleted while sending waits. */
    blk_exp_ref(&exp->common);
    int ret = info_send_all(client, opt, exp, asked);
    if (ret == 0 && opt->option == NBD_OPT_GO) {
        if (exp->listed) {
            nbd_client_choose(client, exp);
            ret = NBD_HANDSHAKE_DONE;
        } else {
            ret = NBD_HANDSHAKE_ABORT;
        }
    }
    blk_exp_unref(&exp->common);
    return ret;
}
