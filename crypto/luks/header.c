/*
 * Converting the LUKS1 header's fields between disk and struct LUKSHeader
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include "crypto/luks/header.h"

/* Offsets of the fields; numbers are big-endian. */
enum {
    AT_MAGIC = 0,
    AT_VERSION = 6,
    AT_CIPHER_NAME = 8,
    AT_CIPHER_MODE = 40,
    AT_HASH_SPEC = 72,
    AT_PAYLOAD_SECTOR = 104,
    AT_KEY_BYTES = 108,
    AT_DIGEST = 112,
    AT_DIGEST_SALT = 132,
    AT_DIGEST_ITERATIONS = 164,
    AT_UUID = 168,
    AT_KEYSLOTS = 208,

    /* within a keyslot's entry */
    AT_STATE = 0,
    AT_ITERATIONS = 4,
    AT_SALT = 8,
    AT_MATERIAL_SECTOR = 40,
    AT_STRIPES = 44,
    KEYSLOT_BYTES = 48,
};

G_STATIC_ASSERT(AT_KEYSLOTS + QCRYPTO_LUKS_KEYSLOTS * KEYSLOT_BYTES == LUKS_FIELD_BYTES);

static uint16_t load16(const uint8_t *p)
{
    return p[0] << 8 | p[1];
}

static uint32_t load32(const uint8_t *p)
{
    return (uint32_t)load16(p) << 16 | load16(p + 2);
}

static void store16(uint8_t *p, uint16_t v)
{
    p[0] = v >> 8;
    p[1] = v;
}

static void store32(uint8_t *p, uint32_t v)
{
    store16(p, v >> 16);
    store16(p + 2, v);
}

size_t luks_keyslot_entry_offset(int slot)
{
    return AT_KEYSLOTS + slot * KEYSLOT_BYTES;
}

static void load_string(char *string, const uint8_t *p, size_t bytes)
{
    memcpy(string, p, bytes);
    string[bytes] = '\0';
}

void luks_header_decode(LUKSHeader *header, const uint8_t *buf)
{
    memcpy(header->magic, buf + AT_MAGIC, LUKS_MAGIC_BYTES);
    header->version = load16(buf + AT_VERSION);
    load_string(header->cipher_name, buf + AT_CIPHER_NAME, LUKS_NAME_BYTES);
    load_string(header->cipher_mode, buf + AT_CIPHER_MODE, LUKS_NAME_BYTES);
    load_string(header->hash_spec, buf + AT_HASH_SPEC, LUKS_NAME_BYTES);
    header->payload_sector = load32(buf + AT_PAYLOAD_SECTOR);
    header->key_bytes = load32(buf + AT_KEY_BYTES);
    memcpy(header->digest, buf + AT_DIGEST, LUKS_DIGEST_BYTES);
    memcpy(header->digest_salt, buf + AT_DIGEST_SALT, LUKS_SALT_BYTES);
    header->digest_iterations = load32(buf + AT_DIGEST_ITERATIONS);
    load_string(header->uuid, buf + AT_UUID, LUKS_UUID_BYTES);

    for (int i = 0; i < QCRYPTO_LUKS_KEYSLOTS; i++) {
        const uint8_t *entry = buf + luks_keyslot_entry_offset(i);
        LUKSKeyslot *slot = &header->slots[i];

        slot->state = load32(entry + AT_STATE);
        slot->iterations = load32(entry + AT_ITERATIONS);
        memcpy(slot->salt, entry + AT_SALT, LUKS_SALT_BYTES);
        slot->material_sector = load32(entry + AT_MATERIAL_SECTOR);
        slot->stripes = load32(entry + AT_STRIPES);
    }
}

void luks_header_encode(const LUKSHeader *header, uint8_t *buf)
{
    memcpy(buf + AT_MAGIC, header->magic, LUKS_MAGIC_BYTES);
    store16(buf + AT_VERSION, header->version);
    memcpy(buf + AT_CIPHER_NAME, header->cipher_name, LUKS_NAME_BYTES);
    memcpy(buf + AT_CIPHER_MODE, header->cipher_mode, LUKS_NAME_BYTES);
    memcpy(buf + AT_HASH_SPEC, header->hash_spec, LUKS_NAME_BYTES);
    store32(buf + AT_PAYLOAD_SECTOR, header->payload_sector);
    store32(buf + AT_KEY_BYTES, header->key_bytes);
    memcpy(buf + AT_DIGEST, header->digest, LUKS_DIGEST_BYTES);
    memcpy(buf + AT_DIGEST_SALT, header->digest_salt, LUKS_SALT_BYTES);
    store32(buf + AT_DIGEST_ITERATIONS, header->digest_iterations);
    memcpy(buf + AT_UUID, header->uuid, LUKS_UUID_BYTES);

    for (int i = 0; i < QCRYPTO_LUKS_KEYSLOTS; i++) {
        uint8_t *entry = buf + luks_keyslot_entry_offset(i);
        const LUKSKeyslot *slot = &header->slots[i];

        store32(entry + AT_STATE, slot->state);
        store32(entry + AT_ITERATIONS, slot->iterations);
        memcpy(entry + AT_SALT, slot->salt, LUKS_SALT_BYTES);
        store32(entry + AT_MATERIAL_SECTOR, slot->material_sector);
        store32(entry + AT_STRIPES, slot->stripes);
    }
}

uint64_t luks_split_bytes(const LUKSHeader *header)
{
    return (uint64_t)header->key_bytes * LUKS_STRIPES;
}

uint64_t luks_material_bytes(const LUKSHeader *header)
{
    return ROUND_UP(luks_split_bytes(header), QCRYPTO_LUKS_SECTOR_SIZE);
}

uint64_t luks_material_offset(const LUKSHeader *header, int slot)
{
    return (uint64_t)header->slots[slot].material_sector * QCRYPTO_LUKS_SECTOR_SIZE;
}

uint64_t luks_material_end(const LUKSHeader *header)
{
    uint64_t end = 0;

    for (int i = 0; i < QCRYPTO_LUKS_KEYSLOTS; i++) {
        end = MAX(end, luks_material_offset(header, i) + luks_material_bytes(header));
    }
    return end;
}

QCryptoLUKSVersion qcrypto_luks_probe(const void *buf, size_t len)
{
    const uint8_t *p = buf;

    if (len < QCRYPTO_LUKS_PROBE_BYTES || memcmp(p, LUKS_MAGIC, LUKS_MAGIC_BYTES) != 0) {
        return QCRYPTO_LUKS_VERSION_NONE;
    }
    switch (load16(p + AT_VERSION)) {
    case 1:
        return QCRYPTO_LUKS_VERSION_1;
    case 2:
        return QCRYPTO_LUKS_VERSION_2;
    default:
        return QCRYPTO_LUKS_VERSION_UNKNOWN;
    }
}

/* Both versions have it at the same offset. */
char *qcrypto_luks_probe_uuid(const void *buf, size_t len)
{
    g_autofree char *uuid = NULL;

    if (len < QCRYPTO_LUKS_UUID_PROBE_BYTES || qcrypto_luks_probe(buf, len) == QCRYPTO_LUKS_VERSION_NONE) {
        return NULL;
    }
    uuid = g_strndup((const char *)buf + AT_UUID, LUKS_UUID_BYTES);
    return g_strescape(uuid, NULL);
}
