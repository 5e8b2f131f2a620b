/*
 * qemu-img keyslot: list, add, remove and change the passwords of an encrypted image
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include "crypto/luks.h"
#include "qapi/json.h"
#include "tools/common/image.h"
#include "tools/common/output.h"
#include "tools/common/password.h"
#include "tools/common/progress.h"
#include "tools/common/terminal.h"
#include "tools/img/commands.h"
#include "tools/img/confirm.h"
#include "tools/img/keyslot.h"

enum {
    KEY_SECRET = TOOL_KEY_OWN,
    KEY_NEW_SECRET,
    KEY_SLOT,
    KEY_ITER_TIME,
    KEY_FORCE,
};

typedef struct Keyslot {
    char *secret;               /* IDs; prompted for if needed and NULL */
    char *new_secret;
    int64_t slot;               /* -1: any */
    int64_t iter_time_ms;       /* 0: the default */
    bool force;
    bool writes;                /* needs a keyslot for a new password */
    BlockDriverState *bs;       /* set while a job runs */
    BdrvKeyslotChange done;     /* set once the job has succeeded */
} Keyslot;

static void keyslot_clear(Keyslot *ks)
{
    g_free(ks->secret);
    g_free(ks->new_secret);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Keyslot, keyslot_clear)

static bool set_option(Keyslot *ks, int key, const char *value, Error **errp)
{
    switch (key) {
    case KEY_SECRET:
        g_free(ks->secret);
        ks->secret = g_strdup(value);
        return true;
    case KEY_NEW_SECRET:
        g_free(ks->new_secret);
        ks->new_secret = g_strdup(value);
        return true;
    case KEY_SLOT:
        return tool_parse_number("keyslot", value, 0, 7, &ks->slot, errp);
    case KEY_ITER_TIME:
        return tool_parse_number("iter-time", value, 1, INT32_MAX, &ks->iter_time_ms, errp);
    case KEY_FORCE:
        ks->force = true;
        return true;
    default:
        g_assert_not_reached();
    }
}

/* Use the secrets of key files unless options name others. */
static bool take_key_files(ToolArgs *args, Keyslot *ks)
{
    if ((ks->secret && args->key_secret) || (ks->new_secret && args->new_key_secret)) {
        tool_args_fail(args, "A secret and a key file for the same password exclude each other");
        return false;
    }
    ks->secret = ks->secret ?: g_strdup(args->key_secret);
    ks->new_secret = ks->new_secret ?: g_strdup(args->new_key_secret);
    return true;
}

/* Parse all options; false if the command must exit with args->status. */
static bool keyslot_parse_options(ToolArgs *args, Keyslot *ks)
{
    g_autoptr(Error) err = NULL;
    int c;

    ks->slot = -1;
    while ((c = tool_args_next(args)) != TOOL_ARGS_END) {
        if (!set_option(ks, c, args->value, &err)) {
            tool_args_fail(args, "%s", error_get_pretty(err));
            return false;
        }
    }
    return !args->stop && take_key_files(args, ks);
}

static const QCryptoBlockInfoLUKS *luks_info(const BlockGraphInfo *info)
{
    const ImageInfoSpecific *specific = info->format_specific;

    return specific && specific->type == IMAGE_INFO_SPECIFIC_KIND_LUKS ? specific->u.luks.data : NULL;
}

bool coroutine_fn img_keyslot_check_free(BlockBackend *blk, int64_t slot, Error **errp)
{
    g_autoptr(BlockGraphInfo) info = bdrv_query_graph_info(blk_bs(blk));
    const QCryptoBlockInfoLUKS *luks = luks_info(info);
    size_t n_active = 0;

    if (!luks) {
        return true;
    }
    for (size_t i = 0; i < luks->slots->n; i++) {
        n_active += luks->slots->items[i]->active;
    }
    if (slot >= 0 && slot < (int64_t)luks->slots->n && luks->slots->items[slot]->active) {
        error_setg(errp, "Keyslot %" PRId64 " is active", slot);
        error_append_hint(errp, "Choose another one, or use --force to overwrite it.\n");
    } else if (n_active == luks->slots->n) {
        error_setg(errp, "All keyslots are active");
        error_append_hint(errp, "Remove one first, or use --force to overwrite one.\n");
    } else {
        return true;
    }
    return false;
}

static bool coroutine_fn keyslot_check(BlockBackend *blk, void *opaque, Error **errp)
{
    const Keyslot *ks = opaque;

    return !ks->writes || ks->force || img_keyslot_check_free(blk, ks->slot, errp);
}

/* Open the image; @no_io: only its header. */
static BlockBackend *coroutine_fn open_image(const ToolArgs *args, Keyslot *ks, bool writable, bool no_io,
                                             Error **errp)
{
    ToolImage image = {
        .name = args->positional[0],
        .instead = { "convert -O luks", " NEW" },
        .image_opts = args->image_opts,
        .format = args->format ? args->format : "luks",
        .header = args->header,
        .key_secret = ks->secret,
        .check = keyslot_check,
        .opaque = ks,
        .shared_perm = BLK_PERM_ALL,
        .writable = writable,
        .force_share = args->force_share,
        .no_io = no_io,
    };

    return tool_image_open(&image, errp);
}

/* If *@secret is NULL, prompt for a password and set it to the ID of its secret. */
static bool coroutine_fn keyslot_need_secret(char **secret, const char *parameter, const char *option,
                                             const ToolArgs *args, bool new_one, Error **errp)
{
    char *id = tool_secret_or_prompt(*secret, parameter, option, args->positional[0], new_one, errp);

    g_free(*secret);
    *secret = id;
    return id;
}

/* An operation, and its needs beyond a writable image. */
typedef struct Operation {
    ToolJobFunc *func;
    bool unlocked;              /* the image opened with its password */
    bool needs_secret;
    bool needs_new_secret;
    bool removes;
} Operation;

static bool coroutine_fn keyslot_run_on_image(const Operation *op, const ToolArgs *args, Keyslot *ks,
                                              BlockBackend *blk, Error **errp)
{
    const BlockdevOptions *options = bdrv_get_options(blk_bs(blk));

    if (!ks->secret && options->driver == BLOCKDEV_DRIVER_LUKS) {
        ks->secret = g_strdup(options->u.luks.key_secret);
    }
    if ((op->needs_secret && !keyslot_need_secret(&ks->secret, "secret", "--key-file FILE", args, false, errp)) ||
        (op->needs_new_secret &&
         !keyslot_need_secret(&ks->new_secret, "new-secret", "--new-key-file FILE", args, true, errp))) {
        return false;
    }
    if (op->removes && !img_confirm_last_password(blk_bs(blk), args->positional[0], ks->slot, &ks->force, errp)) {
        return false;
    }
    ks->bs = blk_bs(blk);
    /* Progress would be mixed with the JSON. */
    return tool_run_job(JOB_TYPE_KEYSLOT, op->func, ks, args->progress && !args->json, errp);
}

static void print_done_json(const BdrvKeyslotChange *done, const char *name)
{
    g_autoptr(ImgKeyslotChange) out = g_new0(ImgKeyslotChange, 1);

    out->filename = g_strdup(name);
    out->has_added = done->added >= 0;
    out->added = done->added;
    out->removed = g_new0(intList, 1);
    for (int i = 0; i < QCRYPTO_LUKS_KEYSLOTS; i++) {
        if (done->removed & 1u << i) {
            QAPI_LIST_APPEND(out->removed, i);
        }
    }
    tool_print_qapi(&qapi_type_ImgKeyslotChange, out);
}

/* "keyslot 3", "keyslots 1, 5": those in the bit mask @keyslots. */
static char *keyslots_to_str(unsigned keyslots)
{
    GString *s = g_string_new(keyslots & (keyslots - 1) ? "keyslots" : "keyslot");

    for (int i = 0, n = 0; i < QCRYPTO_LUKS_KEYSLOTS; i++) {
        if (keyslots & 1u << i) {
            g_string_append_printf(s, "%s %d", n++ ? "," : "", i);
        }
    }
    return g_string_free(s, FALSE);
}

static void print_done(const BdrvKeyslotChange *done, bool had_password, const char *name)
{
    g_autofree char *removed = keyslots_to_str(done->removed);

    if (done->added < 0) {
        printf("Password removed from %s of '%s'.\n", removed, name);
    } else if (done->removed) {
        printf("Password of '%s' changed: the new one is in keyslot %d, and %s is free.\n", name, done->added, removed);
    } else if (had_password) {
        printf("Password in keyslot %d of '%s' changed.\n", done->added, name);
    } else {
        printf("Password added to keyslot %d of '%s'.\n", done->added, name);
    }
}

/* Returns the exit status. */
static int coroutine_fn keyslot_run(const Operation *op, const ToolArgs *args, Keyslot *ks)
{
    /* Open with the password if it is prompted for, so that a wrong one is reported at once. */
    bool unlocked = op->unlocked || (op->needs_secret && !ks->secret && tool_can_prompt());
    Error *err = NULL;

    ks->writes = op->needs_new_secret;
    BlockBackend *blk = open_image(args, ks, true, !unlocked, &err);
    bool ok = blk && keyslot_run_on_image(op, args, ks, blk, &err);

    blk_co_unref(blk);
    if (!ok) {
        error_report_err(err);
        return 1;
    }
    if (args->json) {
        print_done_json(&ks->done, args->positional[0]);
    } else if (!args->quiet) {
        print_done(&ks->done, op->needs_secret, args->positional[0]);
    }
    return 0;
}

static Keyslots *keyslots_from_info(const QCryptoBlockInfoLUKS *info)
{
    Keyslots *keyslots = g_new0(Keyslots, 1);

    keyslots->slots = g_new0(KeyslotInfoList, 1);
    for (size_t i = 0; i < info->slots->n; i++) {
        const QCryptoBlockInfoLUKSSlot *slot = info->slots->items[i];
        KeyslotInfo *ki = g_new0(KeyslotInfo, 1);

        ki->slot = i;
        ki->active = slot->active;
        ki->has_iters = slot->has_iters;
        ki->iters = slot->iters;
        ki->has_stripes = slot->has_stripes;
        ki->stripes = slot->stripes;
        ki->key_offset = slot->key_offset;
        QAPI_LIST_APPEND(keyslots->slots, ki);
    }
    return keyslots;
}

static void print_keyslots(const Keyslots *keyslots)
{
    printf("SLOT  STATE     ITERATIONS  STRIPES  KEY OFFSET\n");
    for (size_t i = 0; i < keyslots->slots->n; i++) {
        const KeyslotInfo *ki = keyslots->slots->items[i];

        if (ki->active) {
            printf("%4" PRId64 "  active    %10" PRId64 "  %7" PRId64 "  %10" PRId64 "\n", ki->slot, ki->iters,
                   ki->stripes, ki->key_offset);
        } else {
            printf("%4" PRId64 "  inactive  %10s  %7s  %10" PRId64 "\n", ki->slot, "-", "-", ki->key_offset);
        }
    }
}

/* Print what the table does not show. */
static void print_remarks(const QCryptoBlockInfoLUKS *info)
{
    if (info->header_only) {
        printf("\nThe file ends before the payload begins: this is a header backup, or it was cut off.\n");
    }
    if (info->unsupported) {
        printf("\nPasswords of this volume cannot be tried here: %s\n", info->unsupported);
    }
}

static int coroutine_fn list_run(const ToolCommand *cmd, int argc, char **argv)
{
    g_auto(ToolArgs) args = { .cmd = cmd, .argc = argc, .argv = argv };
    g_auto(Keyslot) ks = { 0 };
    g_autoptr(BlockGraphInfo) info = NULL;
    g_autoptr(Keyslots) keyslots = NULL;
    Error *err = NULL;
    BlockBackend *blk;

    if (!keyslot_parse_options(&args, &ks)) {
        return args.status;
    }
    blk = open_image(&args, &ks, false, true, &err);
    if (!blk) {
        error_report_err(err);
        return 1;
    }
    info = bdrv_query_graph_info(blk_bs(blk));
    blk_co_unref(blk);
    if (!luks_info(info)) {
        error_report("'%s' has no keyslots: its format is %s", args.positional[0], info->format);
        return 1;
    }
    keyslots = keyslots_from_info(luks_info(info));
    if (args.json) {
        tool_print_qapi(&qapi_type_Keyslots, keyslots);
    } else {
        print_keyslots(keyslots);
        print_remarks(luks_info(info));
    }
    return 0;
}

static bool coroutine_fn add_job(Job *job, void *opaque, Error **errp)
{
    Keyslot *ks = opaque;

    return bdrv_keyslot_add(ks->bs, ks->new_secret, ks->slot, ks->iter_time_ms, ks->force, &ks->done, job, errp);
}

static int coroutine_fn add_run(const ToolCommand *cmd, int argc, char **argv)
{
    const Operation op = {
        .func = add_job, .unlocked = true, .needs_new_secret = true,
    };
    g_auto(ToolArgs) args = { .cmd = cmd, .argc = argc, .argv = argv };
    g_auto(Keyslot) ks = { 0 };

    if (!keyslot_parse_options(&args, &ks)) {
        return args.status;
    }
    return keyslot_run(&op, &args, &ks);
}

static bool coroutine_fn remove_job(Job *job, void *opaque, Error **errp)
{
    Keyslot *ks = opaque;

    return bdrv_keyslot_remove(ks->bs, ks->slot, ks->secret, ks->force, &ks->done, job, errp);
}

static int coroutine_fn remove_run(const ToolCommand *cmd, int argc, char **argv)
{
    Operation op = { .func = remove_job, .removes = true };
    g_auto(ToolArgs) args = { .cmd = cmd, .argc = argc, .argv = argv };
    g_auto(Keyslot) ks = { 0 };

    if (!keyslot_parse_options(&args, &ks)) {
        return args.status;
    }
    if (ks.secret && ks.slot >= 0) {
        tool_args_fail(&args, "--slot and a password (--secret, --key-file) are mutually exclusive");
        return args.status;
    }
    op.needs_secret = ks.slot < 0;
    return keyslot_run(&op, &args, &ks);
}

static bool coroutine_fn change_job(Job *job, void *opaque, Error **errp)
{
    Keyslot *ks = opaque;

    return bdrv_keyslot_change(ks->bs, ks->secret, ks->new_secret, ks->slot, ks->iter_time_ms, ks->force,
                               &ks->done, job, errp);
}

static int coroutine_fn change_run(const ToolCommand *cmd, int argc, char **argv)
{
    const Operation op = {
        .func = change_job, .needs_secret = true, .needs_new_secret = true,
    };
    g_auto(ToolArgs) args = { .cmd = cmd, .argc = argc, .argv = argv };
    g_auto(Keyslot) ks = { 0 };

    if (!keyslot_parse_options(&args, &ks)) {
        return args.status;
    }
    return keyslot_run(&op, &args, &ks);
}

#define OPTION_SECRET(what) \
    { 0, "secret", "ID", "secret with " what "; without it, the terminal is asked", KEY_SECRET }
#define OPTION_NEW_SECRET \
    { 0, "new-secret", "ID", "secret with the new password; without it, the terminal is asked", KEY_NEW_SECRET }
#define OPTIONS_KEY_FILE(what) \
    TOOL_OPTION_HEADER, \
    TOOL_OPTIONS_KEY_FILE_OF("read " what " from this file, as it is; - for standard input")
#define OPTION_NEW_KEY_FILE \
    TOOL_OPTION_NEW_KEY_FILE("read the new password from this file, as it is")
#define OPTION_ITER_TIME \
    { 0, "iter-time", "MS", "milliseconds that it takes to try a password (default: 2000)", KEY_ITER_TIME }

static const ToolOption list_options[] = {
    TOOL_OPTION_FORCE_SHARE,
    TOOL_OPTION_FORMAT_OF("format of the image (default: luks)"),
    TOOL_OPTION_IMAGE_OPTS,
    TOOL_OPTION_HEADER,
    TOOL_OPTIONS_NO_KEY_FILE,
    TOOL_OPTION_OUTPUT,
    { 0 }
};

static const ToolOption add_options[] = {
    OPTION_SECRET("a password that opens the image now"),
    OPTION_NEW_SECRET,
    { 0, "slot", "N", "the keyslot to use, 0 to 7 (default: the first free one)", KEY_SLOT },
    OPTION_ITER_TIME,
    { 0, "force", NULL, "overwrite the keyslot even if it is in use", KEY_FORCE },
    TOOL_OPTION_FORMAT_OF("format of the image (default: luks)"),
    TOOL_OPTION_IMAGE_OPTS,
    OPTIONS_KEY_FILE("a password that opens the image now"),
    OPTION_NEW_KEY_FILE,
    TOOL_OPTION_OBJECT,
    TOOL_OPTION_OUTPUT,
    TOOL_OPTION_PROGRESS,
    TOOL_OPTION_QUIET,
    { 0 }
};

static const ToolOption remove_options[] = {
    { 0, "slot", "N", "the keyslot to empty, 0 to 7; needs no password", KEY_SLOT },
    OPTION_SECRET("the password to remove"),
    { 0, "force", NULL, "remove even the last password, without asking: then nothing opens the image", KEY_FORCE },
    TOOL_OPTION_FORMAT_OF("format of the image (default: luks)"),
    TOOL_OPTION_IMAGE_OPTS,
    OPTIONS_KEY_FILE("the password to remove"),
    TOOL_OPTION_OBJECT,
    TOOL_OPTION_OUTPUT,
    TOOL_OPTION_PROGRESS,
    TOOL_OPTION_QUIET,
    { 0 }
};

static const ToolOption change_options[] = {
    OPTION_SECRET("the password to remove"),
    OPTION_NEW_SECRET,
    { 0, "slot", "N", "the keyslot for the new password, 0 to 7 (default: the first free one)", KEY_SLOT },
    OPTION_ITER_TIME,
    { 0, "force", NULL, "overwrite a keyslot that is in use; without a free one, the old password's own",
      KEY_FORCE },
    TOOL_OPTION_FORMAT_OF("format of the image (default: luks)"),
    TOOL_OPTION_IMAGE_OPTS,
    OPTIONS_KEY_FILE("the password to remove"),
    OPTION_NEW_KEY_FILE,
    TOOL_OPTION_OBJECT,
    TOOL_OPTION_OUTPUT,
    TOOL_OPTION_PROGRESS,
    TOOL_OPTION_QUIET,
    { 0 }
};

static const ToolCommand keyslot_list = {
    .name = "keyslot list",
    .args = "FILE",
    .min_args = 1,
    .max_args = 1,
    .summary = "list the keyslots of an encrypted image",
    .description = "No password is needed.",
    .examples = "  qemu-img keyslot list disk.luks",
    .options = list_options,
    .run = list_run,
};

static const ToolCommand keyslot_add = {
    .name = "keyslot add",
    .args = "FILE",
    .min_args = 1,
    .max_args = 1,
    .summary = "add a password to an encrypted image",
    .examples =
        "  qemu-img keyslot add --key-file old.txt --new-key-file new.txt disk.luks\n"
        "  qemu-img keyslot add --object secret,id=old,file=old.txt --object secret,id=new,file=new.txt \\\n"
        "      --secret old --new-secret new disk.luks",
    .options = add_options,
    .run = add_run,
};

static const ToolCommand keyslot_remove = {
    .name = "keyslot remove",
    .args = "FILE",
    .min_args = 1,
    .max_args = 1,
    .summary = "remove a password from an encrypted image",
    .description =
        "Name the keyslot, or give the password itself. The key material is overwritten. For the last password of\n"
        "an image, a terminal is asked for confirmation; anywhere else --force is required.",
    .examples =
        "  qemu-img keyslot remove --slot 3 disk.luks\n"
        "  qemu-img keyslot remove --object secret,id=old,file=old.txt --secret old disk.luks",
    .options = remove_options,
    .run = remove_run,
};

static const ToolCommand keyslot_change = {
    .name = "keyslot change",
    .args = "FILE",
    .min_args = 1,
    .max_args = 1,
    .summary = "replace a password of an encrypted image",
    .description =
        "The new password is added, and checked to open the image, before the old one is removed, so one of\n"
        "them works at any time.",
    .examples =
        "  qemu-img keyslot change --key-file old.txt --new-key-file new.txt disk.luks\n"
        "  qemu-img keyslot change --object secret,id=old,file=old.txt --object secret,id=new,file=new.txt \\\n"
        "      --secret old --new-secret new disk.luks",
    .options = change_options,
    .run = change_run,
};

static const ToolCommand *const keyslot_commands[] = {
    &keyslot_list,
    &keyslot_add,
    &keyslot_remove,
    &keyslot_change,
    NULL
};

const ToolCommand img_keyslot = {
    .name = "keyslot",
    .summary = "list, add, remove and change the passwords of an encrypted image",
    .commands = keyslot_commands,
};
