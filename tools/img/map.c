/*
 * qemu-img map: show which parts of an image hold data, and where
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include "tools/common/image.h"
#include "tools/common/output.h"
#include "tools/img/commands.h"

typedef struct Map {
    bool json;
    uint64_t start;
    uint64_t max_bytes;
    MapEntry entry;     /* being merged; length 0: none yet */
    BlockDriverState *file; /* file with the data of @entry, if that has an offset */
    bool any;           /* an entry was printed */
} Map;

static const char *json_bool(bool value)
{
    return value ? "true" : "false";
}

/* One line per entry, as in QEMU, since lists are long. */
static void print_json(const MapEntry *e)
{
    printf("{ \"start\": %" PRId64 ", \"length\": %" PRId64 ", \"depth\": %" PRId64 ", \"present\": %s, "
           "\"zero\": %s, \"data\": %s, \"compressed\": %s", e->start, e->length, e->depth,
           json_bool(e->present), json_bool(e->zero), json_bool(e->data), json_bool(e->compressed));
    if (e->has_offset) {
        printf(", \"offset\": %" PRId64, e->offset);
    }
    printf("}");
}

static bool print_entry(Map *map, Error **errp)
{
    const MapEntry *e = &map->entry;

    if (map->json) {
        printf("%s", map->any ? ",\n" : "");
        print_json(e);
        map->any = true;
    } else if (e->data && !e->has_offset) {
        error_setg(errp, "File contains external, encrypted or compressed clusters.");
        return false;
    } else if (e->data && !e->zero) {
        g_autofree char *filename = map->file ? bdrv_get_filename(map->file) : NULL;

        printf("%#-16" PRIx64 "%#-16" PRIx64 "%#-16" PRIx64 "%s\n", e->start, e->length, e->offset,
               filename ?: "");
    }
    return true;
}

static bool map_entry_mergeable(const Map *map, const MapEntry *b, const BlockDriverState *file)
{
    const MapEntry *a = &map->entry;

    return a->zero == b->zero && a->data == b->data && a->has_offset == b->has_offset &&
           map->file == file && (!a->has_offset || a->offset + a->length == b->offset);
}

static int coroutine_fn map_query_entry(BlockDriverState *bs, int64_t start, int64_t bytes, MapEntry *e,
                                        BlockDriverState **file)
{
    int64_t n, offset;
    int ret = bdrv_co_block_status(bs, start, bytes, &n, &offset, file);

    if (ret < 0) {
        return ret;
    }
    *e = (MapEntry){
        .start = start,
        .length = n,
        .data = ret & BDRV_BLOCK_DATA,
        .zero = ret & BDRV_BLOCK_ZERO,
        .present = true,        /* there are no backing files */
        .has_offset = ret & BDRV_BLOCK_OFFSET_VALID,
        .offset = ret & BDRV_BLOCK_OFFSET_VALID ? offset : 0,
    };
    if (!e->has_offset) {
        *file = NULL;
    }
    return 0;
}

static bool coroutine_fn map_image(Map *map, BlockBackend *blk, Error **errp)
{
    int64_t length = blk_getlength(blk);
    int64_t end = map->start < (uint64_t)length ? map->start + MIN(map->max_bytes, length - map->start)
                                                : map->start;

    map->entry.start = map->start;
    printf("%s", map->json ? "[" : "Offset          Length          Mapped to       File\n");
    for (int64_t at = map->start; at < end; ) {
        MapEntry next;
        BlockDriverState *file;
        int ret = map_query_entry(blk_bs(blk), at, end - at, &next, &file);

        if (ret < 0) {
            error_setg_errno(errp, -ret, "Failed to read image metadata");
            return false;
        }
        at += next.length;
        if (map->entry.length && map_entry_mergeable(map, &next, file)) {
            map->entry.length += next.length;
            continue;
        }
        if (map->entry.length && !print_entry(map, errp)) {
            return false;
        }
        map->entry = next;
        map->file = file;
    }
    if (!print_entry(map, errp)) {
        return false;
    }
    printf("%s", map->json ? "]\n" : "");
    return true;
}

static int coroutine_fn img_map_run(const ToolCommand *cmd, int argc, char **argv)
{
    g_auto(ToolArgs) args = { .cmd = cmd, .argc = argc, .argv = argv };
    Map map = { .max_bytes = BDRV_MAX_LENGTH };
    BlockBackend *blk;
    Error *err = NULL;
    bool ok;
    int c;

    while ((c = tool_args_next(&args)) != TOOL_ARGS_END) {
        if (!(c == 's' ? tool_parse_size("start offset", args.value, 0, BDRV_MAX_LENGTH, &map.start, &err)
                       : tool_parse_size("max length", args.value, 0, BDRV_MAX_LENGTH, &map.max_bytes, &err))) {
            error_report_err(err);
            return 1;
        }
    }
    if (args.stop) {
        return args.status;
    }
    map.json = args.json;
    ToolImage image = {
        .name = args.positional[0],
        .image_opts = args.image_opts,
        .header = args.header,
        .key_secret = args.key_secret,
        .format = args.format,
        .force_share = args.force_share,
        .perm = BLK_PERM_CONSISTENT_READ,
        .shared_perm = BLK_PERM_CONSISTENT_READ | BLK_PERM_WRITE_UNCHANGED,
    };
    blk = tool_image_open(&image, &err);
    ok = blk && map_image(&map, blk, &err);
    blk_co_unref(blk);
    if (!ok) {
        error_report_err(err);
    }
    return !ok;
}

static const ToolOption img_map_options[] = {
    TOOL_OPTION_FORMAT,
    TOOL_OPTION_IMAGE_OPTS,
    TOOL_OPTION_HEADER,
    TOOL_OPTIONS_KEY_FILE,
    TOOL_OPTION_OBJECT,
    TOOL_OPTION_OUTPUT,
    TOOL_OPTION_FORCE_SHARE,
    { 's', "start-offset", "OFFSET", "start at this offset", 's' },
    { 'l', "max-length", "LENGTH", "stop after this many bytes", 'l' },
    { 0 }
};

const ToolCommand img_map = {
    .name = "map",
    .args = "FILE",
    .min_args = 1,
    .max_args = 1,
    .summary = "show which parts of an image hold data",
    .description =
        "The human format lists data only, and its offset in the file below. JSON lists all extents, with an offset\n"
        "if the data is in a file as it is (not for encrypted images).",
    .examples =
        "  qemu-img map --output json -f raw disk.img",
    .options = img_map_options,
    .run = img_map_run,
};
