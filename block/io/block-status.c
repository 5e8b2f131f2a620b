/*
 * Block status: which parts of a node hold data, which are zero, and where they are
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "block/graph/graph_int.h"
#include "block/io/io_int.h"

/* Ask the driver, or answer for it if it has no callback. */
static int coroutine_fn status_from_driver(BlockDriverState *bs, int64_t offset, int64_t bytes, int64_t *pnum,
                                           int64_t *map, BlockDriverState **file)
{
    *pnum = bytes;
    if (bs->drv->bdrv_co_block_status) {
        return bdrv_driver_block_status(bs, offset, bytes, pnum, map, file);
    }
    if (bs->drv->is_filter) {
        *map = offset;
        *file = bs->file->bs;
        return BDRV_BLOCK_RECURSE | BDRV_BLOCK_OFFSET_VALID;
    }
    return BDRV_BLOCK_DATA | BDRV_BLOCK_ALLOCATED;
}

int coroutine_fn bdrv_co_block_status(BlockDriverState *bs, int64_t offset, int64_t bytes, int64_t *pnum,
                                      int64_t *map, BlockDriverState **file)
{
    int64_t local_map = 0, align = bs->bl.request_alignment;
    BlockDriverState *local_file = NULL;
    int ret = bdrv_check_request(bs, offset, bytes);

    *pnum = 0;
    if (ret < 0) {
        return ret;
    }
    if (bytes == 0) {
        return offset == bs->length ? BDRV_BLOCK_EOF : 0;
    }

    /*
     * The driver is asked about whole blocks; the answer is cut back to the requested range. The child may have smaller
     * blocks.
     */
    int64_t start = ROUND_DOWN(offset, align);
    int64_t end = MIN(ROUND_UP(offset + bytes, align), bs->length);
    bdrv_inc_in_flight(bs);
    ret = bdrv_check_abandoned() ?: status_from_driver(bs, start, end - start, pnum, &local_map, &local_file);
    bdrv_dec_in_flight(bs);
    if (ret < 0) {
        *pnum = 0;
        return ret;
    }
    *pnum = MIN(*pnum - (offset - start), bytes);
    local_map += offset - start;
    if (ret & BDRV_BLOCK_RECURSE) {
        int64_t file_num, file_map, file_bytes = MIN(*pnum, bdrv_getlength(local_file) - local_map);
        BlockDriverState *file_file = NULL;

        int file_ret = bdrv_co_block_status(local_file, local_map, MAX(file_bytes, 0), &file_num, &file_map,
                                            &file_file);
        ret &= ~BDRV_BLOCK_RECURSE;
        if (file_ret >= 0 && file_num > 0) {
            *pnum = file_num;
            ret |= file_ret & (BDRV_BLOCK_ZERO | BDRV_BLOCK_DATA | BDRV_BLOCK_ALLOCATED);
        } else {
            ret |= BDRV_BLOCK_DATA | BDRV_BLOCK_ALLOCATED;
        }
        if (file_ret >= 0 && file_num > 0 && file_ret & BDRV_BLOCK_OFFSET_VALID &&
            ret & BDRV_BLOCK_OFFSET_VALID) {
            local_map = file_map;
            local_file = file_file;
        }
    }
    if (offset + *pnum == bs->length) {
        ret |= BDRV_BLOCK_EOF;
    }
    if (map) {
        *map = local_map;
    }
    if (file) {
        *file = local_file;
    }
    return ret;
}

int64_t coroutine_fn bdrv_co_get_allocated_file_size(BlockDriverState *bs)
{
    int64_t sum = 0;

    if (bs->drv->bdrv_co_get_allocated_file_size) {
        return bs->drv->bdrv_co_get_allocated_file_size(bs);
    }
    if (bs->drv->is_protocol) {
        return -ENOTSUP;
    }
    for (guint i = 0; i < bs->children->len; i++) {
        BdrvChild *child = g_ptr_array_index(bs->children, i);
        int64_t size = bdrv_co_get_allocated_file_size(child->bs);

        if (size < 0) {
            return size;
        }
        sum += size;
    }
    return sum;
}
