/*
 * qemu-img dd: copy a part of an image
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include "tools/common/image.h"
#include "tools/common/output.h"
#include "tools/img/commands.h"
#include "tools/img/copy-target.h"

typedef struct Dd {
    const char *input;
    const char *output;         /* NULL: standard output */
    uint64_t block_bytes;
    uint64_t count;             /* blocks */
    uint64_t skip;              /* blocks */
} Dd;

static bool take_operand(Dd *dd, const char *operand, Error **errp)
{
    const char *equals = strchr(operand, '=');
    g_autofree char *name = equals ? g_strndup(operand, equals - operand) : g_strdup(operand);
    const char *value = equals ? equals + 1 : NULL;

    if (value && g_str_equal(name, "if")) {
        dd->input = value;
    } else if (value && g_str_equal(name, "of")) {
        dd->output = value;
    } else if (value && g_str_equal(name, "bs")) {
        return tool_parse_size("bs", value, 1, INT_MAX, &dd->block_bytes, errp);
    } else if (value && g_str_equal(name, "count")) {
        return tool_parse_size("count", value, 0, INT64_MAX, &dd->count, errp);
    } else if (value && g_str_equal(name, "skip")) {
        return tool_parse_size("skip", value, 0, INT64_MAX, &dd->skip, errp);
    } else {
        g_autofree char *guess = tool_guess_word("if|of|bs|count|skip", name);

        error_setg(errp, "unrecognized operand %s%s", name, guess);
        return false;
    }
    return true;
}

/* @blocks in bytes, at most @max. */
static int64_t blocks_to_bytes(const Dd *dd, uint64_t blocks, int64_t max)
{
    return blocks > max / dd->block_bytes ? max : (int64_t)(blocks * dd->block_bytes);
}

/* The part of the image @blk to copy. */
static ImgSegment segment_of(const Dd *dd, BlockBackend *blk)
{
    int64_t length = blk_getlength(blk);
    ImgSegment part = { .blk = blk, .offset = blocks_to_bytes(dd, dd->skip, length) };

    part.bytes = blocks_to_bytes(dd, dd->count, length - part.offset);
    return part;
}

typedef struct OutputCheck {
    const Dd *dd;
    const ImgCopyTarget *target;
} OutputCheck;

static bool coroutine_fn check_output(BlockBackend *input, void *opaque, Error **errp)
{
    const OutputCheck *check = opaque;
    const ImgSegment part = segment_of(check->dd, input);
    const ImgCopy copy = { .segments = &part, .n_segments = 1 };

    return img_copy_check_new(&copy, check->target, errp);
}

static bool coroutine_fn dd(const Dd *dd, const ToolArgs *args, ImgSegment *part, Error **errp)
{
    const ImgCopyTarget target = {
        .filename = dd->output ?: "/dev/stdout",
        .format = args->target_format ?: "raw",
        .key_secret = args->new_key_secret,
    };
    OutputCheck check = { .dd = dd, .target = &target };
    ToolImage input = {
        .name = dd->input,
        .image_opts = args->image_opts,
        .header = args->header,
        .key_secret = args->key_secret,
        .format = args->format,
        .force_share = args->force_share,
        .perm = BLK_PERM_CONSISTENT_READ,
        .shared_perm = BLK_PERM_CONSISTENT_READ | BLK_PERM_WRITE_UNCHANGED,
        .check = check_output,
        .opaque = &check,
    };
    ImgCopy copy = {
        .segments = part,
        .n_segments = 1,
        .sparse_bytes = IMG_COPY_SPARSE_BYTES,
        .coroutines = IMG_COPY_COROUTINES,
    };
    BlockBackend *blk = tool_image_open(&input, errp);
    if (!blk) {
        return false;
    }
    *part = segment_of(dd, blk);
    if (part->offset == blk_getlength(blk) && dd->skip) {
        warn_report("%s: cannot skip to specified offset", dd->input);
    }
    return img_copy_to_new(&copy, &target, errp);
}

static int coroutine_fn img_dd_run(const ToolCommand *cmd, int argc, char **argv)
{
    g_auto(ToolArgs) args = { .cmd = cmd, .argc = argc, .argv = argv };
    Dd opts = { .block_bytes = 512, .count = INT64_MAX };
    ImgSegment part = { 0 };
    Error *err = NULL;
    bool ok = true;

    tool_args_next(&args);      /* all options are common ones */
    if (args.stop) {
        return args.status;
    }
    for (int i = 0; ok && i < args.n_positional; i++) {
        ok = take_operand(&opts, args.positional[i], &err);
    }
    if (ok && !opts.input) {
        error_setg(&err, "Must specify an input file: if=FILE");
        ok = false;
    }
    ok = ok && dd(&opts, &args, &part, &err);
    blk_co_unref(part.blk);
    if (!ok) {
        error_report_err(err);
    }
    return !ok;
}

static const ToolOption img_dd_options[] = {
    TOOL_OPTION_FORMAT_OF("format of the input (default: probed)"),
    TOOL_OPTION_TARGET_FORMAT('O', "output-format", "format of the output (default: raw)"),
    TOOL_OPTION_IMAGE_OPTS,
    { 0, "header", "HEADER", "file or device that holds the detached LUKS header of the input", TOOL_KEY_HEADER },
    TOOL_OPTIONS_KEY_FILE_OF("read the password of the input from this file; - for standard input"),
    TOOL_OPTION_NEW_KEY_FILE("the same for the output"),
    TOOL_OPTION_OBJECT,
    TOOL_OPTION_FORCE_SHARE,
    { 0 }
};

const ToolCommand img_dd = {
    .name = "dd",
    .args = "if=FILE [of=FILE] [bs=BYTES] [count=BLOCKS] [skip=BLOCKS]",
    .min_args = 0,
    .max_args = -1,
    .summary = "copy part of an image",
    .description =
        "Skips SKIP blocks of BS bytes (default: 512) and copies COUNT blocks, or the rest, to a new image. Standard\n"
        "output (without of=), pipes and sockets receive raw bytes.",
    .examples =
        "  qemu-img dd if=disk.img of=first.img bs=1M count=100\n"
        "  qemu-img dd -f raw -O raw if=disk.img bs=64k | gzip > disk.gz",
    .options = img_dd_options,
    .run = img_dd_run,
};
