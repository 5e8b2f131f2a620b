/*
 * Changing keyslots on disk: the few ordered steps that every operation on keyslots is made of
 *
 * Each step ends with a flush, and leaves a header that is valid whatever part of it reached the
 * disk.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef CRYPTO_LUKS_KEYSLOT_DISK_H
#define CRYPTO_LUKS_KEYSLOT_DISK_H

#include "crypto/luks/luks-int.h"
#include "crypto/luks/overwrite.h"
#include "crypto/luks/keyslot-crypto.h"

/* Whether two headers differ only in what keyslot operations change: one master key, then. */
bool luks_same_volume(const LUKSHeader *a, const LUKSHeader *b);

/*
 * Make @slot, inactive so far, active with @sealed. Material, flush, proof that what is read back
 * gives @master_key, then the entry.
 */
bool luks_store_keyslot(QCryptoLUKS *luks, const QCryptoLUKSIO *io, int slot,
                        const LUKSSealed *sealed, const SecretBuffer *master_key, Error **errp);

/* Overwrite the material of @slot @passes times, then make it inactive, unless it is already. */
bool luks_wipe_keyslot(QCryptoLUKS *luks, const QCryptoLUKSIO *io, int slot, unsigned passes, Error **errp);
uint64_t luks_wipe_work(const QCryptoLUKS *luks, unsigned passes);

/*
 * Write @header where it differs from what is on disk, as one change of the state of one keyslot:
 * an entry that straddles two sectors is complete before it becomes active, and inactive before it
 * is taken apart.
 */
bool luks_write_entry(QCryptoLUKS *luks, const QCryptoLUKSIO *io, const LUKSHeader *header,
                      int slot, Error **errp);

#endif
