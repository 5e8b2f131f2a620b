/*
 * qemu-img compare: compare the contents of two images
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include "tools/common/image.h"
#include "tools/common/progress.h"
#include "tools/common/terminal.h"
#include "tools/img/commands.h"

#define BUFFER_BYTES (2 * MiB)

/* Exit statuses; 0 if the images are identical. */
enum {
    STATUS_DIFFERENT = 1,
    STATUS_OPEN_FAILED = 2,     /* or another error before the comparison */
    STATUS_MAP_FAILED = 3,
    STATUS_READ_FAILED = 4,
};

typedef struct Side {
    const char *name;
    const char *format;         /* NULL: probed */
    char format_letter;         /* option for the format */
    const char *header;
    BlockBackend *blk;
    int64_t length;
    uint8_t *buf;
    int status;                 /* BDRV_BLOCK_* of the next bytes; beyond the end: zero */
    int64_t status_end;         /* end of the bytes with @status */
} Side;

typedef struct Compare {
    Side sides[2];
    bool strict;
    bool quiet;
} Compare;

static void G_GNUC_PRINTF(2, 3) print_result(const Compare *cmp, const char *fmt, ...)
{
    va_list ap;

    tool_progress_end();
    if (!cmp->quiet) {
        va_start(ap, fmt);
        vprintf(fmt, ap);
        va_end(ap);
    }
}

/* Query the block status at @offset of @side, unless it is known; 0 or an exit status. */
static int coroutine_fn side_query_status(Side *side, int64_t offset, int64_t bytes)
{
    int64_t n = bytes;

    if (offset < side->status_end) {
        return 0;
    }
    if (offset >= side->length) {
        side->status = BDRV_BLOCK_ZERO;
    } else {
        side->status = bdrv_co_block_status(blk_bs(side->blk), offset, MIN(bytes, side->length - offset), &n,
                                            NULL, NULL);
    }
    if (side->status < 0) {
        error_report("Sector allocation test failed: '%s' at offset %" PRId64 ": %s", side->name, offset,
                     g_strerror(-side->status));
        return STATUS_MAP_FAILED;
    }
    side->status_end = offset + n;
    return 0;
}

static int coroutine_fn side_read(Side *side, int64_t offset, int64_t bytes)
{
    int ret;

    if (side->status & BDRV_BLOCK_ZERO) {
        memset(side->buf, 0, bytes);
        return 0;
    }
    ret = blk_co_pread(side->blk, offset, bytes, side->buf);
    if (ret < 0) {
        error_report("Error while reading offset %" PRId64 " of %s: %s", offset, side->name, g_strerror(-ret));
        return STATUS_READ_FAILED;
    }
    return 0;
}

/* Offset in the buffers of the first sector that differs; -1 if there is none. */
static int64_t find_difference(const uint8_t *a, const uint8_t *b, int64_t bytes)
{
    if (!memcmp(a, b, bytes)) {
        return -1;
    }
    for (int64_t at = 0;; at += BDRV_SECTOR_SIZE) {
        if (memcmp(a + at, b + at, MIN(BDRV_SECTOR_SIZE, bytes - at))) {
            return at;
        }
    }
}

/* Compare at most *@bytes from @offset on, and set *@bytes to how many; 0 or an exit status. */
static int coroutine_fn compare_range(Compare *cmp, int64_t offset, int64_t *bytes)
{
    Side *a = &cmp->sides[0], *b = &cmp->sides[1];
    int64_t difference;
    int ret;

    if ((ret = side_query_status(a, offset, *bytes)) || (ret = side_query_status(b, offset, *bytes))) {
        return ret;
    }
    *bytes = MIN(a->status_end, b->status_end) - offset;
    if (cmp->strict && (a->status ^ b->status) & (BDRV_BLOCK_DATA | BDRV_BLOCK_ALLOCATED)) {
        print_result(cmp, "Strict mode: Offset %" PRId64 " block status mismatch!\n", offset);
        return STATUS_DIFFERENT;
    }
    if (a->status & b->status & BDRV_BLOCK_ZERO) {
        return 0;
    }
    *bytes = MIN(*bytes, BUFFER_BYTES);
    if ((ret = side_read(a, offset, *bytes)) || (ret = side_read(b, offset, *bytes))) {
        return ret;
    }
    difference = find_difference(a->buf, b->buf, *bytes);
    if (difference >= 0) {
        print_result(cmp, "Content mismatch at offset %" PRId64 "!\n", offset + difference);
        return STATUS_DIFFERENT;
    }
    return 0;
}

static int coroutine_fn compare(Compare *cmp)
{
    int64_t shorter = MIN(cmp->sides[0].length, cmp->sides[1].length);
    int64_t longer = MAX(cmp->sides[0].length, cmp->sides[1].length);
    int ret = 0;

    if (cmp->strict && shorter != longer) {
        print_result(cmp, "Strict mode: Image size mismatch!\n");
        return STATUS_DIFFERENT;
    }
    for (int64_t offset = 0, n; ret == 0 && offset < longer; offset += n) {
        /* No range crosses the end of the shorter image. */
        n = (offset < shorter ? shorter : longer) - offset;
        if (offset == shorter) {
            print_result(cmp, "Warning: Image size mismatch!\n");
        }
        ret = compare_range(cmp, offset, &n);
        tool_progress_set(offset + n, longer);
    }
    if (ret == 0) {
        print_result(cmp, "Images are identical.\n");
    }
    return ret;
}

/* @metadata: open only the metadata, which needs no password. */
static bool coroutine_fn open_side(Side *side, const ToolArgs *args, bool metadata, Error **errp)
{
    ToolImage image = {
        .name = side->name,
        .image_opts = args->image_opts,
        .header = side->header,
        .key_secret = args->key_secret,
        .key_optional = true,
        .format_letter = side->format_letter,
        .format = side->format,
        .cache = args->source_cache,
        .force_share = args->force_share,
        .perm = BLK_PERM_CONSISTENT_READ,
        .shared_perm = BLK_PERM_CONSISTENT_READ | BLK_PERM_WRITE_UNCHANGED,
    };

    side->blk = metadata ? tool_image_open_metadata(&image, errp) : tool_image_open(&image, errp);
    if (!side->blk) {
        return false;
    }
    side->length = blk_getlength(side->blk);
    return true;
}

static void coroutine_fn close_sides(Compare *cmp)
{
    for (size_t i = 0; i < G_N_ELEMENTS(cmp->sides); i++) {
        blk_co_unref(cmp->sides[i].blk);
        cmp->sides[i].blk = NULL;
    }
}

static bool coroutine_fn open_sides(Compare *cmp, const ToolArgs *args, bool metadata, Error **errp)
{
    Side *sides = cmp->sides;

    if (!open_side(&sides[0], args, metadata, errp) || !open_side(&sides[1], args, metadata, errp)) {
        return false;
    }
    if (args->key_secret && !tool_image_is_encrypted(sides[0].blk) && !tool_image_is_encrypted(sides[1].blk)) {
        error_setg(errp, "None of the images is encrypted, so a password cannot be used");
        return false;
    }
    return true;
}

/* Check everything else before prompting for a password. */
static bool coroutine_fn check_sides(Compare *cmp, const ToolArgs *args, Error **errp)
{
    bool ok = !tool_can_prompt() || open_sides(cmp, args, true, errp);

    close_sides(cmp);
    return ok;
}

static int coroutine_fn img_compare_run(const ToolCommand *cmd, int argc, char **argv)
{
    g_auto(ToolArgs) args = { .cmd = cmd, .argc = argc, .argv = argv };
    const char *format2 = NULL;
    Compare cmp = { 0 };
    Error *err = NULL;
    int ret = STATUS_OPEN_FAILED;
    int c;

    while ((c = tool_args_next(&args)) != TOOL_ARGS_END) {
        cmp.strict |= c == 's';
        if (c == 'F') {
            format2 = args.value;
        }
    }
    if (args.stop) {
        return args.status ? STATUS_OPEN_FAILED : 0;
    }
    cmp.quiet = args.quiet;
    cmp.sides[0] = (Side){
        .name = args.positional[0], .format = args.format, .format_letter = 'f', .header = args.header,
    };
    cmp.sides[1] = (Side){ .name = args.positional[1], .format = format2, .format_letter = 'F' };
    if (check_sides(&cmp, &args, &err) && open_sides(&cmp, &args, false, &err)) {
        for (size_t i = 0; i < G_N_ELEMENTS(cmp.sides); i++) {
            cmp.sides[i].buf = qemu_blockalign(blk_bs(cmp.sides[i].blk), BUFFER_BYTES);
        }
        tool_progress_start(args.progress && !args.quiet);
        ret = compare(&cmp);
        tool_progress_end();
    } else {
        error_report_err(err);
    }
    for (size_t i = 0; i < G_N_ELEMENTS(cmp.sides); i++) {
        qemu_vfree(cmp.sides[i].buf);
    }
    close_sides(&cmp);
    return ret;
}

static const ToolOption img_compare_options[] = {
    { 'f', "a-format", "FMT", "format of the first image (default: probed)", TOOL_KEY_FORMAT },
    { 'F', "b-format", "FMT", "format of the second image", 'F' },
    TOOL_OPTION_IMAGE_OPTS,
    { 0, "header", "HEADER", "file or device that holds the detached LUKS header of FILE1", TOOL_KEY_HEADER },
    TOOL_OPTIONS_KEY_FILE_OF("read the password of encrypted images from this file; - for standard input"),
    TOOL_OPTION_OBJECT,
    TOOL_OPTION_SOURCE_CACHE,
    TOOL_OPTION_FORCE_SHARE,
    { 's', "strict", NULL, "also compare sizes and allocation", 's' },
    TOOL_OPTION_PROGRESS,
    TOOL_OPTION_QUIET,
    { 0 }
};

const ToolCommand img_compare = {
    .name = "compare",
    .args = "FILE1 FILE2",
    .min_args = 2,
    .max_args = 2,
    .summary = "compare the contents of two images",
    .description =
        "The end that a shorter image lacks counts as zeroes. Exit status: 0 the images are identical, 1 they differ,\n"
        "2 or more after an error.",
    .examples =
        "  qemu-img compare disk.img copy.img\n"
        "  qemu-img compare --object secret,id=s0,file=pw --image-opts driver=raw,file.filename=disk.img \\\n"
        "      driver=luks,key-secret=s0,file.filename=disk.luks",
    .options = img_compare_options,
    .run = img_compare_run,
};
