/*
 * Changing keyslots on disk: the ordered steps that all keyslot operations consist of
 *
 * Each step ends with a flush. The header stays valid even if only a part of a step reaches the
 * disk.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef CRYPTO_LUKS_KEYSLOT_DISK_H
#define CRYPTO_LUKS_KEYSLOT_DISK_H

#include "crypto/luks/luks-int.h"
#include "crypto/luks/overwrite.h"
#include "crypto/luks/keyslot-crypto.h"

/* Whether two headers differ at most in fields that keyslot operations change, and so share a master key. */
bool luks_same_volume(const LUKSHeader *a, const LUKSHeader *b);

/*
 * Store @sealed in the inactive @slot: write the material, flush, prove that what is read back
 * gives @master_key, then write the entry.
 */
bool luks_store_keyslot(QCryptoLUKS *luks, const QCryptoLUKSIO *io, int slot,
                        const LUKSSealed *sealed, const SecretBuffer *master_key, Error **errp);

/* Overwrite the material of @slot @passes times, then mark it inactive unless it already is. */
bool luks_wipe_keyslot(QCryptoLUKS *luks, const QCryptoLUKSIO *io, int slot, unsigned passes, Error **errp);
uint64_t luks_wipe_work(const QCryptoLUKS *luks, unsigned passes);

/*
 * Write the sectors of @header that differ from those on disk, for a change of the state of @slot.
 * Its entry may straddle two sectors: it is complete before it becomes active, and inactive before
 * the rest of it is cleared.
 */
bool luks_write_entry(QCryptoLUKS *luks, const QCryptoLUKSIO *io, const LUKSHeader *header,
                      int slot, Error **errp);

#endif
