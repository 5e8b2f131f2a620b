/*
 * Changing keyslots on disk
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include "crypto/luks/keyslot-disk.h"

bool luks_same_volume(const LUKSHeader *a, const LUKSHeader *b)
{
    g_autofree LUKSHeader *copy = g_memdup2(a, sizeof(*a));
    uint8_t raw_a[LUKS_FIELD_BYTES];
    uint8_t raw_b[LUKS_FIELD_BYTES];

    for (int i = 0; i < QCRYPTO_LUKS_KEYSLOTS; i++) {
        uint32_t material_sector = copy->slots[i].material_sector;

        copy->slots[i] = b->slots[i];
        copy->slots[i].material_sector = material_sector;
    }
    luks_header_encode(copy, raw_a);
    luks_header_encode(b, raw_b);
    return memcmp(raw_a, raw_b, LUKS_FIELD_BYTES) == 0;
}

bool qcrypto_luks_refresh(QCryptoLUKS *luks, const QCryptoLUKSIO *io, Error **errp)
{
    uint8_t raw[LUKS_HEADER_BYTES];
    g_autofree LUKSHeader *now = g_new0(LUKSHeader, 1);

    ERRP_GUARD();
    if (!luks_read_raw(io, raw, NULL, errp)) {
        return false;
    }
    luks_header_decode(now, raw);
    if (!luks_same_volume(&luks->header, now)) {
        error_setg(errp, "LUKS header was changed since it was opened");
        error_append_hint(errp, "Open the volume again.\n");
        return false;
    }
    if (!luks_header_check(now, &luks->place, LUKS_RULE_FORMAT, NULL, errp)) {
        return false;
    }
    luks->header = *now;
    memcpy(luks->raw, raw, sizeof(raw));
    return true;
}

/* Write sector @index of @raw, unless the disk already has it. */
static bool write_sector(QCryptoLUKS *luks, const QCryptoLUKSIO *io, const uint8_t *raw, int index,
                         Error **errp)
{
    size_t at = index * QCRYPTO_LUKS_SECTOR_SIZE;

    if (memcmp(luks->raw + at, raw + at, QCRYPTO_LUKS_SECTOR_SIZE) == 0) {
        return true;
    }
    if (!luks_pwrite(io, at, raw + at, QCRYPTO_LUKS_SECTOR_SIZE, "header", errp) ||
        !luks_flush(io, "header", errp)) {
        return false;
    }
    memcpy(luks->raw + at, raw + at, QCRYPTO_LUKS_SECTOR_SIZE);
    luks_header_decode(&luks->header, luks->raw);
    return true;
}

bool luks_write_entry(QCryptoLUKS *luks, const QCryptoLUKSIO *io, const LUKSHeader *header,
                      int slot, Error **errp)
{
    uint8_t raw[LUKS_HEADER_BYTES];
    int state = luks_keyslot_entry_offset(slot) / QCRYPTO_LUKS_SECTOR_SIZE;
    bool activate = header->slots[slot].state == LUKS_KEYSLOT_ACTIVE;

    memcpy(raw, luks->raw, sizeof(raw));
    luks_header_encode(header, raw);
    return write_sector(luks, io, raw, activate ? !state : state, errp) &&
           write_sector(luks, io, raw, activate ? state : !state, errp);
}

static bool write_material(const QCryptoLUKS *luks, const QCryptoLUKSIO *io, int slot,
                           const LUKSSealed *sealed, const SecretBuffer *master_key, Error **errp)
{
    uint64_t offset = luks_material_offset(&luks->header, slot);
    g_autoptr(SecretBuffer) back = secret_buffer_new(sealed->material->len);

    return luks_pwrite(io, offset, sealed->material->data, sealed->material->len, "key material",
                       errp) &&
           luks_flush(io, "key material", errp) &&
           luks_pread(io, offset, back->data, back->len, "key material", errp) &&
           luks_sealed_proves(&luks->header, &luks->alg, sealed, back, master_key, errp);
}

bool luks_store_keyslot(QCryptoLUKS *luks, const QCryptoLUKSIO *io, int slot,
                        const LUKSSealed *sealed, const SecretBuffer *master_key, Error **errp)
{
    g_autofree LUKSHeader *header = NULL;
    LUKSKeyslot *entry;

    g_assert(!qcrypto_luks_keyslot_is_active(luks, slot));
    if (!write_material(luks, io, slot, sealed, master_key, errp)) {
        return false;
    }
    header = g_memdup2(&luks->header, sizeof(*header));
    entry = &header->slots[slot];
    entry->state = LUKS_KEYSLOT_ACTIVE;
    entry->iterations = sealed->iterations;
    memcpy(entry->salt, sealed->salt, LUKS_SALT_BYTES);
    entry->stripes = LUKS_STRIPES;
    return luks_write_entry(luks, io, header, slot, errp);
}

uint64_t luks_wipe_work(const QCryptoLUKS *luks, unsigned passes)
{
    return luks_overwrite_work(luks_material_bytes(&luks->header), passes);
}

bool luks_wipe_keyslot(QCryptoLUKS *luks, const QCryptoLUKSIO *io, int slot, unsigned passes, Error **errp)
{
    g_autofree LUKSHeader *header = NULL;
    g_autofree char *what = g_strdup_printf("keyslot %d material", slot);
    QCryptoLUKSRegion region = {
        .offset = luks_material_offset(&luks->header, slot),
        .length = luks_material_bytes(&luks->header),
        .what = what,
        .keyslot = slot,
    };
    LUKSKeyslot *entry;

    if (!luks_overwrite(io, &region, passes, errp)) {
        return false;
    }
    header = g_memdup2(&luks->header, sizeof(*header));
    entry = &header->slots[slot];
    entry->state = LUKS_KEYSLOT_INACTIVE;
    entry->iterations = 0;
    memset(entry->salt, 0, LUKS_SALT_BYTES);
    return luks_write_entry(luks, io, header, slot, errp);
}
