/*
 * Creating LUKS volumes: new images, formatting existing volumes, and measuring
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "block/block-backend.h"
#include "block/crypto/block-crypto.h"
#include "block/drivers/luks.h"
#include "block/job.h"
#include "crypto/secret.h"
#include "qapi/qapi.h"

/* Superblocks of other formats are found within this range. They must not outlive the data that they describe. */
#define OLD_SUPERBLOCK_BYTES (1 * MiB)

/* A header that is ready to be written: everything that can be checked is checked before the first write. */
typedef struct NewHeader {
    const QCryptoBlockCreateOptionsLUKS *options;
    SecretBuffer *password;
    int64_t bytes;
    uint64_t work;              /* reserved of the job's progress */
} NewHeader;

static void new_header_cleanup(NewHeader *n)
{
    secret_buffer_free(n->password);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(NewHeader, new_header_cleanup)

/* Warn about options that are accepted for compatibility with QEMU, but are probably a mistake. */
static void warn_weak_options(const QCryptoBlockCreateOptionsLUKS *options)
{
    if (options->has_hash_alg && options->hash_alg == QCRYPTO_HASH_ALGO_MD5) {
        warn_report("hash-alg=md5 is broken, and cryptsetup does not open such volumes; leave it out for sha256");
    }
    if (options->has_ivgen_alg && options->ivgen_alg == QCRYPTO_IV_GEN_ALGO_ESSIV &&
        options->has_ivgen_hash_alg && options->ivgen_hash_alg == QCRYPTO_HASH_ALGO_MD5) {
        warn_report("ivgen-hash-alg=md5 is broken; leave it out for sha256");
    }
}

static bool new_header_init(NewHeader *n, const QCryptoBlockCreateOptionsLUKS *options, Job *job, Error **errp)
{
    uint64_t bytes;

    n->options = options;
    if (!qcrypto_luks_create_bytes(options, &bytes, errp)) {
        return false;
    }
    n->bytes = bytes;
    if (!options->key_secret) {
        error_setg(errp, "Parameter 'key-secret' is required for cipher");
        return false;
    }
    n->password = qcrypto_secret_lookup(options->key_secret, errp);
    if (!n->password) {
        return false;
    }
    warn_weak_options(options);
    block_crypto_warn_password(options->key_secret, n->password);
    /* The volume may be preallocated first. */
    n->work = block_crypto_derive_work(options->has_iter_time ? options->iter_time : 0);
    job_progress_add_remaining(job, n->work);
    return true;
}

static bool coroutine_fn new_header_write(const NewHeader *n, BlockBackend *blk, bool detached, Job *job,
                                          Error **errp)
{
    QCryptoLUKSCreateOptions options = {
        .options = n->options,
        .password = n->password,
        .detached = detached,
    };
    BlockCryptoIO v;

    block_crypto_blk_io_init(&v, blk, job);
    v.reserved = n->work;
    g_autoptr(QCryptoLUKS) luks = qcrypto_luks_create(&v.io, &options, errp);
    if (luks) {
        block_crypto_io_finish(&v);
    }
    return luks;
}

/* Open the node of @ref as its only writer. */
static BlockBackend *coroutine_fn luks_open_volume(const BlockdevRef *ref, const char *name, Job *job, Error **errp)
{
    BlockDriverState *bs = bdrv_co_open_blockdev_ref(ref, 0, job, errp);

    if (!bs) {
        return NULL;
    }
    BlockBackend *blk = blk_new(name, BLK_PERM_CONSISTENT_READ | BLK_PERM_WRITE | BLK_PERM_RESIZE,
                                BLK_PERM_CONSISTENT_READ);
    if (!blk_insert_bs(blk, bs, errp)) {
        blk_co_unref(blk);
        blk = NULL;
    }
    bdrv_co_unref(bs);
    return blk;
}

static bool luks_check_create_options(const BlockdevCreateOptionsLUKS *o, int64_t header_bytes, Error **errp)
{
    if (!o->file && !o->header) {
        error_setg(errp, "Parameter 'file' or 'header' is required");
        return false;
    }
    if (!o->file && o->has_preallocation && o->preallocation != PREALLOC_MODE_OFF) {
        error_setg(errp, "Parameter 'preallocation' needs a payload volume: parameter 'file' is missing");
        return false;
    }
    if (o->size > (uint64_t)(BDRV_MAX_LENGTH - header_bytes)) {
        error_setg(errp, "Parameter 'size' is too large");
        return false;
    }
    return true;
}

/* Either @header or @file may be NULL. The header is written last: without it, there is no volume. */
static bool coroutine_fn luks_create_in(BlockBackend *file, BlockBackend *header,
                                        const BlockdevCreateOptionsLUKS *o, const NewHeader *n, Job *job,
                                        Error **errp)
{
    int64_t size = ROUND_UP(o->size, QCRYPTO_LUKS_SECTOR_SIZE);
    PreallocMode prealloc = o->has_preallocation ? o->preallocation : PREALLOC_MODE_OFF;

    if (file && !blk_co_truncate(file, header ? size : n->bytes + size, false, prealloc, job, errp)) {
        return false;
    }
    if (header && !blk_co_truncate(header, n->bytes, false, PREALLOC_MODE_OFF, job, errp)) {
        return false;
    }
    return new_header_write(n, header ?: file, header, job, errp);
}

bool coroutine_fn luks_co_create(const BlockdevCreateOptions *options, Job *job, Error **errp)
{
    const BlockdevCreateOptionsLUKS *o = &options->u.luks;
    BlockBackend *file = NULL, *header = NULL;
    g_auto(NewHeader) n = { 0 };
    bool ok = false;

    if (!new_header_init(&n, qapi_BlockdevCreateOptionsLUKS_base(o), job, errp) ||
        !luks_check_create_options(o, n.bytes, errp)) {
        return false;
    }
    if ((!o->file || (file = luks_open_volume(o->file, "creation of a LUKS volume", job, errp))) &&
        (!o->header || (header = luks_open_volume(o->header, "creation of a LUKS header", job, errp)))) {
        ok = luks_create_in(file, header, o, &n, job, errp);
    }
    blk_co_unref(header);
    blk_co_unref(file);
    return ok;
}

/* The payload's volume keeps its data, but must no longer look like what it was. */
static bool coroutine_fn luks_wipe_superblocks(BlockBackend *file, Error **errp)
{
    int64_t bytes = MIN(blk_getlength(file), OLD_SUPERBLOCK_BYTES);
    int ret = blk_co_pwrite_zeroes(file, 0, bytes, BDRV_REQ_FUA);

    if (ret < 0) {
        error_setg_errno(errp, -ret, "Node '%s': could not overwrite the old superblock",
                         bdrv_get_display_name(blk_bs(file)));
    }
    return ret == 0;
}

bool coroutine_fn luks_co_format(BlockBackend *file, BlockBackend *header,
                                 const BlockdevFormatOptions *options, Job *job, Error **errp)
{
    g_auto(NewHeader) n = { 0 };

    if (!new_header_init(&n, qapi_BlockdevFormatOptionsLUKS_base(&options->u.luks), job, errp)) {
        return false;
    }
    if (!header) {
        int64_t length = blk_getlength(file);

        if (length < n.bytes + QCRYPTO_LUKS_SECTOR_SIZE) {
            error_setg(errp, "Node '%s' of %" PRId64 " bytes is too small: the LUKS header takes %" PRId64,
                       bdrv_get_display_name(blk_bs(file)), length, n.bytes);
            return false;
        }
        return new_header_write(&n, file, false, job, errp);
    }
    if (blk_getlength(header) < n.bytes &&
        !blk_co_truncate(header, n.bytes, false, PREALLOC_MODE_OFF, job, errp)) {
        return false;
    }
    /* As long as there is no header, a cancel keeps what the volume held. */
    return new_header_write(&n, header, true, job, errp) && luks_wipe_superblocks(file, errp);
}

BlockMeasureInfo *luks_measure(const BlockdevCreateOptions *options, int64_t size, Error **errp)
{
    uint64_t header_bytes;

    if (!qcrypto_luks_create_bytes(qapi_BlockdevCreateOptionsLUKS_base(&options->u.luks), &header_bytes,
                                   errp)) {
        return NULL;
    }
    if (size > BDRV_MAX_LENGTH - (int64_t)header_bytes) {
        error_setg(errp, "The image size is too large");
        return NULL;
    }
    BlockMeasureInfo *info = g_new0(BlockMeasureInfo, 1);
    info->required = info->fully_allocated = header_bytes + ROUND_UP(size, QCRYPTO_LUKS_SECTOR_SIZE);
    return info;
}
