/*
 * An opened LUKS1 header, and what the files of crypto/luks share
 *
 *     header.[ch]             the fields: between bytes on disk and a LUKSHeader
 *     algorithms.[ch]         ciphers, modes and hashes by the names that headers use
 *     kdf.[ch]                kinds of key derivation
 *     check.[ch]              the table of rules that a header must keep
 *     io.c                    the caller's callbacks, with range checks and errors
 *
 *     open.c                  read the header, try passwords
 *     info.c                  what an opened header says
 *     create.c                a new header
 *     backup.c, restore.c     the header area as a whole, out and back in
 *
 *     keyslot-crypto.[ch]     cryptography alone: derive a key, seal the master key and unseal it
 *     keyslot-disk.[ch]       one step on disk: store what is sealed in a free keyslot, wipe a keyslot
 *     keyslot-replace.[ch]    several steps: a new password into a keyslot, free or not
 *     keyslot-add-remove.c    operations: let a password open the volume, or no longer
 *     keyslot-change.c        operation: exchange a password for another
 *
 *     overwrite.[ch]          random bytes over a range, flushed and read back
 *     erase.c                 secure erase: the plan, and running it
 *     erase-locate.[ch]       where keyslots are, even where fields are damaged
 *     erase-regions.[ch]      the list of ranges in a plan, and the gaps between them
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef CRYPTO_LUKS_LUKS_INT_H
#define CRYPTO_LUKS_LUKS_INT_H

#include "crypto/luks/algorithms.h"
#include "crypto/luks/check.h"

struct QCryptoLUKS {
    LUKSHeader header;
    uint8_t raw[LUKS_HEADER_BYTES];     /* what is on disk, the bytes behind the fields included */
    LUKSAlgorithms alg;                 /* means something where @unsupported is NULL */
    Error *unsupported;                 /* what keeps us from deriving keys */
    LUKSPlace place;
    uint64_t max_iterations;
    SecretBuffer *master_key;           /* NULL: not unlocked */
    QCryptoSectorCipher *sectors;
};

/* open.c */

/* Where a header is that was read from @io. */
LUKSPlace luks_place(const QCryptoLUKSIO *io, const QCryptoLUKSOpenOptions *options, const LUKSHeader *header);

/* Whether keys can be derived; an error that names the algorithm that is missing where not. */
bool luks_check_supported(const QCryptoLUKS *luks, QCryptoLUKSFailure *failure, Error **errp);

/* Read and check the header into a handle that is not unlocked; without a password, only as LUKS_RULE_FORMAT asks. */
QCryptoLUKS *luks_load(const QCryptoLUKSIO *io, const QCryptoLUKSOpenOptions *options,
                       QCryptoLUKSFailure *failure, Error **errp);

/* Read the first two sectors to @raw; on a shorter volume, or without the magic, an error. */
bool luks_read_raw(const QCryptoLUKSIO *io, uint8_t *raw, QCryptoLUKSFailure *failure,
                   Error **errp);

/*
 * Whether @password opens keyslot @slot, which is active: 1 with *@master_key set, 0 where it does
 * not, -1 with an error.
 */
int luks_try_keyslot(const QCryptoLUKS *luks, const QCryptoLUKSIO *io,
                     const SecretBuffer *password, int slot, SecretBuffer **master_key,
                     QCryptoLUKSFailure *failure, Error **errp);

/*
 * The lowest active keyslot (@slot alone unless it is -1) that @password opens, with
 * *@master_key set, or -1 with an error.
 */
int luks_find_keyslot(const QCryptoLUKS *luks, const QCryptoLUKSIO *io,
                      const SecretBuffer *password, int slot, SecretBuffer **master_key,
                      QCryptoLUKSFailure *failure, Error **errp);

/* Work of trying a password in keyslot @slot, and in all active ones from @first on. */
uint64_t luks_try_work(const QCryptoLUKS *luks, int slot);
uint64_t luks_find_work(const QCryptoLUKS *luks, int first);

/* The password is wrong: say so, and whatever may explain it. @slot: -1 where all active keyslots were tried. */
void luks_wrong_password(const SecretBuffer *password, int slot, QCryptoLUKSFailure *failure, Error **errp);

/* Take @master_key over and make the payload's cipher. */
bool luks_unlock(QCryptoLUKS *luks, SecretBuffer *master_key, Error **errp);

void luks_set_failure(QCryptoLUKSFailure *failure, QCryptoLUKSFailure value);

/* info.c */

/* Whether the volume ends before its payload begins, as in a header backup. */
bool luks_is_header_only(const QCryptoLUKS *luks);

/* io.c: the callbacks, with checks of the caller's promises, and errors */

bool luks_pread(const QCryptoLUKSIO *io, uint64_t offset, void *buf, uint64_t bytes,
                const char *what, Error **errp);
bool luks_pwrite(const QCryptoLUKSIO *io, uint64_t offset, const void *buf, uint64_t bytes,
                 const char *what, Error **errp);
bool luks_flush(const QCryptoLUKSIO *io, const char *what, Error **errp);
void luks_plan(const QCryptoLUKSIO *io, uint64_t work);
void luks_advance(const QCryptoLUKSIO *io, uint64_t work);
void luks_set_activity(const QCryptoLUKSIO *io, const char *what, int64_t ns);
bool luks_pause_point(const QCryptoLUKSIO *io, Error **errp);

#endif
