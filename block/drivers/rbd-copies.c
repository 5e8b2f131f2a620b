/*
 * rbd: what else in the cluster holds older contents of an image
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include "block/drivers.h"
#include "block/drivers/rbd.h"

/* Maximum size of a name, with the terminating NUL. */
#define MAX_SNAPSHOT_NAME 4096
/* Initial number; librbd reports if there are more. */
#define LIST_ENTRIES 64

typedef struct RBDCopies {
    RBDImage *image;
    char *image_name;           /* without pool and namespace */
    GPtrArray *texts;           /* of char * */
    int ret;                    /* 0, or -errno of the first failure, */
    const char *unlisted;       /* and what could not be listed */
} RBDCopies;

static void G_GNUC_PRINTF(2, 3) copies_add(RBDCopies *c, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    g_autofree char *text = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    g_ptr_array_add(c->texts, bdrv_printable(text));
}

static void copies_add_snapshot(RBDCopies *c, const rbd_snap_info_t *snapshot)
{
    g_autofree char *original = g_malloc0(MAX_SNAPSHOT_NAME);
    rbd_snap_group_namespace_t group;
    rbd_snap_namespace_type_t type = RBD_SNAP_NAMESPACE_TYPE_USER;

    librbd.rbd_snap_get_namespace_type(c->image->image, snapshot->id, &type);
    if (type == RBD_SNAP_NAMESPACE_TYPE_GROUP) {
        /* Its own name is internal. */
        if (librbd.rbd_snap_get_group_namespace(c->image->image, snapshot->id, &group, sizeof(group)) == 0) {
            copies_add(c, "snapshot '%s' of group '%s'", group.group_snap_name, group.group_name);
            librbd.rbd_snap_group_namespace_cleanup(&group, sizeof(group));
        } else {
            copies_add(c, "snapshot of a group");
        }
        return;
    }
    /* A snapshot that was removed while it had clones. */
    if (librbd.rbd_snap_get_trash_namespace(c->image->image, snapshot->id, original, MAX_SNAPSHOT_NAME) == 0) {
        copies_add(c, "removed snapshot '%s', which its clones keep", original);
    } else {
        copies_add(c, "snapshot '%s'", snapshot->name);
    }
}

static int copies_add_snapshots(RBDCopies *c)
{
    int max = LIST_ENTRIES, n;
    g_autofree rbd_snap_info_t *snapshots = NULL;

    do {
        snapshots = g_renew(rbd_snap_info_t, snapshots, max);
        n = librbd.rbd_snap_list(c->image->image, snapshots, &max);
    } while (n == -ERANGE);
    for (int i = 0; i < n; i++) {
        copies_add_snapshot(c, &snapshots[i]);
    }
    if (n > 0) {
        librbd.rbd_snap_list_end(snapshots);
    }
    return MIN(n, 0);
}

/* POOL[/NAMESPACE]/IMAGE. Caller frees. */
static char *linked_image_name(const rbd_linked_image_spec_t *image)
{
    return g_strdup_printf("%s%s%s/%s", image->pool_name, *image->pool_namespace ? "/" : "", image->pool_namespace,
                           image->image_name);
}

static int copies_add_clones(RBDCopies *c)
{
    size_t max = LIST_ENTRIES;
    g_autofree rbd_linked_image_spec_t *clones = NULL;
    int ret;

    do {
        clones = g_renew(rbd_linked_image_spec_t, clones, max);
        ret = librbd.rbd_list_children3(c->image->image, clones, &max);
    } while (ret == -ERANGE);
    if (ret < 0) {
        return ret;
    }
    for (size_t i = 0; i < max; i++) {
        g_autofree char *name = linked_image_name(&clones[i]);

        copies_add(c, "clone '%s'%s", name, clones[i].trash ? " in the trash" : "");
    }
    librbd.rbd_linked_image_spec_list_cleanup(clones, max);
    return 0;
}

static int copies_add_parent(RBDCopies *c)
{
    rbd_linked_image_spec_t parent;
    rbd_snap_spec_t snapshot;

    int ret = librbd.rbd_get_parent(c->image->image, &parent, &snapshot);

    if (ret == 0) {
        g_autofree char *name = linked_image_name(&parent);

        copies_add(c, "snapshot '%s@%s', of which this is a clone", name, snapshot.name);
        librbd.rbd_linked_image_spec_cleanup(&parent);
        librbd.rbd_snap_spec_cleanup(&snapshot);
    }
    return ret == -ENOENT ? 0 : ret;
}

/* Images of the same name that were moved to the trash. */
static int copies_add_trash(RBDCopies *c)
{
    size_t max = LIST_ENTRIES;
    g_autofree rbd_trash_image_info_t *entries = NULL;
    int ret;

    do {
        entries = g_renew(rbd_trash_image_info_t, entries, max);
        ret = librbd.rbd_trash_list(c->image->pool.io, entries, &max);
    } while (ret == -ERANGE);
    if (ret < 0) {
        return ret == -ENOENT ? 0 : ret;
    }
    for (size_t i = 0; i < max; i++) {
        if (g_str_equal(entries[i].name, c->image_name)) {
            copies_add(c, "image '%s' in the trash (id %s)", entries[i].name, entries[i].id);
        }
    }
    librbd.rbd_trash_list_cleanup(entries, max);
    return 0;
}

static int copies_worker(void *opaque)
{
    RBDCopies *c = opaque;
    static const struct {
        int (*add)(RBDCopies *c);
        const char *what;
    } steps[] = {
        { copies_add_snapshots, "snapshots" },
        { copies_add_clones, "clones" },
        { copies_add_parent, "the parent" },
        { copies_add_trash, "the trash" },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(steps); i++) {
        int ret = steps[i].add(c);

        if (ret < 0 && c->ret == 0) {
            c->ret = ret;
            c->unlisted = steps[i].what;
        }
    }
    qemu_rbd_image_unuse(c->image);
    return 0;
}

static void copies_free(void *opaque)
{
    RBDCopies *c = opaque;

    g_ptr_array_unref(c->texts);
    g_free(c->image_name);
    g_free(c);
}

static bool copies_cancelled(void *opaque)
{
    return bdrv_must_not_wait();
}

static void copies_explain(const RBDImage *image, const BlockdevOptionsRbd *location, int ret, const char *unlisted,
                           Error **errp)
{
    if (ret == -EPERM || ret == -EACCES) {
        error_setg(errp, "RBD image '%s': client.%s has no permission to list %s, which \"profile rbd\" for its "
                   "pool grants", image->name, location->user ?: "admin", unlisted);
    } else {
        error_setg_errno(errp, -ret, "RBD image '%s': could not list %s", image->name, unlisted);
    }
}

bool coroutine_fn qemu_rbd_list_copies(RBDImage *image, const BlockdevOptionsRbd *location, GPtrArray *copies,
                                       Error **errp)
{
    RBDCopies *c = g_new0(RBDCopies, 1);

    c->image = image;
    c->image_name = g_strdup(location->image);
    c->texts = g_ptr_array_new_with_free_func(g_free);
    qemu_rbd_image_use(image);
    int ret = qemu_rbd_co_call(copies_worker, c, copies_free, QEMU_RBD_TIMEOUT_S * NANOSECONDS_PER_SECOND,
                               copies_cancelled, NULL);
    if (ret < 0) {
        copies_explain(image, location, ret, "snapshots and clones", errp);
        return false;
    }
    ret = c->ret;
    if (ret < 0) {
        copies_explain(image, location, ret, c->unlisted, errp);
    }
    for (guint i = 0; i < c->texts->len; i++) {
        g_ptr_array_add(copies, g_strdup(g_ptr_array_index(c->texts, i)));
    }
    copies_free(c);
    return ret == 0;
}
