/*
 * What there is to know about a node, as qemu-img info and QMP show it
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "block/block_int.h"
#include "block/dirty-bitmap.h"
#include "block/ops/signature.h"
#include "qapi/qapi.h"

static BlockLimitsInfo *limits_info(const BlockLimits *bl)
{
    BlockLimitsInfo *info = g_new0(BlockLimitsInfo, 1);

#define OPTIONAL(to, from)              \
    do {                                \
        info->has_##to = (from) != 0;   \
        info->to = (from);              \
    } while (0)

    info->request_alignment = bl->request_alignment;
    OPTIONAL(max_discard, bl->max_pdiscard);
    OPTIONAL(discard_alignment, bl->pdiscard_alignment);
    OPTIONAL(max_write_zeroes, bl->max_pwrite_zeroes);
    OPTIONAL(write_zeroes_alignment, bl->pwrite_zeroes_alignment);
    OPTIONAL(opt_transfer, bl->opt_transfer);
    OPTIONAL(max_transfer, bl->max_transfer);
#undef OPTIONAL
    info->max_iov = bl->max_iov;
    info->min_mem_alignment = bl->min_mem_alignment;
    info->opt_mem_alignment = bl->opt_mem_alignment;
    return info;
}

ImageInfoSpecific *bdrv_get_specific_info(BlockDriverState *bs)
{
    return bs->drv->bdrv_get_specific_info ? bs->drv->bdrv_get_specific_info(bs) : NULL;
}

static void coroutine_fn fill_node_info(BlockDriverState *bs, BlockNodeInfo *info)
{
    int64_t actual_size = bdrv_co_get_allocated_file_size(bs);

    info->filename = bdrv_get_filename(bs);
    info->format = g_strdup(bdrv_get_format_name(bs));
    info->virtual_size = bdrv_getlength(bs);
    info->has_actual_size = actual_size >= 0;
    info->actual_size = actual_size;
    /* QEMU shows it for every driver that has any information. */
    info->has_dirty_flag = true;
    if (bdrv_is_encrypted(bs)) {
        info->has_encrypted = true;
        info->encrypted = true;
    }
    info->limits = limits_info(&bs->bl);
    info->format_specific = bdrv_get_specific_info(bs);
}

ImageInfo *coroutine_fn bdrv_query_image_info(BlockDriverState *bs)
{
    ImageInfo *info = g_new0(ImageInfo, 1);

    fill_node_info(bs, qapi_ImageInfo_base(info));
    return info;
}

BlockGraphInfo *coroutine_fn bdrv_query_graph_info(BlockDriverState *bs)
{
    BlockGraphInfo *info = g_new0(BlockGraphInfo, 1);

    fill_node_info(bs, qapi_BlockGraphInfo_base(info));
    if (bs->drv->driver == BLOCKDEV_DRIVER_RAW) {
        info->signature = bdrv_format_signature(bs);
    }
    info->children = g_new0(BlockChildInfoList, 1);
    for (guint i = 0; i < bs->children->len; i++) {
        BdrvChild *child = g_ptr_array_index(bs->children, i);
        BlockChildInfo *child_info = g_new0(BlockChildInfo, 1);

        child_info->name = g_strdup(child->name);
        child_info->info = bdrv_query_graph_info(child->bs);
        QAPI_LIST_APPEND(info->children, child_info);
    }
    return info;
}

static BlockdevChildList *child_list(const BlockDriverState *bs)
{
    BlockdevChildList *list = g_new0(BlockdevChildList, 1);

    for (guint i = 0; i < bs->children->len; i++) {
        const BdrvChild *c = g_ptr_array_index(bs->children, i);
        BlockdevChild *child = g_new0(BlockdevChild, 1);

        child->child = g_strdup(c->name);
        child->node_name = g_strdup(c->bs->node_name);
        QAPI_LIST_APPEND(list, child);
    }
    return list;
}

BlockDeviceInfo *coroutine_fn bdrv_block_device_info(BlockDriverState *bs)
{
    BlockDeviceInfo *info = g_new0(BlockDeviceInfo, 1);
    const BlockdevCacheOptions *cache = bs->options->cache;

    info->file = bdrv_get_filename(bs);
    info->node_name = g_strdup(bs->node_name);
    info->ro = bs->read_only;
    info->drv = g_strdup(bdrv_get_format_name(bs));
    info->children = child_list(bs);
    info->active = !bs->inactive;
    info->encrypted = bdrv_is_encrypted(bs);
    info->detect_zeroes = bs->detect_zeroes;
    info->image = bdrv_query_image_info(bs);
    info->cache = g_new0(BlockdevCacheInfo, 1);
    info->cache->writeback = true;
    info->cache->direct = cache && cache->has_direct && cache->direct;
    info->cache->no_flush = bs->no_flush;
    info->write_threshold = bdrv_get_write_threshold(bs);
    info->dirty_bitmaps = bdrv_query_dirty_bitmaps(bs);
    return info;
}

BlockStats *bdrv_query_bds_stats(BlockDriverState *bs)
{
    BlockStats *s = g_new0(BlockStats, 1);

    s->node_name = g_strdup(bs->node_name);
    s->stats = g_new0(BlockDeviceStats, 1);
    s->stats->wr_highest_offset = bdrv_get_wr_highest_offset(bs);
    s->stats->timed_stats = g_new0(BlockDeviceTimedStatsList, 1);
    if (bs->file) {
        s->parent = bdrv_query_bds_stats(bs->file->bs);
    }
    return s;
}
