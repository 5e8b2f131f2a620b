/*
 * Locating the keyslots of a header, even if fields are damaged
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include "crypto/luks/erase-locate.h"

/* The key lengths of all ciphers and modes of LUKS1. */
static const uint32_t key_lengths[] = { 16, 24, 32, 48, 64 };

#define MAX_KEY_BYTES 64
#define ENOUGH_STATES 6
#define ENOUGH_OFFSETS 4

static void G_GNUC_PRINTF(2, 3) add_note(GPtrArray *notes, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    g_ptr_array_add(notes, g_strdup_vprintf(fmt, ap));
    va_end(ap);
}

static int valid_states(const LUKSHeader *header)
{
    int n = 0;

    for (int i = 0; i < QCRYPTO_LUKS_KEYSLOTS; i++) {
        n += header->slots[i].state == LUKS_KEYSLOT_ACTIVE ||
             header->slots[i].state == LUKS_KEYSLOT_INACTIVE;
    }
    return n;
}

static bool recognise_header(const LUKSHeader *header, GPtrArray *notes, Error **errp)
{
    bool magic = memcmp(header->magic, LUKS_MAGIC, LUKS_MAGIC_BYTES) == 0;
    bool states = valid_states(header) >= ENOUGH_STATES;

    if (magic && header->version == 2 && !states) {
        error_setg(errp, "LUKS2 is not supported, only LUKS1");
        return false;
    }
    if (!magic && !states) {
        error_set(errp, ERROR_CLASS_NOT_LUKS, "Volume is not in LUKS format");
        return false;
    }
    if (!magic) {
        add_note(notes, "magic is damaged; %d keyslots identify this as a LUKS header",
             valid_states(header));
    }
    if (header->version != 1) {
        add_note(notes, "version is damaged (%u)", header->version);
    }
    return true;
}

static uint64_t material_bytes(uint32_t key_bytes)
{
    return ROUND_UP((uint64_t)key_bytes * LUKS_STRIPES, QCRYPTO_LUKS_SECTOR_SIZE);
}

/* Where all known programs put the material of keyslot @i. */
static uint64_t usual_offset(uint32_t key_bytes, int i)
{
    return LUKS_ALIGN_BYTES + i * ROUND_UP(material_bytes(key_bytes), LUKS_ALIGN_BYTES);
}

/* Number of keyslots at their usual offset. The first is always there, so it does not count. */
static int usual_slots(const LUKSHeader *header, uint32_t key_bytes)
{
    int n = 0;

    for (int i = 1; i < QCRYPTO_LUKS_KEYSLOTS; i++) {
        n += luks_material_offset(header, i) == usual_offset(key_bytes, i);
    }
    return n;
}

/* The key length for which keyslots are spaced, else the one in the header if it is valid, else 0. */
static uint32_t find_key_bytes(const LUKSHeader *header, GPtrArray *notes)
{
    uint32_t found = 0;

    for (size_t i = 0; i < G_N_ELEMENTS(key_lengths); i++) {
        if (usual_slots(header, key_lengths[i]) >= ENOUGH_OFFSETS) {
            found = key_lengths[i];
        }
    }
    for (size_t i = 0; i < G_N_ELEMENTS(key_lengths) && !found; i++) {
        if (header->key_bytes == key_lengths[i]) {
            return header->key_bytes;
        }
    }
    if (header->key_bytes != found) {
        add_note(notes, "key-bytes is damaged (%" PRIu32 "); keyslots are %s", header->key_bytes,
             found ? "spaced as usual" : "taken to be as long as they can be");
    }
    return found;
}

static bool material_fits(uint64_t offset, uint64_t bytes, uint64_t end)
{
    return offset >= LUKS_HEADER_BYTES && offset < end && bytes <= end - offset;
}

/* Length of the material if that of the key is unknown: up to the next keyslot, at most the longest key's. */
static uint64_t guess_bytes(const LUKSHeader *header, int slot, uint64_t end)
{
    uint64_t offset = luks_material_offset(header, slot);
    uint64_t bytes = material_bytes(MAX_KEY_BYTES);

    if (offset < LUKS_HEADER_BYTES || offset >= end) {
        return 0;
    }
    for (int i = 0; i < QCRYPTO_LUKS_KEYSLOTS; i++) {
        uint64_t other = luks_material_offset(header, i);

        if (other > offset) {
            bytes = MIN(bytes, other - offset);
        }
    }
    return MIN(bytes, end - offset);
}

static void locate_slot(const LUKSHeader *header, int i, uint32_t key_bytes, bool usual,
                        uint64_t end, LUKSLocation *location, GPtrArray *notes)
{
    uint64_t field = luks_material_offset(header, i);
    uint64_t bytes = key_bytes ? material_bytes(key_bytes) : guess_bytes(header, i, end);

    location->material_offset[i] = field;
    location->material_bytes[i] = bytes;
    if (usual && field != usual_offset(key_bytes, i)) {
        add_note(notes, "keyslot %d key-material-offset is damaged (byte %" PRIu64 "); taken to be"
             " where it usually is", i, field);
        location->material_offset[i] = usual_offset(key_bytes, i);
    }
    if (bytes == 0 || !material_fits(location->material_offset[i], 1, end)) {
        add_note(notes, "keyslot %d could not be located", i);
        location->material_bytes[i] = 0;
    } else if (!material_fits(location->material_offset[i], bytes, end)) {
        location->material_bytes[i] = end - location->material_offset[i];
        add_note(notes, "keyslot %d is cut off after %" PRIu64 " bytes", i,
             location->material_bytes[i]);
    }
}

bool luks_locate(const LUKSHeader *header, uint64_t volume_bytes, bool detached,
                 LUKSLocation *location, GPtrArray *notes, Error **errp)
{
    uint64_t payload = (uint64_t)header->payload_sector * QCRYPTO_LUKS_SECTOR_SIZE;
    uint64_t material_end = 0;
    uint64_t least, end;
    uint32_t key_bytes;
    bool usual;

    if (!recognise_header(header, notes, errp)) {
        return false;
    }
    key_bytes = find_key_bytes(header, notes);
    usual = key_bytes && usual_slots(header, key_bytes) >= ENOUGH_OFFSETS;
    location->detached = detached || payload == 0;

    /* where key material must end */
    end = volume_bytes;
    least = usual ? usual_offset(key_bytes, QCRYPTO_LUKS_KEYSLOTS - 1) + material_bytes(key_bytes)
                  : LUKS_HEADER_BYTES;
    if (!location->detached && payload >= least && payload <= volume_bytes) {
        end = payload;
    }

    for (int i = 0; i < QCRYPTO_LUKS_KEYSLOTS; i++) {
        locate_slot(header, i, key_bytes, usual, end, location, notes);
        if (location->material_bytes[i]) {
            material_end = MAX(material_end,
                               location->material_offset[i] + location->material_bytes[i]);
        }
    }
    if (material_end == 0) {
        error_setg(errp, "LUKS header is so damaged that no keyslot can be located");
        return false;
    }
    location->header_end = MIN(volume_bytes, ROUND_UP(material_end, LUKS_ALIGN_BYTES));
    if (!location->detached && end == payload) {
        location->header_end = payload;
    } else if (!location->detached && (payload <= volume_bytes || location->header_end < volume_bytes)) {
        /* Not a header backup, which ends before the payload. */
        add_note(notes, "payload-offset is damaged (byte %" PRIu64 "); taken to follow the last keyslot", payload);
    }
    return true;
}
