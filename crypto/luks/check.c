/*
 * The rules that a LUKS1 header must follow
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include "crypto/luks/luks-int.h"

static bool check_terminated(const char *string, size_t bytes, Error **errp)
{
    if (strnlen(string, bytes) == bytes) {
        error_setg(errp, "not terminated within its %zu bytes", bytes);
        return false;
    }
    return true;
}

/* Names from disk go into messages, so they must be printable ASCII. */
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

/* More than any cipher takes. Key material of absurd length overlaps everything, and hides the real fault. */
#define MAX_KEY_BYTES 512

static bool check_key_bytes_range(const LUKSHeader *h, const LUKSPlace *place, Error **errp)
{
    if (h->key_bytes == 0 || h->key_bytes > MAX_KEY_BYTES) {
        error_setg(errp, "%" PRIu32 " bytes is no key length", h->key_bytes);
        return false;
    }
    return true;
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

/* For known ciphers and modes. */
static bool check_key_bytes(const LUKSHeader *h, const LUKSPlace *place, Error **errp)
{
    LUKSAlgorithms alg;

    if (!luks_cipher_name_known(h->cipher_name) || !luks_mode_parse(h->cipher_mode, &alg, NULL)) {
        return true;
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
    LUKSAlgorithms alg;

    return !luks_algorithms_load(h, &alg) || luks_algorithms_check(&alg, errp);
}

static bool check_payload_volume(const LUKSHeader *h, const LUKSPlace *place, Error **errp)
{
    uint64_t payload = (uint64_t)h->payload_sector * QCRYPTO_LUKS_SECTOR_SIZE;
    uint64_t volume = place->detached ? place->payload_volume_bytes : place->header_volume_bytes;

    if (payload > volume && !(place->detached && volume == 0)) {
        ERRP_GUARD();
        error_setg(errp, "payload begins at byte %" PRIu64 ", beyond the end of the volume at %"
                   PRIu64, payload, volume);
        if (!place->detached) {
            error_append_hint(errp, "This is a header without its payload, such as a header backup, or it was cut "
                              "off. A backup can be listed, and written back to its volume with 'header restore'.\n");
        }
        return false;
    }
    return true;
}

static bool check_payload_detached(const LUKSHeader *h, const LUKSPlace *place, Error **errp)
{
    if (h->payload_sector == 0 && !place->detached) {
        ERRP_GUARD();
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

static bool check_slot_stripes_peers(const LUKSHeader *h, const LUKSPlace *place, int i, Error **errp)
{
    if (h->slots[i].stripes != LUKS_STRIPES) {
        error_setg(errp, "%" PRIu32 ", not %d: cryptsetup and QEMU refuse this even in an inactive keyslot",
                   h->slots[i].stripes, LUKS_STRIPES);
        return false;
    }
    return true;
}

static bool check_slot_offset_peers(const LUKSHeader *h, const LUKSPlace *place, int i, Error **errp)
{
    if (luks_material_offset(h, i) < LUKS_ALIGN_BYTES) {
        error_setg(errp, "material at byte %" PRIu64 ": QEMU refuses what is below %d", luks_material_offset(h, i),
                   LUKS_ALIGN_BYTES);
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

#define FORMAT LUKS_RULE_FORMAT
#define KEYS LUKS_RULE_KEYS
#define PAYLOAD LUKS_RULE_PAYLOAD
#define PEERS LUKS_RULE_PEERS

const LUKSRule luks_rules[] = {
    { "version", FORMAT, check_version, NULL, QCRYPTO_LUKS_FAILURE_VERSION },
    { "cipher-name", FORMAT, check_cipher_name_string, NULL, DAMAGED },
    { "cipher-mode", FORMAT, check_cipher_mode_string, NULL, DAMAGED },
    { "hash-spec", FORMAT, check_hash_spec_string, NULL, DAMAGED },
    { "uuid", PEERS, check_uuid_string, NULL, DAMAGED },
    { "key-bytes", FORMAT, check_key_bytes_range, NULL, DAMAGED },
    { "cipher-name", KEYS, check_cipher_name, NULL, UNSUPPORTED },
    { "cipher-mode", KEYS, check_cipher_mode, NULL, UNSUPPORTED },
    { "hash-spec", KEYS, check_hash_spec, NULL, UNSUPPORTED },
    { "key-bytes", FORMAT, check_key_bytes, NULL, DAMAGED },
    { "cipher-mode", KEYS, check_cipher_combination, NULL, UNSUPPORTED },
    { "payload-offset", PAYLOAD, check_payload_detached, NULL, DAMAGED },
    { "payload-offset", PAYLOAD, check_payload_volume, NULL, DAMAGED },
    { "mk-digest-iterations", FORMAT, check_digest_iterations, NULL, DAMAGED },
    { "active", FORMAT, NULL, check_slot_state, DAMAGED },
    { "iterations", FORMAT, NULL, check_slot_iterations, DAMAGED },
    { "stripes", FORMAT, NULL, check_slot_stripes, DAMAGED },
    { "stripes", PEERS, NULL, check_slot_stripes_peers, DAMAGED },
    { "key-material-offset", FORMAT, NULL, check_slot_header_overlap, DAMAGED },
    { "key-material-offset", PEERS, NULL, check_slot_offset_peers, QCRYPTO_LUKS_FAILURE_NONE },
    { "key-material-offset", FORMAT, NULL, check_slot_volume, DAMAGED },
    { "key-material-offset", FORMAT, NULL, check_slot_payload_overlap, DAMAGED },
    { "key-material-offset", FORMAT, NULL, check_slot_overlap, DAMAGED },
};
const size_t luks_n_rules = G_N_ELEMENTS(luks_rules);

/* @slot: -1 for a rule about the header as a whole. */
static bool rule_check(const LUKSRule *rule, const LUKSHeader *header, const LUKSPlace *place, int slot, Error **errp)
{
    ERRP_GUARD();

    if (rule->check) {
        if (!rule->check(header, place, errp)) {
            error_prepend(errp, "LUKS header field '%s': ", rule->field);
            return false;
        }
        return true;
    }
    if (!rule->check_slot(header, place, slot, errp)) {
        error_prepend(errp, "LUKS header field 'keyslot %d %s': ", slot, rule->field);
        return false;
    }
    return true;
}

static int rule_slots(const LUKSRule *rule)
{
    return rule->check ? 1 : QCRYPTO_LUKS_KEYSLOTS;
}

bool luks_header_check(const LUKSHeader *header, const LUKSPlace *place, unsigned uses,
                       QCryptoLUKSFailure *failure, Error **errp)
{
    for (size_t i = 0; i < luks_n_rules; i++) {
        const LUKSRule *rule = &luks_rules[i];

        if (!(rule->use & uses)) {
            continue;
        }
        for (int slot = 0; slot < rule_slots(rule); slot++) {
            if (!rule_check(rule, header, place, slot, errp)) {
                if (failure) {
                    *failure = rule->failure;
                }
                return false;
            }
        }
    }
    return true;
}

/* Whether there is a finding for the same field already: one is enough. */
static bool rule_already_found(const LUKSRule *rule, int slot, const bool *found)
{
    for (const LUKSRule *r = luks_rules; r < rule; r++) {
        if (r->failure != QCRYPTO_LUKS_FAILURE_NONE && g_str_equal(r->field, rule->field) &&
            found[(r - luks_rules) * QCRYPTO_LUKS_KEYSLOTS + slot]) {
            return true;
        }
    }
    return false;
}

static QCryptoLUKSFindings *findings_new(void)
{
    QCryptoLUKSFindings *findings = g_new0(QCryptoLUKSFindings, 1);

    findings->damage = g_ptr_array_new_with_free_func(g_free);
    findings->unsupported = g_ptr_array_new_with_free_func(g_free);
    findings->remarks = g_ptr_array_new_with_free_func(g_free);
    return findings;
}

void qcrypto_luks_findings_free(QCryptoLUKSFindings *findings)
{
    if (findings) {
        g_ptr_array_unref(findings->damage);
        g_ptr_array_unref(findings->unsupported);
        g_ptr_array_unref(findings->remarks);
        g_free(findings);
    }
}

static void findings_add(QCryptoLUKSFindings *findings, QCryptoLUKSFailure failure, const Error *err)
{
    GPtrArray *to = failure == UNSUPPORTED ? findings->unsupported
                    : failure == QCRYPTO_LUKS_FAILURE_NONE ? findings->remarks : findings->damage;

    g_ptr_array_add(to, g_strdup(error_get_pretty(err)));
}

static void check_all_rules(const LUKSHeader *header, const LUKSPlace *place, QCryptoLUKSFindings *findings)
{
    g_autofree bool *found = g_new0(bool, luks_n_rules * QCRYPTO_LUKS_KEYSLOTS);

    for (size_t i = 0; i < luks_n_rules; i++) {
        const LUKSRule *rule = &luks_rules[i];

        for (int slot = 0; slot < rule_slots(rule); slot++) {
            g_autoptr(Error) err = NULL;

            if (rule_already_found(rule, slot, found) || rule_check(rule, header, place, slot, &err)) {
                continue;
            }
            found[i * QCRYPTO_LUKS_KEYSLOTS + slot] = true;
            findings_add(findings, rule->failure, err);
            /* Key material cannot be checked without its length. */
            if (rule->check == check_key_bytes_range) {
                return;
            }
        }
    }
}

QCryptoLUKSFindings *qcrypto_luks_check(const QCryptoLUKSIO *io, const QCryptoLUKSOpenOptions *options, Error **errp)
{
    g_autoptr(QCryptoLUKSFindings) findings = findings_new();
    g_autofree LUKSHeader *header = g_new0(LUKSHeader, 1);
    uint8_t raw[LUKS_HEADER_BYTES];
    QCryptoLUKSFailure failure;
    g_autoptr(Error) err = NULL;

    if (luks_read_raw(io, raw, &failure, &err)) {
        luks_header_decode(header, raw);
        LUKSPlace place = luks_place(io, options, header);
        if (!rule_check(&luks_rules[0], header, &place, -1, errp)) {
            return NULL;        /* another version */
        }
        check_all_rules(header, &place, findings);
    } else if (failure == DAMAGED) {
        findings_add(findings, failure, err);
    } else {
        error_propagate(errp, g_steal_pointer(&err));
        return NULL;
    }
    return g_steal_pointer(&findings);
}
