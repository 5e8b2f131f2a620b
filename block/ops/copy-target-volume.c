/*
 * The volumes of a CopyTarget: files and RBD images, which can be created, and existing volumes of other protocols
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include <json-c/json.h>
#include <sys/stat.h>

#include "block/block-backend.h"
#include "block/block_int.h"
#include "block/graph/graph_int.h"
#include "block/job.h"
#include "block/nbd.h"
#include "block/ops/copy-target-int.h"
#include "qapi/json.h"
#include "qapi/qapi.h"
#include "util/thread-pool.h"

static struct json_object *parse_json_filename(const char *text, Error **errp)
{
    g_autoptr(json_object) options = qapi_parse_json(text, strlen(text), errp);

    if (!options) {
        error_prepend(errp, "Could not parse the JSON options: ");
        return NULL;
    }
    g_autoptr(BlockdevOptions) typed = QAPI_FROM_JSON(BlockdevOptions, options, QAPI_INPUT_KEYVAL, errp);
    if (!typed) {
        return NULL;
    }
    const BlockDriver *drv = bdrv_find_driver(typed->driver);
    if (drv && !drv->is_protocol) {
        error_setg(errp, "Driver '%s' is not a protocol; specify the format with 'format'", drv->format_name);
        return NULL;
    }
    return json_object_get(options);
}

TargetVolume *coroutine_fn target_volume_new(const char *purpose, const char *filename, Error **errp)
{
    bool is_json = g_str_has_prefix(filename, "json:");
    struct json_object *options = is_json ? parse_json_filename(filename + strlen("json:"), errp)
                                          : bdrv_filename_to_options(filename, errp);

    if (!options) {
        return NULL;
    }
    if (!json_object_object_get_ex(options, "discard", NULL)) {
        json_object_object_add(options, "discard", json_object_new_string("unmap"));
    }
    TargetVolume *v = g_new0(TargetVolume, 1);
    v->purpose = purpose;
    v->options = options;
    return v;
}

/* The path of a volume that is a file; NULL for other protocols. */
static const char *volume_path(const TargetVolume *v)
{
    const char *driver = json_object_get_string(json_object_object_get(v->options, "driver"));

    return g_str_equal(driver, "file") ? json_object_get_string(json_object_object_get(v->options, "filename")) : NULL;
}

static int unlink_worker(void *opaque)
{
    return unlink(opaque) < 0 ? -errno : 0;
}

static void coroutine_fn delete_created(const TargetVolume *v)
{
    g_autoptr(Error) err = NULL;

    if (v->created) {
        thread_pool_submit_co(THREAD_POOL_IO, unlink_worker, (char *)volume_path(v));
    }
    if (v->image && !bdrv_delete(v->image, &err)) {
        warn_report("%s", error_get_pretty(err));
    }
}

void coroutine_fn target_volume_free(TargetVolume *v, bool keep)
{
    if (!v) {
        return;
    }
    bdrv_co_unref(v->bs);
    if (!keep) {
        delete_created(v);
    }
    qapi_free_BlockdevCreateOptions(v->image);
    json_object_put(v->options);
    g_free(v);
}

typedef struct CreateWork {
    const char *path;
    mode_t mode;
} CreateWork;

static int create_worker(void *opaque)
{
    const CreateWork *work = opaque;
    g_auto_fd int fd = RETRY_ON_EINTR(open(work->path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, work->mode));

    return fd < 0 ? -errno : 0;
}

/* A file whose descriptor a client has passed exists. */
static bool coroutine_fn create_file(TargetVolume *v, bool is_private, Error **errp)
{
    CreateWork work = { .path = volume_path(v), .mode = is_private ? 0600 : 0644 };

    if (!work.path || g_str_has_prefix(work.path, "/dev/fdset/")) {
        return true;
    }
    int ret = thread_pool_submit_co(THREAD_POOL_IO, create_worker, &work);
    if (ret < 0 && ret != -EEXIST) {
        error_setg_errno(errp, -ret, "Could not create '%s'", work.path);
        return false;
    }
    v->created = ret == 0;
    return true;
}

static bool coroutine_fn create_image(TargetVolume *v, const BlockdevOptionsRbd *location, Job *job, Error **errp)
{
    g_autoptr(BlockdevCreateOptions) options = g_new0(BlockdevCreateOptions, 1);

    options->driver = BLOCKDEV_DRIVER_RBD;
    options->u.rbd.location = QAPI_CLONE(BlockdevOptionsRbd, location);
    if (!bdrv_create(options, job, errp)) {
        return false;
    }
    v->image = g_steal_pointer(&options);
    return true;
}

bool coroutine_fn target_volume_open(TargetVolume *v, bool create, bool is_private, Job *job, Error **errp)
{
    g_autoptr(BlockdevRef) ref = QAPI_FROM_JSON(BlockdevRef, v->options, QAPI_INPUT_KEYVAL, errp);

    if (!ref) {
        return false;
    }
    const BlockdevOptions *o = &ref->u.definition;
    if (create && !(o->driver == BLOCKDEV_DRIVER_RBD ? create_image(v, &o->u.rbd, job, errp)
                                                     : create_file(v, is_private, errp))) {
        return false;
    }
    v->bs = bdrv_co_open_blockdev_ref(ref, 0, job, errp);
    return v->bs;
}

typedef struct SameFileWork {
    const char *a;
    const char *b;
} SameFileWork;

static int same_file_worker(void *opaque)
{
    const SameFileWork *work = opaque;
    struct stat a, b;

    return stat(work->a, &a) == 0 && stat(work->b, &b) == 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

static bool coroutine_fn is_same_storage(BlockDriverState *a, BlockDriverState *b)
{
    SameFileWork work = { .a = a->filename, .b = b->filename };

    return (a->drv == b->drv && g_str_equal(a->filename, b->filename)) ||
           thread_pool_submit_co(THREAD_POOL_IO, same_file_worker, &work) > 0;
}

/* A copy to its own source would never end. */
static bool coroutine_fn check_not_exported(const TargetVolume *v, BlockDriverState *bs, Error **errp)
{
    bool ok = nbd_server_check_no_loop(v->bs, bs, errp);

    if (!ok) {
        error_prepend(errp, "'%s' cannot be the %s: ", v->bs->filename, v->purpose);
    }
    return ok;
}

static bool coroutine_fn check_outside(const TargetVolume *v, BlockDriverState *bs, Error **errp)
{
    if (bs->drv->is_protocol && is_same_storage(bs, v->bs)) {
        error_setg(errp, "'%s' cannot be the %s: node '%s' is in it", v->bs->filename, v->purpose,
                   bdrv_get_node_name(bs));
        return false;
    }
    for (guint i = 0; i < bs->children->len; i++) {
        BdrvChild *child = g_ptr_array_index(bs->children, i);

        if (!check_outside(v, child->bs, errp)) {
            return false;
        }
    }
    return true;
}

bool coroutine_fn target_volume_check_apart(const TargetVolume *v, BlockDriverState *bs, Error **errp)
{
    return check_outside(v, bs, errp) && check_not_exported(v, bs, errp);
}

/* Whether the user of @c does not allow writers to the same storage. */
static bool excludes_writers(const BdrvChild *c)
{
    return c->perm & (BLK_PERM_WRITE | BLK_PERM_RESIZE) || !(c->shared_perm & BLK_PERM_WRITE);
}

/* Which user of @bs, or of a node above it, excludes writers; for messages. NULL: none. Caller frees. */
static char *describe_excluder(const BlockDriverState *bs)
{
    if (bs->job) {
        return g_strdup_printf("job '%s'", bs->job->id);
    }
    for (guint i = 0; i < bs->parents->len; i++) {
        const BdrvChild *c = g_ptr_array_index(bs->parents, i);
        const BlockDriverState *parent = bdrv_child_parent(c);

        if (excludes_writers(c)) {
            char *above = parent ? describe_excluder(parent) : NULL;
            return above ?: c->klass->describe(c);
        }
    }
    return NULL;
}

bool coroutine_fn target_volume_check_unused(const TargetVolume *v, Error **errp)
{
    GPtrArray *nodes = bdrv_get_nodes();
    g_autofree char *user = NULL;

    for (guint i = 0; !user && i < nodes->len; i++) {
        BlockDriverState *bs = g_ptr_array_index(nodes, i);
        g_autofree char *excluder = bs->drv->is_protocol ? describe_excluder(bs) : NULL;

        if (excluder && is_same_storage(bs, v->bs)) {
            user = g_steal_pointer(&excluder);
        }
    }
    bdrv_co_put_nodes(nodes);
    if (user) {
        error_setg(errp, "The %s '%s' is in use by %s", v->purpose, v->bs->filename, user);
    }
    return !user;
}

bool target_volume_is_fixed(const TargetVolume *v)
{
    return v->bs->drv->driver != BLOCKDEV_DRIVER_FILE && v->bs->drv->driver != BLOCKDEV_DRIVER_RBD;
}

/* Get exclusive use of the volume, to overwrite it. NULL with @errp if it is in use. */
static BlockBackend *coroutine_fn take_volume(const TargetVolume *v, Error **errp)
{
    BlockBackend *blk = blk_new("creation of a target", BLK_PERM_CONSISTENT_READ | BLK_PERM_WRITE | BLK_PERM_RESIZE,
                                BLK_PERM_CONSISTENT_READ);

    if (!blk_insert_bs(blk, v->bs, errp)) {
        blk_co_unref(blk);
        return NULL;
    }
    return blk;
}

bool coroutine_fn target_volume_check(const TargetVolume *v, int64_t bytes, Error **errp)
{
    if (target_volume_is_fixed(v) && bdrv_getlength(v->bs) < bytes) {
        error_setg(errp, "The %s '%s' has %" PRId64 " bytes, but needs %" PRId64, v->purpose, v->bs->filename,
                   bdrv_getlength(v->bs), bytes);
        return false;
    }
    BlockBackend *blk = take_volume(v, errp);
    if (!blk) {
        return false;
    }
    g_autofree char *uuid = v->created ? NULL : bdrv_probe_luks_uuid(v->bs);
    blk_co_unref(blk);
    if (uuid && volume_path(v)) {
        error_setg(errp, "'%s' holds LUKS volume UUID %s, which would be lost: remove the file, or use mode 'existing' "
                   "to copy into this volume", v->bs->filename, uuid);
        return false;
    }
    if (uuid) {
        warn_report("overwriting LUKS volume UUID %s in '%s'", uuid, v->bs->filename);
    }
    return true;
}

bool coroutine_fn target_volume_resize(const TargetVolume *v, int64_t bytes, PreallocMode prealloc, Job *job,
                                       Error **errp)
{
    BlockBackend *blk = take_volume(v, errp);
    bool ok = blk && (target_volume_is_fixed(v) || v->created || v->image ||
                      blk_co_truncate(blk, 0, true, PREALLOC_MODE_OFF, job, errp)) &&
              blk_co_truncate(blk, bytes, false, prealloc, job, errp);

    blk_co_unref(blk);
    return ok;
}
