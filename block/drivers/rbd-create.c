/*
 * rbd: creating images, deleting and resizing them
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include "block/drivers/rbd.h"
#include "block/job.h"

#define MIN_OBJECT_BYTES (4 * KiB)
#define MAX_OBJECT_BYTES (32 * MiB)
/* Maximum size of the header that librbd writes: whole objects. */
#define MAX_HEADER_BYTES (64 * MiB)

typedef struct RBDCreate {
    RBDOpen *open;              /* its error, too */
    uint64_t size;
    uint64_t object_size;       /* 0: the cluster's default */
    RbdImageEncryptionFormat format;    /* if @open has a passphrase */
    bool aes128;
    bool created;               /* the image exists, and must be removed on failure */
} RBDCreate;

static int delete_worker(void *opaque)
{
    RBDOpen *open = opaque;
    RBDPool pool = { .io = NULL };

    if (!qemu_rbd_pool_connect(&pool, open)) {
        return -1;
    }
    int ret = librbd.rbd_remove(pool.io, open->location->image);
    if (ret < 0) {
        qemu_rbd_explain(open, ret, "delete it");
    }
    qemu_rbd_pool_disconnect(&pool);
    return ret < 0 ? -1 : 0;
}

/* On the thread that has created the image, if the caller has given up. */
static void create_free(void *opaque)
{
    RBDCreate *c = opaque;

    if (c->created) {
        delete_worker(c->open);
    }
    qemu_rbd_open_free(c->open);
    g_free(c);
}

static void create_explain(const RBDCreate *c, int ret)
{
    RBDOpen *open = c->open;

    if (ret == -EEXIST) {
        error_setg(&open->err, "RBD image '%s' exists already", open->name);
        error_append_hint(&open->err, "To use it as it is, format it, or copy to it with convert -n; to replace it, "
                          "remove it first.\n");
    } else {
        qemu_rbd_explain(open, ret, "create it");
    }
}

/* Encrypt the new image, which has room for any header, and give it its size: 0 or -errno, with the error set. */
static int create_encrypt(RBDCreate *c, const RBDPool *pool)
{
    rbd_image_t image;
    uint64_t size;
    int ret = librbd.rbd_open(pool->io, c->open->location->image, &image, NULL);

    if (ret < 0) {
        create_explain(c, ret);
        return ret;
    }
    ret = qemu_rbd_encryption_format(image, c->open, c->format, c->aes128);
    if (ret == 0) {
        ret = librbd.rbd_get_size(image, &size);
        /* librbd counts its header, too. */
        ret = ret == 0 ? librbd.rbd_resize(image, c->size + (c->size + MAX_HEADER_BYTES - size)) : ret;
        if (ret < 0) {
            create_explain(c, ret);
        }
    }
    librbd.rbd_close(image);
    return ret;
}

static int create_worker(void *opaque)
{
    RBDCreate *c = opaque;
    RBDPool pool = { .io = NULL };
    rbd_image_options_t options;

    if (!qemu_rbd_pool_connect(&pool, c->open)) {
        return -1;
    }
    librbd.rbd_image_options_create(&options);
    if (c->object_size) {
        librbd.rbd_image_options_set_uint64(options, RBD_IMAGE_OPTION_ORDER, __builtin_ctzll(c->object_size));
    }
    uint64_t header_bytes = c->open->passphrase ? MAX_HEADER_BYTES : 0;
    int ret = librbd.rbd_create4(pool.io, c->open->location->image, c->size + header_bytes, options);
    librbd.rbd_image_options_destroy(options);
    c->created = ret == 0;
    if (ret < 0) {
        create_explain(c, ret);
    } else if (c->open->passphrase) {
        ret = create_encrypt(c, &pool);
    }
    if (ret < 0 && c->created && librbd.rbd_remove(pool.io, c->open->location->image) == 0) {
        c->created = false;
    }
    qemu_rbd_pool_disconnect(&pool);
    return ret < 0 ? -1 : 0;
}

static bool create_check_encryption(const RbdEncryptionCreateOptions *o, Error **errp)
{
    if (o->format == RBD_IMAGE_ENCRYPTION_FORMAT_LUKS_ANY) {
        error_setg(errp, "A new image can be encrypted with 'luks' or 'luks2': 'luks-any' is only for opening");
        return false;
    }
    if (o->u.luks.has_cipher_alg && o->u.luks.cipher_alg != QCRYPTO_CIPHER_ALGO_AES_128 &&
        o->u.luks.cipher_alg != QCRYPTO_CIPHER_ALGO_AES_256) {
        error_setg(errp, "librbd encrypts with aes-128 or aes-256, not %s",
                   QCryptoCipherAlgo_str(o->u.luks.cipher_alg));
        return false;
    }
    return true;
}

static bool create_check(const BlockdevCreateOptionsRbd *o, Error **errp)
{
    uint64_t bytes = o->cluster_size;

    if (o->location->snapshot) {
        error_setg(errp, "A new image cannot have a snapshot: leave out 'snapshot'");
    } else if (o->location->encrypt) {
        error_setg(errp, "Option 'encrypt' of a new image goes beside 'location', not into it");
    } else if (o->size > (uint64_t)BDRV_MAX_LENGTH - MAX_HEADER_BYTES) {
        error_setg(errp, "Image size %" PRIu64 " is too large", o->size);
    } else if (o->has_cluster_size && (bytes < MIN_OBJECT_BYTES || bytes > MAX_OBJECT_BYTES || bytes & (bytes - 1))) {
        error_setg(errp, "Option 'cluster-size' must be a power of 2 from 4 KiB to 32 MiB, not %" PRIu64, bytes);
    } else {
        return !o->encrypt || create_check_encryption(o->encrypt, errp);
    }
    return false;
}

static bool create_cancelled(void *job)
{
    return job_is_cancelled(job) || qemu_co_is_cancelled() || bdrv_must_not_wait();
}

/* Undoing a step continues even if everything else was cancelled. */
static bool delete_cancelled(void *opaque)
{
    return bdrv_must_not_wait();
}

/* qemu_rbd_co_call() was given up, with @ret. */
static void explain_no_answer(int ret, const char *name, Error **errp)
{
    if (ret == -ETIMEDOUT) {
        error_setg(errp, "RBD image '%s': the cluster's monitors respond, but not the OSDs that store the image",
                   name);
        error_append_hint(errp, "Check \"ceph status\".\n");
    } else {
        error_setg(errp, "Operation was cancelled");
    }
}

bool coroutine_fn qemu_rbd_co_create(const BlockdevCreateOptions *options, Job *job, Error **errp)
{
    const BlockdevCreateOptionsRbd *o = &options->u.rbd;
    RBDOpen *open = create_check(o, errp) ? qemu_rbd_open_new(o->location, false, false, errp) : NULL;

    if (!open) {
        return false;
    }
    RBDCreate *c = g_new0(RBDCreate, 1);
    c->open = open;
    c->size = o->size;
    c->object_size = o->cluster_size;
    if (o->encrypt) {
        c->format = o->encrypt->format;
        c->aes128 = o->encrypt->u.luks.has_cipher_alg && o->encrypt->u.luks.cipher_alg == QCRYPTO_CIPHER_ALGO_AES_128;
        if (!qemu_rbd_open_set_passphrase(open, o->encrypt->u.luks.key_secret, errp)) {
            create_free(c);
            return false;
        }
    }
    g_autofree char *name = g_strdup(open->name);
    int ret = qemu_rbd_co_call(create_worker, c, create_free, qemu_rbd_timeout_ns(open->passphrase), create_cancelled,
                               job);
    if (ret == -ETIMEDOUT || ret == -ECANCELED) {
        explain_no_answer(ret, name, errp);
        return false;
    }
    error_propagate(errp, g_steal_pointer(&open->err));
    c->created = false;
    create_free(c);
    return ret == 0;
}

bool coroutine_fn qemu_rbd_co_delete(const BlockdevCreateOptions *created, Error **errp)
{
    RBDOpen *open = qemu_rbd_open_new(created->u.rbd.location, false, false, errp);

    if (!open) {
        return false;
    }
    g_autofree char *name = g_strdup(open->name);
    int ret = qemu_rbd_co_call(delete_worker, open, (GDestroyNotify)qemu_rbd_open_free,
                               qemu_rbd_timeout_ns(false), delete_cancelled, NULL);
    if (ret == -ETIMEDOUT || ret == -ECANCELED) {
        explain_no_answer(ret, name, errp);
        return false;
    }
    error_propagate(errp, g_steal_pointer(&open->err));
    qemu_rbd_open_free(open);
    return ret == 0;
}

typedef struct RBDResize {
    RBDImage *image;
    uint64_t size;
} RBDResize;

/* Whether another client has it open for writing: librbd 16 aborts a client whose data is cut off. */
static bool has_other_writers(RBDImage *image)
{
    rbd_image_watcher_t watchers[2];
    size_t n = G_N_ELEMENTS(watchers);
    int ret = librbd.rbd_watchers_list(image->image, watchers, &n);

    if (ret == 0) {
        librbd.rbd_watchers_list_cleanup(watchers, n);
    }
    /* One is this client. */
    return ret == -ERANGE || (ret == 0 && n > 1);
}

static int resize_worker(void *opaque)
{
    RBDResize *r = opaque;
    bool shrinks = r->size < qemu_rbd_image_size(r->image);

    /* librbd counts its header, too. */
    int ret = shrinks && has_other_writers(r->image)
        ? -EBUSY : librbd.rbd_resize(r->image->image, r->size + r->image->header_bytes);
    if (ret == 0) {
        ret = qemu_rbd_image_update_size(r->image);
    }
    qemu_rbd_image_unuse(r->image);
    return ret;
}

bool coroutine_fn qemu_rbd_resize(RBDImage *image, uint64_t size, Job *job, Error **errp)
{
    RBDResize *r = g_new(RBDResize, 1);

    *r = (RBDResize){ .image = image, .size = size };
    qemu_rbd_image_use(image);
    int ret = qemu_rbd_co_call(resize_worker, r, g_free, 0, create_cancelled, job);
    if (ret == -ECANCELED) {
        error_setg(errp, "RBD image '%s': stopped waiting for the cluster, which may still resize it", image->name);
        return false;
    }
    g_free(r);
    if (ret == -EBUSY) {
        error_setg(errp, "RBD image '%s': another client has it open and may write to it; it cannot be shortened",
                   image->name);
        return false;
    }
    if (ret < 0) {
        error_setg_errno(errp, -ret, "RBD image '%s': could not resize it", image->name);
        return false;
    }
    return true;
}
