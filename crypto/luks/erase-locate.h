/*
 * Where the keyslots of a header are, even one with damaged fields
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
 * Make out what @header says, of a volume of @volume_bytes, and append a line to @notes (of char
 * *) for each thing that is damaged. False with an error where this is no LUKS1 header or no
 * keyslot can be located.
 *
 * A header without its magic counts as one if at least six keyslots have a valid state. Fields
 * that make no sense are replaced by the layout that all known programs use, if at least four
 * keyslots keep to it.
 */
bool luks_locate(const LUKSHeader *header, uint64_t volume_bytes, bool detached,
                 LUKSLocation *location, GPtrArray *notes, Error **errp);

#endif
