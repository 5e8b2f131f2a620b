/*
 * An opened LUKS1 header, and what the files of crypto/luks share
 *
 *     header.[ch]             convert the fields between disk and LUKSHeader
 *     algorithms.[ch]         ciphers, modes and hashes by the names that headers use
 *     kdf.[ch]                kinds of key derivation
 *     check.[ch]              the table of rules that a header must follow
 *     io.c                    the caller's callbacks, with range checks and errors
 *
 *     open.c                  read the header, try passwords
 *     info.c                  query an opened header
 *     create.c                write a new header
 *     backup.c, restore.c     copy the whole header area, and write it back
 *
 *     keyslot-crypto.[ch]     cryptography alone: derive a key, seal the master key and unseal it
 *     keyslot-disk.[ch]       one step on disk: store a sealed key in a free keyslot, wipe a keyslot
 *     keyslot-replace.[ch]    several steps: store a new password in a keyslot, free or active
 *     keyslot-add-remove.c    operations: add a password, remove one
 *     keyslot-change.c        operation: replace a password by another
 *
 *     overwrite.[ch]          overwrite a range with random bytes, flush, read back
 *     erase.c                 secure erase: the plan, and running it
 *     erase-locate.[ch]       locate keyslots, even if fields are damaged
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
    uint8_t raw[LUKS_HEADER_BYTES];     /* as on disk, including the bytes after the fields */
    LUKSAlgorithms alg;                 /* valid if @unsupported is NULL */
    Error *unsupported;                 /* why keys cannot be derived */
    LUKSPlace place;
    uint64_t max_iterations;
    SecretBuffer *master_key;           /* NULL: not unlocked */
    QCryptoSectorCipher *sectors;
};

/* open.c */

/* Place of a header read from @io. */
LUKSPlace luks_place(const QCryptoLUKSIO *io, const QCryptoLUKSOpenOptions *options, const LUKSHeader *header);

/* Whether keys can be derived; if not, the error names the missing algorithm. */
bool luks_check_supported(const QCryptoLUKS *luks, QCryptoLUKSFailure *failure, Error **errp);

/* Read and check the header into a locked handle; without a password, only LUKS_RULE_FORMAT is checked. */
QCryptoLUKS *luks_load(const QCryptoLUKSIO *io, const QCryptoLUKSOpenOptions *options,
                       QCryptoLUKSFailure *failure, Error **errp);

/* Read the first two sectors into @raw. Fails if the volume is shorter or lacks the magic. */
bool luks_read_raw(const QCryptoLUKSIO *io, uint8_t *raw, QCryptoLUKSFailure *failure,
                   Error **errp);

/*
 * Try @password on the active keyslot @slot: 1 with *@master_key set, 0 if the password is wrong,
 * -1 with an error.
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

/* Work of trying a password on keyslot @slot, or on all active ones from @first on. */
uint64_t luks_try_work(const QCryptoLUKS *luks, int slot);
uint64_t luks_find_work(const QCryptoLUKS *luks, int first);

/* Set the error for a wrong password, with a hint if possible. @slot: -1 if all active keyslots were tried. */
void luks_wrong_password(const SecretBuffer *password, int slot, QCryptoLUKSFailure *failure, Error **errp);

/* Take ownership of @master_key and create the payload's cipher. */
bool luks_unlock(QCryptoLUKS *luks, SecretBuffer *master_key, Error **errp);

void luks_set_failure(QCryptoLUKSFailure *failure, QCryptoLUKSFailure value);

/* info.c */

/* Whether the volume ends before its payload begins, as in a header backup. */
bool luks_is_header_only(const QCryptoLUKS *luks);

/* io.c: call the callbacks, with range checks and errors */

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
