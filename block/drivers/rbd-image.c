/*
 * An open RBD image: asynchronous requests, and calls that block
 *
 * A request can be given up while librbd still uses it. So everything that librbd uses belongs to the request, which is
 * freed once both the coroutine and librbd are done with it. Data is read into a buffer of the request, and librbd
 * copies the data of a write when the request is submitted.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include "block/drivers/rbd.h"
#include "util/aio.h"
#include "util/thread-pool.h"

/* Interval at which closing checks whether all requests have ended. */
#define CLOSE_POLL_US 10000

/* Without an object map, block status queries the cluster for each object. */
#define STATUS_MAX_OBJECTS 64
/* Stops rbd_diff_iterate2(): an error that it does not return itself. */
#define STATUS_STOP (-9000)

struct RBDRequest {
    RBDImage *image;
    RBDRequestArgs args;        /* a copy, without qiov */
    Coroutine *co;
    uint8_t *buf;               /* of READ */
    /* Under image->lock: */
    unsigned users;             /* the coroutine, and librbd */
    bool given_up;              /* the coroutine no longer waits */
    ssize_t ret;
    RBDRequest *next, **prev;   /* in image->requests; prev is NULL: in none */
};

RBDImage *qemu_rbd_image_new(const char *name)
{
    RBDImage *image = g_new0(RBDImage, 1);

    image->name = g_strdup(name);
    g_mutex_init(&image->lock);
    g_mutex_init(&image->update_lock);
    return image;
}

static bool image_is_busy(RBDImage *image)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&image->lock);

    return image->unfinished > 0;
}

void qemu_rbd_image_free(RBDImage *image)
{
    if (!image) {
        return;
    }
    qemu_rbd_unwatch(image);
    while (image_is_busy(image)) {
        g_usleep(CLOSE_POLL_US);
    }
    if (image->image) {
        librbd.rbd_close(image->image);
    }
    qemu_rbd_pool_disconnect(&image->pool);
    g_mutex_clear(&image->lock);
    g_mutex_clear(&image->update_lock);
    g_free(image->name);
    g_free(image);
}

void qemu_rbd_image_use(RBDImage *image)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&image->lock);

    image->unfinished++;
}

void qemu_rbd_image_unuse(RBDImage *image)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&image->lock);

    image->unfinished--;
}

/* Requests */

static void request_unlink(RBDRequest *r)
{
    if (r->prev) {
        *r->prev = r->next;
        if (r->next) {
            r->next->prev = r->prev;
        }
        r->prev = NULL;
    }
}

/* With the lock held, which this releases. */
static void request_unuse_unlock(RBDRequest *r)
{
    bool last = --r->users == 0;

    g_mutex_unlock(&r->image->lock);
    if (last) {
        g_free(r->buf);
        g_free(r);
    }
}

/* librbd is done with @r. Any thread. */
static void request_end(RBDRequest *r, ssize_t ret)
{
    g_mutex_lock(&r->image->lock);
    r->ret = ret;
    if (!r->given_up) {
        request_unlink(r);
        aio_co_schedule(r->co);
    }
    /* From 0 on, closing may free the image. */
    r->image->unfinished--;
    request_unuse_unlock(r);
}

static void request_completed(rbd_completion_t completion, void *opaque)
{
    ssize_t ret = librbd.rbd_aio_get_return_value(completion);

    librbd.rbd_aio_release(completion);
    request_end(opaque, ret);
}

typedef struct StatusScan {
    int64_t offset;             /* where it begins */
    int64_t bytes;              /* what is known of the range after that, */
    bool exists;                /* and whether it exists */
    bool stopped;               /* librbd was told to stop; it calls a few more times */
} StatusScan;

/* librbd has found data. */
static int status_scan_extent(uint64_t offset, size_t len, int exists, void *opaque)
{
    StatusScan *scan = opaque;
    bool follows = (int64_t)offset <= scan->offset + scan->bytes;

    if (!exists || scan->stopped) {
        return scan->stopped ? STATUS_STOP : 0;
    }
    if (!follows) {
        scan->bytes = scan->exists ? scan->bytes : (int64_t)offset - scan->offset;
        scan->stopped = true;
        return STATUS_STOP;
    }
    scan->exists = true;
    scan->bytes = offset + len - scan->offset;
    return 0;
}

/* librbd has no asynchronous call for this. */
static gpointer status_run(gpointer opaque)
{
    RBDRequest *r = opaque;
    RBDRequestArgs *a = &r->args;
    StatusScan scan = { .offset = a->offset };
    /* Before version 17, librbd reported wrong offsets unless the first was that of an object. */
    uint64_t start = ROUND_DOWN(a->offset, r->image->object_size);

    int ret = librbd.rbd_diff_iterate2(r->image->image, NULL, start, a->offset + a->bytes - start, true, true,
                                       status_scan_extent, &scan);
    a->exists = scan.exists;
    a->status_bytes = ret == 0 && !scan.exists ? a->bytes : scan.bytes;
    request_end(r, ret == STATUS_STOP ? 0 : ret);
    return NULL;
}

static int status_submit(RBDRequest *r)
{
    if (!r->image->has_object_map) {
        r->args.bytes = MIN(r->args.bytes, STATUS_MAX_OBJECTS * (int64_t)r->image->object_size);
    }
    GThread *thread = g_thread_try_new("rbd-status", status_run, r, NULL);
    if (!thread) {
        return -EAGAIN;
    }
    g_thread_unref(thread);
    return 0;
}

/* Hand @r to librbd: 0, or -errno if that has failed. */
static int request_submit(RBDRequest *r, const QEMUIOVector *qiov)
{
    const RBDRequestArgs *a = &r->args;
    rbd_image_t image = r->image->image;
    rbd_completion_t completion;

    if (a->type == RBD_REQUEST_STATUS) {
        return status_submit(r);
    }
    int ret = librbd.rbd_aio_create_completion(r, request_completed, &completion);

    if (ret < 0) {
        return ret;
    }
    switch (a->type) {
    case RBD_REQUEST_READ:
        r->buf = g_malloc(a->bytes);
        ret = librbd.rbd_aio_read(image, a->offset, a->bytes, (char *)r->buf, completion);
        break;
    case RBD_REQUEST_WRITE:
        ret = librbd.rbd_aio_writev(image, qiov->iov, qiov->niov, a->offset, completion);
        break;
    case RBD_REQUEST_FLUSH:
        ret = librbd.rbd_aio_flush(image, completion);
        break;
    case RBD_REQUEST_DISCARD:
        ret = librbd.rbd_aio_discard(image, a->offset, a->bytes, completion);
        break;
    case RBD_REQUEST_ZERO:
        ret = librbd.rbd_aio_write_zeroes(image, a->offset, a->bytes, completion,
                                   a->may_unmap ? 0 : RBD_WRITE_ZEROES_FLAG_THICK_PROVISION, 0);
        break;
    default:
        g_assert_not_reached();
    }
    if (ret < 0) {
        librbd.rbd_aio_release(completion);
    }
    return ret;
}

/*
 * Link @r, so that it can be cancelled, and count it. -ECANCELED if it must not wait, -EIO if another client has
 * shortened the image: librbd 16 aborts on writes beyond the end.
 */
static int request_begin(RBDRequest *r)
{
    RBDImage *image = r->image;
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&image->lock);

    if (bdrv_must_not_wait()) {
        return -ECANCELED;
    }
    if (r->args.offset + r->args.bytes > (int64_t)image->size) {
        return -EIO;
    }
    r->next = image->requests;
    r->prev = &image->requests;
    if (r->next) {
        r->next->prev = &r->next;
    }
    image->requests = r;
    image->unfinished++;
    return 0;
}

/* 0 or -errno. With the lock held. */
static int request_result(const RBDRequest *r)
{
    if (r->given_up) {
        return -ECANCELED;
    }
    /* librbd reads less where another client has just made the image shorter. */
    bool is_short = r->args.type == RBD_REQUEST_READ && r->ret >= 0 && r->ret < r->args.bytes;
    return is_short ? -EIO : MIN(r->ret, 0);
}

/* Copy the results of @r to the caller's arguments. */
static void request_take_results(const RBDRequest *r, RBDRequestArgs *args)
{
    if (args->type == RBD_REQUEST_READ) {
        qemu_iovec_from_buf(args->qiov, 0, r->buf, args->bytes);
    }
    args->exists = r->args.exists;
    args->status_bytes = MIN(r->args.status_bytes, args->bytes);
}

int coroutine_fn qemu_rbd_co_request(RBDImage *image, RBDRequestArgs *args)
{
    RBDRequest *r = g_new0(RBDRequest, 1);

    r->image = image;
    r->args = *args;
    r->args.qiov = NULL;
    r->users = 2;
    r->co = qemu_coroutine_self();
    int ret = request_begin(r);
    if (ret < 0) {
        g_free(r);
        return ret;
    }
    ret = request_submit(r, args->qiov);
    if (ret < 0) {
        request_end(r, ret);
    }
    qemu_coroutine_yield();

    g_mutex_lock(&image->lock);
    ret = request_result(r);
    g_mutex_unlock(&image->lock);
    if (ret == 0) {
        request_take_results(r, args);
    }
    g_mutex_lock(&image->lock);
    request_unuse_unlock(r);
    return ret;
}

void qemu_rbd_image_cancel(RBDImage *image)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&image->lock);

    while (image->requests) {
        RBDRequest *r = image->requests;

        request_unlink(r);
        r->given_up = true;
        aio_co_schedule(r->co);
    }
}

/* Calls that block */

typedef struct RBDCall {
    ThreadPoolFunc *func;
    void *opaque;
    GDestroyNotify free;
    int ret;
} RBDCall;

static void coroutine_fn call_entry(void *opaque)
{
    RBDCall *call = opaque;

    call->ret = thread_run_co_cancellable(call->func, call->opaque, call->free);
}

int coroutine_fn qemu_rbd_co_call(ThreadPoolFunc *func, void *opaque, GDestroyNotify free, int64_t timeout_ns,
                                  bool (*cancelled)(void *cancel_opaque), void *cancel_opaque)
{
    RBDCall call = { .func = func, .opaque = opaque, .free = free };
    int why = aio_co_run_limited(call_entry, &call, timeout_ns, cancelled, cancel_opaque);

    return call.ret == -ECANCELED && why < 0 ? why : call.ret;
}
