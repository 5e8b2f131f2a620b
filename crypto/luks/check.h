/*
 * The rules that a LUKS1 header must keep before any of its fields is used
 *
 * Each rule is one entry in a table: the field it is about, what needs it to be kept, and a function that looks at
 * nothing else than it needs. Tests walk the same table and break each rule by itself.
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

/* What a rule is for: who asks for one use need not care about the others. */
typedef enum LUKSRuleUse {
    LUKS_RULE_FORMAT = 1 << 0,      /* anything: without it other fields cannot be relied on */
    LUKS_RULE_KEYS = 1 << 1,        /* deriving keys, encryption: we have the algorithms */
    LUKS_RULE_PAYLOAD = 1 << 2,     /* the payload */
    LUKS_RULE_PEERS = 1 << 3,       /* nothing here, but cryptsetup or QEMU refuse it or show it wrongly */
} LUKSRuleUse;

/* @field is the name in the LUKS specification. One of @check and @check_slot is set. */
typedef struct LUKSRule {
    const char *field;
    LUKSRuleUse use;
    LUKSCheckFunc *check;
    LUKSKeyslotCheckFunc *check_slot;
    QCryptoLUKSFailure failure;     /* _NONE: not worth more than a remark */
} LUKSRule;

extern const LUKSRule luks_rules[];
extern const size_t luks_n_rules;

/* Apply the rules for @uses (of LUKSRuleUse) in order, up to the first that is broken. */
bool luks_header_check(const LUKSHeader *header, const LUKSPlace *place, unsigned uses,
                       QCryptoLUKSFailure *failure, Error **errp);

#endif
