/*
 * qemu-img check: look whether an image's metadata is sound
 *
 * Of LUKS that is every field of the header, and that header, key material and payload are within the volume.
 * No password is needed, so the keys themselves are not tried. A raw image has no metadata to check.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include "block/block_int.h"
#include "crypto/luks.h"
#include "tools/common/image.h"
#include "tools/common/output.h"
#include "tools/img/commands.h"

enum {
    EXIT_OK = 0,
    EXIT_NOT_CHECKED = 1,
    EXIT_CORRUPT = 2,
    EXIT_NOT_SUPPORTED = 63,
};

static BlockBackend *coroutine_fn open_image(const ToolArgs *args, bool damaged, Error **errp)
{
    ToolImage image = {
        .name = args->positional[0],
        .image_opts = args->image_opts,
        .format = args->format,
        .cache = args->source_cache,
        .shared_perm = BLK_PERM_ALL,
        .force_share = args->force_share,
        .no_io = true,
        .damaged = damaged,
    };

    return tool_image_open(&image, errp);
}

/* The byte behind the last one in use: payloads take the whole of what is below them. */
static int64_t image_end(BlockDriverState *bs)
{
    return bdrv_getlength(bdrv_protocol_node(bs));
}

static void print_check(const ImageCheck *check, const ToolArgs *args, const char *corruption)
{
    if (args->json) {
        tool_print_qapi(&qapi_type_ImageCheck, check);
    } else if (corruption) {
        fprintf(stderr, "ERROR: %s\n", corruption);
        printf("\n1 errors were found on the image.\n"
               "Data may be corrupted, or further writes to the image may corrupt it.\n");
    } else if (!args->quiet) {
        printf("No errors were found on the image.\n");
        printf("Image end offset: %" PRId64 "\n", check->image_end_offset);
    }
}

static int coroutine_fn check_open_image(BlockBackend *blk, const ToolArgs *args, const char *corruption)
{
    BlockDriverState *bs = blk_bs(blk);
    g_autoptr(ImageCheck) check = g_new0(ImageCheck, 1);

    if (bs->options->driver != BLOCKDEV_DRIVER_LUKS) {
        error_report("This image format does not support checks");
        return EXIT_NOT_SUPPORTED;
    }
    check->filename = g_strdup(args->positional[0]);
    check->format = g_strdup(bdrv_get_format_name(bs));
    check->has_image_end_offset = true;
    check->image_end_offset = image_end(bs);
    check->has_corruptions = corruption;
    check->corruptions = corruption ? 1 : 0;
    print_check(check, args, corruption);
    return corruption ? EXIT_CORRUPT : EXIT_OK;
}

static int coroutine_fn img_check_run(const ToolCommand *cmd, int argc, char **argv)
{
    g_auto(ToolArgs) args = { .cmd = cmd, .argc = argc, .argv = argv };
    g_autoptr(Error) err = NULL;
    BlockBackend *blk;
    int c, status;

    while ((c = tool_args_next(&args)) != TOOL_ARGS_END) {
        if (c == 'r' && !g_str_equal(args.value, "leaks") && !g_str_equal(args.value, "all")) {
            tool_args_fail(&args, "-r takes 'leaks' or 'all', not '%s'", args.value);
        }
    }
    if (args.stop) {
        return args.status;
    }
    blk = open_image(&args, false, &err);
    if (!blk) {
        /* Where it opens when damage is forgiven, damage is what there was. */
        blk = open_image(&args, true, NULL);
        if (!blk) {
            error_report_err(g_steal_pointer(&err));
            return EXIT_NOT_CHECKED;
        }
    }
    status = check_open_image(blk, &args, err ? error_get_pretty(err) : NULL);
    blk_co_unref(blk);
    return status;
}

static const ToolOption img_check_options[] = {
    TOOL_OPTION_FORCE_SHARE,
    TOOL_OPTION_FORMAT,
    TOOL_OPTION_IMAGE_OPTS,
    TOOL_OPTION_OBJECT,
    TOOL_OPTION_OUTPUT,
    TOOL_OPTION_QUIET,
    { 'r', "repair", "leaks|all", "accepted for compatibility: no format here can be repaired by itself", 'r' },
    { 'T', "source-cache", "CACHE", "cache mode of the image, as -t of other commands", TOOL_KEY_SOURCE_CACHE },
    { 0 }
};

const ToolCommand img_check = {
    .name = "check",
    .args = "FILE",
    .min_args = 1,
    .max_args = 1,
    .summary = "look whether an image's metadata is sound",
    .description =
        "Of LUKS all fields of the header are checked; no password is needed. Exit status: 0 no errors, 1 it could\n"
        "not be checked, 2 errors were found, 3 (formats that can have leaks) leaks, 63 the format has no checks.",
    .examples = "  qemu-img check --output json disk.luks",
    .options = img_check_options,
    .run = img_check_run,
};
