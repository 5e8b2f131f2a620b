/*
 * Opening images as the command line names them
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include <json-c/json.h>

#include "crypto/object.h"
#include "qapi/keyval.h"
#include "tools/common/command-line.h"
#include "tools/common/image.h"
#include "tools/common/output.h"
#include "tools/common/password.h"
#include "tools/common/terminal.h"
#include "util/text.h"

bool tool_parse_cache_mode(const char *mode, struct json_object **cache, bool *writethrough, Error **errp)
{
    static const struct {
        bool direct, no_flush, writethrough;
    } modes[IMG_CACHE_MODE__MAX] = {
        [IMG_CACHE_MODE_NONE] = { .direct = true },
        [IMG_CACHE_MODE_WRITETHROUGH] = { .writethrough = true },
        [IMG_CACHE_MODE_DIRECTSYNC] = { .direct = true, .writethrough = true },
        [IMG_CACHE_MODE_UNSAFE] = { .no_flush = true },
    };
    int i = tool_parse_enum(&qapi_type_ImgCacheMode, "cache mode", g_str_equal(mode, "off") ? "none" : mode, errp);

    if (i < 0) {
        return false;
    }
    if (cache) {
        *cache = json_object_new_object();
        json_object_object_add(*cache, "direct", json_object_new_boolean(modes[i].direct));
        json_object_object_add(*cache, "no-flush", json_object_new_boolean(modes[i].no_flush));
    }
    if (writethrough) {
        *writethrough = modes[i].writethrough;
    }
    return true;
}

static void set_default(struct json_object *options, const char *key, struct json_object *value)
{
    if (json_object_object_get_ex(options, key, NULL)) {
        json_object_put(value);
    } else {
        json_object_object_add(options, key, value);
    }
}

/* The options of the protocol node: @options itself, or those that "file" leads to. */
static struct json_object *protocol_options(struct json_object *options)
{
    struct json_object *name, *file;
    const BlockDriver *drv = NULL;

    if (json_object_object_get_ex(options, "driver", &name)) {
        drv = bdrv_find_format(json_object_get_string(name));
    }
    if (drv && bdrv_is_protocol(drv)) {
        return options;
    }
    if (!json_object_object_get_ex(options, "file", &file)) {
        file = json_object_new_object();
        json_object_object_add(options, "file", file);
    }
    if (!json_object_is_type(file, json_type_object)) {
        return options;         /* a node name, which opening refuses */
    }
    return json_object_object_get_ex(file, "driver", NULL) ? protocol_options(file) : file;
}

/* The options of the node that @depth "file" members of @options lead to. */
static struct json_object *luks_options(struct json_object *options, int depth)
{
    for (; depth > 0; depth--) {
        struct json_object *file;

        if (!json_object_object_get_ex(options, "file", &file) || !json_object_is_type(file, json_type_object)) {
            file = json_object_new_object();
            json_object_object_add(options, "file", file);
        }
        options = file;
    }
    return options;
}

static bool add_header_option(struct json_object *options, const char *filename, Error **errp)
{
    struct json_object *header;

    if (json_object_object_get_ex(options, "header", NULL)) {
        error_setg(errp, "--header and 'header' among the options exclude each other");
        return false;
    }
    header = json_object_new_object();
    json_object_object_add(header, "filename", json_object_new_string(filename));
    json_object_object_add(options, "header", header);
    return true;
}

struct json_object *tool_image_options(const ToolImage *image, const char **filename, Error **errp)
{
    g_autoptr(json_object) options = NULL;

    if (image->image_opts) {
        g_autofree char *all = image->options ? g_strconcat(image->name, ",", image->options, NULL)
                                              : g_strdup(image->name);

        *filename = NULL;
        options = keyval_parse(all, NULL, NULL, errp);
    } else {
        *filename = image->name;
        options = keyval_parse(image->options ? image->options : "", NULL, NULL, errp);
    }
    if (!options) {
        return NULL;
    }
    if (image->header && !add_header_option(options, image->header, errp)) {
        return NULL;
    }
    if (image->format || image->header) {
        set_default(options, "driver", json_object_new_string(image->format ?: "luks"));
    }
    if (image->cache) {
        struct json_object *cache;

        if (!tool_parse_cache_mode(image->cache, &cache, NULL, errp)) {
            return NULL;
        }
        set_default(options, "cache", cache);
    }
    if (image->aio) {
        set_default(protocol_options(options), "aio", json_object_new_string(image->aio));
    }
    if (image->discard) {
        set_default(options, "discard", json_object_new_string(image->discard));
    }
    if (image->detect_zeroes) {
        set_default(options, "detect-zeroes", json_object_new_string(image->detect_zeroes));
    }
    if (image->key_secret) {
        json_object_object_add(luks_options(options, image->key_depth), "key-secret",
                               json_object_new_string(image->key_secret));
    }
    if (image->force_share) {
        json_object_object_add(options, "force-share", json_object_new_boolean(true));
    }
    if (!image->writable && !(image->perm & (BLK_PERM_WRITE | BLK_PERM_RESIZE))) {
        set_default(options, "read-only", json_object_new_boolean(true));
    }
    return g_steal_pointer(&options);
}

static BlockBackend *coroutine_fn open_image(const ToolImage *image, BdrvOpenFlags flags, uint64_t perm,
                                             Error **errp)
{
    const char *filename;
    g_autoptr(json_object) options = tool_image_options(image, &filename, errp);
    BlockBackend *blk;
    Error *err = NULL;

    if (!options) {
        return NULL;
    }
    blk = blk_co_new_open(g_get_prgname(), filename, options, flags, perm, image->shared_perm, &err);
    if (err && !g_str_has_prefix(error_get_pretty(err), "Could not open")) {
        g_autofree char *shown = text_hide_secrets(image->name ?: image->options);

        error_prepend(&err, "Could not open '%s': ", shown);
    }
    error_propagate(errp, err);
    return blk;
}

/* The encrypted node of an image, and the number of "file" members that lead to it; NULL: it is not encrypted. */
static BlockDriverState *find_luks(BlockDriverState *bs, int *depth)
{
    *depth = 0;
    while (bs && bdrv_get_options(bs)->driver != BLOCKDEV_DRIVER_LUKS) {
        bs = bdrv_get_child(bs, "file");
        (*depth)++;
    }
    return bs;
}

/* Prompt for the password, and open with it. */
static BlockBackend *coroutine_fn prompt_and_open(const ToolImage *image, int depth, Error **errp)
{
    ToolImage with_password = *image;
    BlockBackend *blk = NULL;

    with_password.key_depth = depth;
    for (int tries = 1; !blk; tries++) {
        g_autofree char *secret = tool_prompt_secret(image->name ?: image->options, false, errp);
        g_autoptr(Error) err = NULL;

        if (!secret) {
            break;
        }
        with_password.key_secret = secret;
        blk = open_image(&with_password, 0, image->perm, &err);
        if (err && (error_get_class(err) != ERROR_CLASS_WRONG_PASSWORD || tries == TOOL_PASSWORD_TRIES)) {
            error_propagate(errp, g_steal_pointer(&err));
            break;
        }
        if (err) {
            tool_terminal_say("No keyslot opens with this password. Try again.\n");
            user_creatable_del(secret, NULL);
        }
    }
    return blk;
}

bool tool_image_is_encrypted(BlockBackend *blk)
{
    int depth;

    return find_luks(blk_bs(blk), &depth);
}

/* Accept the unencrypted image @blk; NULL with @errp if a password was given for it. */
static BlockBackend *coroutine_fn accept_plain(const ToolImage *image, BlockBackend *blk, Error **errp)
{
    if (!image->key_secret || image->key_optional) {
        return blk;     /* opened for metadata only, which makes no difference here */
    }
    error_set(errp, ERROR_CLASS_NOT_LUKS, "'%s' is not encrypted, so there is no use for a password", image->name);
    blk_co_unref(blk);
    return NULL;
}

static BlockBackend *coroutine_fn open_metadata(const ToolImage *image, Error **errp)
{
    ToolImage keyless = *image;

    keyless.key_secret = NULL;
    return open_image(&keyless, BDRV_O_NO_IO, image->perm, errp);
}

/* Open the metadata first, to check everything except the password, and whether one is needed. */
static BlockBackend *coroutine_fn check_and_open(const ToolImage *image, Error **errp)
{
    ToolImage with_password = *image;
    int depth;

    BlockBackend *blk = open_metadata(image, errp);
    BlockDriverState *luks = blk ? find_luks(blk_bs(blk), &depth) : NULL;
    if (!luks) {
        return blk ? accept_plain(image, blk, errp) : NULL;
    }
    bool named = image->key_secret || bdrv_get_options(luks)->u.luks.key_secret;
    bool ok = named || !image->check || image->check(blk, image->opaque, errp);
    blk_co_unref(blk);
    if (!ok) {
        return NULL;
    }
    with_password.key_depth = depth;
    return named ? open_image(&with_password, 0, image->perm, errp) : prompt_and_open(image, depth, errp);
}

static BlockBackend *coroutine_fn open_with_password(const ToolImage *image, Error **errp)
{
    bool is_luks = image->header || !g_strcmp0(image->format, "luks");
    g_autoptr(Error) err = NULL, looked = NULL;

    if (image->no_io) {
        BdrvOpenFlags flags = BDRV_O_NO_IO | (image->damaged ? BDRV_O_DAMAGED : 0) |
                              (image->describe ? BDRV_O_DESCRIBE : 0);

        return open_image(image, flags, image->perm, errp);
    }
    if (image->key_secret ? is_luks : !tool_can_prompt()) {
        BlockBackend *blk = open_image(image, 0, image->perm, &err);

        if (err && error_get_class(err) == ERROR_CLASS_NO_PASSWORD) {
            /* Report other errors rather than ask for a password. */
            blk_co_unref(open_metadata(image, &looked));
        }
        error_propagate(errp, looked ? g_steal_pointer(&looked) : g_steal_pointer(&err));
        return blk;
    }
    return check_and_open(image, errp);
}

/* A target may be overwritten, so suggest to format it. */
static void coroutine_fn append_format_hint(const ToolImage *image, Error **errp)
{
    const ToolImage raw = { .name = image->name, .format = "raw", .shared_perm = BLK_PERM_ALL };
    BlockBackend *blk = open_image(&raw, 0, BLK_PERM_CONSISTENT_READ, NULL);
    g_autofree char *name = tool_quote_arg(image->name);

    if (blk) {
        error_append_hint(errp, "To turn it into an encrypted volume, which destroys its data: %s format %s%s\n",
                          g_get_prgname(), bdrv_check_overwrite(blk_bs(blk), false, NULL) ? "" : "--force ", name);
    }
    blk_co_unref(blk);
}

/* Whether the image is in a format that we lack; a hint names it. */
static bool coroutine_fn append_unsupported_hint(const ToolImage *image, Error **errp)
{
    const ToolImage probed = { .name = image->name, .shared_perm = BLK_PERM_ALL };
    Error *err = NULL;
    BlockBackend *blk = open_image(&probed, 0, BLK_PERM_CONSISTENT_READ, &err);

    blk_co_unref(blk);
    if (err) {
        error_append_hint(errp, "%s\n", error_get_pretty(err));
        error_free(err);
    }
    return !blk;
}

static void coroutine_fn append_not_luks_hint(const ToolImage *image, Error **errp)
{
    g_autofree char *with_header = tool_command_line_with("--header HEADER");
    g_autofree char *as_raw = tool_command_line_as_raw(image->format_letter ?: 'f', image->format_letter);
    g_autofree char *name = tool_quote_arg(image->name ?: "");

    if (image->is_target) {
        error_append_hint(errp, "If its LUKS header is in another file or device, add header.filename=HEADER to "
                          "--target-image-opts\n");
    } else if (image->header) {
        error_append_hint(errp, "There is no LUKS header in '%s'\n", image->header);
    } else if (with_header && image->format_letter != 'F') {
        error_append_hint(errp, "If its LUKS header is in another file or device: %s\n", with_header);
    }
    if (image->image_opts || !with_header) {
        return;
    }
    if (image->is_target) {
        append_format_hint(image, errp);
    } else if (image->instead[0]) {
        if (!append_unsupported_hint(image, errp)) {
            error_append_hint(errp, "If it is not encrypted: %s %s %s%s\n", g_get_prgname(), image->instead[0], name,
                              image->instead[1] ?: "");
        }
    } else if (as_raw) {
        error_append_hint(errp, "If it is not encrypted: %s\n", as_raw);
    }
}

void coroutine_fn tool_image_append_hint(const ToolImage *image, Error **errp)
{
    if (error_get_class(*errp) == ERROR_CLASS_NO_PASSWORD) {
        tool_append_password_hint(errp, image->key_option ?: "--key-file FILE");
    } else if (error_get_class(*errp) == ERROR_CLASS_NOT_LUKS) {
        append_not_luks_hint(image, errp);
    }
}

static BlockBackend *coroutine_fn open_with_hint(BlockBackend *coroutine_fn (*open)(const ToolImage *, Error **),
                                                 const ToolImage *image, Error **errp)
{
    ERRP_GUARD();
    BlockBackend *blk = open(image, errp);

    if (!blk && !image->typed_command) {
        tool_image_append_hint(image, errp);
    }
    return blk;
}

BlockBackend *coroutine_fn tool_image_open(const ToolImage *image, Error **errp)
{
    return open_with_hint(open_with_password, image, errp);
}

BlockBackend *coroutine_fn tool_image_open_metadata(const ToolImage *image, Error **errp)
{
    return open_with_hint(open_metadata, image, errp);
}
