/*
 * The rules that a LUKS1 header must keep before any of its fields is used
 *
 * Each rule is one entry in a table: the field it is about and a function that looks at nothing
 * else than it needs. Tests walk the same table and break each rule by itself.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef CRYPTO_LUKS_CHECK_H
#define CRYPTO_LUKS_CHECK_H

#include "crypto/luks/header.h"

/* Where the header was found. */
typedef struct LUKSPlace {
    uint64_t header_volume_bytes;
    uint64_t payload_volume_bytes;  /* detached: 0 where not known; else not used */
    bool detached;
} LUKSPlace;

/* What to say is set with errp; the caller puts the field's name in front of it. */
typedef bool LUKSCheckFunc(const LUKSHeader *header, const LUKSPlace *place, Error **errp);
typedef bool LUKSKeyslotCheckFunc(const LUKSHeader *header, const LUKSPlace *place, int slot,
                                  Error **errp);

/* @field is the name in the LUKS specification. One of @check and @check_slot is set. */
typedef struct LUKSRule {
    const char *field;
    LUKSCheckFunc *check;
    LUKSKeyslotCheckFunc *check_slot;
    QCryptoLUKSFailure failure;
} LUKSRule;

extern const LUKSRule luks_rules[];
extern const size_t luks_n_rules;

/* Apply all rules in order; a rule may rely on those before it. */
bool luks_header_check(const LUKSHeader *header, const LUKSPlace *place,
                       QCryptoLUKSFailure *failure, Error **errp);

#endif
