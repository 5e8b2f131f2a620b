/*
 * Opening images as the command line names them
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include <json-c/json.h>

#include "block/block_int.h"
#include "qapi/keyval.h"
#include "tools/common/image.h"
#include "tools/common/passphrase.h"

bool tool_parse_cache_mode(const char *mode, struct json_object **cache, bool *writethrough, Error **errp)
{
    static const struct {
        const char *name;
        bool direct, no_flush, writethrough;
    } modes[] = {
        { "none", .direct = true },
        { "off", .direct = true },
        { "directsync", .direct = true, .writethrough = true },
        { "writeback", .direct = false },
        { "unsafe", .no_flush = true },
        { "writethrough", .writethrough = true },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(modes); i++) {
        if (g_str_equal(mode, modes[i].name)) {
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
    }
    error_setg(errp, "Invalid cache mode '%s'", mode);
    error_append_hint(errp, "Modes: none, writeback, writethrough, directsync, unsafe\n");
    return false;
}

static void set_default(struct json_object *options, const char *key, struct json_object *value)
{
    if (json_object_object_get_ex(options, key, NULL)) {
        json_object_put(value);
    } else {
        json_object_object_add(options, key, value);
    }
}

struct json_object *tool_image_options(const ToolImage *image, const char **filename, Error **errp)
{
    g_autoptr(json_object) options = NULL;

    if (image->image_opts) {
        *filename = NULL;
        options = keyval_parse(image->name, NULL, NULL, errp);
        if (!options) {
            return NULL;
        }
    } else {
        *filename = image->name;
        options = json_object_new_object();
    }
    if (image->format) {
        set_default(options, "driver", json_object_new_string(image->format));
    }
    if (image->cache) {
        struct json_object *cache;

        if (!tool_parse_cache_mode(image->cache, &cache, NULL, errp)) {
            return NULL;
        }
        set_default(options, "cache", cache);
    }
    if (image->key_secret) {
        json_object_object_add(options, "key-secret", json_object_new_string(image->key_secret));
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

    if (!options) {
        return NULL;
    }
    return blk_co_new_open(g_get_prgname(), filename, options, flags, perm, image->shared_perm, errp);
}

/* Whether @image is encrypted, with no password named. */
static bool coroutine_fn lacks_password(const ToolImage *image)
{
    ToolImage look = *image;
    BlockBackend *blk;
    bool lacks;

    look.perm = 0;
    look.writable = false;
    look.shared_perm = BLK_PERM_ALL;
    blk = open_image(&look, BDRV_O_NO_IO, 0, NULL);
    if (!blk) {
        return false;   /* opening it in earnest tells why */
    }
    lacks = blk_bs(blk)->options->driver == BLOCKDEV_DRIVER_LUKS &&
            !blk_bs(blk)->options->u.luks.key_secret;
    blk_co_unref(blk);
    return lacks;
}

BlockBackend *coroutine_fn tool_image_open(const ToolImage *image, Error **errp)
{
    ToolImage with_password = *image;
    g_autofree char *secret = NULL;

    if (image->no_io) {
        return open_image(image, BDRV_O_NO_IO | (image->damaged ? BDRV_O_DAMAGED : 0), image->perm, errp);
    }
    if (tool_can_prompt() && lacks_password(image)) {
        secret = tool_prompt_secret(image->name, false, errp);
        if (!secret) {
            return NULL;
        }
        with_password.key_secret = secret;
    }
    return open_image(&with_password, 0, image->perm, errp);
}
