/*
 * The luks driver: the payload of a LUKS volume as a node of plain text
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "block/drivers/luks.h"
#include "crypto/secret.h"
#include "qapi/qapi.h"

static bool open_children(BlockDriverState *bs, Error **errp)
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

/* Whether BDRV_O_DAMAGED lets a node be opened in spite of @why. */
static bool may_be_damaged(BlockDriverState *bs, QCryptoLUKSFailure why)
{
    return bs->open_flags & BDRV_O_DAMAGED && bs->open_flags & BDRV_O_NO_IO &&
           why != QCRYPTO_LUKS_FAILURE_IO;
}

static bool coroutine_fn open_header(BlockDriverState *bs, Error **errp)
{
    BDRVLuksState *s = bs->opaque;
    const BlockdevOptionsLUKS *o = &bs->options->u.luks;
    g_autoptr(SecretBuffer) password = NULL;
    g_autoptr(Error) err = NULL;
    QCryptoLUKSFailure why;
    LuksVolumeIO v;

    if (o->has_max_pbkdf_iterations && o->max_pbkdf_iterations < 1) {
        error_setg(errp, "Parameter 'max-pbkdf-iterations' must be at least 1");
        return false;
    }
    if (!(bs->open_flags & BDRV_O_NO_IO)) {
        if (!o->key_secret) {
            error_setg(errp, "Parameter 'key-secret' is required for cipher");
            return false;
        }
        password = qcrypto_secret_lookup(o->key_secret, errp);
        if (!password) {
            return false;
        }
    }
    QCryptoLUKSOpenOptions open_options = {
        .password = password,
        .detached = s->header,
        .payload_volume_bytes = bdrv_getlength(bs->file->bs),
        .max_iterations = o->has_max_pbkdf_iterations ? o->max_pbkdf_iterations : 0,
    };
    luks_header_io_init(&v, bs, NULL);
    s->luks = qcrypto_luks_open(&v.io, &open_options, &why, &err);
    if (!s->luks && !may_be_damaged(bs, why)) {
        error_propagate(errp, g_steal_pointer(&err));
        return false;
    }
    s->damage = g_steal_pointer(&err);
    return true;
}

static void luks_cleanup(BDRVLuksState *s)
{
    qcrypto_luks_free(s->luks);
    error_free(s->damage);
    qemu_co_mutex_cleanup(&s->lock);
}

static bool coroutine_fn luks_co_open(BlockDriverState *bs, Error **errp)
{
    BDRVLuksState *s = bs->opaque;

    qemu_co_mutex_init(&s->lock);
    if (!open_children(bs, errp) || !open_header(bs, errp)) {
        luks_cleanup(s);
        return false;
    }
    if (s->luks) {
        g_autoptr(QCryptoBlockInfoLUKS) info = qcrypto_luks_get_info(s->luks);

        s->cipher = qcrypto_luks_sector_cipher(s->luks);
        s->payload_offset = qcrypto_luks_payload_offset(s->luks);
        s->piece_bytes = luks_piece_bytes(info);
    }
    return true;
}

static void coroutine_fn luks_co_close(BlockDriverState *bs)
{
    luks_cleanup(bs->opaque);
}

/* Whole sectors: what is behind them at the end of a volume cannot be decrypted. */
static int64_t coroutine_fn luks_co_getlength(BlockDriverState *bs)
{
    BDRVLuksState *s = bs->opaque;
    int64_t bytes = bdrv_getlength(bs->file->bs) - s->payload_offset;

    return ROUND_DOWN(MAX(bytes, 0), QCRYPTO_LUKS_SECTOR_SIZE);
}

static void luks_refresh_limits(BlockDriverState *bs)
{
    /* Also above a volume of larger blocks: it is cheaper to fill those up with ciphertext, down there. */
    bs->bl.request_alignment = QCRYPTO_LUKS_SECTOR_SIZE;
}

static bool coroutine_fn luks_co_truncate(BlockDriverState *bs, int64_t offset, bool exact,
                                          PreallocMode prealloc, Error **errp)
{
    BDRVLuksState *s = bs->opaque;

    if (!luks_check_usable(bs, errp)) {
        return false;
    }
    if (offset > BDRV_MAX_LENGTH - s->payload_offset) {
        error_setg(errp, "Node '%s': the requested size is too large", bs->node_name);
        return false;
    }
    return bdrv_co_truncate(bs->file, s->payload_offset + ROUND_UP(offset, QCRYPTO_LUKS_SECTOR_SIZE), exact,
                            prealloc, errp);
}

/*
 * The header is read when the node is opened, and written during an operation on it only. Otherwise the driver
 * needs of its children what is needed of itself, and lets others write where its users do; not, though, next
 * to writes of its own, nor resize the payload, whose length it knows.
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

static ImageInfoSpecific *luks_get_specific_info(BlockDriverState *bs)
{
    BDRVLuksState *s = bs->opaque;

    if (!s->luks) {
        return NULL;
    }
    ImageInfoSpecific *info = g_new0(ImageInfoSpecific, 1);
    info->type = IMAGE_INFO_SPECIFIC_KIND_LUKS;
    info->u.luks.data = qcrypto_luks_get_info(s->luks);
    return info;
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
 * There is no block status: a hole in the volume below decrypts to noise, so all is data. Zeroes have to be
 * encrypted, so they are written out.
 */
const BlockDriver bdrv_luks = {
    .format_name = "luks",
    .driver = BLOCKDEV_DRIVER_LUKS,
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
