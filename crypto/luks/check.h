/*
 * The rules that a LUKS1 header must follow before any of its fields is used
 *
 * Each rule is one entry in a table: the field, the uses that need the rule, and a function that checks it. Tests walk
 * the same table and break each rule by itself.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef CRYPTO_LUKS_CHECK_H
#define CRYPTO_LUKS_CHECK_H

#include "crypto/luks/header.h"

/* Sizes of the volumes of header and payload. */
typedef struct LUKSPlace {
    uint64_t header_volume_bytes;
    uint64_t payload_volume_bytes;  /* detached: 0 if not known; else not used */
    bool detached;
} LUKSPlace;

/* On failure sets @errp; the caller prepends the field's name. */
typedef bool LUKSCheckFunc(const LUKSHeader *header, const LUKSPlace *place, Error **errp);
typedef bool LUKSKeyslotCheckFunc(const LUKSHeader *header, const LUKSPlace *place, int slot,
                                  Error **errp);

/* The use of the header that needs a rule. A caller checks only the uses it has. */
typedef enum LUKSRuleUse {
    LUKS_RULE_FORMAT = 1 << 0,      /* anything: without it other fields cannot be relied on */
    LUKS_RULE_KEYS = 1 << 1,        /* deriving keys, encryption: we have the algorithms */
    LUKS_RULE_PAYLOAD = 1 << 2,     /* the payload */
    LUKS_RULE_PEERS = 1 << 3,       /* none, but cryptsetup or QEMU refuse it or show it wrongly */
} LUKSRuleUse;

/* @field is the name in the LUKS specification. One of @check and @check_slot is set. */
typedef struct LUKSRule {
    const char *field;
    LUKSRuleUse use;
    LUKSCheckFunc *check;
    LUKSKeyslotCheckFunc *check_slot;
    QCryptoLUKSFailure failure;     /* _NONE: only worth a remark */
} LUKSRule;

extern const LUKSRule luks_rules[];
extern const size_t luks_n_rules;

/* Check the rules for @uses (of LUKSRuleUse) in order, up to the first that is broken. */
bool luks_header_check(const LUKSHeader *header, const LUKSPlace *place, unsigned uses,
                       QCryptoLUKSFailure *failure, Error **errp);

#endif
