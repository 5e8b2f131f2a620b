/*
 * The LUKS1 header in memory: its fields in host byte order, unchecked
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef CRYPTO_LUKS_HEADER_H
#define CRYPTO_LUKS_HEADER_H

#include "crypto/luks.h"

#define LUKS_MAGIC "LUKS\xba\xbe"
#define LUKS_MAGIC_BYTES 6
#define LUKS_NAME_BYTES 32
#define LUKS_UUID_BYTES 40
#define LUKS_DIGEST_BYTES 20
#define LUKS_SALT_BYTES 32
#define LUKS_STRIPES 4000
#define LUKS_KEYSLOT_ACTIVE 0x00ac71f3
#define LUKS_KEYSLOT_INACTIVE 0x0000dead
#define LUKS_MIN_ITERATIONS 1000

/* The fields end within the second sector. Both sectors are read, and other bytes are preserved. */
#define LUKS_FIELD_BYTES 592
#define LUKS_HEADER_BYTES (2 * QCRYPTO_LUKS_SECTOR_SIZE)

/* New headers have their key material one after the other from here on, with this alignment. */
#define LUKS_ALIGN_BYTES 4096

typedef struct LUKSKeyslot {
    uint32_t state;
    uint32_t iterations;
    uint8_t salt[LUKS_SALT_BYTES];
    uint32_t material_sector;
    uint32_t stripes;
} LUKSKeyslot;

/* Strings are as on disk, with a NUL added in case they lack their own. */
typedef struct LUKSHeader {
    uint8_t magic[LUKS_MAGIC_BYTES];
    uint16_t version;
    char cipher_name[LUKS_NAME_BYTES + 1];
    char cipher_mode[LUKS_NAME_BYTES + 1];
    char hash_spec[LUKS_NAME_BYTES + 1];
    uint32_t payload_sector;
    uint32_t key_bytes;
    uint8_t digest[LUKS_DIGEST_BYTES];
    uint8_t digest_salt[LUKS_SALT_BYTES];
    uint32_t digest_iterations;
    char uuid[LUKS_UUID_BYTES + 1];
    LUKSKeyslot slots[QCRYPTO_LUKS_KEYSLOTS];
} LUKSHeader;

/* Byte of the header where keyslot @slot's entry begins; the state is its first word. */
size_t luks_keyslot_entry_offset(int slot);

/* Decode the LUKS_FIELD_BYTES at @buf. Any bytes are accepted. */
void luks_header_decode(LUKSHeader *header, const uint8_t *buf);

/* Encode the fields into the first LUKS_FIELD_BYTES at @buf. */
void luks_header_encode(const LUKSHeader *header, uint8_t *buf);

/* Bytes of key material of a keyslot, without and with padding to whole sectors. */
uint64_t luks_split_bytes(const LUKSHeader *header);
uint64_t luks_material_bytes(const LUKSHeader *header);

/* Byte of the volume where keyslot @slot's key material begins. */
uint64_t luks_material_offset(const LUKSHeader *header, int slot);

/* End of the last key material. */
uint64_t luks_material_end(const LUKSHeader *header);

#endif
