/*
 * qemu-img resize: grow or shrink an image
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include "tools/common/image.h"
#include "tools/common/output.h"
#include "tools/common/progress.h"
#include "tools/img/commands.h"

enum {
    KEY_PREALLOCATION = TOOL_KEY_OWN,
    KEY_SHRINK,
};

typedef struct Resize {
    const char *size;           /* argument: 10G, +1G, -512M */
    PreallocMode prealloc;
    bool shrink;
    BlockBackend *blk;
    int64_t target;             /* bytes */
} Resize;

/* The new length according to @size, or -1 with @errp. */
static int64_t new_length(const char *size, int64_t length, Error **errp)
{
    char sign = *size == '+' || *size == '-' ? *size++ : 0;
    uint64_t bytes;

    if (!tool_parse_size("image size", size, 0, BDRV_MAX_LENGTH, &bytes, errp)) {
        return -1;
    }
    if (sign == '-') {
        if ((int64_t)bytes >= length) {
            error_setg(errp, "New image size must be positive");
            return -1;
        }
        return length - bytes;
    }
    if (sign == '+') {
        if ((int64_t)bytes > BDRV_MAX_LENGTH - length) {
            error_setg(errp, "New image size is too large");
            return -1;
        }
        return length + bytes;
    }
    if (!bytes) {
        error_setg(errp, "New image size must be positive");
        return -1;
    }
    return bytes;
}

/* Determine the new length of @blk, and check that it is allowed. */
static bool coroutine_fn check_resize(BlockBackend *blk, void *opaque, Error **errp)
{
    Resize *r = opaque;
    int64_t length = blk_getlength(blk);

    if (length < 0) {
        error_setg_errno(errp, -length, "Could not determine the size of the image");
        return false;
    }
    r->target = new_length(r->size, length, errp);
    if (r->target < 0) {
        return false;
    }
    if (r->target <= length && r->prealloc != PREALLOC_MODE_OFF) {
        error_setg(errp, "Preallocation can only be used for growing images");
        return false;
    }
    if (r->target < length && !r->shrink) {
        error_setg(errp, "Use the --shrink option to perform a shrink operation.");
        error_append_hint(errp, "Shrinking destroys the data beyond the new end of the image\n");
        return false;
    }
    return true;
}

static bool coroutine_fn resize_job(Job *job, void *opaque, Error **errp)
{
    Resize *r = opaque;

    if (!blk_co_truncate(r->blk, r->target, true, r->prealloc, job, errp)) {
        return false;
    }
    int ret = blk_co_flush(r->blk);
    if (ret < 0) {
        error_setg_errno(errp, -ret, "The image was resized, but could not be flushed");
    }
    return ret == 0;
}

/*
 * Remove a size that looks like an option ("-512M") from @argv, and return it; or NULL. No option is a digit, and none
 * takes a value that begins with a dash and a digit.
 */
static char *take_negative_size(int *argc, char **argv)
{
    for (int i = 1; i < *argc; i++) {
        if (argv[i][0] == '-' && g_ascii_isdigit(argv[i][1])) {
            char *size = argv[i];

            memmove(argv + i, argv + i + 1, (*argc - i) * sizeof(*argv));
            (*argc)--;
            return size;
        }
    }
    return NULL;
}

static bool set_option(Resize *r, int key, const char *value, ToolArgs *args)
{
    g_autoptr(Error) err = NULL;
    int mode;

    if (key == KEY_SHRINK) {
        r->shrink = true;
        return true;
    }
    mode = tool_parse_enum(&qapi_type_PreallocMode, "preallocation mode", value, &err);
    if (mode < 0) {
        tool_args_fail(args, "%s", error_get_pretty(err));
        return false;
    }
    r->prealloc = mode;
    return true;
}

static int coroutine_fn img_resize_run(const ToolCommand *cmd, int argc, char **argv)
{
    g_auto(ToolArgs) args = { .cmd = cmd, .argv = argv };
    Resize r = { .size = take_negative_size(&argc, argv) };
    Error *err = NULL;
    bool ok;
    int c;

    args.argc = argc;
    while ((c = tool_args_next(&args)) != TOOL_ARGS_END) {
        if (!set_option(&r, c, args.value, &args)) {
            return args.status;
        }
    }
    if (!args.stop && args.n_positional != (r.size ? 1 : 2)) {
        tool_args_fail(&args, "Expecting image file name and size");
    }
    if (args.stop) {
        return args.status;
    }
    if (!r.size) {
        r.size = args.positional[1];
    }
    ToolImage image = {
        .name = args.positional[0],
        .image_opts = args.image_opts,
        .header = args.header,
        .key_secret = args.key_secret,
        .format = args.format,
        .perm = BLK_PERM_WRITE | BLK_PERM_RESIZE,
        .shared_perm = BLK_PERM_CONSISTENT_READ,
        .check = check_resize,
        .opaque = &r,
    };

    r.blk = tool_image_open(&image, &err);
    ok = r.blk && check_resize(r.blk, &r, &err) &&
         tool_run_job(JOB_TYPE_AMEND, resize_job, &r, args.progress && !args.quiet, &err);
    blk_co_unref(r.blk);
    if (!ok) {
        error_report_err(err);
        return 1;
    }
    if (!args.quiet) {
        printf("Image resized.\n");
    }
    return 0;
}

static const ToolOption img_resize_options[] = {
    TOOL_OPTION_FORMAT,
    TOOL_OPTION_IMAGE_OPTS,
    TOOL_OPTION_HEADER,
    TOOL_OPTIONS_KEY_FILE,
    TOOL_OPTION_OBJECT,
    TOOL_OPTION_PROGRESS,
    TOOL_OPTION_QUIET,
    { 0, "preallocation", "PREALLOC", "how to allocate the new space: off (default), falloc or full",
      KEY_PREALLOCATION },
    { 0, "shrink", NULL, "allow the image to shrink, which discards the data at its end", KEY_SHRINK },
    { 0 }
};

const ToolCommand img_resize = {
    .name = "resize",
    .args = "FILE [+|-]SIZE",
    .min_args = 1,
    .max_args = 2,
    .summary = "grow or shrink an image",
    .description =
        "SIZE is the new usable size; with a sign, the difference. Partitions and file systems inside do not\n"
        "follow: grow them afterwards, shrink them before.",
    .examples =
        "  qemu-img resize -f raw disk.img 20G\n"
        "  qemu-img resize --object secret,id=s0,file=pw --image-opts \\\n"
        "      driver=luks,key-secret=s0,file.filename=disk.luks +5G",
    .options = img_resize_options,
    .run = img_resize_run,
};
