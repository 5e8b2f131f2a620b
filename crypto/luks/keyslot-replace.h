/*
 * Putting a new password into a keyslot, free or not, so that a password works at every instant
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef CRYPTO_LUKS_KEYSLOT_REPLACE_H
#define CRYPTO_LUKS_KEYSLOT_REPLACE_H

#include "crypto/luks/keyslot-disk.h"

bool luks_check_slot_number(int slot, Error **errp);

/*
 * Set *@slot to the keyslot that @options mean. @own is one that may be replaced anyway, or -1. An
 * active one needs @options->force; so does having no free one to pass through.
 */
bool luks_choose_keyslot(const QCryptoLUKS *luks, const QCryptoLUKSKeyslotOptions *options, int own,
                         int *slot, Error **errp);

/* Seal @master_key under the new password of @options. */
LUKSSealed *luks_seal_new_password(const QCryptoLUKS *luks, const QCryptoLUKSIO *io,
                                   const SecretBuffer *master_key,
                                   const QCryptoLUKSKeyslotOptions *options, Error **errp);

/*
 * Store @sealed in @slot. Where that is active: store it in a free one, prove that @new_password
 * opens it, wipe @slot, store it there, wipe the free one. Where none is free, @slot is wiped
 * first. @progress: of luks_replace_wipes() keyslots, and those that the caller wipes itself.
 */
bool luks_replace_keyslot(QCryptoLUKS *luks, const QCryptoLUKSIO *io, int slot,
                          const LUKSSealed *sealed, const SecretBuffer *master_key,
                          const SecretBuffer *new_password, LUKSProgress *progress, Error **errp);

/* How many keyslots that will wipe, with QCRYPTO_LUKS_DEFAULT_PASSES. */
unsigned luks_replace_wipes(const QCryptoLUKS *luks, int slot);

/* Prove, from the volume alone, that @password opens @slot and gives @master_key. */
bool luks_prove_keyslot(const QCryptoLUKS *luks, const QCryptoLUKSIO *io,
                        const SecretBuffer *password, int slot, const SecretBuffer *master_key,
                        Error **errp);

#endif
