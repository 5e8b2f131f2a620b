/*
 * NBD: block status of an export
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "block/export/nbd/nbd-int.h"

/* Maximum number of extents in an answer. Clients then ask for the rest. */
#define MAX_EXTENTS 4096
/* Bytes of an extent on the wire: length and flags. */
#define EXTENT_SIZE 8

typedef struct Extent {
    uint32_t len;
    uint32_t flags;
} Extent;

static uint32_t extent_flags(int context, int status)
{
    if (context == NBD_CONTEXT_DEPTH) {
        return status & BDRV_BLOCK_ALLOCATED ? 1 : 0;
    }
    return (status & BDRV_BLOCK_DATA ? 0 : NBD_STATE_HOLE) | (status & BDRV_BLOCK_ZERO ? NBD_STATE_ZERO : 0);
}

/* Get the extents of the range, with equal neighbours joined; -errno if they are unknown. */
static int coroutine_fn status_get_extents(const NBDRequest *req, int context, GArray *extents)
{
    unsigned max = req->flags & NBD_CMD_FLAG_REQ_ONE ? 1 : MAX_EXTENTS;
    uint32_t done = 0;

    while (done < req->len) {
        int64_t n;
        int ret = blk_co_block_status(req->client->exp->common.blk, req->offset + done, req->len - done, &n);

        if (ret < 0) {
            return ret;
        }
        if (n == 0) {
            /* The node has shrunk meanwhile. */
            break;
        }
        Extent e = { .len = n, .flags = extent_flags(context, ret) };
        Extent *last = extents->len ? &g_array_index(extents, Extent, extents->len - 1) : NULL;
        if (last && last->flags == e.flags) {
            last->len += e.len;
        } else if (extents->len == max) {
            break;
        } else {
            g_array_append_val(extents, e);
        }
        done += n;
    }
    return extents->len ? 0 : -EINVAL;
}

static void coroutine_fn status_send_extents(const NBDRequest *req, int context, const GArray *extents, bool last)
{
    size_t len = 4 + extents->len * EXTENT_SIZE;
    g_autofree uint8_t *buf = g_malloc(len);
    uint8_t *p = nbd_put32(buf, context);

    for (guint i = 0; i < extents->len; i++) {
        const Extent *e = &g_array_index(extents, Extent, i);

        p = nbd_put32(nbd_put32(p, e->len), e->flags);
    }
    nbd_reply_chunk(req, last, NBD_REPLY_TYPE_BLOCK_STATUS, buf, len);
}

/* Send one chunk for each context that the client has chosen. */
void coroutine_fn nbd_reply_block_status(const NBDRequest *req)
{
    unsigned contexts = req->client->contexts;

    for (int i = 0; i < NBD_CONTEXT__MAX; i++) {
        g_autoptr(GArray) extents = g_array_new(FALSE, FALSE, sizeof(Extent));

        if (!(contexts & 1U << i)) {
            continue;
        }
        int ret = status_get_extents(req, i, extents);
        if (ret < 0) {
            nbd_reply_error(req, ret);
            return;
        }
        contexts &= ~(1U << i);
        status_send_extents(req, i, extents, contexts == 0);
    }
}
