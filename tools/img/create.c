/*
 * qemu-img create: make a new image
 *
 * All that can be checked is checked before the first byte is written, and what was made is removed where a
 * later step fails: whoever calls finds the finished image, or none.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include <json-c/json.h>

#include "block/block_int.h"
#include "crypto/luks.h"
#include "crypto/secret.h"
#include "qapi/keyval.h"
#include "tools/common/output.h"
#include "tools/common/passphrase.h"
#include "tools/common/progress.h"
#include "tools/img/commands.h"

enum {
    KEY_FORCE = TOOL_KEY_OWN,
};

typedef struct Create {
    const char *filename;
    const char *format;
    const char *backing;        /* -b; refused */
    const char *size;           /* as given; NULL where -o is to tell */
    bool force;
    struct json_object *options;    /* of -o, checked, with the size */
    struct json_object *protocol;   /* how to open the volume below */
    uint64_t bytes;
} Create;

static void create_clear(Create *create)
{
    json_object_put(create->options);
    json_object_put(create->protocol);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Create, create_clear)

static bool is_luks(const Create *create)
{
    return g_str_equal(create->format, "luks");
}

static const QAPIType *options_type(const Create *create)
{
    return is_luks(create) ? &qapi_type_ImgCreateOptionsLUKS : &qapi_type_ImgCreateOptionsFile;
}

static bool option_is_true(struct json_object *options, const char *name)
{
    struct json_object *value;

    return json_object_object_get_ex(options, name, &value) && json_object_get_boolean(value);
}

static bool check_format(const Create *create, Error **errp)
{
    if (!bdrv_find_format(create->format)) {
        error_setg(errp, "Unknown file format '%s'", create->format);
        return false;
    }
    if (!is_luks(create) && !g_str_equal(create->format, "raw")) {
        error_setg(errp, "Format driver '%s' does not support image creation", create->format);
        return false;
    }
    if (create->backing) {
        error_setg(errp, "Backing file not supported for file format '%s'", create->format);
        return false;
    }
    return true;
}

/* Work out create->bytes and put it among the options. */
static bool take_size(Create *create, Error **errp)
{
    struct json_object *size;

    if (create->size) {
        if (!tool_parse_size("image size", create->size, 0, BDRV_MAX_LENGTH, &create->bytes, errp)) {
            return false;
        }
    } else if (json_object_object_get_ex(create->options, "size", &size)) {
        create->bytes = json_object_get_uint64(size);
    } else if (!option_is_true(create->options, "detached-header")) {
        error_setg(errp, "Image creation needs a size parameter");
        return false;
    }
    if (create->bytes > (uint64_t)BDRV_MAX_LENGTH) {
        error_setg(errp, "Image size must be less than 8 EiB");
        return false;
    }
    json_object_object_add(create->options, "size", json_object_new_uint64(create->bytes));
    return true;
}

/* Read -o into create->options, through the typed options and back. False with @errp, or with *@help. */
static bool parse_options(Create *create, const char *text, bool *help, Error **errp)
{
    g_autoptr(json_object) in = keyval_parse(text ? text : "", NULL, help, errp);
    void *typed;

    if (!in) {
        return false;
    }
    if (*help) {
        printf("Supported %s options:\n", create->format);
        qapi_print_help(options_type(create), stdout);
        return false;
    }
    typed = qapi_from_json(options_type(create), in, QAPI_INPUT_KEYVAL, errp);
    if (!typed) {
        return false;
    }
    create->options = qapi_to_json(options_type(create), typed);
    qapi_free(options_type(create), typed);
    return take_size(create, errp);
}

/* Have a password, asking where none is named, and check that it and the algorithms can be used. */
static bool coroutine_fn check_luks_options(Create *create, Error **errp)
{
    g_autoptr(ImgCreateOptionsLUKS) luks = NULL;
    g_autoptr(SecretBuffer) password = NULL;
    g_autofree char *secret = NULL;

    luks = QAPI_FROM_JSON(ImgCreateOptionsLUKS, create->options, QAPI_INPUT_JSON, errp);
    if (!luks || !qcrypto_luks_create_bytes(qapi_ImgCreateOptionsLUKS_base(luks), NULL, errp)) {
        return false;
    }
    secret = tool_secret_or_prompt(luks->key_secret, "key-secret", create->filename, true, errp);
    if (!secret) {
        return false;
    }
    password = qcrypto_secret_lookup(secret, errp);
    json_object_object_add(create->options, "key-secret", json_object_new_string(secret));
    return password;
}

/* Whether there is a volume already; where it holds a LUKS header, fail unless forced. */
static bool coroutine_fn check_target(Create *create, bool *exists, Error **errp)
{
    g_autoptr(json_object) options = NULL;
    struct json_object *filename;
    BlockDriverState *bs;
    bool ok;

    create->protocol = bdrv_filename_to_options(create->filename, errp);
    if (!create->protocol) {
        return false;
    }
    if (!json_object_object_get_ex(create->protocol, "filename", &filename)) {
        error_setg(errp, "Images can be created in files and on devices only");
        return false;
    }
    *exists = access(json_object_get_string(filename), F_OK) == 0;
    if (!*exists || create->force) {
        return true;
    }
    options = bdrv_filename_to_options(create->filename, errp);
    json_object_object_add(options, "read-only", json_object_new_boolean(true));
    bs = bdrv_co_open(NULL, options, 0, errp);
    ok = bs && bdrv_check_overwrite(bs, true, errp);
    bdrv_co_unref(bs);
    return ok;
}

static bool coroutine_fn create_from_json(struct json_object *options, Job *job, Error **errp)
{
    g_autoptr(BlockdevCreateOptions) typed = QAPI_FROM_JSON(BlockdevCreateOptions, options, QAPI_INPUT_KEYVAL,
                                                            errp);

    return typed && bdrv_create(typed, job, errp);
}

static bool is_device(const Create *create)
{
    struct json_object *driver;

    return json_object_object_get_ex(create->protocol, "driver", &driver) &&
           !g_str_equal(json_object_get_string(driver), "file");
}

/* A device cannot be made, only be large enough. */
static bool coroutine_fn check_device(const Create *create, Error **errp)
{
    BlockDriverState *bs = bdrv_co_open(NULL, create->protocol, 0, errp);
    bool ok;

    if (!bs) {
        return false;
    }
    ok = (uint64_t)bdrv_getlength(bs) >= create->bytes;
    if (!ok) {
        error_setg(errp, "The device has %" PRId64 " bytes, which is less than the size", bdrv_getlength(bs));
    }
    bdrv_co_unref(bs);
    return ok;
}

/* The volume: the whole image where it is raw, else empty. */
static bool coroutine_fn create_volume(const Create *create, Job *job, Error **errp)
{
    g_autoptr(json_object) options = json_object_new_object();

    if (is_device(create)) {
        return check_device(create, errp);
    }
    if (!is_luks(create)) {
        json_object_object_foreach(create->options, key, value) {
            json_object_object_add(options, key, json_object_get(value));
        }
    } else {
        json_object_object_add(options, "size", json_object_new_int(0));
    }
    json_object_object_foreach(create->protocol, key, value) {
        json_object_object_add(options, key, json_object_get(value));
    }
    return create_from_json(options, job, errp);
}

static bool coroutine_fn create_luks(const Create *create, Job *job, Error **errp)
{
    g_autoptr(json_object) options = json_object_new_object();
    bool detached = option_is_true(create->options, "detached-header");

    json_object_object_foreach(create->options, key, value) {
        if (!g_str_equal(key, "detached-header")) {
            json_object_object_add(options, key, json_object_get(value));
        }
    }
    json_object_object_add(options, "driver", json_object_new_string("luks"));
    json_object_object_add(options, detached ? "header" : "file", json_object_get(create->protocol));
    return create_from_json(options, job, errp);
}

static bool coroutine_fn create_job(Job *job, void *opaque, Error **errp)
{
    Create *create = opaque;

    return create_volume(create, job, errp) && (!is_luks(create) || create_luks(create, job, errp));
}

/* The line that qemu-img always printed; -o holds no secrets, only their IDs. */
static void print_formatting(const Create *create)
{
    printf("Formatting '%s', fmt=%s size=%" PRIu64, create->filename, create->format, create->bytes);
    json_object_object_foreach(create->options, key, value) {
        if (g_str_equal(key, "size")) {
            continue;
        }
        if (json_object_is_type(value, json_type_boolean)) {
            printf(" %s=%s", key, json_object_get_boolean(value) ? "on" : "off");
        } else {
            printf(" %s=%s", key, json_object_get_string(value));
        }
    }
    printf("\n");
    fflush(stdout);
}

static bool coroutine_fn create_image(Create *create, const ToolArgs *args, bool *help, Error **errp)
{
    bool exists = true, ok;

    if (!check_format(create, errp) || !parse_options(create, args->options, help, errp) ||
        (is_luks(create) && !check_luks_options(create, errp)) ||
        !check_target(create, &exists, errp)) {
        return false;
    }
    if (!args->quiet) {
        print_formatting(create);
    }
    ok = tool_run_job(JOB_TYPE_CREATE, create_job, create, args->progress, errp);
    if (!ok && !exists) {
        struct json_object *filename = json_object_object_get(create->protocol, "filename");

        unlink(json_object_get_string(filename));
    }
    return ok;
}

static int coroutine_fn img_create_run(const ToolCommand *cmd, int argc, char **argv)
{
    g_auto(ToolArgs) args = { .cmd = cmd, .argc = argc, .argv = argv };
    g_auto(Create) create = { 0 };
    bool help = false;
    Error *err = NULL;
    int c;

    while ((c = tool_args_next(&args)) != TOOL_ARGS_END) {
        create.force |= c == KEY_FORCE;
        if (c == 'b' || c == 'F') {
            create.backing = args.value;
        }
    }
    if (args.stop) {
        return args.status;
    }
    create.format = args.format ? args.format : "raw";
    create.filename = args.n_positional > 0 ? args.positional[0] : NULL;
    create.size = args.n_positional > 1 ? args.positional[1] : NULL;
    if (!create.filename) {
        /* Only -o help can do without. */
        if (check_format(&create, &err) && (parse_options(&create, args.options, &help, NULL) || !help)) {
            tool_args_fail(&args, "Expecting image file name");
            return args.status;
        }
        if (help) {
            return 0;
        }
        error_report_err(err);
        return 1;
    }
    if (!create_image(&create, &args, &help, &err)) {
        if (help) {
            return 0;
        }
        error_prepend(&err, "%s: ", create.filename);
        error_report_err(err);
        return 1;
    }
    return 0;
}

static const ToolOption img_create_options[] = {
    TOOL_OPTION_FORMAT_OF("format of the new image: raw (default) or luks"),
    TOOL_OPTION_OPTIONS,
    TOOL_OPTION_OBJECT,
    { 0, "force", NULL, "overwrite a LUKS image that has this name already", KEY_FORCE },
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
    .min_args = 0,      /* -o help needs none */
    .max_args = 2,
    .summary = "make a new image",
    .description =
        "The format is raw unless -f says luks. SIZE is what can be stored in it; it may be left out where -o\n"
        "has size=. An encrypted image needs a password: that of the secret which -o key-secret= names, or one\n"
        "typed at the terminal.",
    .examples =
        "  qemu-img create -f raw disk.img 10G\n"
        "  qemu-img create -f luks --object secret,id=s0,file=pw -o key-secret=s0 disk.luks 10G\n"
        "  qemu-img create -f luks --object secret,id=s0,file=pw -o key-secret=s0,detached-header=true disk.header",
    .options = img_create_options,
    .run = img_create_run,
};
