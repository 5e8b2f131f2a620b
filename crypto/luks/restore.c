/*
 * Restoring a LUKS1 header from a backup
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include "crypto/luks/luks-int.h"
#include "crypto/luks/erase-regions.h"
#include "crypto/luks/keyslot-disk.h"

typedef struct Restore {
    const QCryptoLUKSIO *io;
    const uint8_t *data;
    uint64_t bytes;             /* of @data that are header area */
    LUKSHeader header;          /* the one in @data */
    LUKSPlace place;
} Restore;

static bool check_backup(Restore *r, const SecretBuffer *backup, Error **errp)
{
    uint64_t payload;
    ERRP_GUARD();

    if (qcrypto_luks_probe(backup->data, backup->len) == QCRYPTO_LUKS_VERSION_NONE ||
        backup->len < LUKS_HEADER_BYTES) {
        error_setg(errp, "Backup is not a LUKS header");
        return false;
    }
    luks_header_decode(&r->header, backup->data);
    payload = (uint64_t)r->header.payload_sector * QCRYPTO_LUKS_SECTOR_SIZE;
    r->place.detached = r->place.detached || payload == 0;
    if (!luks_header_check(&r->header, &r->place, LUKS_RULE_FORMAT | LUKS_RULE_PAYLOAD, NULL, errp)) {
        error_prepend(errp, "Backup does not fit this volume: ");
        return false;
    }
    if (backup->len < luks_material_end(&r->header)) {
        error_setg(errp, "Backup is cut off: it has %zu bytes, its keyslots end at %" PRIu64,
                   backup->len, luks_material_end(&r->header));
        return false;
    }
    r->data = backup->data;
    r->bytes = r->place.detached ? luks_material_end(&r->header)
                                 : MIN(payload, ROUND_DOWN(backup->len, QCRYPTO_LUKS_SECTOR_SIZE));
    return true;
}

static bool slot_active_in_backup(const Restore *r, int slot)
{
    return r->header.slots[slot].state == LUKS_KEYSLOT_ACTIVE;
}

static bool backup_has_active_keyslot(const Restore *r)
{
    for (int i = 0; i < QCRYPTO_LUKS_KEYSLOTS; i++) {
        if (slot_active_in_backup(r, i)) {
            return true;
        }
    }
    return false;
}

/* Compare with the header on the volume, @raw, which may be damaged. */
static bool check_fit(const Restore *r, const uint8_t *raw, Error **errp)
{
    g_autofree LUKSHeader *now = g_new0(LUKSHeader, 1);
    const char *field = NULL;

    if (!backup_has_active_keyslot(r)) {
        error_setg(errp, "Backup has no active keyslot: no password could open the volume");
        return false;
    }
    if (qcrypto_luks_probe(raw, LUKS_HEADER_BYTES) == QCRYPTO_LUKS_VERSION_NONE) {
        return true;
    }
    luks_header_decode(now, raw);
    if (now->payload_sector != r->header.payload_sector) {
        field = "payload offset";
    } else if (now->key_bytes != r->header.key_bytes) {
        field = "key size";
    } else if (strcmp(now->uuid, r->header.uuid) != 0) {
        field = "UUID";
    }
    if (field) {
        error_setg(errp, "The LUKS header on the volume has another %s than the backup", field);
        return false;
    }
    return true;
}

static bool write_and_compare(const Restore *r, uint64_t offset, uint64_t from, uint64_t bytes,
                              Error **errp)
{
    g_autoptr(SecretBuffer) back = secret_buffer_new(bytes);

    if (!luks_pwrite(r->io, offset, r->data + from, bytes, "header area", errp) ||
        !luks_flush(r->io, "header area", errp) ||
        !luks_pread(r->io, offset, back->data, bytes, "header area", errp)) {
        return false;
    }
    if (memcmp(back->data, r->data + from, bytes) != 0) {
        error_setg(errp, "The restored header reads back differently: the volume does not keep what"
                   " is written to it");
        return false;
    }
    return true;
}

/* Remove the magic first and write it last. */
static bool restore_all(const Restore *r, const uint8_t *raw, Error **errp)
{
    static const uint8_t zeroes[QCRYPTO_LUKS_SECTOR_SIZE];

    if (qcrypto_luks_probe(raw, LUKS_HEADER_BYTES) != QCRYPTO_LUKS_VERSION_NONE &&
        (!luks_pwrite(r->io, 0, zeroes, sizeof(zeroes), "header", errp) ||
            !luks_flush(r->io, "header", errp))) {
        return false;
    }
    return write_and_compare(r, LUKS_HEADER_BYTES, LUKS_HEADER_BYTES,
                             r->bytes - LUKS_HEADER_BYTES, errp) &&
           write_and_compare(r, QCRYPTO_LUKS_SECTOR_SIZE, QCRYPTO_LUKS_SECTOR_SIZE,
                                QCRYPTO_LUKS_SECTOR_SIZE, errp) &&
           write_and_compare(r, 0, 0, QCRYPTO_LUKS_SECTOR_SIZE, errp);
}

/* Write keyslot @source of the backup to keyslot @slot. */
static bool restore_slot(const Restore *r, QCryptoLUKS *luks, int slot, int source, Error **errp)
{
    g_autofree LUKSHeader *header = g_memdup2(&luks->header, sizeof(*header));

    if (qcrypto_luks_keyslot_is_active(luks, slot)) {
        header->slots[slot].state = LUKS_KEYSLOT_INACTIVE;
        if (!luks_write_entry(luks, r->io, header, slot, errp)) {
            return false;
        }
    }
    if (!write_and_compare(r, luks_material_offset(header, slot),
                           luks_material_offset(&r->header, source), luks_material_bytes(header),
                           errp)) {
        return false;
    }
    header->slots[slot] = r->header.slots[source];
    header->slots[slot].material_sector = luks->header.slots[slot].material_sector;
    return luks_write_entry(luks, r->io, header, slot, errp);
}

/* Set *@same to whether entry and material of @slot equal those in the backup. */
static bool slot_is_same(const Restore *r, const QCryptoLUKS *luks, int slot, bool *same,
                         Error **errp)
{
    uint64_t offset = luks_material_offset(&luks->header, slot);
    g_autoptr(SecretBuffer) now = secret_buffer_new(luks_material_bytes(&luks->header));

    if (!luks_pread(r->io, offset, now->data, now->len, "key material", errp)) {
        return false;
    }
    *same = memcmp(&luks->header.slots[slot], &r->header.slots[slot], sizeof(LUKSKeyslot)) == 0 &&
            memcmp(now->data, r->data + offset, now->len) == 0;
    return true;
}

/*
 * Choose a keyslot to hold a copy of one from the backup while its own place is rewritten: a free one, else one that is
 * not active in the backup; -1 if all eight are active here and in the backup.
 */
static int choose_via(const Restore *r, const QCryptoLUKS *luks)
{
    int via = qcrypto_luks_keyslot_find_free(luks);

    for (int i = 0; i < QCRYPTO_LUKS_KEYSLOTS && via < 0; i++) {
        if (!slot_active_in_backup(r, i)) {
            via = i;
        }
    }
    return via;
}

/* Rewrite the differing keyslots that are active (@active), or inactive, in the backup. */
static bool restore_differing(const Restore *r, QCryptoLUKS *luks, bool active, const bool *same, Error **errp)
{
    for (int i = 0; i < QCRYPTO_LUKS_KEYSLOTS; i++) {
        if (!same[i] && slot_active_in_backup(r, i) == active && !restore_slot(r, luks, i, i, errp)) {
            return false;
        }
    }
    return true;
}

/*
 * Replace the keyslots of a volume with the same master key. So that any step may fail, an active keyslot is only
 * overwritten once the backup's keyslot of that number works from another place, and keyslots that are inactive in the
 * backup are removed last.
 */
static bool restore_keyslots(const Restore *r, QCryptoLUKS *luks, Error **errp)
{
    bool same[QCRYPTO_LUKS_KEYSLOTS];

    for (int i = 0; i < QCRYPTO_LUKS_KEYSLOTS; i++) {
        if (!slot_is_same(r, luks, i, &same[i], errp)) {
            return false;
        }
    }
    int via = choose_via(r, luks);
    for (int i = 0; i < QCRYPTO_LUKS_KEYSLOTS; i++) {
        if (same[i] || i == via || !slot_active_in_backup(r, i) || !qcrypto_luks_keyslot_is_active(luks, i)) {
            continue;
        }
        if ((via >= 0 && !restore_slot(r, luks, via, i, errp)) || !restore_slot(r, luks, i, i, errp)) {
            return false;
        }
        same[i] = true;
        if (via >= 0) {
            same[via] = false;
        }
    }
    return restore_differing(r, luks, true, same, errp) && restore_differing(r, luks, false, same, errp);
}

bool qcrypto_luks_restore(const QCryptoLUKSIO *io, const SecretBuffer *backup, bool detached,
                          uint64_t payload_volume_bytes, bool force, Error **errp)
{
    QCryptoLUKSOpenOptions options = {
        .detached = detached, .payload_volume_bytes = payload_volume_bytes,
    };
    g_autofree Restore *r = g_new0(Restore, 1);
    g_autoptr(QCryptoLUKS) luks = NULL;
    uint8_t raw[LUKS_HEADER_BYTES];

    ERRP_GUARD();
    *r = (Restore) {
        .io = io,
        .place.header_volume_bytes = ROUND_DOWN(io->length, QCRYPTO_LUKS_SECTOR_SIZE),
        .place.payload_volume_bytes = payload_volume_bytes,
        .place.detached = detached,
    };
    if (!check_backup(r, backup, errp) || !luks_pread(io, 0, raw, sizeof(raw), "header", errp)) {
        return false;
    }
    if (!force && !check_fit(r, raw, errp)) {
        error_append_hint(errp, "Use --force to restore it anyway.\n");
        return false;
    }
    luks = luks_load(io, &options, NULL, NULL);
    if (luks && luks_same_volume(&luks->header, &r->header) &&
        qcrypto_luks_keyslots_active(luks) > 0) {
        return restore_keyslots(r, luks, errp);
    }
    return restore_all(r, raw, errp);
}
