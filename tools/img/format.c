/*
 * qemu-img format: write a format into a volume that exists
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include <json-c/json.h>

#include "crypto/luks.h"
#include "qapi/keyval.h"
#include "tools/common/image.h"
#include "tools/common/output.h"
#include "tools/common/password.h"
#include "tools/common/progress.h"
#include "tools/img/commands.h"
#include "tools/img/private-file.h"

enum {
    KEY_FORCE = TOOL_KEY_OWN,
};

typedef struct Format {
    const char *format;
    const char *header_name;    /* NULL: the header goes into the volume itself */
    bool force;
    BlockdevFormatOptions *options;
    BlockBackend *volume;
    BlockBackend *header;
    char *new_header;           /* its name, if it does not exist yet */
    bool made_header;
} Format;

static const QAPIType *format_options_type(const char *format, Error **errp)
{
    if (!g_str_equal(format, "luks")) {
        error_setg(errp, "Format '%s' cannot be written into an existing volume; luks can", format);
        return NULL;
    }
    return &qapi_type_BlockdevFormatOptionsLUKS;
}

/* Fill in f->options from -o; false with @errp. */
static bool coroutine_fn format_parse_options(Format *f, const ToolArgs *args, Error **errp)
{
    g_autoptr(json_object) in = keyval_parse(args->options ? args->options : "", NULL, NULL, errp);

    if (!in) {
        return false;
    }
    json_object_object_add(in, "driver", json_object_new_string(f->format));
    f->options = QAPI_FROM_JSON(BlockdevFormatOptions, in, QAPI_INPUT_KEYVAL, errp);
    if (!f->options ||
        !qcrypto_luks_create_bytes(qapi_BlockdevFormatOptionsLUKS_base(&f->options->u.luks), NULL, errp)) {
        return false;
    }
    if (args->key_secret && f->options->u.luks.key_secret) {
        error_setg(errp, "A key file and the option 'key-secret' exclude each other");
        return false;
    }
    return true;
}

/* Take the password that is named, or ask for one. */
static bool coroutine_fn format_take_password(Format *f, const ToolArgs *args, Error **errp)
{
    BlockdevFormatOptionsLUKS *luks = &f->options->u.luks;
    char *secret = tool_secret_or_prompt(args->key_secret ?: luks->key_secret, "key-secret", "--key-file FILE",
                                         args->positional[0], true, errp);

    g_free(luks->key_secret);
    luks->key_secret = secret;
    return secret;
}

/* Open a volume for writing, whatever it contains. */
static BlockBackend *coroutine_fn format_open_volume(const char *name, bool image_opts, const char *cache,
                                              Error **errp)
{
    ToolImage image = {
        .name = name,
        .image_opts = image_opts,
        .format = "raw",
        .cache = cache,
        .shared_perm = BLK_PERM_ALL,
        .writable = true,
    };

    return tool_image_open(&image, errp);
}

/* Open the volume for the header; if it does not exist, remember to create a file. */
static bool coroutine_fn format_open_header(Format *f, const char *cache, Error **errp)
{
    g_autoptr(json_object) protocol = bdrv_filename_to_options(f->header_name, errp);
    struct json_object *filename;

    if (!protocol) {
        return false;
    }
    if (json_object_object_get_ex(protocol, "filename", &filename) &&
        access(json_object_get_string(filename), F_OK) < 0 && errno == ENOENT) {
        g_autofree char *dir = g_path_get_dirname(json_object_get_string(filename));

        f->new_header = g_strdup(json_object_get_string(filename));
        if (access(dir, W_OK) < 0) {
            error_setg_errno(errp, errno, "Could not create '%s'", f->new_header);
            return false;
        }
        return true;
    }
    f->header = format_open_volume(f->header_name, false, cache, errp);
    return f->header && (f->force || bdrv_check_overwrite(blk_bs(f->header), false, errp));
}

/* Check everything that needs no password. */
static bool coroutine_fn format_open_volumes(Format *f, const ToolArgs *args, Error **errp)
{
    f->volume = format_open_volume(args->positional[0], args->image_opts, args->cache, errp);
    return f->volume && (f->force || bdrv_check_overwrite(blk_bs(f->volume), false, errp)) &&
           (!f->header_name || format_open_header(f, args->cache, errp));
}

/* Create a file for the header that only its owner can read. */
static bool coroutine_fn format_make_header(Format *f, const char *cache, Error **errp)
{
    g_auto_fd int fd = img_create_private_file(f->new_header, errp);

    if (fd < 0) {
        return false;
    }
    f->made_header = true;
    f->header = format_open_volume(f->header_name, false, cache, errp);
    return f->header;
}

static bool coroutine_fn format_job(Job *job, void *opaque, Error **errp)
{
    Format *f = opaque;

    return bdrv_format(blk_bs(f->volume), f->header ? blk_bs(f->header) : NULL, f->options, f->force, job, errp);
}

/* The usable size of the volume in bytes, or -1. */
static int64_t coroutine_fn format_usable_size(const Format *f)
{
    g_autoptr(json_object) options = json_object_new_object();

    json_object_object_add(options, "driver", json_object_new_string(f->format));
    json_object_object_add(options, "read-only", json_object_new_boolean(true));
    json_object_object_add(options, "file", json_object_new_string(bdrv_get_node_name(blk_bs(f->volume))));
    if (f->header) {
        json_object_object_add(options, "header", json_object_new_string(bdrv_get_node_name(blk_bs(f->header))));
    }
    BlockBackend *blk = blk_co_new_open(g_get_prgname(), NULL, options, BDRV_O_NO_IO, 0, BLK_PERM_ALL, NULL);
    int64_t size = blk ? blk_getlength(blk) : -1;

    blk_co_unref(blk);
    return size;
}

static void coroutine_fn print_result(const Format *f, const ToolArgs *args)
{
    const char *name = args->positional[0];
    int64_t size = format_usable_size(f);

    if (args->json) {
        const ImgNewVolume out = {
            .filename = (char *)name,
            .format = (char *)f->format,
            .has_virtual_size = size >= 0,
            .virtual_size = size,
            .header = (char *)f->header_name,
        };

        tool_print_qapi(&qapi_type_ImgNewVolume, &out);
    } else if (size >= 0 && !args->quiet) {
        g_autofree char *whole = tool_size_and_bytes(blk_getlength(f->volume)), *usable = tool_size_and_bytes(size);

        printf("Formatted '%s', fmt=%s: usable size %s of %s\n", name, f->format, usable, whole);
    }
}

static bool coroutine_fn format(Format *f, const ToolArgs *args, Error **errp)
{
    bool ok;

    f->header_name = args->header;
    ok = format_open_volumes(f, args, errp) && format_take_password(f, args, errp) &&
         (!f->new_header || format_make_header(f, args->cache, errp)) &&
         tool_run_job(JOB_TYPE_FORMAT, format_job, f, args->progress && !args->json, errp);
    if (ok) {
        print_result(f, args);
    }
    blk_co_unref(f->header);
    blk_co_unref(f->volume);
    if (!ok && f->made_header) {
        unlink(f->new_header);
    }
    g_free(f->new_header);
    return ok;
}

static int coroutine_fn img_format_run(const ToolCommand *cmd, int argc, char **argv)
{
    g_auto(ToolArgs) args = { .cmd = cmd, .argc = argc, .argv = argv };
    Format f = { 0 };
    Error *err = NULL;
    bool ok;
    int c;

    while ((c = tool_args_next(&args)) != TOOL_ARGS_END) {
        f.force |= c == KEY_FORCE;
    }
    if (args.stop) {
        return args.status;
    }
    f.format = args.target_format ?: cmd->default_format;
    ok = format_options_type(f.format, &err) && format_parse_options(&f, &args, &err) && format(&f, &args, &err);
    qapi_free_BlockdevFormatOptions(f.options);
    if (!ok) {
        error_report_err(err);
        return 1;
    }
    return 0;
}

static const ToolOption img_format_options[] = {
    TOOL_OPTION_TARGET_FORMAT('f', "format", "the format to write: luks (default)"),
    TOOL_OPTION_OPTIONS,
    { 0, "header", "HEADER", "write the header to this file, which is created if it does not exist",
      TOOL_KEY_HEADER },
    { 0, "force", NULL, "overwrite an existing LUKS header, file system or partition table", KEY_FORCE },
    TOOL_OPTION_IMAGE_OPTS,
    TOOL_OPTIONS_NEW_IMAGE_KEY_FILE,
    TOOL_OPTION_OBJECT,
    TOOL_OPTION_OUTPUT,
    TOOL_OPTION_CACHE,
    TOOL_OPTION_PROGRESS,
    TOOL_OPTION_QUIET,
    { 0 }
};

const ToolCommand img_format = {
    .name = "format",
    .args = "FILE",
    .min_args = 1,
    .max_args = 1,
    .summary = "format an existing volume as an encrypted one",
    .description =
        "The volume keeps its size; the header takes some of it, unless it is detached. The data on the volume is\n"
        "lost. -o gives options of the new format, --image-opts those of the volume below it.",
    .examples =
        "  qemu-img format -f luks --key-file pw /dev/vg0/disk\n"
        "  qemu-img format --object secret,id=s0,file=pw -o key-secret=s0 --header disk.header disk.img",
    .options = img_format_options,
    .options_type = format_options_type,
    .default_format = "luks",
    .run = img_format_run,
};
