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

/* Add an extent, joined with the one before it if they are equal; false if there is no room for it. */
static bool extents_add(GArray *extents, const NBDRequest *req, uint32_t len, uint32_t flags)
{
    Extent *last = extents->len ? &g_array_index(extents, Extent, extents->len - 1) : NULL;
    Extent e = { .len = len, .flags = flags };

    if (last && last->flags == flags) {
        last->len += len;
    } else if (extents->len == (req->flags & NBD_CMD_FLAG_REQ_ONE ? 1 : MAX_EXTENTS)) {
        return false;
    } else {
        g_array_append_val(extents, e);
    }
    return true;
}

/* Get the extents of the range according to the node; -errno if they are unknown. */
static int coroutine_fn status_get_extents(const NBDRequest *req, int context, GArray *extents)
{
    uint32_t done = 0;

    while (done < req->len) {
        int64_t n;
        int ret = blk_co_block_status(req->client->exp->common.blk, req->offset + done, req->len - done, &n);

        if (ret < 0) {
            return ret;
        }
        /* It has no bytes if the node has shrunk meanwhile. */
        if (n == 0 || !extents_add(extents, req, n, extent_flags(context, ret))) {
            break;
        }
        done += n;
    }
    return extents->len ? 0 : -EINVAL;
}

/* The same according to a bitmap. If its node is shorter than that of the export, the rest is dirty. */
static void bitmap_get_extents(const NBDRequest *req, const BdrvDirtyBitmap *bitmap, GArray *extents)
{
    int64_t end = req->offset + req->len, known = MIN(end, bdrv_dirty_bitmap_size(bitmap));
    bool room = true;

    for (int64_t start, bytes, pos = req->offset; room && pos < known; pos = start + bytes) {
        if (!bdrv_dirty_bitmap_next_dirty_area(bitmap, pos, known, known - pos, &start, &bytes)) {
            start = known;
            bytes = 0;
        }
        room = (start == pos || extents_add(extents, req, start - pos, 0)) &&
               (bytes == 0 || extents_add(extents, req, bytes, NBD_STATE_DIRTY));
    }
    if (room && known < end) {
        extents_add(extents, req, end - MAX(known, (int64_t)req->offset), NBD_STATE_DIRTY);
    }
}

static int coroutine_fn context_get_extents(const NBDRequest *req, int context, GArray *extents)
{
    if (context < NBD_CONTEXT_BITMAPS) {
        return status_get_extents(req, context, extents);
    }
    bitmap_get_extents(req, g_ptr_array_index(req->client->exp->bitmaps, context - NBD_CONTEXT_BITMAPS), extents);
    return 0;
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
    uint64_t contexts = req->client->contexts;

    for (int i = 0; contexts; i++) {
        g_autoptr(GArray) extents = g_array_new(FALSE, FALSE, sizeof(Extent));

        if (!(contexts & UINT64_C(1) << i)) {
            continue;
        }
        int ret = context_get_extents(req, i, extents);
        if (ret < 0) {
            nbd_reply_error(req, ret);
            return;
        }
        contexts &= ~(UINT64_C(1) << i);
        status_send_extents(req, i, extents, contexts == 0);
    }
}
