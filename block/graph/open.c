/*
 * Opening: from a filename or JSON options to typed options, and from those to a node
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include <json-c/json.h>
#include <sys/stat.h>

#include "block/block-backend.h"
#include "block/dirty-bitmap.h"
#include "block/drivers.h"
#include "block/graph/graph_int.h"
#include "block/graph/node.h"
#include "block/io/io_int.h"
#include "block/job.h"
#include "block/ops/signature.h"
#include "qapi/json.h"
#include "qapi/qapi.h"
#include "util/thread-pool.h"

/* Bytes of an image that probing reads. */
#define PROBE_BYTES 2048

static bool opening_cancelled;
static void (*opening_hook)(const char *what, int64_t ns);

void bdrv_cancel_opening(void)
{
    opening_cancelled = true;
}

bool bdrv_may_open(BlockDriverState *bs, Error **errp)
{
    bool cancelled = opening_cancelled;

    for (; bs; bs = bs->opening_for) {
        cancelled |= bs->open_cancelled || job_is_cancelled(bs->opening_job);
    }
    if (cancelled) {
        error_setg(errp, "Operation was cancelled");
    }
    return !cancelled;
}

void bdrv_set_opening_hook(void (*hook)(const char *what, int64_t ns))
{
    opening_hook = hook;
}

void bdrv_set_opening_activity(BlockDriverState *bs, const char *what, int64_t ns)
{
    while (bs->opening_for) {
        bs = bs->opening_for;
    }
    if (bs->opening_job) {
        job_set_activity(bs->opening_job, what, ns);
    } else if (opening_hook) {
        opening_hook(what, ns);
    }
}

/* Copies objects and arrays, so that they can be changed, and shares scalars. */
static struct json_object *copy_structure(struct json_object *in)
{
    struct json_object *out;

    switch (json_object_get_type(in)) {
    case json_type_object:
        out = json_object_new_object();
        json_object_object_foreach(in, key, val) {
            json_object_object_add(out, key, copy_structure(val));
        }
        return out;
    case json_type_array:
        out = json_object_new_array();
        for (size_t i = 0; i < json_object_array_length(in); i++) {
            json_object_array_add(out, copy_structure(json_object_array_get_idx(in, i)));
        }
        return out;
    default:
        return json_object_get(in);
    }
}

static struct json_object *get_member(struct json_object *obj, const char *key, json_type type)
{
    struct json_object *val;

    return json_object_object_get_ex(obj, key, &val) && json_object_is_type(val, type) ? val : NULL;
}

static bool has_member(struct json_object *obj, const char *key)
{
    return json_object_object_get_ex(obj, key, NULL);
}

/* Add members of @from that @to lacks; objects are merged member by member. */
static void merge_defaults(struct json_object *to, struct json_object *from)
{
    json_object_object_foreach(from, key, val) {
        struct json_object *existing = get_member(to, key, json_type_object);

        if (existing && json_object_is_type(val, json_type_object)) {
            merge_defaults(existing, val);
        } else if (!has_member(to, key)) {
            json_object_object_add(to, key, copy_structure(val));
        }
    }
}

typedef struct FindProtocol {
    const char *name;
    size_t len;
    const BlockDriver *found;
} FindProtocol;

static void find_protocol(const BlockDriver *drv, void *opaque)
{
    FindProtocol *find = opaque;

    for (const char *const *name = drv->protocol_names; name && *name; name++) {
        if (strlen(*name) == find->len && !strncmp(*name, find->name, find->len)) {
            find->found = drv;
        }
    }
}

typedef struct StatWork {
    const char *filename;
    struct stat st;
} StatWork;

/* stat() may block on a network file system. */
static int stat_worker(void *opaque)
{
    StatWork *work = opaque;

    return stat(work->filename, &work->st) < 0 ? -errno : 0;
}

struct json_object *coroutine_mixed_fn bdrv_filename_to_options(const char *filename, Error **errp)
{
    struct json_object *options = json_object_new_object();
    size_t len = strcspn(filename, ":/");
    FindProtocol find = { .name = filename, .len = len };

    if (g_str_has_prefix(filename, "json:")) {
        error_setg(errp, "Options in json:{...} cannot be used here, only a filename");
        error_append_hint(errp, "The QMP command blockdev-create of qemu-storage-daemon creates volumes from "
                          "options.\n");
        json_object_put(options);
        return NULL;
    }
    if (filename[len] == ':') {
        bdrv_iterate_drivers(find_protocol, &find);
        if (!find.found) {
            bdrv_explain_missing_driver(filename, len, errp);
            json_object_put(options);
            return NULL;
        }
        json_object_object_add(options, "driver", json_object_new_string(find.found->format_name));
        if (!find.found->bdrv_parse_filename(filename, options, errp)) {
            json_object_put(options);
            return NULL;
        }
        return options;
    }

    StatWork work = { .filename = filename };
    bool is_device = thread_pool_submit_co(THREAD_POOL_IO, stat_worker, &work) == 0 &&
                     (S_ISBLK(work.st.st_mode) || S_ISCHR(work.st.st_mode));
    json_object_object_add(options, "driver", json_object_new_string(is_device ? "host_device" : "file"));
    qapi_json_set_string(options, "filename", filename);
    return options;
}

static bool modernize(struct json_object *options, Error **errp)
{
    struct json_object *name = get_member(options, "driver", json_type_string);
    const BlockDriver *drv = name ? bdrv_find_format(json_object_get_string(name)) : NULL;

    return !drv || !drv->bdrv_modernize_options || drv->bdrv_modernize_options(options, errp);
}

static bool complete_children(struct json_object *options, Error **errp);

/* An inline child with a filename but no driver gets the protocol of that filename. */
static bool complete_child(struct json_object *options, const char *name, Error **errp)
{
    struct json_object *child = get_member(options, name, json_type_object);
    struct json_object *filename = child ? get_member(child, "filename", json_type_string) : NULL;

    if (!child) {
        return true;
    }
    if (has_member(child, "driver") || !filename) {
        /* A format or a filter. Its own children may have filenames. */
        return modernize(child, errp) && complete_children(child, errp);
    }
    g_autoptr(json_object) protocol = bdrv_filename_to_options(json_object_get_string(filename), errp);
    if (!protocol) {
        return false;
    }
    /* Replace the filename by the options it stands for; other options win. */
    g_autoptr(json_object) all = copy_structure(child);
    json_object_object_del(all, "filename");
    merge_defaults(all, protocol);
    json_object_object_add(options, name, json_object_get(all));
    return true;
}

static bool complete_children(struct json_object *options, Error **errp)
{
    return complete_child(options, "file", errp) && complete_child(options, "header", errp) &&
           complete_child(options, "image", errp);
}

/* Add what @filename stands for to @options; options win. */
static bool add_filename(struct json_object *options, const char *filename, Error **errp)
{
    const char *rest;

    if (g_str_has_prefix(filename, "json:")) {
        rest = filename + strlen("json:");
        g_autoptr(json_object) json = qapi_parse_json(rest, strlen(rest), errp);
        if (!json) {
            error_prepend(errp, "Could not parse the JSON options: ");
            return false;
        }
        if (!json_object_is_type(json, json_type_object)) {
            error_setg(errp, "Invalid JSON object given");
            return false;
        }
        merge_defaults(options, json);
        return true;
    }

    g_autoptr(json_object) protocol = bdrv_filename_to_options(filename, errp);
    if (!protocol) {
        return false;
    }
    struct json_object *name = get_member(options, "driver", json_type_string);
    const BlockDriver *drv = name ? bdrv_find_format(json_object_get_string(name)) : NULL;
    if (drv && drv->is_protocol) {
        merge_defaults(options, protocol);
        return true;
    }
    if (!has_member(options, "file")) {
        json_object_object_add(options, "file", json_object_new_object());
    }
    struct json_object *file = get_member(options, "file", json_type_object);
    if (!file) {
        error_setg(errp, "A filename and a reference to another node for 'file' exclude each other");
        return false;
    }
    merge_defaults(file, protocol);
    return true;
}

/* Defaults that an inline child inherits from its parent. */
static void inherit_options(BlockdevOptions *child, const BlockdevOptions *parent)
{
    if (!child->has_read_only && parent->has_read_only) {
        child->has_read_only = true;
        child->read_only = parent->read_only;
    }
    if (!child->has_auto_read_only && parent->has_auto_read_only) {
        child->has_auto_read_only = true;
        child->auto_read_only = parent->auto_read_only;
    }
    if (!child->has_force_share && parent->has_force_share) {
        child->has_force_share = true;
        child->force_share = parent->force_share;
    }
    if (parent->cache) {
        if (!child->cache) {
            child->cache = g_new0(BlockdevCacheOptions, 1);
        }
        if (!child->cache->has_direct && parent->cache->has_direct) {
            child->cache->has_direct = true;
            child->cache->direct = parent->cache->direct;
        }
        if (!child->cache->has_no_flush && parent->cache->has_no_flush) {
            child->cache->has_no_flush = true;
            child->cache->no_flush = parent->cache->no_flush;
        }
    }
    /* The parent decides which discards are passed down. */
    if (!child->has_discard) {
        child->has_discard = true;
        child->discard = BLOCKDEV_DISCARD_OPTIONS_UNMAP;
    }
}

/* The coroutine that asked to open a node; cancelling it cancels opening. */
typedef struct Opener {
    BlockDriverState *parent;
    Job *job;
} Opener;

static BlockDriverState *coroutine_fn open_typed(const BlockdevOptions *options, BdrvOpenFlags flags, Opener opener,
                                                 Error **errp);

static BlockDriverState *coroutine_fn open_ref(const BlockdevRef *ref, const BlockdevOptions *parent,
                                               BdrvOpenFlags flags, Opener opener, Error **errp)
{
    if (ref->type == QTYPE_QSTRING) {
        BlockDriverState *bs = bdrv_find_node(ref->u.reference);

        if (!bs) {
            error_set(errp, ERROR_CLASS_DEVICE_NOT_FOUND, "Cannot find device='' nor node-name='%s'",
                      ref->u.reference);
            return NULL;
        }
        return bdrv_ref(bs);
    }
    g_autoptr(BlockdevOptions) options = QAPI_CLONE(BlockdevOptions, &ref->u.definition);
    if (parent) {
        inherit_options(options, parent);
    }
    return open_typed(options, flags, opener, errp);
}

BlockDriverState *coroutine_fn bdrv_co_open_blockdev_ref(const BlockdevRef *ref, BdrvOpenFlags flags, Job *job,
                                                         Error **errp)
{
    return open_ref(ref, NULL, flags, (Opener){ .job = job }, errp);
}

void bdrv_take_auto_read_only(BlockDriverState *bs, const BlockDriverState *child_bs)
{
    const BlockdevOptions *o = bs->options;

    bs->read_only |= child_bs->read_only && o->has_auto_read_only && o->auto_read_only;
}

BdrvChild *coroutine_fn bdrv_co_open_child(BlockDriverState *bs, const char *name, const BlockdevRef *ref,
                                           uint32_t role, Error **errp)
{
    uint64_t perm, shared;
    BlockDriverState *child_bs = open_ref(ref, bs->options, bs->open_flags, (Opener){ .parent = bs }, errp);

    if (!child_bs) {
        return NULL;
    }
    if (bdrv_is_file_child(name)) {
        bdrv_take_auto_read_only(bs, child_bs);
    }
    bdrv_driver_child_perm(bs, name, role, 0, BLK_PERM_ALL, &perm, &shared);
    BdrvChild *child = bdrv_attach_child(&child_of_bds, bs, child_bs, name, role, perm, shared, errp);
    bdrv_co_unref(child_bs);
    return child;
}

static void merge_limits(BlockLimits *bl, const BlockLimits *child)
{
    bl->request_alignment = MAX(bl->request_alignment, child->request_alignment);
    bl->min_mem_alignment = MAX(bl->min_mem_alignment, child->min_mem_alignment);
    bl->opt_mem_alignment = MAX(bl->opt_mem_alignment, child->opt_mem_alignment);
    bl->opt_transfer = MAX(bl->opt_transfer, child->opt_transfer);
}

bool coroutine_fn bdrv_co_refresh(BlockDriverState *bs, Error **errp)
{
    int64_t length = bdrv_driver_getlength(bs);

    if (length < 0) {
        error_setg_errno(errp, -length, "Node '%s': could not determine the length", bdrv_get_display_name(bs));
        return false;
    }
    if (length > BDRV_MAX_LENGTH) {
        error_setg(errp, "Node '%s': too large", bdrv_get_display_name(bs));
        return false;
    }
    if (!bdrv_resize_dirty_bitmaps(bs, length, errp)) {
        return false;
    }
    bs->length = length;

    bs->bl = (BlockLimits){ .request_alignment = 1, .min_mem_alignment = 1, .opt_mem_alignment = 4096 };
    for (guint i = 0; i < bs->children->len; i++) {
        BdrvChild *child = g_ptr_array_index(bs->children, i);
        merge_limits(&bs->bl, &child->bs->bl);
    }
    bdrv_driver_refresh_limits(bs);
    return true;
}

bool bdrv_take_common_options(BlockDriverState *bs, Error **errp)
{
    const BlockdevOptions *o = bs->options;

    bs->read_only = o->has_read_only && o->read_only;
    bs->inactive = o->has_active && !o->active;
    bs->force_share = o->has_force_share && o->force_share;
    bs->discard_unmap = o->has_discard && o->discard == BLOCKDEV_DISCARD_OPTIONS_UNMAP;
    bs->no_flush = o->cache && o->cache->has_no_flush && o->cache->no_flush;
    bs->detect_zeroes = o->has_detect_zeroes ? o->detect_zeroes : BLOCKDEV_DETECT_ZEROES_OPTIONS_OFF;

    if (bs->force_share && !bs->read_only) {
        error_setg(errp, "Node '%s': force-share=on can only be used with read-only images", bdrv_get_display_name(bs));
        return false;
    }
    if (bs->detect_zeroes == BLOCKDEV_DETECT_ZEROES_OPTIONS_UNMAP && !bs->discard_unmap) {
        error_setg(errp, "Node '%s': detect-zeroes=unmap needs discard=unmap", bdrv_get_display_name(bs));
        return false;
    }
    if (!bs->drv->bdrv_co_pwritev && !bs->read_only) {
        error_setg(errp, "Driver '%s' cannot write: node '%s' needs read-only=on", bs->drv->format_name,
                   bdrv_get_display_name(bs));
        return false;
    }
    return true;
}

static BlockDriverState *coroutine_fn open_driver(const BlockDriver *drv, const BlockdevOptions *options,
                                                  BdrvOpenFlags flags, Opener opener, Error **errp)
{
    BlockDriverState *bs = bdrv_new(options->node_name, errp);
    if (!bs) {
        return NULL;
    }
    bs->drv = drv;
    bs->opaque = g_malloc0(drv->instance_size);
    bs->options = QAPI_CLONE(BlockdevOptions, options);
    bs->open_flags = flags;
    bs->opening_for = opener.parent;
    bs->opening_job = opener.job;

    if (!bdrv_take_common_options(bs, errp) || !bdrv_driver_open(bs, errp)) {
        bdrv_co_free(bs);
        return NULL;
    }
    if (!bs->filename) {
        bs->filename = g_strdup(bs->file ? bs->file->bs->filename : "");
    }
    if (!bdrv_may_open(bs, errp) || !bdrv_co_refresh(bs, errp)) {
        bs->read_only = true;   /* nothing to flush */
        bdrv_co_unref(bs);
        return NULL;
    }
    bdrv_set_open(bs);
    return bs;
}

static BlockDriverState *coroutine_fn open_typed(const BlockdevOptions *options, BdrvOpenFlags flags, Opener opener,
                                                 Error **errp)
{
    const BlockDriver *drv = bdrv_find_driver(options->driver);

    if (!drv) {
        const char *name = BlockdevDriver_str(options->driver);

        bdrv_explain_missing_driver(name, strlen(name), errp);
        return NULL;
    }
    return open_driver(drv, options, flags, opener, errp);
}

BlockDriverState *coroutine_fn bdrv_co_new_filter(const BlockDriver *drv, const char *node_name,
                                                  BlockDriverState *file, Error **errp)
{
    BlockdevRef ref = { .type = QTYPE_QSTRING, .u.reference = file->node_name };
    BlockdevOptions options = {
        .driver = BLOCKDEV_DRIVER_RAW, .node_name = (char *)node_name, .has_discard = true,
        .discard = BLOCKDEV_DISCARD_OPTIONS_UNMAP, .has_read_only = true, .read_only = file->read_only,
        .u.raw.file = &ref,
    };

    return open_driver(drv, &options, 0, (Opener){ 0 }, errp);
}

BlockDriverState *coroutine_fn bdrv_co_open_blockdev(const BlockdevOptions *options, BdrvOpenFlags flags,
                                                     Error **errp)
{
    return open_typed(options, flags, (Opener){ 0 }, errp);
}

/* Probe the format of the image in @file. */
static const BlockDriver *coroutine_fn probe_format(BlockDriverState *file, BdrvOpenFlags flags, Error **errp)
{
    uint8_t buf[PROBE_BYTES];
    size_t len = MIN(bdrv_getlength(file), PROBE_BYTES);
    BlockBackend *blk = blk_new("format probe", BLK_PERM_CONSISTENT_READ, BLK_PERM_ALL);
    const BlockDriver *drv = NULL;

    if (blk_insert_bs(blk, file, errp)) {
        int ret = blk_co_pread(blk, 0, len, buf);

        if (ret < 0) {
            error_setg_errno(errp, -ret, "Could not read '%s' to determine its format", file->filename);
        } else {
            drv = bdrv_probe_all(buf, len);
        }
        if (drv && drv->driver == BLOCKDEV_DRIVER_RAW && !bdrv_check_raw_guess(blk, flags, errp)) {
            drv = NULL;
        }
    }
    blk_co_unref(blk);
    return drv;
}

/*
 * Set the driver in @options to the format found in their file child. Returns the node opened for probing, which the
 * caller holds until the driver has taken it, or NULL with @errp.
 */
static BlockDriverState *coroutine_fn probe_driver(struct json_object *options, BdrvOpenFlags flags,
                                                   Error **errp)
{
    struct json_object *ref_json;

    if (!json_object_object_get_ex(options, "file", &ref_json)) {
        error_setg(errp, "Must specify either driver or file");
        return NULL;
    }
    /* Options of the node besides its driver, which the child inherits. */
    g_autoptr(json_object) common = json_object_new_object();
    json_object_object_add(common, "driver", json_object_new_string("raw"));
    json_object_object_add(common, "file", json_object_get(ref_json));
    static const char *const inherited[] = { "read-only", "auto-read-only", "force-share", "cache" };
    for (size_t i = 0; i < G_N_ELEMENTS(inherited); i++) {
        struct json_object *val;
        if (json_object_object_get_ex(options, inherited[i], &val)) {
            json_object_object_add(common, inherited[i], json_object_get(val));
        }
    }
    g_autoptr(BlockdevOptions) parent = QAPI_FROM_JSON(BlockdevOptions, common, QAPI_INPUT_KEYVAL, errp);
    if (!parent) {
        return NULL;
    }
    BlockDriverState *file = open_ref(parent->u.raw.file, parent, flags, (Opener){ 0 }, errp);
    if (!file) {
        return NULL;
    }
    const BlockDriver *drv = probe_format(file, flags, errp);
    if (!drv) {
        bdrv_co_unref(file);
        return NULL;
    }
    json_object_object_add(options, "driver", json_object_new_string(drv->format_name));
    json_object_object_add(options, "file", json_object_new_string(file->node_name));
    return file;
}

BlockDriverState *coroutine_fn bdrv_co_open(const char *filename, struct json_object *options_in,
                                            BdrvOpenFlags flags, Error **errp)
{
    g_autoptr(json_object) options = options_in ? copy_structure(options_in) : json_object_new_object();
    BlockDriverState *probed = NULL, *bs = NULL;

    if (filename && !add_filename(options, filename, errp)) {
        return NULL;
    }
    /* A top-level filename without a driver names the protocol below a format still to be probed. */
    struct json_object *top_name = get_member(options, "filename", json_type_string);
    if (top_name && !has_member(options, "driver") && !has_member(options, "file")) {
        g_autofree char *name = g_strdup(json_object_get_string(top_name));
        json_object_object_del(options, "filename");
        if (!add_filename(options, name, errp)) {
            return NULL;
        }
    }
    if (!modernize(options, errp) || !complete_children(options, errp)) {
        return NULL;
    }
    if (!has_member(options, "driver")) {
        probed = probe_driver(options, flags, errp);
        if (!probed) {
            return NULL;
        }
    }
    g_autoptr(BlockdevOptions) typed = QAPI_FROM_JSON(BlockdevOptions, options, QAPI_INPUT_KEYVAL, errp);
    if (typed) {
        bs = bdrv_co_open_blockdev(typed, flags | (probed ? BDRV_O_PROBED : 0), errp);
    }
    bdrv_co_unref(probed);
    return bs;
}
