/*
 * Storing a new password in a keyslot, free or active, with a working password at every instant
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef CRYPTO_LUKS_KEYSLOT_REPLACE_H
#define CRYPTO_LUKS_KEYSLOT_REPLACE_H

#include "crypto/luks/keyslot-disk.h"

bool luks_check_slot_number(int slot, Error **errp);

/*
 * Set *@slot to the keyslot that @options ask for. An active one needs @options->force, unless it is
 * @own (-1: none), the keyslot of the password being changed; that needs it if no keyslot is free.
 */
bool luks_choose_keyslot(const QCryptoLUKS *luks, const QCryptoLUKSKeyslotOptions *options, int own,
                         int *slot, Error **errp);

/* The iterations that @options ask for, measured if necessary. */
uint32_t luks_new_iterations(const QCryptoLUKS *luks, const QCryptoLUKSIO *io,
                             const QCryptoLUKSKeyslotOptions *options);

/*
 * Store @sealed in @slot. If that is active: store it in a free keyslot, prove that @new_password
 * opens it, wipe @slot, store it there, wipe the other one. If none is free, @slot is wiped first.
 */
bool luks_replace_keyslot(QCryptoLUKS *luks, const QCryptoLUKSIO *io, int slot,
                          const LUKSSealed *sealed, const SecretBuffer *master_key,
                          const SecretBuffer *new_password, Error **errp);

/* Work of luks_replace_keyslot() with a keyslot of @iterations. */
uint64_t luks_replace_work(const QCryptoLUKS *luks, int slot, uint32_t iterations);

/* Work of luks_prove_keyslot() with a keyslot of @iterations. */
uint64_t luks_prove_work(const QCryptoLUKS *luks, uint32_t iterations);

/* Prove, reading everything from the volume, that @password opens @slot and yields @master_key. */
bool luks_prove_keyslot(const QCryptoLUKS *luks, const QCryptoLUKSIO *io,
                        const SecretBuffer *password, int slot, const SecretBuffer *master_key,
                        Error **errp);

#endif
