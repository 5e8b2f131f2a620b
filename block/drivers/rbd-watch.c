/*
 * Noticing that another client has resized an RBD image
 *
 * librbd reports changes of the image, without details, on one of its threads, which must not block. Querying the size
 * can block, so another thread does that, and reports the size to the main loop.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include "block/drivers/rbd.h"
#include "util/aio.h"

uint64_t qemu_rbd_image_size(RBDImage *image)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&image->lock);

    return image->size;
}

int qemu_rbd_image_update_size(RBDImage *image)
{
    /* An older answer must not replace a newer one. */
    g_autoptr(GMutexLocker) updating = g_mutex_locker_new(&image->update_lock);
    rbd_image_info_t info;
    int ret = librbd.rbd_stat(image->image, &info, sizeof(info));

    if (ret == 0) {
        g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&image->lock);

        image->size = info.size;
    }
    return ret;
}

/* On the main loop. Closing the image waits for this, closing the node does not. */
static void watch_notify(void *opaque)
{
    RBDImage *image = opaque;
    BlockDriverState *bs = image->bs;

    if (bs) {
        bdrv_storage_resized(bs);
    }
    qemu_rbd_image_unuse(image);
}

static gpointer watch_run(gpointer opaque)
{
    RBDImage *image = opaque;
    bool again;

    do {
        g_mutex_lock(&image->lock);
        image->changed = false;
        g_mutex_unlock(&image->lock);
        qemu_rbd_image_update_size(image);
        g_mutex_lock(&image->lock);
        again = image->changed;
        image->is_asking = again;
        g_mutex_unlock(&image->lock);
    } while (again);
    aio_bh_schedule_oneshot(qemu_get_aio_context(), watch_notify, image);
    return NULL;
}

/* librbd reports that something has changed. */
static void watch_changed(void *opaque)
{
    RBDImage *image = opaque;
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&image->lock);

    image->changed = true;
    if (image->is_asking) {
        return;
    }
    GThread *thread = g_thread_try_new("rbd-watch", watch_run, image, NULL);
    if (thread) {
        image->is_asking = true;
        image->unfinished++;
        g_thread_unref(thread);
    }
}

int qemu_rbd_watch(RBDImage *image)
{
    int ret = librbd.rbd_update_watch(image->image, &image->watch, watch_changed, image);

    image->is_watched = ret == 0;
    /* What it was before may have changed since. */
    return ret == 0 ? qemu_rbd_image_update_size(image) : ret;
}

void qemu_rbd_unwatch(RBDImage *image)
{
    if (image->is_watched) {
        /* Waits for calls of watch_changed(). */
        librbd.rbd_update_unwatch(image->image, image->watch);
    }
}
