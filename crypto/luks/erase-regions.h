/*
 * Ranges of the header area
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef CRYPTO_LUKS_ERASE_REGIONS_H
#define CRYPTO_LUKS_ERASE_REGIONS_H

#include "crypto/luks.h"

/* A GArray of QCryptoLUKSRegion that frees their names. */
GArray *luks_regions_new(void);

/* Append a region; @what is copied. */
void luks_regions_append(GArray *regions, uint64_t offset, uint64_t length, int keyslot,
                         const char *what);

/*
 * Append, in descending order, what lies between @begin and @end outside of all @regions: the one
 * at 0 as "header", others as "header padding".
 */
void luks_regions_append_gaps(GArray *regions, uint64_t begin, uint64_t end);

#endif
