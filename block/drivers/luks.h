/*
 * What the files of the luks driver share
 *
 *     luks.c          opening, length, permissions, information; the BlockDriver table
 *     luks-io.c       reads and writes of the payload
 *     luks-header.c   the header's own requests; changing it; backup and restore
 *     luks-create.c   create, format, measure
 *     luks-keyslot.c  passwords
 *     luks-erase.c    secure erase
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef BLOCK_DRIVERS_LUKS_H
#define BLOCK_DRIVERS_LUKS_H

#include "block/block_int.h"
#include "crypto/luks.h"

typedef struct BDRVLuksState {
    QCryptoLUKS *luks;              /* NULL where @damage is set */
    Error *damage;                  /* opened with BDRV_O_DAMAGED: why the header is no good */
    const QCryptoSectorCipher *cipher;  /* of @luks; NULL: metadata only */
    BdrvChild *header;              /* NULL: the header is at the start of bs->file */
    int64_t payload_offset;         /* bytes into bs->file */
    int64_t piece_bytes;            /* what one worker thread encrypts at least */

    /* One operation on the header at a time; while it runs, permissions for it are held. */
    CoMutex lock;
    bool updating_header;
    bool updating_payload;
    bool updating_shared;           /* next to others who write */
} BDRVLuksState;

/* The child that holds the header. */
static inline BdrvChild *luks_header_child(BlockDriverState *bs)
{
    BDRVLuksState *s = bs->opaque;

    return s->header ?: bs->file;
}

/* Whether the payload is not behind the header on the same volume. */
static inline bool luks_is_detached(BlockDriverState *bs)
{
    BDRVLuksState *s = bs->opaque;

    return s->header || (s->luks && s->payload_offset == 0);
}

/* luks-io.c */
int coroutine_fn luks_co_preadv(BlockDriverState *bs, int64_t offset, int64_t bytes, QEMUIOVector *qiov,
                                BdrvRequestFlags flags);
int coroutine_fn luks_co_pwritev(BlockDriverState *bs, int64_t offset, int64_t bytes, QEMUIOVector *qiov,
                                 BdrvRequestFlags flags);
int coroutine_fn luks_co_pdiscard(BlockDriverState *bs, int64_t offset, int64_t bytes);

/* Bytes per worker thread that are worth waking it for. */
int64_t luks_piece_bytes(const QCryptoBlockInfoLUKS *info);

/* Sectors to encrypt or decrypt: @bytes from @offset on of the areas of @qiov, of which the first is @sector. */
typedef struct LuksCrypt {
    const QCryptoSectorCipher *cipher;
    bool encrypt;
    uint64_t sector;
    QEMUIOVector *qiov;
    size_t offset;
    size_t bytes;
    uint8_t *out;                   /* where to put the result; NULL: in place */
} LuksCrypt;

/* Do so on as many worker threads as have @piece_bytes each to do, or, for fewer, right here. */
void coroutine_fn luks_co_crypt(const LuksCrypt *c, int64_t piece_bytes);

/* luks-header.c */

/*
 * A volume as crypto/luks sees it: the header's or the payload's of the node @bs, or @blk where there is no node
 * yet. The requests wait while @bs is drained. Between them the operation waits while @job is paused, and ends once it
 * is cancelled.
 */
typedef struct LuksVolumeIO {
    QCryptoLUKSIO io;
    BlockDriverState *bs;
    bool payload;
    BlockBackend *blk;
    Job *job;
    uint64_t done;                  /* of the progress reported so far */
    uint64_t total;
    uint64_t after;                 /* progress that is left once this volume is done */
} LuksVolumeIO;
void luks_header_io_init(LuksVolumeIO *v, BlockDriverState *bs, Job *job);
void luks_payload_io_init(LuksVolumeIO *v, BlockDriverState *bs, Job *job);
void luks_blk_io_init(LuksVolumeIO *v, BlockBackend *blk, Job *job);

/*
 * Between the two, @bs may write its header, and its payload where @payload is set; others may not write what
 * is written, unless @shared. One operation at a time; the others wait, as long as @job is not cancelled.
 */
bool coroutine_fn luks_co_update_begin(BlockDriverState *bs, bool payload, bool shared, Job *job, Error **errp);
void coroutine_fn luks_co_update_end(BlockDriverState *bs);

/* False with @errp where the header is damaged (BDRV_O_DAMAGED). */
bool luks_check_usable(BlockDriverState *bs, Error **errp);

SecretBuffer *coroutine_fn luks_co_header_backup(BlockDriverState *bs, Error **errp);
bool coroutine_fn luks_co_header_restore(BlockDriverState *bs, const SecretBuffer *backup, bool force,
                                         Job *job, Error **errp);

/* luks-create.c */
bool coroutine_fn luks_co_create(const BlockdevCreateOptions *options, Job *job, Error **errp);
bool coroutine_fn luks_co_format(BlockBackend *file, BlockBackend *header,
                                 const BlockdevFormatOptions *options, Job *job, Error **errp);
BlockMeasureInfo *luks_measure(const BlockdevCreateOptions *options, int64_t size, Error **errp);

/* luks-keyslot.c */

/* Warn of a new password, the secret @id, that hardly is what anybody wants. */
void luks_warn_password(const char *id, const SecretBuffer *password);

bool coroutine_fn luks_co_keyslot_add(BlockDriverState *bs, const char *new_secret, int keyslot,
                                      int64_t iter_time_ms, bool force, Job *job, Error **errp);
bool coroutine_fn luks_co_keyslot_remove(BlockDriverState *bs, int keyslot, const char *old_secret,
                                         bool force, Job *job, Error **errp);
bool coroutine_fn luks_co_keyslot_change(BlockDriverState *bs, const char *old_secret,
                                         const char *new_secret, int keyslot, int64_t iter_time_ms,
                                         bool force, Job *job, Error **errp);
bool coroutine_fn luks_co_amend(BlockDriverState *bs, const BlockdevAmendOptions *options, bool force,
                                Job *job, Error **errp);

/* luks-erase.c */
bool coroutine_fn luks_co_secure_erase(BlockDriverState *bs, SecureEraseScope scope, unsigned passes,
                                       bool force, Job *job, SecureEraseReport *report, Error **errp);

#endif
