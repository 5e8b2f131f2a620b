/*
 * qemu-img amend: change the options of an image, which for LUKS are its passwords
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include <json-c/json.h>

#include "qapi/keyval.h"
#include "tools/common/image.h"
#include "tools/common/progress.h"
#include "tools/img/commands.h"
#include "tools/img/confirm.h"
#include "tools/img/keyslot.h"

enum {
    KEY_FORCE = TOOL_KEY_OWN,
};

typedef struct Amend {
    BlockdevAmendOptions *options;
    BlockDriverState *bs;
    bool force;
} Amend;

static const QAPIType *amend_options_type(const char *format, Error **errp)
{
    if (!g_str_equal(format, "luks")) {
        error_setg(errp, "Format '%s' has no options to amend, only luks has", format);
        return NULL;
    }
    return &qapi_type_QCryptoBlockAmendOptionsLUKS;
}

/* Parse -o for an image of format luks, the only one with options. NULL with @errp. */
static BlockdevAmendOptions *parse_options(const char *text, Error **errp)
{
    g_autoptr(json_object) in = keyval_parse(text, NULL, NULL, errp);

    if (!in) {
        return NULL;
    }
    json_object_object_add(in, "driver", json_object_new_string("luks"));
    return QAPI_FROM_JSON(BlockdevAmendOptions, in, QAPI_INPUT_KEYVAL, errp);
}

static bool coroutine_fn amend_job(Job *job, void *opaque, Error **errp)
{
    Amend *amend = opaque;

    return bdrv_amend(amend->bs, amend->options, amend->force, job, errp);
}

/* Use the passwords of key files unless the options name others. */
static void take_key_files(const ToolArgs *args, BlockdevAmendOptionsLUKS *luks)
{
    if (luks->state == QCRYPTO_BLOCK_LUKS_KEYSLOT_STATE_ACTIVE) {
        luks->secret = luks->secret ?: g_strdup(args->key_secret);
        luks->new_secret = luks->new_secret ?: g_strdup(args->new_key_secret);
    } else if (!luks->has_keyslot) {
        luks->old_secret = luks->old_secret ?: g_strdup(args->key_secret);
    }
}

static bool coroutine_fn amend_check(BlockBackend *blk, void *opaque, Error **errp)
{
    const Amend *amend = opaque;
    const BlockdevAmendOptionsLUKS *luks = &amend->options->u.luks;

    return luks->state != QCRYPTO_BLOCK_LUKS_KEYSLOT_STATE_ACTIVE || amend->force ||
           img_keyslot_check_free(blk, luks->has_keyslot ? luks->keyslot : -1, errp);
}

/* Adding a password needs the key of the image; making one inactive does not. */
static bool coroutine_fn amend_image(const ToolArgs *args, Amend *amend, Error **errp)
{
    const BlockdevAmendOptionsLUKS *luks = &amend->options->u.luks;
    ToolImage image = {
        .name = args->positional[0],
        .instead = { "convert -O luks", " NEW" },
        .image_opts = args->image_opts,
        .header = args->header,
        .format = args->format,
        .cache = args->cache,
        .key_secret = luks->secret,
        .check = amend_check,
        .opaque = amend,
        .shared_perm = BLK_PERM_ALL,
        .writable = true,
        .no_io = luks->state == QCRYPTO_BLOCK_LUKS_KEYSLOT_STATE_INACTIVE,
    };
    BlockBackend *blk = tool_image_open(&image, errp);
    bool ok;

    if (!blk) {
        return false;
    }
    amend->bs = blk_bs(blk);
    ok = luks->state == QCRYPTO_BLOCK_LUKS_KEYSLOT_STATE_ACTIVE ||
         img_confirm_last_password(amend->bs, args->positional[0], luks->has_keyslot ? luks->keyslot : -1,
                                   &amend->force, errp);
    ok = ok && tool_run_job(JOB_TYPE_AMEND, amend_job, amend, args->progress, errp);
    blk_co_unref(blk);
    return ok;
}

static int coroutine_fn img_amend_run(const ToolCommand *cmd, int argc, char **argv)
{
    g_auto(ToolArgs) args = { .cmd = cmd, .argc = argc, .argv = argv };
    Amend amend = { 0 };
    Error *err = NULL;
    bool ok;
    int c;

    while ((c = tool_args_next(&args)) != TOOL_ARGS_END) {
        amend.force |= c == KEY_FORCE;
    }
    if (!args.stop && !args.options) {
        tool_args_fail(&args, "Must specify options (-o)");
    }
    if (args.stop) {
        return args.status;
    }
    amend.options = parse_options(args.options, &err);
    if (amend.options) {
        take_key_files(&args, &amend.options->u.luks);
    }
    ok = amend.options && amend_image(&args, &amend, &err);
    qapi_free_BlockdevAmendOptions(amend.options);
    if (!ok) {
        error_report_err(err);
        return 1;
    }
    return 0;
}

static const ToolOption img_amend_options[] = {
    TOOL_OPTION_OPTIONS,
    TOOL_OPTION_FORMAT,
    TOOL_OPTION_IMAGE_OPTS,
    TOOL_OPTION_HEADER,
    TOOL_OPTIONS_KEY_FILE_OF("read the password that opens the image, or is removed, from this file; - for "
                             "standard input"),
    TOOL_OPTION_NEW_KEY_FILE("the same for the password to add"),
    TOOL_OPTION_OBJECT,
    TOOL_OPTION_CACHE,
    { 0, "force", NULL, "overwrite an active keyslot, or erase the last password", KEY_FORCE },
    TOOL_OPTION_PROGRESS,
    TOOL_OPTION_QUIET,
    { 0 }
};

const ToolCommand img_amend = {
    .name = "amend",
    .args = "FILE",
    .min_args = 1,
    .max_args = 1,
    .summary = "change options of an image, such as LUKS passwords",
    .description =
        "With -o state=active a password is added, with state=inactive it is removed. 'qemu-img keyslot' is\n"
        "easier to use.",
    .examples =
        "  qemu-img amend --object secret,id=s0,file=old --object secret,id=s1,file=new \\\n"
        "      -o state=active,new-secret=s1 --image-opts driver=luks,key-secret=s0,file.filename=disk.luks\n"
        "  qemu-img amend -o state=inactive,keyslot=1 -f luks disk.luks",
    .options = img_amend_options,
    .options_type = amend_options_type,
    .default_format = "luks",
    .run = img_amend_run,
};
