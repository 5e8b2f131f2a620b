/*
 * BlockCrypto: opening the header, and who may change it
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "block/crypto/block-crypto.h"
#include "block/job.h"
#include "crypto/secret.h"

/*
 * Bytes that are worth waking a worker thread for: some 30 us of work, 1.5 times the measured cost of waking a second
 * thread.
 */
static int64_t piece_bytes_for(const QCryptoBlockInfoLUKS *info)
{
    bool fast = info->has_cipher_mode && info->cipher_mode == QCRYPTO_CIPHER_MODE_XTS &&
                (info->cipher_alg == QCRYPTO_CIPHER_ALGO_AES_128 || info->cipher_alg == QCRYPTO_CIPHER_ALGO_AES_256);

    return fast ? 256 * KiB : 8 * KiB;
}

/* Whether BDRV_O_DAMAGED allows opening a node in spite of @why. */
static bool header_may_be_damaged(const BlockCrypto *c, QCryptoLUKSFailure why)
{
    return c->bs->open_flags & BDRV_O_DAMAGED && c->bs->open_flags & BDRV_O_NO_IO &&
           why != QCRYPTO_LUKS_FAILURE_IO && why != QCRYPTO_LUKS_FAILURE_CANCELLED;
}

QCryptoLUKS *coroutine_fn block_crypto_co_open_luks(BlockCrypto *c, const BlockCryptoIO *v,
                                                    const SecretBuffer *password, QCryptoLUKSFailure *failure,
                                                    Error **errp)
{
    BlockCryptoVolume payload = { NULL };

    if (c->ops->payload) {
        c->ops->payload(c->bs, &payload);
    }
    const QCryptoLUKSOpenOptions options = {
        .password = password,
        .detached = block_crypto_is_detached(c),
        .payload_volume_bytes = payload.length,
        .max_iterations = c->max_iterations,
    };
    return qcrypto_luks_open(&v->io, &options, failure, errp);
}

static void set_sector_size(BlockCrypto *c, size_t bytes)
{
    c->sector_size = bytes;
    c->sector_bits = __builtin_ctzl(bytes);
}

bool coroutine_fn block_crypto_co_open(BlockCrypto *c, const char *key_secret, uint64_t max_iterations, Error **errp)
{
    g_autoptr(SecretBuffer) password = NULL;
    g_autoptr(Error) err = NULL;
    QCryptoLUKSFailure why;
    BlockCryptoIO v;

    qemu_co_mutex_init(&c->lock);
    set_sector_size(c, QCRYPTO_LUKS_SECTOR_SIZE);
    c->max_iterations = max_iterations;
    if (!(c->bs->open_flags & BDRV_O_NO_IO)) {
        if (!key_secret) {
            error_set(errp, ERROR_CLASS_NO_PASSWORD, "Parameter 'key-secret' is required for cipher");
            return false;
        }
        password = qcrypto_secret_lookup(key_secret, errp);
        if (!password) {
            return false;
        }
    }
    block_crypto_header_io_init(&v, c, NULL);
    c->luks = block_crypto_co_open_luks(c, &v, password, &why, &err);
    if (!c->luks && !header_may_be_damaged(c, why)) {
        error_propagate(errp, g_steal_pointer(&err));
        return false;
    }
    c->damage = g_steal_pointer(&err);
    if (c->luks) {
        g_autoptr(QCryptoBlockInfoLUKS) info = qcrypto_luks_get_info(c->luks);

        c->cipher = qcrypto_luks_sector_cipher(c->luks);
        set_sector_size(c, qcrypto_luks_sector_size(c->luks));
        c->payload_offset = qcrypto_luks_payload_offset(c->luks);
        c->piece_bytes = piece_bytes_for(info);
    }
    return true;
}

void block_crypto_cleanup(BlockCrypto *c)
{
    if (c->sector_size) {
        qcrypto_luks_free(c->luks);
        error_free(c->damage);
        qemu_co_mutex_cleanup(&c->lock);
    }
}

bool block_crypto_check_usable(const BlockCrypto *c, Error **errp)
{
    if (c->luks) {
        return true;
    }
    error_propagate(errp, error_copy(c->damage));
    error_append_hint(errp, "A damaged header can only be erased, or restored from a backup.\n");
    return false;
}

bool block_crypto_is_detached(const BlockCrypto *c)
{
    return c->separate_header || (c->luks && c->payload_offset == 0);
}

ImageInfoSpecific *block_crypto_get_specific_info(const BlockCrypto *c)
{
    if (!c->luks) {
        return NULL;
    }
    ImageInfoSpecific *info = g_new0(ImageInfoSpecific, 1);
    info->type = IMAGE_INFO_SPECIFIC_KIND_LUKS;
    info->u.luks.data = qcrypto_luks_get_info(c->luks);
    return info;
}

bool coroutine_fn block_crypto_co_update_begin(BlockCrypto *c, bool payload, bool shared, Job *job, Error **errp)
{
    /* Another operation may hold the header for minutes while it derives a key. */
    if (!job_co_mutex_lock(job, &c->lock, errp)) {
        return false;
    }
    if (c->bs->read_only) {
        error_setg(errp, "Node '%s' is read-only", bdrv_get_display_name(c->bs));
    } else if (!c->ops->update_begin || c->ops->update_begin(c->bs, payload, shared, errp)) {
        return true;
    }
    qemu_co_mutex_unlock(&c->lock);
    return false;
}

void coroutine_fn block_crypto_co_update_end(BlockCrypto *c)
{
    BlockCryptoIO v;

    /* Keep what the node reports about its keyslots up to date. An erased header cannot be read. */
    block_crypto_header_io_init(&v, c, NULL);
    if (c->luks) {
        qcrypto_luks_refresh(c->luks, &v.io, NULL);
    }
    if (c->ops->update_end) {
        c->ops->update_end(c->bs);
    }
    qemu_co_mutex_unlock(&c->lock);
}
