/*
 * BlockCrypto: what a driver needs whose data is encrypted with a LUKS header, wherever it stores them
 *
 *     open.c      the header: opening it, who may change it, what it says
 *     volume.c    requests to the header, for crypto/luks
 *     io.c        payload: sectors on several processors, reads and writes
 *     keyslot.c   passwords
 *     header.c    backup and restore
 *     erase.c     secure erase
 *
 * A driver has one in its state. Its BlockCryptoOps tell where header and payload are:
 *
 *     static const BlockCryptoOps my_crypto_ops = { .header = my_header_volume, ... };
 *
 *     // bdrv_co_open, when the children are open
 *     s->crypto = (BlockCrypto){ .bs = bs, .ops = &my_crypto_ops };
 *     if (!block_crypto_co_open(&s->crypto, o->key_secret, 0, errp)) {
 *         return false;
 *     }
 *
 *     // bdrv_co_preadv: guest offset OFFSET is stored at HOST_OFFSET of bs->file
 *     return block_crypto_co_preadv(&s->crypto, bs->file, host_offset, offset, bytes, qiov, flags);
 *
 *     // bdrv_co_keyslot_add
 *     return block_crypto_co_keyslot_add(&s->crypto, NULL, new_secret, keyslot, iter_time_ms, force, done, job, errp);
 *
 * Requests to the payload run on any thread, everything else on the main loop.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef BLOCK_CRYPTO_H
#define BLOCK_CRYPTO_H

#include "block/block-backend.h"
#include "block/block_int.h"
#include "crypto/luks.h"

/* A range of a child. */
typedef struct BlockCryptoVolume {
    BdrvChild *child;
    uint64_t offset;
    uint64_t length;
} BlockCryptoVolume;

/* Driver-specific functions. */
typedef struct BlockCryptoOps {
    /* Return the location of the header. */
    void (*header)(BlockDriverState *bs, BlockCryptoVolume *volume);

    /*
     * Return the volume of the payload, which the header's payload offset counts from. Without it, the payload is
     * elsewhere and is not erased with the header.
     */
    void (*payload)(BlockDriverState *bs, BlockCryptoVolume *volume);

    /*
     * Take permissions to write the header and, with @payload, the payload: exclusively or, with @shared, beside other
     * writers. update_end gives them back. One operation at a time has them. A driver that may write its children
     * whenever its node is writable needs neither function.
     */
    bool (*update_begin)(BlockDriverState *bs, bool payload, bool shared, Error **errp);
    void (*update_end)(BlockDriverState *bs);
} BlockCryptoOps;

typedef struct BlockCrypto {
    /* Set by the driver before opening. */
    BlockDriverState *bs;
    const BlockCryptoOps *ops;
    bool separate_header;           /* the header's volume holds no payload */

    QCryptoLUKS *luks;              /* NULL if @damage is set */
    Error *damage;                  /* opened with BDRV_O_DAMAGED: why the header is unusable */
    const QCryptoSectorCipher *cipher;  /* of @luks; NULL: metadata only */
    uint64_t max_iterations;        /* 0: the default */
    size_t sector_size;             /* bytes; requests are aligned to it */
    unsigned sector_bits;           /* log2 of that */
    int64_t payload_offset;         /* bytes into the payload's volume */
    int64_t piece_bytes;            /* the least that is worth a worker thread */
    CoMutex lock;                   /* one operation on the header at a time */
} BlockCrypto;

/* open.c */

/*
 * Read the header and, unless the node is opened for its metadata only (BDRV_O_NO_IO), unlock it with the password in
 * the secret @key_secret. @max_iterations: 0 for the default.
 */
bool coroutine_fn block_crypto_co_open(BlockCrypto *c, const char *key_secret, uint64_t max_iterations, Error **errp);

/* Free what opening allocated, even if it failed. */
void block_crypto_cleanup(BlockCrypto *c);

/* False with @errp if the header is damaged (BDRV_O_DAMAGED). */
bool block_crypto_check_usable(const BlockCrypto *c, Error **errp);

/* Whether the payload is on another volume than the header. */
bool block_crypto_is_detached(const BlockCrypto *c);

/* The contents of the header; NULL if it is damaged. */
ImageInfoSpecific *block_crypto_get_specific_info(const BlockCrypto *c);

/*
 * Between the two calls, an operation may write the header and, with @payload, the payload. Others may not write the
 * same unless @shared. One operation at a time: the others wait, and give up if their @job is cancelled.
 */
bool coroutine_fn block_crypto_co_update_begin(BlockCrypto *c, bool payload, bool shared, Job *job, Error **errp);
void coroutine_fn block_crypto_co_update_end(BlockCrypto *c);

/* volume.c */

/*
 * A volume as crypto/luks sees it: a range of a child, or @blk if there is no node yet. Requests wait while the node is
 * drained. Between requests the operation waits while @job is paused, and ends once it is cancelled; without a job it
 * ends when the node's opening is cancelled.
 */
typedef struct BlockCryptoIO {
    QCryptoLUKSIO io;
    BlockDriverState *bs;
    BlockCryptoVolume volume;
    BlockBackend *blk;
    Job *job;
    uint64_t planned;               /* work, as QCryptoLUKSIO counts it */
    uint64_t done;
    uint64_t reserved;              /* what @planned is worth of the job's progress; 0: the same */
    uint64_t reported;              /* of that */
} BlockCryptoIO;
void block_crypto_header_io_init(BlockCryptoIO *v, BlockCrypto *c, Job *job);
void block_crypto_payload_io_init(BlockCryptoIO *v, BlockCrypto *c, Job *job);
void block_crypto_blk_io_init(BlockCryptoIO *v, BlockBackend *blk, Job *job);

/*
 * Reserve @work of the job's progress for an operation on @v that comes after others, which would otherwise seem to
 * finish the job. It may turn out to be less work, or more.
 */
void block_crypto_io_reserve(BlockCryptoIO *v, uint64_t work);

/* The operation on @v has succeeded, perhaps with less work than was planned. */
void block_crypto_io_finish(BlockCryptoIO *v);

/* Work of deriving a key for @iter_time_ms (0: the default), before it is measured. */
uint64_t block_crypto_derive_work(int64_t iter_time_ms);

/* open.c: like qcrypto_luks_open(), for the header at @v */
QCryptoLUKS *coroutine_fn block_crypto_co_open_luks(BlockCrypto *c, const BlockCryptoIO *v,
                                                    const SecretBuffer *password, QCryptoLUKSFailure *failure,
                                                    Error **errp);

/* io.c */

/*
 * Sectors to encrypt or decrypt: @bytes, a multiple of the sector size, at offset @qiov_offset in @qiov. The first has
 * the number @sector, in units of 512 bytes. @out: where to put the result; NULL: in place.
 */
typedef struct BlockCryptoRange {
    bool encrypt;
    uint64_t sector;
    QEMUIOVector *qiov;
    size_t qiov_offset;
    size_t bytes;
    uint8_t *out;
} BlockCryptoRange;

/* Encrypt or decrypt, on several processors if there is enough to do. The payload's key must be set up. */
void coroutine_fn block_crypto_co_crypt(const BlockCrypto *c, const BlockCryptoRange *range);

/*
 * Read or write @bytes of the payload at @offset, which counts from its start and determines the sector numbers. They
 * are stored encrypted at @child_offset of @child. Return 0 or -errno; -ENOKEY if the node has no key. Write flags:
 * FUA, OWN_BUFFER, and those that @child supports.
 */
int coroutine_fn block_crypto_co_preadv(BlockCrypto *c, BdrvChild *child, int64_t child_offset, int64_t offset,
                                        int64_t bytes, QEMUIOVector *qiov, BdrvRequestFlags flags);
int coroutine_fn block_crypto_co_pwritev(BlockCrypto *c, BdrvChild *child, int64_t child_offset, int64_t offset,
                                         int64_t bytes, QEMUIOVector *qiov, BdrvRequestFlags flags);

/* keyslot.c: like the driver's callbacks of the same names. @secret opens the volume (NULL: it is open with its key) */
bool coroutine_fn block_crypto_co_keyslot_add(BlockCrypto *c, const char *secret, const char *new_secret, int keyslot,
                                              int64_t iter_time_ms, bool force, BdrvKeyslotChange *done, Job *job,
                                              Error **errp);
bool coroutine_fn block_crypto_co_keyslot_remove(BlockCrypto *c, int keyslot, const char *old_secret, bool force,
                                                 BdrvKeyslotChange *done, Job *job, Error **errp);
bool coroutine_fn block_crypto_co_keyslot_change(BlockCrypto *c, const char *old_secret, const char *new_secret,
                                                 int keyslot, int64_t iter_time_ms, bool force,
                                                 BdrvKeyslotChange *done, Job *job, Error **errp);
bool coroutine_fn block_crypto_co_amend(BlockCrypto *c, const QCryptoBlockAmendOptionsLUKS *options, bool force,
                                        Job *job, Error **errp);

/* Warn about a new password, from the secret @id, that is probably a mistake. */
void block_crypto_warn_password(const char *id, const SecretBuffer *password);

/* header.c */
SecretBuffer *coroutine_fn block_crypto_co_header_backup(BlockCrypto *c, Error **errp);
bool coroutine_fn block_crypto_co_header_restore(BlockCrypto *c, const SecretBuffer *backup, bool force, Job *job,
                                                 Error **errp);

/* erase.c */
bool coroutine_fn block_crypto_co_secure_erase(BlockCrypto *c, SecureEraseScope scope, unsigned passes, bool force,
                                               Job *job, SecureEraseReport *report, Error **errp);

#endif
