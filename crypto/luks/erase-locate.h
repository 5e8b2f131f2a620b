/*
 * Locating the keyslots of a header, even if fields are damaged
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef CRYPTO_LUKS_ERASE_LOCATE_H
#define CRYPTO_LUKS_ERASE_LOCATE_H

#include "crypto/luks/header.h"

typedef struct LUKSLocation {
    uint64_t material_offset[QCRYPTO_LUKS_KEYSLOTS];
    uint64_t material_bytes[QCRYPTO_LUKS_KEYSLOTS];     /* 0: could not be located */
    uint64_t header_end;        /* of the header area: the payload, or the end of the material */
    bool detached;
} LUKSLocation;

/*
 * Locate the keyslots of @header on a volume of @volume_bytes, and append a line to @notes (of char
 * *) for each damaged field. False with an error if this is not a LUKS1 header or no keyslot can be
 * located.
 *
 * A header without its magic is recognised if at least six keyslots have a valid state. If at least
 * four keyslots follow the layout that all known programs use, it replaces invalid fields.
 */
bool luks_locate(const LUKSHeader *header, uint64_t volume_bytes, bool detached,
                 LUKSLocation *location, GPtrArray *notes, Error **errp);

#endif
