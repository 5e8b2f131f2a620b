/*
 * qemu-img check: check the metadata of an image
 *
 * For LUKS, checks every field of the header, and that header, key material and payload are within the volume. Needs no
 * password, so the keys themselves are not tried. A raw image has no metadata to check.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

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

static BlockBackend *coroutine_fn open_image(const ToolArgs *args, Error **errp)
{
    ToolImage image = {
        .name = args->positional[0],
        .instead = { "convert -O luks", " NEW" },
        .image_opts = args->image_opts,
        .header = args->header,
        .format = args->format,
        .cache = args->source_cache,
        .shared_perm = BLK_PERM_ALL,
        .force_share = args->force_share,
        .no_io = true,
        .damaged = true,
    };

    return tool_image_open(&image, errp);
}

static int coroutine_fn read_header(void *opaque, uint64_t offset, void *buf, size_t bytes)
{
    return blk_co_pread(opaque, offset, bytes, buf);
}

/* NULL with @errp if the header could not be checked. */
static QCryptoLUKSFindings *coroutine_fn check_header(BlockDriverState *volume, BlockDriverState *payload,
                                                      Error **errp)
{
    BlockBackend *blk = blk_new("check", BLK_PERM_CONSISTENT_READ, BLK_PERM_ALL);
    QCryptoLUKSIO io = { .pread = read_header, .opaque = blk, .length = bdrv_getlength(volume) };
    QCryptoLUKSOpenOptions options = {
        .detached = volume != payload,
        .payload_volume_bytes = bdrv_getlength(payload),
    };
    QCryptoLUKSFindings *findings = NULL;

    if (blk_insert_bs(blk, volume, errp)) {
        findings = qcrypto_luks_check(&io, &options, errp);
    }
    blk_co_unref(blk);
    return findings;
}

static void print_findings(FILE *out, const char *level, const GPtrArray *lines)
{
    for (guint i = 0; i < lines->len; i++) {
        fprintf(out, "%s: %s\n", level, (char *)g_ptr_array_index(lines, i));
    }
}

/* With JSON, which has no member for them, findings go to standard error. */
static void print_check(const ToolArgs *args, BlockDriverState *bs, const QCryptoLUKSFindings *findings)
{
    guint n = findings->damage->len;
    g_autoptr(ImageCheck) check = g_new0(ImageCheck, 1);

    check->filename = g_strdup(args->positional[0]);
    check->format = g_strdup(bdrv_get_format_name(bs));
    check->has_image_end_offset = true;
    /* The payload extends to the end of the volume. */
    check->image_end_offset = bdrv_getlength(bdrv_get_child(bs, "file"));
    check->has_corruptions = n;
    check->corruptions = n;
    print_findings(args->json ? stderr : stdout, "ERROR", findings->damage);
    if (!args->quiet) {
        print_findings(args->json ? stderr : stdout, "WARNING", findings->remarks);
    }
    if (args->json) {
        tool_print_qapi(&qapi_type_ImageCheck, check);
    } else if (n) {
        printf("\n%u %s found on the image.\n", n, n == 1 ? "error was" : "errors were");
    } else if (!args->quiet) {
        printf("No errors were found on the image.\nImage end offset: %" PRId64 "\n", check->image_end_offset);
    }
}

static int coroutine_fn check_image(const ToolArgs *args, BlockDriverState *bs, Error **errp)
{
    ERRP_GUARD();
    if (bdrv_get_options(bs)->driver != BLOCKDEV_DRIVER_LUKS) {
        error_setg(errp, "This image format does not support checks");
        return EXIT_NOT_SUPPORTED;
    }
    BlockDriverState *payload = bdrv_get_child(bs, "file");
    g_autoptr(QCryptoLUKSFindings) findings = check_header(bdrv_get_child(bs, "header") ?: payload, payload, errp);
    if (!findings) {
        const ToolImage image = {
            .name = args->positional[0], .header = args->header, .image_opts = args->image_opts,
            .instead = { "convert -O luks", " NEW" },
        };

        error_prepend(errp, "Could not check '%s': ", image.name);
        tool_image_append_hint(&image, errp);
        return EXIT_NOT_CHECKED;
    }
    if (findings->unsupported->len && !findings->damage->len) {
        error_setg(errp, "%s; there are no other errors", (char *)g_ptr_array_index(findings->unsupported, 0));
        return EXIT_NOT_CHECKED;
    }
    print_check(args, bs, findings);
    return findings->damage->len ? EXIT_CORRUPT : EXIT_OK;
}

static int coroutine_fn img_check_run(const ToolCommand *cmd, int argc, char **argv)
{
    g_auto(ToolArgs) args = { .cmd = cmd, .argc = argc, .argv = argv };
    int c, status = EXIT_NOT_CHECKED;
    Error *err = NULL;
    BlockBackend *blk;

    while ((c = tool_args_next(&args)) != TOOL_ARGS_END) {
        if (c == 'r' && !g_str_equal(args.value, "leaks") && !g_str_equal(args.value, "all")) {
            g_autofree char *guess = tool_guess_word("leaks|all", args.value);

            tool_args_fail(&args, "-r takes 'leaks' or 'all', not '%s'%s", args.value, guess);
        }
    }
    if (args.stop) {
        return args.status;
    }
    blk = open_image(&args, &err);
    if (blk) {
        status = check_image(&args, blk_bs(blk), &err);
        blk_co_unref(blk);
    }
    if (err) {
        error_report_err(err);
    }
    return status;
}

static const ToolOption img_check_options[] = {
    TOOL_OPTION_FORCE_SHARE,
    TOOL_OPTION_FORMAT,
    TOOL_OPTION_IMAGE_OPTS,
    TOOL_OPTION_HEADER,
    TOOL_OPTIONS_NO_KEY_FILE,
    TOOL_OPTION_OBJECT,
    TOOL_OPTION_OUTPUT,
    TOOL_OPTION_QUIET,
    { 'r', "repair", "leaks|all", "accepted for compatibility: there is nothing to repair in these formats", 'r' },
    { 'T', "source-cache", "CACHE", "cache mode of the image, as -t of other commands", TOOL_KEY_SOURCE_CACHE },
    { 0 }
};

const ToolCommand img_check = {
    .name = "check",
    .args = "FILE",
    .min_args = 1,
    .max_args = 1,
    .summary = "check the metadata of an image",
    .description =
        "Checks all fields of a LUKS header, without a password. Exit status: 0 no errors, 1 the check failed, 2\n"
        "errors were found, 3 leaks were found (formats that can have them), 63 the format has no checks.",
    .examples = "  qemu-img check --output json disk.luks",
    .options = img_check_options,
    .run = img_check_run,
};
