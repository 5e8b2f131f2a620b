/*
 * Filenames that open the same node again
 *
 * A plain name is enough if it leads to the same graph when opened in the node's format. Otherwise the filename is
 * "json:" with the options that decide what is read from the node.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include <json-c/json.h>

#include "block/block_int.h"
#include "qapi/json.h"
#include "qapi/qapi.h"

static void copy_member(struct json_object *to, struct json_object *from, const char *key)
{
    struct json_object *value;

    if (json_object_object_get_ex(from, key, &value)) {
        json_object_object_add(to, key, json_object_get(value));
    }
}

/* The options of @bs, and of all nodes below it, that decide what is read from it. */
static struct json_object *full_open_options(const BlockDriverState *bs)
{
    g_autoptr(json_object) given = QAPI_TO_JSON(BlockdevOptions, bs->options);
    struct json_object *options = json_object_new_object();

    copy_member(options, given, "driver");
    copy_member(options, given, "filename");
    for (const char *const *name = bs->drv->strong_runtime_opts; name && *name; name++) {
        copy_member(options, given, *name);
    }
    for (guint i = 0; i < bs->children->len; i++) {
        const BdrvChild *child = g_ptr_array_index(bs->children, i);

        json_object_object_add(options, child->name, full_open_options(child->bs));
    }
    return options;
}

/* The plain name that leads to @bs when opened in its format, if @options add nothing; else NULL. */
static const char *exact_filename(const BlockDriverState *bs, struct json_object *options)
{
    if (bs->drv->filename_says_all) {
        return g_str_has_prefix(bs->filename, "json:") ? NULL : bs->filename;
    }
    for (const char *const *name = bs->drv->strong_runtime_opts; name && *name; name++) {
        if (json_object_object_get_ex(options, *name, NULL)) {
            return NULL;
        }
    }
    if (bs->drv->is_protocol) {
        return bs->filename;
    }
    if (bs->drv->is_filter || !bs->file || bs->children->len > 1 || !bs->file->bs->drv->is_protocol) {
        return NULL;
    }
    return exact_filename(bs->file->bs, json_object_object_get(options, "file"));
}

char *bdrv_json_filename(struct json_object *options)
{
    g_autofree char *text = qapi_print_json(options, false);

    return g_strconcat("json:", text, NULL);
}

char *bdrv_get_filename(const BlockDriverState *bs)
{
    g_autoptr(json_object) options = full_open_options(bs);
    const char *plain = exact_filename(bs, options);

    if (plain) {
        return g_strdup(plain);
    }
    return bdrv_json_filename(options);
}
