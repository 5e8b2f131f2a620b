/*
 * The rules that a LUKS1 header must keep
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include "crypto/luks/algorithms.h"
#include "crypto/luks/check.h"

static bool check_terminated(const char *string, size_t bytes, Error **errp)
{
    if (strnlen(string, bytes) == bytes) {
        error_setg(errp, "not terminated within its %zu bytes", bytes);
        return false;
    }
    return true;
}

/* Names from disk go into messages: nothing but printable ASCII gets there. */
static bool check_printable(const char *string, Error **errp)
{
    for (const char *p = string; *p; p++) {
        if (!g_ascii_isgraph(*p)) {
            error_setg(errp, "byte 0x%02x is not a printable character", (unsigned char)*p);
            return false;
        }
    }
    return true;
}

static bool check_string(const char *string, size_t bytes, Error **errp)
{
    return check_terminated(string, bytes, errp) && check_printable(string, errp);
}

static bool check_version(const LUKSHeader *h, const LUKSPlace *place, Error **errp)
{
    if (h->version != 1) {
        error_setg(errp, "%u, not 1", h->version);
        return false;
    }
    return true;
}

static bool check_cipher_name_string(const LUKSHeader *h, const LUKSPlace *place, Error **errp)
{
    return check_string(h->cipher_name, LUKS_NAME_BYTES, errp);
}

static bool check_cipher_mode_string(const LUKSHeader *h, const LUKSPlace *place, Error **errp)
{
    return check_string(h->cipher_mode, LUKS_NAME_BYTES, errp);
}

static bool check_hash_spec_string(const LUKSHeader *h, const LUKSPlace *place, Error **errp)
{
    return check_string(h->hash_spec, LUKS_NAME_BYTES, errp);
}

static bool check_uuid_string(const LUKSHeader *h, const LUKSPlace *place, Error **errp)
{
    return check_string(h->uuid, LUKS_UUID_BYTES, errp);
}

static bool check_cipher_name(const LUKSHeader *h, const LUKSPlace *place, Error **errp)
{
    if (!luks_cipher_name_known(h->cipher_name)) {
        error_setg(errp, "cipher '%s' is not supported", h->cipher_name);
        return false;
    }
    return true;
}

static bool check_cipher_mode(const LUKSHeader *h, const LUKSPlace *place, Error **errp)
{
    LUKSAlgorithms alg;

    return luks_mode_parse(h->cipher_mode, &alg, errp);
}

static bool check_hash_spec(const LUKSHeader *h, const LUKSPlace *place, Error **errp)
{
    QCryptoHashAlgo hash;

    if (!luks_hash_parse(h->hash_spec, &hash)) {
        error_setg(errp, "hash '%s' is not supported", h->hash_spec);
        return false;
    }
    return true;
}

static bool check_key_bytes(const LUKSHeader *h, const LUKSPlace *place, Error **errp)
{
    LUKSAlgorithms alg;

    if (!luks_mode_parse(h->cipher_mode, &alg, errp)) {
        return false;
    }
    if (!luks_cipher_parse(h->cipher_name, h->key_bytes, alg.mode, &alg.cipher)) {
        error_setg(errp, "%" PRIu32 " bytes is no key length of %s in %s mode", h->key_bytes,
                   h->cipher_name, QCryptoCipherMode_str(alg.mode));
        return false;
    }
    return true;
}

static bool check_cipher_combination(const LUKSHeader *h, const LUKSPlace *place, Error **errp)
{
    LUKSAlgorithms alg = luks_algorithms_load(h);

    return luks_algorithms_check(&alg, errp);
}

static bool check_payload_volume(const LUKSHeader *h, const LUKSPlace *place, Error **errp)
{
    uint64_t payload = (uint64_t)h->payload_sector * QCRYPTO_LUKS_SECTOR_SIZE;
    uint64_t volume = place->detached ? place->payload_volume_bytes : place->header_volume_bytes;

    if (payload > volume && !(place->detached && volume == 0)) {
        error_setg(errp, "payload begins at byte %" PRIu64 ", beyond the end of the volume at %"
                   PRIu64, payload, volume);
        return false;
    }
    return true;
}

static bool check_payload_detached(const LUKSHeader *h, const LUKSPlace *place, Error **errp)
{
    if (h->payload_sector == 0 && !place->detached) {
        error_setg(errp, "0, so this is a detached header, and the payload is elsewhere");
        error_append_hint(errp, "Give the volume with the payload as 'file' and this one as"
                          " 'header'.\n");
        return false;
    }
    return true;
}

static bool check_digest_iterations(const LUKSHeader *h, const LUKSPlace *place, Error **errp)
{
    if (h->digest_iterations == 0) {
        error_setg(errp, "cannot be 0");
        return false;
    }
    return true;
}

static bool check_slot_state(const LUKSHeader *h, const LUKSPlace *place, int i, Error **errp)
{
    uint32_t state = h->slots[i].state;

    if (state != LUKS_KEYSLOT_ACTIVE && state != LUKS_KEYSLOT_INACTIVE) {
        error_setg(errp, "0x%08" PRIx32 " is neither active nor inactive", state);
        return false;
    }
    return true;
}

static bool check_slot_iterations(const LUKSHeader *h, const LUKSPlace *place, int i, Error **errp)
{
    if (h->slots[i].state == LUKS_KEYSLOT_ACTIVE && h->slots[i].iterations == 0) {
        error_setg(errp, "cannot be 0 in an active keyslot");
        return false;
    }
    return true;
}

static bool check_slot_stripes(const LUKSHeader *h, const LUKSPlace *place, int i, Error **errp)
{
    uint32_t stripes = h->slots[i].stripes;

    if (h->slots[i].state == LUKS_KEYSLOT_ACTIVE ? stripes != LUKS_STRIPES
                                                 : stripes > LUKS_STRIPES) {
        error_setg(errp, "%" PRIu32 ", but LUKS1 uses %d", stripes, LUKS_STRIPES);
        return false;
    }
    return true;
}

static bool check_slot_header_overlap(const LUKSHeader *h, const LUKSPlace *place, int i,
                                      Error **errp)
{
    if (luks_material_offset(h, i) < LUKS_HEADER_BYTES) {
        error_setg(errp, "material at byte %" PRIu64 " overlaps the header",
                   luks_material_offset(h, i));
        return false;
    }
    return true;
}

static bool check_slot_volume(const LUKSHeader *h, const LUKSPlace *place, int i, Error **errp)
{
    uint64_t end = luks_material_offset(h, i) + luks_material_bytes(h);

    if (end > place->header_volume_bytes) {
        error_setg(errp, "material ends at byte %" PRIu64 ", beyond the end of the volume at %"
                   PRIu64, end, place->header_volume_bytes);
        return false;
    }
    return true;
}

static bool check_slot_payload_overlap(const LUKSHeader *h, const LUKSPlace *place, int i,
                                       Error **errp)
{
    uint64_t payload = (uint64_t)h->payload_sector * QCRYPTO_LUKS_SECTOR_SIZE;
    uint64_t end = luks_material_offset(h, i) + luks_material_bytes(h);

    if (!place->detached && end > payload) {
        error_setg(errp, "material ends at byte %" PRIu64 ", in the payload, which begins at %"
                   PRIu64, end, payload);
        return false;
    }
    return true;
}

static bool check_slot_overlap(const LUKSHeader *h, const LUKSPlace *place, int i, Error **errp)
{
    uint64_t offset = luks_material_offset(h, i);

    for (int j = 0; j < i; j++) {
        uint64_t other = luks_material_offset(h, j);

        if (MAX(offset, other) - MIN(offset, other) < luks_material_bytes(h)) {
            error_setg(errp, "material at byte %" PRIu64 " overlaps that of keyslot %d", offset, j);
            return false;
        }
    }
    return true;
}

#define DAMAGED QCRYPTO_LUKS_FAILURE_DAMAGED
#define UNSUPPORTED QCRYPTO_LUKS_FAILURE_UNSUPPORTED

const LUKSRule luks_rules[] = {
    { "version", check_version, NULL, QCRYPTO_LUKS_FAILURE_VERSION },
    { "cipher-name", check_cipher_name_string, NULL, DAMAGED },
    { "cipher-mode", check_cipher_mode_string, NULL, DAMAGED },
    { "hash-spec", check_hash_spec_string, NULL, DAMAGED },
    { "uuid", check_uuid_string, NULL, DAMAGED },
    { "cipher-name", check_cipher_name, NULL, UNSUPPORTED },
    { "cipher-mode", check_cipher_mode, NULL, UNSUPPORTED },
    { "hash-spec", check_hash_spec, NULL, UNSUPPORTED },
    { "key-bytes", check_key_bytes, NULL, DAMAGED },
    { "cipher-mode", check_cipher_combination, NULL, UNSUPPORTED },
    { "payload-offset", check_payload_detached, NULL, DAMAGED },
    { "payload-offset", check_payload_volume, NULL, DAMAGED },
    { "mk-digest-iterations", check_digest_iterations, NULL, DAMAGED },
    { "active", NULL, check_slot_state, DAMAGED },
    { "iterations", NULL, check_slot_iterations, DAMAGED },
    { "stripes", NULL, check_slot_stripes, DAMAGED },
    { "key-material-offset", NULL, check_slot_header_overlap, DAMAGED },
    { "key-material-offset", NULL, check_slot_volume, DAMAGED },
    { "key-material-offset", NULL, check_slot_payload_overlap, DAMAGED },
    { "key-material-offset", NULL, check_slot_overlap, DAMAGED },
};
const size_t luks_n_rules = G_N_ELEMENTS(luks_rules);

static bool rule_check(const LUKSRule *rule, const LUKSHeader *header, const LUKSPlace *place,
                       Error **errp)
{
    ERRP_GUARD();

    if (rule->check) {
        if (!rule->check(header, place, errp)) {
            error_prepend(errp, "LUKS header field '%s': ", rule->field);
            return false;
        }
        return true;
    }
    for (int i = 0; i < QCRYPTO_LUKS_KEYSLOTS; i++) {
        if (!rule->check_slot(header, place, i, errp)) {
            error_prepend(errp, "LUKS header field 'keyslot %d %s': ", i, rule->field);
            return false;
        }
    }
    return true;
}

bool luks_header_check(const LUKSHeader *header, const LUKSPlace *place,
                       QCryptoLUKSFailure *failure, Error **errp)
{
    for (size_t i = 0; i < luks_n_rules; i++) {
        if (!rule_check(&luks_rules[i], header, place, errp)) {
            if (failure) {
                *failure = luks_rules[i].failure;
            }
            return false;
        }
    }
    return true;
}
