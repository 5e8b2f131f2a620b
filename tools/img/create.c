/*
 * qemu-img create: make a new image
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include <json-c/json.h>

#include "block/block-common.h"
#include "crypto/object.h"
#include "tools/common/output.h"
#include "tools/img/commands.h"
#include "tools/img/new-image.h"
#include "util/text.h"

enum {
    KEY_FORCE = TOOL_KEY_OWN,
};

/* The same line as QEMU. -o holds no secrets, only their IDs. */
static void print_formatting(const NewImage *image)
{
    printf("Formatting '%s', fmt=%s size=%" PRIu64, image->filename, image->format, image->bytes);
    json_object_object_foreach(image->options, key, value) {
        /* A password that was typed, or read from a file, has no ID to show. */
        if (g_str_equal(key, "size") ||
            (g_str_equal(key, "key-secret") && user_creatable_is_unnamed(json_object_get_string(value)))) {
            continue;
        }
        if (json_object_is_type(value, json_type_boolean)) {
            printf(" %s=%s", key, json_object_get_boolean(value) ? "on" : "off");
        } else {
            printf(" %s=%s", key, json_object_get_string(value));
        }
    }
    if (image->header) {
        printf(" header=%s", image->header);
    }
    printf("\n");
    fflush(stdout);
}

static void print_json(const NewImage *image)
{
    const ImgNewVolume out = {
        .filename = (char *)image->filename,
        .format = (char *)image->format,
        .has_virtual_size = !new_image_is_detached(image),
        .virtual_size = ROUND_UP(image->bytes, BDRV_SECTOR_SIZE),
    };

    tool_print_qapi(&qapi_type_ImgNewVolume, &out);
}

static int coroutine_fn create_fail(NewImage *image, Error *err)
{
    g_autofree char *shown = text_hide_secrets(image->filename);

    error_prepend(&err, "%s: ", shown);
    error_report_err(err);
    return 1;
}

static int coroutine_fn img_create_run(const ToolCommand *cmd, int argc, char **argv)
{
    g_auto(ToolArgs) args = { .cmd = cmd, .argc = argc, .argv = argv };
    g_auto(NewImage) image = { 0 };
    const char *backing = NULL;
    Error *err = NULL;
    int c;

    while ((c = tool_args_next(&args)) != TOOL_ARGS_END) {
        image.overwrite |= c == KEY_FORCE;
        if (c == 'b' || c == 'F') {
            backing = args.value;
        }
    }
    if (args.stop) {
        return args.status;
    }
    image.format = args.target_format ?: (args.header ? "luks" : cmd->default_format);
    image.header = args.header;
    image.filename = args.positional[0];
    image.has_bytes = args.n_positional > 1;
    image.quiet = args.quiet;
    image.key_secret = args.key_secret;
    image.key_option = "--key-file FILE";
    if (image.has_bytes &&
        !tool_parse_size("image size", args.positional[1], 0, BDRV_MAX_LENGTH, &image.bytes, &err)) {
        return create_fail(&image, err);
    }
    if (backing) {
        error_setg(&err, "Backing file not supported for file format '%s'", image.format);
        return create_fail(&image, err);
    }
    if (!new_image_parse(&image, args.options, &err) || !new_image_prepare(&image, &err)) {
        return create_fail(&image, err);
    }
    if (!args.quiet && !args.json) {
        print_formatting(&image);
    }
    if (!new_image_create(&image, args.progress && !args.json, &err)) {
        return create_fail(&image, err);
    }
    if (args.json) {
        print_json(&image);
    }
    return 0;
}

static const ToolOption img_create_options[] = {
    TOOL_OPTION_TARGET_FORMAT('f', "format", "format of the new image: raw (default) or luks"),
    TOOL_OPTION_OPTIONS,
    { 0, "header", "HEADER", "put the LUKS header into this file or device, apart from FILE", TOOL_KEY_HEADER },
    TOOL_OPTIONS_NEW_IMAGE_KEY_FILE,
    TOOL_OPTION_OBJECT,
    TOOL_OPTION_OUTPUT,
    { 0, "force", NULL, "overwrite a file that holds a LUKS volume", KEY_FORCE },
    TOOL_OPTION_PROGRESS,
    TOOL_OPTION_QUIET,
    { 'u', "backing-unsafe", NULL, "accepted for compatibility", 'u' },
    { 'b', "backing", "FILE", NULL, 'b' },
    { 'F', "backing-format", "FMT", NULL, 'F' },
    { 'B', NULL, "FMT", NULL, 'F' },
    { 0 }
};

const ToolCommand img_create = {
    .name = "create",
    .args = "FILE [SIZE]",
    .min_args = 1,
    .max_args = 2,
    .summary = "create a new image",
    .description =
        "The format is raw unless -f says luks, or --header is given. SIZE is the usable size; -o size= may give it\n"
        "instead. An encrypted image needs a password: from --key-file, from the secret that -o key-secret= names,\n"
        "or typed at the terminal.",
    .examples =
        "  qemu-img create -f raw disk.img 10G\n"
        "  qemu-img create -f luks --key-file pw disk.luks 10G\n"
        "  qemu-img create -f luks --object secret,id=s0,file=pw -o key-secret=s0 disk.luks 10G\n"
        "  qemu-img create --header disk.header --key-file pw disk.luks 10G",
    .options = img_create_options,
    .options_type = new_image_options_type,
    .default_format = "raw",
    .run = img_create_run,
};
