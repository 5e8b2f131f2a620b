/*
 * luks: the payload of a LUKS volume as a node with plain text
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "block/crypto/block-crypto.h"
#include "block/drivers/luks.h"
#include "qapi/qapi.h"

typedef struct BDRVLuksState {
    BlockCrypto crypto;
    BdrvChild *header;              /* NULL: the header is at the start of bs->file */

    /* The permissions needed while an operation changes the header. */
    bool updating_header;
    bool updating_payload;
    bool updating_shared;           /* beside other writers */
} BDRVLuksState;

static void luks_header_volume(BlockDriverState *bs, BlockCryptoVolume *volume)
{
    BDRVLuksState *s = bs->opaque;
    BdrvChild *child = s->header ?: bs->file;

    *volume = (BlockCryptoVolume){ .child = child, .length = bdrv_getlength(child->bs) };
}

static void luks_payload_volume(BlockDriverState *bs, BlockCryptoVolume *volume)
{
    *volume = (BlockCryptoVolume){ .child = bs->file, .length = bdrv_getlength(bs->file->bs) };
}

static void luks_set_updating(BDRVLuksState *s, bool header, bool payload, bool shared)
{
    s->updating_header = header;
    s->updating_payload = payload;
    s->updating_shared = shared;
}

static void set_updating_abort(void *opaque)
{
    luks_set_updating(opaque, false, false, false);
}

static bool luks_update_begin(BlockDriverState *bs, bool payload, bool shared, Error **errp)
{
    static const TransactionActionDrv drv = { .abort = set_updating_abort };
    BDRVLuksState *s = bs->opaque;
    Transaction *tran = tran_new();

    luks_set_updating(s, true, payload, shared);
    tran_add(tran, &drv, s);
    return bdrv_refresh_perms(bs, tran, errp);
}

static void luks_update_end(BlockDriverState *bs)
{
    luks_set_updating(bs->opaque, false, false, false);
    /* Fewer permissions than before: this cannot conflict. */
    bdrv_refresh_perms(bs, tran_new(), NULL);
}

static const BlockCryptoOps luks_crypto_ops = {
    .header = luks_header_volume,
    .payload = luks_payload_volume,
    .update_begin = luks_update_begin,
    .update_end = luks_update_end,
};

static bool coroutine_fn luks_open_children(BlockDriverState *bs, Error **errp)
{
    BDRVLuksState *s = bs->opaque;
    const BlockdevOptionsLUKS *o = &bs->options->u.luks;
    uint32_t file_role = BDRV_CHILD_DATA;

    if (o->header) {
        s->header = bdrv_co_open_child(bs, "header", o->header, BDRV_CHILD_METADATA, errp);
        if (!s->header) {
            return false;
        }
    } else {
        file_role |= BDRV_CHILD_METADATA;
    }
    return bdrv_co_open_child(bs, "file", o->file, file_role, errp);
}

static void coroutine_fn luks_co_close(BlockDriverState *bs)
{
    BDRVLuksState *s = bs->opaque;

    block_crypto_cleanup(&s->crypto);
}

static bool coroutine_fn luks_co_open(BlockDriverState *bs, Error **errp)
{
    BDRVLuksState *s = bs->opaque;
    const BlockdevOptionsLUKS *o = &bs->options->u.luks;

    if (o->has_max_pbkdf_iterations && o->max_pbkdf_iterations < 1) {
        error_setg(errp, "Parameter 'max-pbkdf-iterations' must be at least 1");
        return false;
    }
    if (!luks_open_children(bs, errp)) {
        return false;
    }
    s->crypto = (BlockCrypto){ .bs = bs, .ops = &luks_crypto_ops, .separate_header = s->header };
    if (!block_crypto_co_open(&s->crypto, o->key_secret, o->has_max_pbkdf_iterations ? o->max_pbkdf_iterations : 0,
                              errp)) {
        luks_co_close(bs);
        return false;
    }
    return true;
}

/*
 * Whole sectors, since a partial one cannot be decrypted. The file node rounds up to its own sectors, which may be
 * smaller.
 */
static int64_t coroutine_fn luks_co_getlength(BlockDriverState *bs)
{
    BDRVLuksState *s = bs->opaque;
    int64_t bytes = bdrv_getlength(bs->file->bs) - s->crypto.payload_offset;

    return ROUND_DOWN(MAX(bytes, 0), (int64_t)s->crypto.sector_size);
}

static void luks_refresh_limits(BlockDriverState *bs)
{
    BDRVLuksState *s = bs->opaque;

    /* Also above a volume with larger blocks: filling those up is cheaper down there, with ciphertext. */
    bs->bl.request_alignment = s->crypto.sector_size;
}

static bool coroutine_fn luks_co_truncate(BlockDriverState *bs, int64_t offset, bool exact,
                                          PreallocMode prealloc, Job *job, Error **errp)
{
    BDRVLuksState *s = bs->opaque;

    if (!block_crypto_check_usable(&s->crypto, errp)) {
        return false;
    }
    if (offset > BDRV_MAX_LENGTH - s->crypto.payload_offset) {
        error_setg(errp, "Node '%s': the requested size is too large", bdrv_get_display_name(bs));
        return false;
    }
    offset = s->crypto.payload_offset + ROUND_UP(offset, (int64_t)s->crypto.sector_size);
    return bdrv_co_truncate(bs->file, offset, exact, prealloc, job, errp);
}

/*
 * The header is read only when the node is opened, and written only during an operation on it. Apart from that, the
 * driver needs of its children what is needed of itself, and allows others to write if its users do. Exceptions: others
 * may not write beside it, nor resize the payload, whose length it knows.
 */
static void luks_child_perm(BlockDriverState *bs, const char *name, uint32_t role, uint64_t perm,
                            uint64_t shared, uint64_t *nperm, uint64_t *nshared)
{
    BDRVLuksState *s = bs->opaque;
    bool updating = false;

    if (role & BDRV_CHILD_METADATA) {
        updating |= s->updating_header;
    }
    if (role & BDRV_CHILD_DATA) {
        updating |= s->updating_payload;
        shared &= ~(uint64_t)BLK_PERM_RESIZE;
        if (perm & BLK_PERM_WRITE) {
            shared &= ~(uint64_t)BLK_PERM_WRITE;
        }
    } else {
        perm = 0;
    }
    perm |= BLK_PERM_CONSISTENT_READ;
    if (updating) {
        perm |= BLK_PERM_WRITE;
        shared = s->updating_shared ? shared | BLK_PERM_WRITE : shared & ~(uint64_t)BLK_PERM_WRITE;
    }
    *nperm = perm;
    *nshared = shared;
}

static int coroutine_fn luks_co_preadv(BlockDriverState *bs, int64_t offset, int64_t bytes, QEMUIOVector *qiov,
                                       BdrvRequestFlags flags)
{
    BDRVLuksState *s = bs->opaque;

    return block_crypto_co_preadv(&s->crypto, bs->file, s->crypto.payload_offset + offset, offset, bytes, qiov, flags);
}

static int coroutine_fn luks_co_pwritev(BlockDriverState *bs, int64_t offset, int64_t bytes, QEMUIOVector *qiov,
                                        BdrvRequestFlags flags)
{
    BDRVLuksState *s = bs->opaque;

    return block_crypto_co_pwritev(&s->crypto, bs->file, s->crypto.payload_offset + offset, offset, bytes, qiov, flags);
}

static int coroutine_fn luks_co_pdiscard(BlockDriverState *bs, int64_t offset, int64_t bytes)
{
    BDRVLuksState *s = bs->opaque;

    return bdrv_co_pdiscard(bs->file, s->crypto.payload_offset + offset, bytes);
}

static ImageInfoSpecific *luks_get_specific_info(BlockDriverState *bs)
{
    BDRVLuksState *s = bs->opaque;

    return block_crypto_get_specific_info(&s->crypto);
}

static bool coroutine_fn luks_co_keyslot_add(BlockDriverState *bs, const char *new_secret, int keyslot,
                                             int64_t iter_time_ms, bool force, BdrvKeyslotChange *done, Job *job,
                                             Error **errp)
{
    BDRVLuksState *s = bs->opaque;

    return block_crypto_co_keyslot_add(&s->crypto, NULL, new_secret, keyslot, iter_time_ms, force, done, job, errp);
}

static bool coroutine_fn luks_co_keyslot_remove(BlockDriverState *bs, int keyslot, const char *old_secret, bool force,
                                                BdrvKeyslotChange *done, Job *job, Error **errp)
{
    BDRVLuksState *s = bs->opaque;

    return block_crypto_co_keyslot_remove(&s->crypto, keyslot, old_secret, force, done, job, errp);
}

static bool coroutine_fn luks_co_keyslot_change(BlockDriverState *bs, const char *old_secret, const char *new_secret,
                                                int keyslot, int64_t iter_time_ms, bool force,
                                                BdrvKeyslotChange *done, Job *job, Error **errp)
{
    BDRVLuksState *s = bs->opaque;

    return block_crypto_co_keyslot_change(&s->crypto, old_secret, new_secret, keyslot, iter_time_ms, force, done, job,
                                          errp);
}

static bool coroutine_fn luks_co_amend(BlockDriverState *bs, const BlockdevAmendOptions *options, bool force, Job *job,
                                       Error **errp)
{
    BDRVLuksState *s = bs->opaque;

    return block_crypto_co_amend(&s->crypto, qapi_BlockdevAmendOptionsLUKS_base(&options->u.luks), force, job, errp);
}

static SecretBuffer *coroutine_fn luks_co_header_backup(BlockDriverState *bs, Error **errp)
{
    BDRVLuksState *s = bs->opaque;

    return block_crypto_co_header_backup(&s->crypto, errp);
}

static bool coroutine_fn luks_co_header_restore(BlockDriverState *bs, const SecretBuffer *backup, bool force, Job *job,
                                                Error **errp)
{
    BDRVLuksState *s = bs->opaque;

    return block_crypto_co_header_restore(&s->crypto, backup, force, job, errp);
}

static bool coroutine_fn luks_co_secure_erase(BlockDriverState *bs, SecureEraseScope scope, unsigned passes, bool force,
                                              Job *job, SecureEraseReport *report, Error **errp)
{
    BDRVLuksState *s = bs->opaque;

    return block_crypto_co_secure_erase(&s->crypto, scope, passes, force, job, report, errp);
}

static bool luks_is_encrypted(BlockDriverState *bs)
{
    return true;
}

static int luks_probe(const uint8_t *buf, size_t len)
{
    return qcrypto_luks_probe(buf, len) == QCRYPTO_LUKS_VERSION_1 ? 100 : 0;
}

/*
 * There is no block status: a hole in the volume below decrypts to noise, so everything is data. Zeroes have to be
 * encrypted, so they are written out.
 */
const BlockDriver bdrv_luks = {
    .format_name = "luks",
    .driver = BLOCKDEV_DRIVER_LUKS,
    .strong_runtime_opts = (const char *const[]){ "key-secret", "max-pbkdf-iterations", NULL },
    .instance_size = sizeof(BDRVLuksState),

    .bdrv_co_open = luks_co_open,
    .bdrv_co_close = luks_co_close,
    .bdrv_co_getlength = luks_co_getlength,
    .bdrv_refresh_limits = luks_refresh_limits,
    .bdrv_child_perm = luks_child_perm,

    .bdrv_co_preadv = luks_co_preadv,
    .bdrv_co_pwritev = luks_co_pwritev,
    .supported_write_flags = BDRV_REQ_FUA | BDRV_REQ_OWN_BUFFER | BDRV_REQ_WRITE_UNCHANGED,
    .bdrv_co_pdiscard = luks_co_pdiscard,
    .bdrv_co_truncate = luks_co_truncate,

    .bdrv_get_specific_info = luks_get_specific_info,
    .bdrv_is_encrypted = luks_is_encrypted,
    .bdrv_probe = luks_probe,

    .bdrv_co_create = luks_co_create,
    .bdrv_co_format = luks_co_format,
    .bdrv_measure = luks_measure,
    .bdrv_co_secure_erase = luks_co_secure_erase,
    .bdrv_co_keyslot_add = luks_co_keyslot_add,
    .bdrv_co_keyslot_remove = luks_co_keyslot_remove,
    .bdrv_co_keyslot_change = luks_co_keyslot_change,
    .bdrv_co_amend = luks_co_amend,
    .bdrv_co_header_backup = luks_co_header_backup,
    .bdrv_co_header_restore = luks_co_header_restore,
};
