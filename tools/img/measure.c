/*
 * qemu-img measure: calculate the space that a new image needs
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include "tools/common/image.h"
#include "tools/common/output.h"
#include "tools/img/commands.h"
#include "tools/img/new-image.h"

/* Open the metadata of the image to copy: its length and its encryption matter. */
static BlockBackend *coroutine_fn measure_open_source(const ToolArgs *args, Error **errp)
{
    ToolImage source = {
        .name = args->positional[0],
        .image_opts = args->image_opts,
        .header = args->header,
        .format = args->format,
        .force_share = args->force_share,
        .shared_perm = BLK_PERM_ALL,
        .no_io = true,
    };

    return tool_image_open(&source, errp);
}

static bool coroutine_fn measure(NewImage *image, const ToolArgs *args, Error **errp)
{
    BlockBackend *source = NULL;

    if (args->n_positional) {
        source = measure_open_source(args, errp);
        if (!source) {
            return false;
        }
        image->source = blk_bs(source);
        image->bytes = blk_getlength(source);
        image->has_bytes = true;
    }
    bool ok = new_image_parse(image, args->options, errp);
    blk_co_unref(source);
    g_autoptr(BlockMeasureInfo) info = ok ? new_image_measure(image, errp) : NULL;
    if (!info) {
        return false;
    }
    if (args->json) {
        tool_print_qapi(&qapi_type_BlockMeasureInfo, info);
    } else {
        printf("required size: %" PRId64 "\n", info->required);
        printf("fully allocated size: %" PRId64 "\n", info->fully_allocated);
    }
    return true;
}

static int coroutine_fn img_measure_run(const ToolCommand *cmd, int argc, char **argv)
{
    g_auto(ToolArgs) args = { .cmd = cmd, .argc = argc, .argv = argv };
    g_auto(NewImage) image = { 0 };
    bool ok = true;
    Error *err = NULL;
    int c;

    while (ok && (c = tool_args_next(&args)) != TOOL_ARGS_END) {
        if (c == 's') {
            ok = tool_parse_size("image size", args.value, 0, BDRV_MAX_LENGTH, &image.bytes, &err);
            image.has_bytes = true;
        } else {
            error_setg(&err, "Internal snapshots not supported for this file format");
            ok = false;
        }
    }
    if (args.stop) {
        return args.status;
    }
    image.format = args.target_format ?: cmd->default_format;
    if (ok && image.has_bytes && args.n_positional) {
        error_setg(&err, "--size N cannot be used together with a filename.");
        ok = false;
    } else if (ok && !image.has_bytes && !args.n_positional) {
        error_setg(&err, "Either --size N or one filename must be specified.");
        ok = false;
    } else {
        ok = ok && measure(&image, &args, &err);
    }
    if (!ok) {
        error_report_err(err);
    }
    return !ok;
}

static const ToolOption img_measure_options[] = {
    { 's', "size", "SIZE", "size of the new image, instead of FILE", 's' },
    TOOL_OPTION_FORMAT_OF("format of FILE (default: probed)"),
    { 0, "source-format", "FMT", NULL, TOOL_KEY_FORMAT },
    TOOL_OPTION_IMAGE_OPTS,
    { 0, "source-image-opts", NULL, NULL, TOOL_KEY_IMAGE_OPTS },
    TOOL_OPTION_TARGET_FORMAT('O', "target-format", "format of the new image: raw (default) or luks"),
    TOOL_OPTION_OPTIONS,
    { 0, "target-format-options", "OPTS", NULL, TOOL_KEY_OPTIONS },
    TOOL_OPTION_HEADER,
    TOOL_OPTIONS_NO_KEY_FILE,
    TOOL_OPTION_OBJECT,
    TOOL_OPTION_OUTPUT,
    TOOL_OPTION_FORCE_SHARE,
    { 'l', "snapshot", "SNAPSHOT", NULL, 'l' },
    { 0 }
};

const ToolCommand img_measure = {
    .name = "measure",
    .args = "[FILE]",
    .min_args = 0,
    .max_args = 1,
    .summary = "calculate the space that a new image needs",
    .description =
        "The new image is a copy of FILE, or has the size that --size gives. No password is needed.",
    .examples =
        "  qemu-img measure -O luks --size 10G\n"
        "  qemu-img measure --output json -O raw disk.luks",
    .options = img_measure_options,
    .options_type = new_image_options_type,
    .default_format = "raw",
    .run = img_measure_run,
};
