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
 * Append the gaps between @regions from @begin to @end, in descending order. The gap at 0 is called
 * "header", the others "header padding".
 */
void luks_regions_append_gaps(GArray *regions, uint64_t begin, uint64_t end);

#endif
