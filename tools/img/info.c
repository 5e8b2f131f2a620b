/*
 * qemu-img info: show information about an image, without its password
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include <json-c/json.h>

#include "qapi/json.h"
#include "tools/common/image.h"
#include "tools/common/output.h"
#include "tools/img/commands.h"

enum {
    KEY_BACKING_CHAIN = TOOL_KEY_OWN,
    KEY_LIMITS,
};

static void print_line(int indent, const char *name, const char *value)
{
    printf("%*s%s: %s\n", indent, "", name, value);
}

static void print_specific(const ImageInfoSpecific *specific, int indent)
{
    g_autoptr(json_object) json = qapi_to_json(&qapi_type_ImageInfoSpecific, specific);
    struct json_object *data;

    if (json_object_object_get_ex(json, "data", &data) && json_object_object_length(data)) {
        printf("%*sFormat specific information:\n", indent, "");
        tool_print_human(data, indent + 4);
    }
}

static void print_node(const BlockGraphInfo *info, int indent)
{
    bool protocol = !info->children || !info->children->n;
    g_autofree char *length = tool_size_and_bytes(info->virtual_size);
    g_autofree char *on_disk = info->has_actual_size ? tool_size_to_str(info->actual_size)
                                                     : g_strdup("unavailable");

    print_line(indent, protocol ? "filename" : "image", info->filename);
    print_line(indent, protocol ? "protocol type" : "file format", info->format);
    if (info->signature) {
        print_line(indent, "signature", info->signature);
    }
    print_line(indent, protocol ? "file length" : "virtual size", length);
    print_line(indent, "disk size", on_disk);
    if (info->has_encrypted && info->encrypted) {
        print_line(indent, "encrypted", "yes");
    }
    if (info->limits) {
        g_autoptr(json_object) json = qapi_to_json(&qapi_type_BlockLimitsInfo, info->limits);

        printf("%*sBlock limits:\n", indent, "");
        tool_print_human(json, indent + 4);
    }
    if (info->format_specific) {
        print_specific(info->format_specific, indent);
    }
}

static void print_graph(const BlockGraphInfo *info, int indent, const char *path)
{
    print_node(info, indent);
    for (size_t i = 0; info->children && i < info->children->n; i++) {
        const BlockChildInfo *child = info->children->items[i];
        g_autofree char *child_path = g_strdup_printf("%s%s/", path, child->name);

        printf("%*sChild node '%s%s':\n", indent, "", path, child->name);
        print_graph(child->info, indent + 4, child_path);
    }
}

/* Remove limits, which are shown only with --limits. */
static void drop_limits(BlockGraphInfo *info)
{
    g_clear_pointer(&info->limits, qapi_free_BlockLimitsInfo);
    for (size_t i = 0; info->children && i < info->children->n; i++) {
        drop_limits(info->children->items[i]->info);
    }
}

/* --backing-chain turns the output into a list of one image, since no format here has backing files. */
static void print_info(const BlockGraphInfo *info, bool json, bool chain)
{
    if (json) {
        struct json_object *one = qapi_to_json(&qapi_type_BlockGraphInfo, info);
        g_autoptr(json_object) all = one;

        if (chain) {
            all = json_object_new_array();
            json_object_array_add(all, one);
        }
        tool_print_json(all);
    } else {
        print_graph(info, 0, "/");
    }
}

static int coroutine_fn img_info_run(const ToolCommand *cmd, int argc, char **argv)
{
    g_auto(ToolArgs) args = { .cmd = cmd, .argc = argc, .argv = argv };
    g_autoptr(BlockGraphInfo) info = NULL;
    Error *err = NULL;
    bool limits = false, chain = false;
    BlockBackend *blk;
    int c;

    while ((c = tool_args_next(&args)) != TOOL_ARGS_END) {
        limits |= c == KEY_LIMITS;
        chain |= c == KEY_BACKING_CHAIN;
    }
    if (args.stop) {
        return args.status;
    }
    ToolImage image = {
        .name = args.positional[0],
        .image_opts = args.image_opts,
        .header = args.header,
        .format = args.format,
        .shared_perm = BLK_PERM_ALL,
        .force_share = args.force_share,
        .no_io = true,
        .describe = true,
    };

    blk = tool_image_open(&image, &err);
    if (!blk) {
        error_report_err(err);
        return 1;
    }
    info = bdrv_query_graph_info(blk_bs(blk));
    blk_co_unref(blk);
    if (!limits) {
        drop_limits(info);
    }
    print_info(info, args.json, chain);
    return 0;
}

static const ToolOption img_info_options[] = {
    TOOL_OPTION_FORCE_SHARE,
    TOOL_OPTION_FORMAT,
    TOOL_OPTION_IMAGE_OPTS,
    TOOL_OPTION_HEADER,
    TOOL_OPTIONS_NO_KEY_FILE,
    TOOL_OPTION_OBJECT,
    TOOL_OPTION_OUTPUT,
    { 0, "backing-chain", NULL, "print a list, as for a chain of backing files", KEY_BACKING_CHAIN },
    { 0, "limits", NULL, "also show the limits of requests", KEY_LIMITS },
    { 0 }
};

const ToolCommand img_info = {
    .name = "info",
    .args = "FILE",
    .min_args = 1,
    .max_args = 1,
    .summary = "show information about an image (-U: in use)",
    .description =
        "For an encrypted image that is the format, the size, the cipher and the keyslots; no password is\n"
        "needed.",
    .examples =
        "  qemu-img info disk.luks\n"
        "  qemu-img info --output json -U disk.luks",
    .options = img_info_options,
    .run = img_info_run,
};
