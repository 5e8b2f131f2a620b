/*
 * rbd: an image in a Ceph cluster
 *
 * The block layer sees whole sectors. If the size of an image is no multiple of 512, the rest of its last sector reads
 * as zeroes, and only zeroes can be written there.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include "block/drivers.h"
#include "block/drivers/rbd.h"
#include "block/job.h"
#include "util/aio.h"

/* Maximum size of a read or write, which needs memory, and of other requests. */
#define MAX_TRANSFER_BYTES (32 * MiB)
#define MAX_RANGE_BYTES (1 * GiB)
/* librbd ignores smaller discards. */
#define DISCARD_BYTES (64 * KiB)

typedef struct BDRVRBDState {
    RBDImage *image;
    RBDImage *reopened;         /* replaces @image when a reopen commits; NULL: no change */
} BDRVRBDState;

static bool is_direct(const BlockdevOptions *options)
{
    return options->cache && options->cache->has_direct && options->cache->direct;
}

/* Open the image as @options say; NULL with @errp. */
static RBDImage *coroutine_fn image_open(BlockDriverState *bs, const BlockdevOptions *options, bool read_only,
                                         Error **errp)
{
    RBDOpen *open = qemu_rbd_open_new(&options->u.rbd, is_direct(options), read_only, errp);

    if (!open) {
        return NULL;
    }
    g_autofree char *name = g_strdup(open->name);
    int ret = qemu_rbd_co_call(qemu_rbd_open_worker, open, (GDestroyNotify)qemu_rbd_open_free,
                               qemu_rbd_timeout_ns(open->passphrase), bdrv_opening_cancelled, bs);
    if (ret == -ETIMEDOUT) {
        error_setg(errp, "RBD image '%s': the cluster's monitors respond, but not the OSDs that store the image",
                   name);
        error_append_hint(errp, "Check \"ceph status\".\n");
        return NULL;
    }
    if (ret == -ECANCELED) {
        error_setg(errp, "Operation was cancelled");
        return NULL;
    }
    RBDImage *image = g_steal_pointer(&open->image);
    error_propagate(errp, g_steal_pointer(&open->err));
    qemu_rbd_open_free(open);
    return image;
}

/* Snapshots are read-only: adjust *@read_only if @options allow that. False with @errp. */
static bool check_read_only(const BlockdevOptions *options, bool *read_only, Error **errp)
{
    return !options->u.rbd.snapshot ||
           bdrv_apply_auto_read_only(options, read_only, "RBD snapshots are read-only", errp);
}

static bool coroutine_fn qemu_rbd_co_open(BlockDriverState *bs, Error **errp)
{
    BDRVRBDState *s = bs->opaque;

    if (!check_read_only(bs->options, &bs->read_only, errp)) {
        return false;
    }
    s->image = image_open(bs, bs->options, bs->read_only, errp);
    if (s->image) {
        s->image->bs = bs;
        bs->filename = qemu_rbd_filename(&bs->options->u.rbd);
    }
    return s->image;
}

static int close_worker(void *image)
{
    qemu_rbd_image_free(image);
    return 0;
}

static void close_nothing(void *opaque)
{
}

static bool closing_cancelled(void *opaque)
{
    return bdrv_must_not_wait();
}

/* If the cluster does not respond, this does not wait for long: the thread continues on its own. */
static void coroutine_fn image_close(RBDImage *image)
{
    image->bs = NULL;
    qemu_rbd_co_call(close_worker, image, close_nothing, QEMU_RBD_TIMEOUT_S * NANOSECONDS_PER_SECOND,
                     closing_cancelled, NULL);
}

static void coroutine_fn qemu_rbd_co_close(BlockDriverState *bs)
{
    BDRVRBDState *s = bs->opaque;

    image_close(g_steal_pointer(&s->image));
}

static bool coroutine_fn qemu_rbd_co_reopen_prepare(BDRVReopenState *reopen, Error **errp)
{
    BlockDriverState *bs = reopen->bs;
    BDRVRBDState *s = bs->opaque;

    if (!check_read_only(reopen->options, &reopen->read_only, errp)) {
        return false;
    }
    if (is_direct(reopen->options) == is_direct(bs->options) && (reopen->read_only || !s->image->read_only)) {
        return true;
    }
    s->reopened = image_open(bs, reopen->options, reopen->read_only, errp);
    return s->reopened;
}

static void coroutine_fn qemu_rbd_co_reopen_commit(BlockDriverState *bs)
{
    BDRVRBDState *s = bs->opaque;

    if (s->reopened) {
        RBDImage *old = s->image;

        s->image = g_steal_pointer(&s->reopened);
        s->image->bs = bs;
        image_close(old);
    }
}

static void coroutine_fn qemu_rbd_co_reopen_abort(BlockDriverState *bs)
{
    BDRVRBDState *s = bs->opaque;

    if (s->reopened) {
        image_close(g_steal_pointer(&s->reopened));
    }
}

static void qemu_rbd_cancel_in_flight(BlockDriverState *bs)
{
    BDRVRBDState *s = bs->opaque;

    if (s->image) {
        qemu_rbd_image_cancel(s->image);
    }
}

static int64_t coroutine_fn qemu_rbd_co_getlength(BlockDriverState *bs)
{
    BDRVRBDState *s = bs->opaque;
    uint64_t size = qemu_rbd_image_size(s->image);

    return size > BDRV_MAX_LENGTH ? -EFBIG : (int64_t)ROUND_UP(size, BDRV_SECTOR_SIZE);
}

static void qemu_rbd_refresh_limits(BlockDriverState *bs)
{
    BDRVRBDState *s = bs->opaque;

    bs->bl.request_alignment = 1;
    bs->bl.max_transfer = MAX_TRANSFER_BYTES;
    bs->bl.opt_transfer = s->image->object_size;
    bs->bl.max_pdiscard = MAX_RANGE_BYTES;
    bs->bl.pdiscard_alignment = MIN(s->image->object_size, DISCARD_BYTES);
    bs->bl.max_pwrite_zeroes = MAX_RANGE_BYTES;
}

/*
 * How many of @bytes from @offset on are within the image: its last sector may be incomplete. -EIO if another client
 * has shortened the image.
 */
static int64_t within_image(const BDRVRBDState *s, int64_t offset, int64_t bytes)
{
    int64_t size = qemu_rbd_image_size(s->image);

    return offset + bytes > (int64_t)ROUND_UP(size, BDRV_SECTOR_SIZE) ? -EIO : CLAMP(size - offset, 0, bytes);
}

static int coroutine_fn qemu_rbd_co_preadv(BlockDriverState *bs, int64_t offset, int64_t bytes, QEMUIOVector *qiov,
                                           BdrvRequestFlags flags)
{
    BDRVRBDState *s = bs->opaque;
    RBDRequestArgs a = {
        .type = RBD_REQUEST_READ, .offset = offset, .bytes = within_image(s, offset, bytes), .qiov = qiov,
    };

    if (a.bytes <= 0) {
        qemu_iovec_memset(qiov, 0, 0, bytes);
        return a.bytes;
    }
    qemu_iovec_memset(qiov, a.bytes, 0, bytes - a.bytes);
    return qemu_rbd_co_request(s->image, &a);
}

static int coroutine_fn qemu_rbd_co_pwritev(BlockDriverState *bs, int64_t offset, int64_t bytes, QEMUIOVector *qiov,
                                            BdrvRequestFlags flags)
{
    BDRVRBDState *s = bs->opaque;
    RBDRequestArgs a = { .type = RBD_REQUEST_WRITE, .offset = offset, .bytes = within_image(s, offset, bytes) };
    QEMUIOVector within;

    if (a.bytes >= 0 && a.bytes < bytes && !qemu_iovec_is_zero(qiov, a.bytes, bytes - a.bytes)) {
        return -ENOSPC;
    }
    if (a.bytes <= 0) {
        return a.bytes;
    }
    qemu_iovec_init_slice(&within, qiov, 0, a.bytes);
    a.qiov = &within;
    int ret = qemu_rbd_co_request(s->image, &a);
    qemu_iovec_destroy(&within);
    return ret;
}

static int coroutine_fn qemu_rbd_co_flush(BlockDriverState *bs)
{
    BDRVRBDState *s = bs->opaque;
    RBDRequestArgs a = { .type = RBD_REQUEST_FLUSH };

    return qemu_rbd_co_request(s->image, &a);
}

static int coroutine_fn qemu_rbd_co_pwrite_zeroes(BlockDriverState *bs, int64_t offset, int64_t bytes,
                                                  BdrvRequestFlags flags)
{
    BDRVRBDState *s = bs->opaque;
    RBDRequestArgs a = {
        .type = RBD_REQUEST_ZERO, .offset = offset, .bytes = within_image(s, offset, bytes),
        .may_unmap = flags & BDRV_REQ_MAY_UNMAP,
    };

    if (!a.may_unmap && (flags & BDRV_REQ_NO_FALLBACK)) {
        /* The cluster would write them as data. */
        return -ENOTSUP;
    }
    return a.bytes > 0 ? qemu_rbd_co_request(s->image, &a) : a.bytes;
}

static int coroutine_fn qemu_rbd_co_pdiscard(BlockDriverState *bs, int64_t offset, int64_t bytes)
{
    BDRVRBDState *s = bs->opaque;
    RBDRequestArgs a = { .type = RBD_REQUEST_DISCARD, .offset = offset, .bytes = within_image(s, offset, bytes) };

    return a.bytes > 0 ? qemu_rbd_co_request(s->image, &a) : a.bytes;
}

static int coroutine_fn qemu_rbd_co_block_status(BlockDriverState *bs, int64_t offset, int64_t bytes, int64_t *pnum,
                                                 int64_t *map, BlockDriverState **file)
{
    BDRVRBDState *s = bs->opaque;
    int status = BDRV_BLOCK_OFFSET_VALID | BDRV_BLOCK_ALLOCATED;
    RBDRequestArgs a = { .type = RBD_REQUEST_STATUS, .offset = offset, .bytes = within_image(s, offset, bytes) };

    *map = offset;
    *file = bs;
    *pnum = bytes;
    if (a.bytes <= 0) {
        return a.bytes < 0 ? a.bytes : status | BDRV_BLOCK_ZERO;
    }
    bytes = a.bytes;
    if (!s->image->has_status || qemu_rbd_co_request(s->image, &a) < 0 || a.status_bytes == 0) {
        return status | BDRV_BLOCK_DATA;
    }
    if (a.status_bytes < bytes) {
        *pnum = a.status_bytes;
    }
    return status | (a.exists ? BDRV_BLOCK_DATA : BDRV_BLOCK_ZERO);
}

static bool coroutine_fn qemu_rbd_co_truncate(BlockDriverState *bs, int64_t offset, bool exact, PreallocMode prealloc,
                                              Job *job, Error **errp)
{
    BDRVRBDState *s = bs->opaque;

    if (prealloc != PREALLOC_MODE_OFF) {
        error_setg(errp, "Preallocation mode '%s' unsupported for RBD images", PreallocMode_str(prealloc));
        return false;
    }
    return qemu_rbd_resize(s->image, offset, job, errp);
}

static bool coroutine_fn qemu_rbd_co_list_copies(BlockDriverState *bs, GPtrArray *copies, Error **errp)
{
    BDRVRBDState *s = bs->opaque;

    return qemu_rbd_list_copies(s->image, &bs->options->u.rbd, copies, errp);
}

static void coroutine_fn qemu_rbd_co_erase_info(BlockDriverState *bs, int64_t offset, int64_t bytes,
                                                BdrvEraseInfo *info)
{
    BDRVRBDState *s = bs->opaque;

    info->assurance = SECURE_ERASE_ASSURANCE_MAY_SURVIVE;
    g_ptr_array_add(info->notes, g_strdup_printf("RBD image '%s' was overwritten as its clients see it; where the "
                                                 "cluster stored the old data, it remains until the space is used "
                                                 "again", s->image->name));
    g_autoptr(GPtrArray) copies = g_ptr_array_new_with_free_func(g_free);
    Error *err = NULL;
    if (!qemu_rbd_co_list_copies(bs, copies, &err)) {
        g_ptr_array_add(info->notes, g_strdup_printf("could not determine whether the storage has %scopies: %s",
                                                     copies->len ? "more " : "", error_get_pretty(err)));
        error_free(err);
    }
    for (guint i = 0; i < copies->len; i++) {
        g_ptr_array_add(info->notes, g_strdup_printf("%s still has the old data",
                                                     (const char *)g_ptr_array_index(copies, i)));
    }
}

static ImageInfoSpecific *qemu_rbd_get_specific_info(BlockDriverState *bs)
{
    const BDRVRBDState *s = bs->opaque;
    unsigned version = s->image->luks_version;
    ImageInfoSpecific *info = g_new0(ImageInfoSpecific, 1);

    info->type = IMAGE_INFO_SPECIFIC_KIND_RBD;
    info->u.rbd.data = g_new0(ImageInfoSpecificRbd, 1);
    info->u.rbd.data->has_encryption_format = version == 1 || version == 2;
    info->u.rbd.data->encryption_format = version == 1 ? RBD_IMAGE_ENCRYPTION_FORMAT_LUKS
                                                       : RBD_IMAGE_ENCRYPTION_FORMAT_LUKS2;
    return info;
}

const BlockDriver bdrv_rbd = {
    .format_name = "rbd",
    .driver = BLOCKDEV_DRIVER_RBD,
    .instance_size = sizeof(BDRVRBDState),
    .is_protocol = true,
    .protocol_names = (const char *const[]){ "rbd", NULL },
    .bdrv_parse_filename = qemu_rbd_parse_filename,
    .strong_runtime_opts = (const char *const[]){
        "pool", "namespace", "image", "snapshot", "conf", "user", "key-secret", "auth-client-required", "server",
        "encrypt", NULL,
    },
    .filename_says_all = true,

    .bdrv_co_open = qemu_rbd_co_open,
    .bdrv_co_close = qemu_rbd_co_close,
    .bdrv_co_reopen_prepare = qemu_rbd_co_reopen_prepare,
    .bdrv_co_reopen_commit = qemu_rbd_co_reopen_commit,
    .bdrv_co_reopen_abort = qemu_rbd_co_reopen_abort,
    .bdrv_cancel_in_flight = qemu_rbd_cancel_in_flight,
    .bdrv_co_getlength = qemu_rbd_co_getlength,
    .bdrv_refresh_limits = qemu_rbd_refresh_limits,

    .bdrv_co_preadv = qemu_rbd_co_preadv,
    .bdrv_co_pwritev = qemu_rbd_co_pwritev,
    .bdrv_co_flush = qemu_rbd_co_flush,
    .supported_zero_flags = BDRV_REQ_MAY_UNMAP | BDRV_REQ_NO_FALLBACK,
    .bdrv_co_pwrite_zeroes = qemu_rbd_co_pwrite_zeroes,
    .bdrv_co_pdiscard = qemu_rbd_co_pdiscard,
    .bdrv_co_block_status = qemu_rbd_co_block_status,
    .bdrv_co_truncate = qemu_rbd_co_truncate,
    .bdrv_get_specific_info = qemu_rbd_get_specific_info,

    .bdrv_co_create = qemu_rbd_co_create,
    .bdrv_co_delete = qemu_rbd_co_delete,
    .bdrv_co_erase_info = qemu_rbd_co_erase_info,
    .bdrv_co_list_copies = qemu_rbd_co_list_copies,
};
