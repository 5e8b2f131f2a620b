/*
 * What the files of the rbd driver share
 *
 *   rbd.c              the driver: options, requests
 *   rbd-filename.c     filenames to options, and back
 *   rbd-connect.c      connecting to a cluster, opening an image: calls that block
 *   rbd-copies.c       older copies: snapshots, clones, images in the trash
 *   rbd-create.c       creating images, deleting and resizing them
 *   rbd-encrypt.c      librbd's own encryption
 *   rbd-library.c      loading librbd
 *   rbd-image.c        an open image: asynchronous requests, and closing
 *   rbd-watch.c        noticing that another client has resized the image
 *
 * librbd has threads of its own. Requests may be submitted from any thread; their completions arrive on one of librbd's
 * threads and wake the coroutine. Everything else blocks, forever if the cluster does not respond, and cannot be
 * stopped. It runs on a thread of its own (qemu_rbd_co_call()), which continues in the background if its caller gives
 * up.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef BLOCK_DRIVERS_RBD_H
#define BLOCK_DRIVERS_RBD_H

#include "config-host.h"
#include "block/block_int.h"
#include "util/secret-buffer.h"
#include "util/thread-pool.h"

/* rbd-filename.c, which is also part of builds without librbd */

/* As bdrv_parse_filename: the forms that block/drivers/rbd-filename.c lists. */
bool qemu_rbd_parse_filename(const char *filename, struct json_object *options, Error **errp);

/* The name of what @o opens, which opens it again. Caller frees. */
char *qemu_rbd_filename(const BlockdevOptionsRbd *o);

#ifdef CONFIG_LIBRBD
#include <rados/librados.h>
#include <rbd/librbd.h>

/* rbd-library.c: the functions of both libraries, which are loaded when first needed. */
#define LIBRBD_FUNCTIONS(X) \
    X(rados_conf_get) X(rados_conf_read_file) X(rados_conf_set) X(rados_connect) X(rados_create) \
    X(rados_ioctx_create) X(rados_ioctx_destroy) X(rados_ioctx_set_namespace) X(rados_pool_list) X(rados_shutdown) \
    X(rbd_aio_create_completion) X(rbd_aio_discard) X(rbd_aio_flush) X(rbd_aio_get_return_value) X(rbd_aio_read) \
    X(rbd_aio_release) X(rbd_aio_write_zeroes) X(rbd_aio_writev) X(rbd_close) X(rbd_create4) X(rbd_diff_iterate2) \
    X(rbd_get_features) X(rbd_get_flags) X(rbd_get_parent) X(rbd_get_size) X(rbd_image_options_create) \
    X(rbd_image_options_destroy) X(rbd_image_options_set_uint64) X(rbd_linked_image_spec_cleanup) \
    X(rbd_linked_image_spec_list_cleanup) X(rbd_list_children3) X(rbd_namespace_exists) X(rbd_open) \
    X(rbd_open_read_only) X(rbd_read) X(rbd_remove) X(rbd_resize) X(rbd_snap_get_group_namespace) \
    X(rbd_snap_get_namespace_type) X(rbd_snap_get_trash_namespace) X(rbd_snap_group_namespace_cleanup) \
    X(rbd_snap_list) X(rbd_snap_list_end) X(rbd_snap_spec_cleanup) X(rbd_stat) X(rbd_trash_list) \
    X(rbd_trash_list_cleanup) X(rbd_update_unwatch) X(rbd_update_watch) X(rbd_watchers_list) \
    X(rbd_watchers_list_cleanup)

#ifdef LIBRBD_SUPPORTS_ENCRYPTION
#define LIBRBD_OPTIONAL_FUNCTIONS(X) X(rbd_encryption_format) X(rbd_encryption_load)
#else
#define LIBRBD_OPTIONAL_FUNCTIONS(X)
#endif

typedef struct LibRBD {
#define DECLARE(name) __typeof__(name) *name;
    LIBRBD_FUNCTIONS(DECLARE)
    LIBRBD_OPTIONAL_FUNCTIONS(DECLARE)      /* NULL: too old */
#undef DECLARE
} LibRBD;
extern LibRBD librbd;

/* Load them, so that the functions in librbd can be called; false with @errp. Blocks. */
bool qemu_rbd_load_library(Error **errp);

/* Time limit for opening, and for each step of other operations that contact monitors. */
#define QEMU_RBD_TIMEOUT_S 20
/* Additional time for librbd's encryption to derive a key: it measures how fast the machine is. */
#define QEMU_RBD_DERIVE_TIMEOUT_S 300

/* The limit for an operation that connects first. */
static inline int64_t qemu_rbd_timeout_ns(bool derives_key)
{
    return (QEMU_RBD_TIMEOUT_S + 5 + (derives_key ? QEMU_RBD_DERIVE_TIMEOUT_S : 0)) * INT64_C(1000000000);
}

/* What is needed to open an image. Belongs to the thread that opens it. */
typedef struct RBDOpen {
    BlockdevOptionsRbd *location;
    char *name;                 /* for messages */
    SecretBuffer *key;          /* the client's; NULL: from a keyring */
    SecretBuffer *passphrase;   /* of librbd's encryption; NULL: none */
    bool direct;                /* no cache in librbd */
    bool read_only;
    bool has_conf;              /* a configuration file was read */
    struct RBDImage *image;     /* the result; NULL: there is none, or the caller has taken it */
    Error *err;
} RBDOpen;

/* Copy @location, and look its secrets up. NULL with @errp. Main thread. */
RBDOpen *qemu_rbd_open_new(const BlockdevOptionsRbd *location, bool direct, bool read_only, Error **errp);
void qemu_rbd_open_free(RBDOpen *open);

/* The passphrase is that of the object @secret. False with @errp. Main thread. */
bool qemu_rbd_open_set_passphrase(RBDOpen *open, const char *secret, Error **errp);

/* A cluster and a pool in it. */
typedef struct RBDPool {
    rados_t cluster;
    rados_ioctx_t io;           /* NULL: not connected */
} RBDPool;

/* rbd-connect.c: these block. False with @open->err. */
bool qemu_rbd_pool_connect(RBDPool *pool, RBDOpen *open);
void qemu_rbd_pool_disconnect(RBDPool *pool);

/*
 * Set @open->err: librbd has failed with @ret < 0 to @what, as in "create it". The message names the missing
 * permission, if that is the reason.
 */
void qemu_rbd_explain(RBDOpen *open, int ret, const char *what);

/* Open the image: @open->image. A ThreadPoolFunc: 0 or -1. */
int qemu_rbd_open_worker(void *open);

typedef enum RBDRequestType {
    RBD_REQUEST_READ,
    RBD_REQUEST_WRITE,
    RBD_REQUEST_FLUSH,
    RBD_REQUEST_DISCARD,
    RBD_REQUEST_ZERO,
    RBD_REQUEST_STATUS,
} RBDRequestType;

typedef struct RBDRequest RBDRequest;

/* An open image. */
typedef struct RBDImage {
    RBDPool pool;
    rbd_image_t image;
    char *name;                 /* for messages */
    bool read_only;             /* the handle is */
    uint64_t object_size;       /* bytes */
    BlockDriverState *bs;       /* the node; NULL: not set yet, or closed. Main thread */
    uint64_t header_bytes;      /* header of librbd's encryption, by which the stored image is longer */
    unsigned luks_version;      /* of the header at the beginning; 0: there is none */
    bool is_encrypted;          /* librbd encrypts it */
    bool has_status;            /* librbd can tell which objects exist, */
    bool has_object_map;        /* and need not query the cluster for each of them */

    bool is_watched;
    uint64_t watch;             /* librbd's handle */
    GMutex update_lock;         /* held while librbd is queried for the size */

    GMutex lock;
    uint64_t size;              /* bytes, any number: the last known size. Other clients may change it */
    bool changed;               /* it may have changed since, */
    bool is_asking;             /* so a thread is querying it */
    RBDRequest *requests;       /* those with a waiting coroutine */
    unsigned unfinished;        /* operations of librbd and of threads, including requests that were given up */
} RBDImage;

/* An image whose handles the caller fills in. */
RBDImage *qemu_rbd_image_new(const char *name);

/* Wait for librbd to finish all requests, then close the image. Blocks. */
void qemu_rbd_image_free(RBDImage *image);

/* Make closing wait for a call that runs on a thread of its own. Any thread. */
void qemu_rbd_image_use(RBDImage *image);
void qemu_rbd_image_unuse(RBDImage *image);

/*
 * rbd-watch.c: from now on, image->bs is notified when the size changes, and requests beyond it fail. Both block. 0 or
 * -errno.
 */
int qemu_rbd_watch(RBDImage *image);
void qemu_rbd_unwatch(RBDImage *image);
/* Query librbd for the size. Blocks. 0 or -errno. */
int qemu_rbd_image_update_size(RBDImage *image);
/* The last known size. Any thread. */
uint64_t qemu_rbd_image_size(RBDImage *image);

/* A request to librbd. The result is 0 or -errno. From any loop. */
typedef struct RBDRequestArgs {
    RBDRequestType type;
    int64_t offset;
    int64_t bytes;
    QEMUIOVector *qiov;         /* of READ and WRITE */
    bool may_unmap;             /* of ZERO */
    bool exists;                /* the result of STATUS: whether there is data, */
    int64_t status_bytes;       /* and the number of bytes to which this applies */
} RBDRequestArgs;
int coroutine_fn qemu_rbd_co_request(RBDImage *image, RBDRequestArgs *args);

/* End the waits of all requests with -ECANCELED. librbd may still carry them out. Any thread. */
void qemu_rbd_image_cancel(RBDImage *image);

/*
 * Run @func(@opaque) on a thread of its own, and return its result. Return -ECANCELED once @cancelled(@cancel_opaque),
 * which is called several times a second, is true, or -ETIMEDOUT after @timeout_ns (0: no limit). @func then continues
 * in the background, followed by @free(@opaque). Otherwise the caller keeps @opaque. @func must not return these
 * two values, which librbd can.
 */
int coroutine_fn qemu_rbd_co_call(ThreadPoolFunc *func, void *opaque, GDestroyNotify free, int64_t timeout_ns,
                                  bool (*cancelled)(void *cancel_opaque), void *cancel_opaque);

/*
 * rbd-encrypt.c: these block. False with @open->err. First determine what kind of header the image has. Then make
 * librbd decrypt reads and encrypt writes.
 */
bool qemu_rbd_encryption_probe(RBDImage *image, RBDOpen *open);
bool qemu_rbd_encryption_load(RBDImage *image, RBDOpen *open);
/* Write a new header, and use it. 0, or -errno with @open->err. */
int qemu_rbd_encryption_format(rbd_image_t image, RBDOpen *open, RbdImageEncryptionFormat format, bool aes128);

/* rbd-copies.c: as in BlockDriver, of the image at @location. */
bool coroutine_fn qemu_rbd_list_copies(RBDImage *image, const BlockdevOptionsRbd *location, GPtrArray *copies,
                                       Error **errp);

/* rbd-create.c: as in BlockDriver */
bool coroutine_fn qemu_rbd_co_create(const BlockdevCreateOptions *options, Job *job, Error **errp);
bool coroutine_fn qemu_rbd_co_delete(const BlockdevCreateOptions *created, Error **errp);

/* Give @image another size. False with @errp. Main thread. */
bool coroutine_fn qemu_rbd_resize(RBDImage *image, uint64_t size, Job *job, Error **errp);
#endif

#endif
