/*
 * Overwriting a range for secure erase, on volumes that overwrite in place
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef CRYPTO_LUKS_OVERWRITE_H
#define CRYPTO_LUKS_OVERWRITE_H

#include "crypto/luks.h"

/* Work of overwriting @length bytes @passes times: the bytes read and written. */
uint64_t luks_overwrite_work(uint64_t length, unsigned passes);

/* The number of passes that @passes asks for (0: the default), or 0 with an error. */
unsigned luks_overwrite_passes(unsigned passes, Error **errp);

/*
 * Overwrite @region @passes times with random bytes, flush after each pass, read the last one back
 * and compare. Updates @region->written, @region->passes and @region->verified.
 */
bool luks_overwrite(const QCryptoLUKSIO *io, QCryptoLUKSRegion *region, unsigned passes, Error **errp);

/* Fill @length bytes from @offset with random bytes once, without flushing or reading back. */
bool luks_fill_random(const QCryptoLUKSIO *io, uint64_t offset, uint64_t length, const char *what,
                      Error **errp);

#endif
