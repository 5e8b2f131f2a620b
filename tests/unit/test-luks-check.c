/*
 * LUKS1: for every rule about headers, a generator that breaks only that rule
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include "crypto/luks/check.h"
#include "luks-volume.h"

static Volume *good;

static void set16(uint8_t *header, size_t at, uint16_t value)
{
    header[at] = value >> 8;
    header[at + 1] = value;
}

static void set32(uint8_t *header, size_t at, uint32_t value)
{
    set16(header, at, value >> 16);
    set16(header, at + 2, value);
}

static void set_string(uint8_t *header, size_t at, size_t bytes, const char *value)
{
    memset(header + at, 0, bytes);
    memcpy(header + at, value, strlen(value));
}

#define SLOT(i, field) (208 + (i) * 48 + (field))
#define STATE 0
#define ITERATIONS 4
#define OFFSET 40
#define STRIPES 44

static void version_3(uint8_t *h)
{
    set16(h, 6, 3);
}

static void cipher_name_unterminated(uint8_t *h)
{
    memset(h + 8, 'a', 32);
}

static void cipher_name_control(uint8_t *h)
{
    set_string(h, 8, 32, "aes\x1b[2J");
}

static void cipher_name_null(uint8_t *h)
{
    set_string(h, 8, 32, "cipher_null");
}

static void cipher_name_empty(uint8_t *h)
{
    memset(h + 8, 0, 32);
}

static void cipher_mode_unterminated(uint8_t *h)
{
    memset(h + 40, 'x', 32);
}

static void cipher_mode_unknown(uint8_t *h)
{
    set_string(h, 40, 32, "lrw-plain64");
}

static void cipher_mode_empty(uint8_t *h)
{
    memset(h + 40, 0, 32);
}

static void cipher_mode_without_ivgen(uint8_t *h)
{
    set_string(h, 40, 32, "xts");
}

static void cipher_mode_ivgen_unknown(uint8_t *h)
{
    set_string(h, 40, 32, "xts-benbi");
}

static void cipher_mode_essiv_without_hash(uint8_t *h)
{
    set_string(h, 40, 32, "xts-essiv");
}

static void cipher_mode_essiv_hash_unknown(uint8_t *h)
{
    set_string(h, 40, 32, "xts-essiv:whirlpool");
}

static void cipher_combination_essiv(uint8_t *h)
{
    set_string(h, 40, 32, "xts-essiv:sha1");
}

static void hash_unterminated(uint8_t *h)
{
    memset(h + 72, 's', 32);
}

static void hash_unknown(uint8_t *h)
{
    set_string(h, 72, 32, "whirlpool");
}

static void hash_refused(uint8_t *h)
{
    set_string(h, 72, 32, "sm3");
}

static void uuid_unterminated(uint8_t *h)
{
    memset(h + 168, 'u', 40);
}

static void uuid_control(uint8_t *h)
{
    set_string(h, 168, 40, "a\nb");
}

static void key_bytes_17(uint8_t *h)
{
    set32(h, 108, 17);
}

static void key_bytes_huge(uint8_t *h)
{
    set32(h, 108, UINT32_MAX);
}

static void key_bytes_zero(uint8_t *h)
{
    set32(h, 108, 0);
}

static void key_bytes_too_short_for_xts(uint8_t *h)
{
    set32(h, 108, 16);
}

static void payload_offset_zero(uint8_t *h)
{
    set32(h, 104, 0);
}

static void payload_offset_beyond(uint8_t *h)
{
    set32(h, 104, 4040 + 17);
}

static void payload_offset_huge(uint8_t *h)
{
    set32(h, 104, UINT32_MAX);
}

static void payload_offset_in_material(uint8_t *h)
{
    set32(h, 104, 4030);
}

static void digest_iterations_zero(uint8_t *h)
{
    set32(h, 164, 0);
}

static void state_bad(uint8_t *h)
{
    set32(h, SLOT(3, STATE), 0x00ac71f2);
}

static void iterations_zero(uint8_t *h)
{
    set32(h, SLOT(0, ITERATIONS), 0);
}

static void stripes_active(uint8_t *h)
{
    set32(h, SLOT(0, STRIPES), 3999);
}

static void stripes_inactive(uint8_t *h)
{
    set32(h, SLOT(5, STRIPES), 4001);
}

static void stripes_inactive_fewer(uint8_t *h)
{
    set32(h, SLOT(5, STRIPES), 3999);
}

static void offset_in_padding(uint8_t *h)
{
    set32(h, SLOT(0, OFFSET), 7);
}

static void offset_in_header(uint8_t *h)
{
    set32(h, SLOT(2, OFFSET), 1);
}

static void offset_zero(uint8_t *h)
{
    set32(h, SLOT(2, OFFSET), 0);
}

static void offset_beyond(uint8_t *h)
{
    set32(h, SLOT(2, OFFSET), UINT32_MAX);
}

static void offset_cut(uint8_t *h)
{
    set32(h, SLOT(7, OFFSET), 4040 + 16 - 499);
}

static void offset_in_payload(uint8_t *h)
{
    set32(h, SLOT(7, OFFSET), 4040 - 499);
}

static void offset_same(uint8_t *h)
{
    set32(h, SLOT(4, OFFSET), 8);
}

static void offset_overlap_by_one(uint8_t *h)
{
    set32(h, SLOT(6, OFFSET), 8 + 5 * 504 + 499);
}

typedef struct Generator {
    const char *name;
    void (*break_header)(uint8_t *header);
    const char *message;            /* beginning of the error */
    QCryptoLUKSFailure failure;
    LUKSRuleUse use;
} Generator;

#define VERSION QCRYPTO_LUKS_FAILURE_VERSION, LUKS_RULE_FORMAT
#define DAMAGED QCRYPTO_LUKS_FAILURE_DAMAGED, LUKS_RULE_FORMAT
#define UNSUPPORTED QCRYPTO_LUKS_FAILURE_UNSUPPORTED, LUKS_RULE_KEYS
#define PAYLOAD QCRYPTO_LUKS_FAILURE_DAMAGED, LUKS_RULE_PAYLOAD
#define PEERS QCRYPTO_LUKS_FAILURE_DAMAGED, LUKS_RULE_PEERS
#define F "LUKS header field "

static const Generator generators[] = {
    { "version", version_3, F "'version': 3", VERSION },
    { "cipher-name/unterminated", cipher_name_unterminated, F "'cipher-name': not term", DAMAGED },
    { "cipher-name/control", cipher_name_control, F "'cipher-name': byte 0x1b", DAMAGED },
    { "cipher-name/null", cipher_name_null, F "'cipher-name': cipher 'cipher_null'", UNSUPPORTED },
    { "cipher-name/empty", cipher_name_empty, F "'cipher-name': cipher ''", UNSUPPORTED },
    { "cipher-mode/unterminated", cipher_mode_unterminated, F "'cipher-mode': not term", DAMAGED },
    { "cipher-mode/unknown", cipher_mode_unknown, F "'cipher-mode': cipher mode 'lrw'",
      UNSUPPORTED },
    { "cipher-mode/empty", cipher_mode_empty, F "'cipher-mode': cipher mode ''", UNSUPPORTED },
    { "cipher-mode/no-ivgen", cipher_mode_without_ivgen, F "'cipher-mode': IV generator ''",
      UNSUPPORTED },
    { "cipher-mode/ivgen-unknown", cipher_mode_ivgen_unknown,
      F "'cipher-mode': IV generator 'benbi'", UNSUPPORTED },
    { "cipher-mode/essiv-no-hash", cipher_mode_essiv_without_hash,
      F "'cipher-mode': IV generator hash ''", UNSUPPORTED },
    { "cipher-mode/essiv-hash-unknown", cipher_mode_essiv_hash_unknown,
      F "'cipher-mode': IV generator hash 'whirlpool'", UNSUPPORTED },
    { "cipher-mode/combination", cipher_combination_essiv, F "'cipher-mode': ", UNSUPPORTED },
    { "hash-spec/unterminated", hash_unterminated, F "'hash-spec': not term", DAMAGED },
    { "hash-spec/unknown", hash_unknown, F "'hash-spec': hash 'whirlpool'", UNSUPPORTED },
    { "hash-spec/refused", hash_refused, F "'hash-spec': hash 'sm3'", UNSUPPORTED },
    { "uuid/unterminated", uuid_unterminated, F "'uuid': not term", PEERS },
    { "uuid/control", uuid_control, F "'uuid': byte 0x0a", PEERS },
    { "key-bytes/17", key_bytes_17, F "'key-bytes': 17", DAMAGED },
    { "key-bytes/huge", key_bytes_huge, F "'key-bytes': 4294967295", DAMAGED },
    { "key-bytes/zero", key_bytes_zero, F "'key-bytes': 0", DAMAGED },
    { "key-bytes/xts", key_bytes_too_short_for_xts, F "'key-bytes': 16", DAMAGED },
    { "payload-offset/zero", payload_offset_zero, F "'payload-offset': 0", PAYLOAD },
    { "payload-offset/beyond", payload_offset_beyond, F "'payload-offset': payload beg", PAYLOAD },
    { "payload-offset/huge", payload_offset_huge, F "'payload-offset': payload beg", PAYLOAD },
    { "payload-offset/in-material", payload_offset_in_material,
      F "'keyslot 7 key-material-offset': material ends at byte 2066432, in the", DAMAGED },
    { "mk-digest-iterations/zero", digest_iterations_zero, F "'mk-digest-iterations': ", DAMAGED },
    { "active", state_bad, F "'keyslot 3 active': 0x00ac71f2", DAMAGED },
    { "iterations/zero", iterations_zero, F "'keyslot 0 iterations': ", DAMAGED },
    { "stripes/active", stripes_active, F "'keyslot 0 stripes': 3999", DAMAGED },
    { "stripes/inactive", stripes_inactive, F "'keyslot 5 stripes': 4001", DAMAGED },
    { "stripes/inactive-fewer", stripes_inactive_fewer, F "'keyslot 5 stripes': 3999, not 4000: crypt", PEERS },
    { "key-material-offset/in-padding", offset_in_padding,
      F "'keyslot 0 key-material-offset': material at byte 3584: QEMU",
      QCRYPTO_LUKS_FAILURE_NONE, LUKS_RULE_PEERS },
    { "key-material-offset/in-header", offset_in_header,
      F "'keyslot 2 key-material-offset': material at byte 512 overlaps the header", DAMAGED },
    { "key-material-offset/zero", offset_zero,
      F "'keyslot 2 key-material-offset': material at byte 0 overlaps the header", DAMAGED },
    { "key-material-offset/beyond", offset_beyond,
      F "'keyslot 2 key-material-offset': material ends at byte 2199023511040, beyond", DAMAGED },
    { "key-material-offset/cut", offset_cut,
      F "'keyslot 7 key-material-offset': material ends at byte 2077184, beyond", DAMAGED },
    { "key-material-offset/in-payload", offset_in_payload,
      F "'keyslot 7 key-material-offset': material ends at byte 2068992, in the", DAMAGED },
    { "key-material-offset/same", offset_same,
      F "'keyslot 4 key-material-offset': material at byte 4096 overlaps that of keyslot 0",
      DAMAGED },
    { "key-material-offset/overlap", offset_overlap_by_one,
      F "'keyslot 6 key-material-offset': material at byte 1549824 overlaps that of keyslot 5",
      DAMAGED },
};

static Volume *copy_good(void)
{
    Volume *v = volume_new(good->bytes);

    memcpy(v->data, good->data, good->bytes);
    return v;
}

static void assert_begins(const char *text, const char *prefix)
{
    if (!g_str_has_prefix(text, prefix)) {
        g_test_message("%s", text);
        g_test_fail();
    }
}

static void test_rule(gconstpointer opaque)
{
    const Generator *g = opaque;
    g_autoptr(Volume) v = copy_good();

    g->break_header(v->data);
    for (int with_password = 0; with_password < 2; with_password++) {
        unsigned needed = LUKS_RULE_FORMAT | (with_password ? LUKS_RULE_KEYS | LUKS_RULE_PAYLOAD : 0);
        QCryptoLUKSFailure failure = QCRYPTO_LUKS_FAILURE_NONE;
        g_autoptr(Error) err = NULL;
        g_autoptr(QCryptoLUKS) luks = volume_open(v, with_password ? "pw" : NULL, &failure, &err);

        /* The password would open it if the material had not moved. */
        if (g->break_header == offset_in_padding && with_password) {
            g_assert_cmpint(failure, ==, QCRYPTO_LUKS_FAILURE_WRONG_PASSWORD);
        } else if (g->use & needed) {
            g_assert_null(luks);
            assert_begins(error_get_pretty(err), g->message);
            g_assert_cmpint(failure, ==, g->failure);
        } else {
            g_assert_nonnull(luks);
        }
    }
    g_assert_cmpuint(v->log->len, ==, 0);
}

/* All are found, and nothing else, except for key material that overlaps another slot's. */
static void test_check(gconstpointer opaque)
{
    const Generator *g = opaque;
    g_autoptr(Volume) v = copy_good();
    QCryptoLUKSOpenOptions options = { 0 };

    g->break_header(v->data);
    if (g->failure == QCRYPTO_LUKS_FAILURE_VERSION) {
        g_autoptr(Error) err = NULL;

        g_assert_null(qcrypto_luks_check(&v->io, &options, &err));
        assert_begins(error_get_pretty(err), g->message);
        return;
    }
    g_autoptr(QCryptoLUKSFindings) findings = qcrypto_luks_check(&v->io, &options, &error_abort);
    guint n = findings->damage->len + findings->unsupported->len + findings->remarks->len;
    if (g->break_header == payload_offset_zero) {
        g_assert_cmpuint(n, ==, 0);         /* it is then a detached header */
        return;
    }
    GPtrArray *found = g->failure == QCRYPTO_LUKS_FAILURE_UNSUPPORTED ? findings->unsupported
                       : g->failure == QCRYPTO_LUKS_FAILURE_NONE ? findings->remarks : findings->damage;
    assert_begins(g_ptr_array_index(found, 0), g->message);
    g_assert_cmpuint(n, ==, 1);
}

/* Each rule in the table is broken by at least one generator, and is the first to report it. */
static void test_all_rules_covered(void)
{
    LUKSPlace place = { .header_volume_bytes = good->bytes };

    for (size_t r = 0; r < luks_n_rules; r++) {
        const LUKSRule *rule = &luks_rules[r];
        bool broken = false;

        for (size_t i = 0; i < G_N_ELEMENTS(generators); i++) {
            g_autoptr(Volume) v = copy_good();
            g_autofree LUKSHeader *header = g_new0(LUKSHeader, 1);
            bool earlier = false;

            generators[i].break_header(v->data);
            luks_header_decode(header, v->data);
            for (size_t q = 0; q <= r && !earlier; q++) {
                bool ok = true;

                for (int slot = 0; slot < QCRYPTO_LUKS_KEYSLOTS && ok; slot++) {
                    ok = luks_rules[q].check
                         ? luks_rules[q].check(header, &place, NULL)
                         : luks_rules[q].check_slot(header, &place, slot, NULL);
                }
                broken |= !ok && q == r;
                earlier |= !ok;
            }
        }
        if (!broken) {
            g_test_message("no generator for rule %zu, '%s'", r, rule->field);
            g_test_fail();
        }
    }
}

/* Encoding what was decoded changes no byte. */
static void test_encode(void)
{
    g_autofree LUKSHeader *header = g_new0(LUKSHeader, 1);
    uint8_t raw[LUKS_FIELD_BYTES], again[LUKS_FIELD_BYTES];

    for (size_t i = 0; i < sizeof(raw); i++) {
        raw[i] = i * 7 + 1;
    }
    luks_header_decode(header, raw);
    luks_header_encode(header, again);
    g_assert_cmpmem(raw, sizeof(raw), again, sizeof(again));
}

/* A volume truncated before its payload does not open. Its header can be listed if it is complete. */
static void test_truncated(void)
{
    for (uint64_t bytes = 0; bytes < 2068480; bytes += 512) {
        Volume v = *good;
        QCryptoLUKSFailure failure = QCRYPTO_LUKS_FAILURE_NONE;
        g_autoptr(Error) err = NULL;
        bool with_password = bytes % 1024;

        v.bytes = bytes;
        v.io.length = bytes;
        v.io.opaque = &v;
        g_autoptr(QCryptoLUKS) luks = volume_open(&v, with_password ? "pw" : NULL, &failure, &err);
        if (!with_password && bytes >= 2066432) {
            g_autoptr(QCryptoBlockInfoLUKS) info = qcrypto_luks_get_info(luks);

            g_assert_true(info->has_header_only && info->header_only);
            continue;
        }
        g_assert_null(luks);
        g_assert_cmpint(failure, ==, bytes < 512 ? QCRYPTO_LUKS_FAILURE_NOT_LUKS
                                                 : QCRYPTO_LUKS_FAILURE_DAMAGED);
    }
    good->n_reads = 0;
}

/* Several faults: each is found, and the position of a slot once. */
static void test_check_several(void)
{
    g_autoptr(Volume) v = copy_good();
    QCryptoLUKSOpenOptions options = { 0 };

    uuid_control(v->data);
    hash_unknown(v->data);
    state_bad(v->data);
    offset_beyond(v->data);
    g_autoptr(QCryptoLUKSFindings) findings = qcrypto_luks_check(&v->io, &options, &error_abort);
    g_assert_cmpuint(findings->damage->len, ==, 3);
    g_assert_cmpuint(findings->unsupported->len, ==, 1);
    assert_begins(g_ptr_array_index(findings->damage, 0), F "'uuid'");
    assert_begins(g_ptr_array_index(findings->damage, 1), F "'keyslot 3 active'");
    assert_begins(g_ptr_array_index(findings->damage, 2), F "'keyslot 2 key-material-offset'");
}

/* A UUID written by others is shown, whatever it is. */
static void test_odd_uuid(void)
{
    g_autoptr(Volume) v = copy_good();

    memcpy(v->data + 168, "a\\b\xff\n 0123456789012345678901234567890123", 40);
    g_autoptr(QCryptoLUKS) luks = volume_open(v, "pw", NULL, &error_abort);
    g_autoptr(QCryptoBlockInfoLUKS) info = qcrypto_luks_get_info(luks);
    g_assert_cmpstr(info->uuid, ==, "a\\x5cb\\xff\\x0a\\x200123456789012345678901234567890123");
}

/* With an unsupported algorithm, the header can still be listed, saved and restored, and keyslots removed. */
static void test_unsupported_metadata(void)
{
    g_autoptr(SecretBuffer) pw = password_new("pw");
    QCryptoLUKSKeyslotOptions ko = { .new_password = pw, .slot = QCRYPTO_LUKS_SLOT_ANY };
    QCryptoLUKSFailure failure = QCRYPTO_LUKS_FAILURE_NONE;
    g_autoptr(Volume) v = copy_good();
    g_autoptr(Error) err = NULL;

    set_string(v->data, 8, 32, "blowfish");
    set_string(v->data, 72, 32, "whirlpool");
    g_autoptr(QCryptoLUKS) luks = volume_open(v, NULL, NULL, &error_abort);
    g_autoptr(QCryptoBlockInfoLUKS) info = qcrypto_luks_get_info(luks);
    g_assert_false(info->has_cipher_alg || info->has_hash_alg);
    g_assert_cmpstr(info->cipher_spec, ==, "blowfish-xts-plain64");
    g_assert_cmpstr(info->hash_spec, ==, "whirlpool");
    g_assert_nonnull(strstr(info->unsupported, "blowfish"));
    g_assert_true(info->slots->items[0]->active);

    g_assert_cmpint(qcrypto_luks_keyslot_find(luks, &v->io, pw, QCRYPTO_LUKS_SLOT_ANY, &failure, &err), ==, -1);
    g_assert_cmpint(failure, ==, QCRYPTO_LUKS_FAILURE_UNSUPPORTED);
    g_assert_nonnull(strstr(error_get_pretty(err), "blowfish"));
    g_assert_false(qcrypto_luks_keyslot_change(luks, &v->io, pw, &ko, NULL, NULL, &failure, NULL));
    g_assert_cmpint(failure, ==, QCRYPTO_LUKS_FAILURE_UNSUPPORTED);
    g_assert_cmpuint(v->log->len, ==, 0);

    g_autoptr(SecretBuffer) backup = qcrypto_luks_backup(&v->io, false, &error_abort);
    g_assert_true(qcrypto_luks_keyslot_remove(luks, &v->io, 0, 1, true, &error_abort));
    g_assert_cmpuint(qcrypto_luks_keyslots_active(luks), ==, 0);
    g_assert_true(qcrypto_luks_restore(&v->io, backup, false, 0, true, &error_abort));
    g_assert_cmpmem(v->data, backup->len, backup->data, backup->len);
}

/* Bytes after the header do not matter; the payload may be empty. */
static void test_payload_may_be_empty(void)
{
    g_autoptr(Volume) v = copy_good();

    volume_resize(v, 2068480);
    g_assert_true(volume_opens(v, "pw", NULL));
}

static void test_not_luks(void)
{
    g_autoptr(Volume) v = volume_new(1 * MiB);
    QCryptoLUKSFailure failure = QCRYPTO_LUKS_FAILURE_NONE;
    g_autoptr(Error) err = NULL;

    g_assert_null(volume_open(v, "pw", &failure, &err));
    g_assert_cmpint(failure, ==, QCRYPTO_LUKS_FAILURE_NOT_LUKS);

    memcpy(v->data, "LUKS\xba\xbe\0\2", 8);
    g_clear_pointer(&err, error_free);
    g_assert_null(volume_open(v, "pw", &failure, &err));
    g_assert_cmpint(failure, ==, QCRYPTO_LUKS_FAILURE_VERSION);
    g_assert_nonnull(strstr(error_get_pretty(err), "LUKS2 is not supported"));
}

static void test_no_active_slot(void)
{
    g_autoptr(Volume) v = copy_good();
    QCryptoLUKSFailure failure = QCRYPTO_LUKS_FAILURE_NONE;

    set32(v->data, SLOT(0, STATE), 0xdead);
    g_assert_null(volume_open(v, "pw", &failure, NULL));
    g_assert_cmpint(failure, ==, QCRYPTO_LUKS_FAILURE_NO_ACTIVE_SLOT);
}

/* A hash after plain64, which QEMU writes and dm-crypt ignores; and cryptsetup's plain ecb. */
static void test_accepted(void)
{
    g_autoptr(Volume) v = copy_good();

    set_string(v->data, 40, 32, "xts-plain64:sha256");
    g_assert_true(volume_opens(v, "pw", NULL));

    set_string(v->data, 40, 32, "ecb");
    set32(v->data, 108, 32);
    qcrypto_luks_free(volume_open(v, NULL, NULL, &error_abort));
}

/* A detached header with an offset into its payload volume. */
static void test_detached_offset(void)
{
    g_autoptr(SecretBuffer) pw = password_new("pw");
    QCryptoLUKSOpenOptions oo = {
        .password = pw, .detached = true, .payload_volume_bytes = 1 * MiB,
    };
    g_autoptr(Volume) v = copy_good();
    g_autoptr(Error) err = NULL;

    set32(v->data, 104, 2048);
    qcrypto_luks_free(qcrypto_luks_open(&v->io, &oo, NULL, &error_abort));
    oo.payload_volume_bytes--;
    g_assert_null(qcrypto_luks_open(&v->io, &oo, NULL, &err));
    g_assert_nonnull(strstr(error_get_pretty(err), "'payload-offset'"));
    oo.payload_volume_bytes = 0;
    qcrypto_luks_free(qcrypto_luks_open(&v->io, &oo, NULL, &error_abort));
}

int main(int argc, char **argv)
{
    int ret;

    g_test_init(&argc, &argv, NULL);
    good = volume_create(NULL, "pw", 8192);
    volume_clear_log(good);
    for (size_t i = 0; i < G_N_ELEMENTS(generators); i++) {
        g_autofree char *name = g_strdup_printf("/luks/rule/%s", generators[i].name);

        g_test_add_data_func(name, &generators[i], test_rule);
        g_autofree char *check_name = g_strdup_printf("/luks/check/%s", generators[i].name);
        g_test_add_data_func(check_name, &generators[i], test_check);
    }
    g_test_add_func("/luks/rule/all-covered", test_all_rules_covered);
    g_test_add_func("/luks/check/several", test_check_several);
    g_test_add_func("/luks/odd-uuid", test_odd_uuid);
    g_test_add_func("/luks/unsupported-metadata", test_unsupported_metadata);
    g_test_add_func("/luks/encode", test_encode);
    g_test_add_func("/luks/truncated", test_truncated);
    g_test_add_func("/luks/payload-may-be-empty", test_payload_may_be_empty);
    g_test_add_func("/luks/not-luks", test_not_luks);
    g_test_add_func("/luks/no-active-slot", test_no_active_slot);
    g_test_add_func("/luks/accepted", test_accepted);
    g_test_add_func("/luks/detached-offset", test_detached_offset);
    ret = g_test_run();
    volume_free(good);
    return ret;
}
