/*
 * Backup of a LUKS1 header
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include "crypto/luks/luks-int.h"

/* Up to the payload; if that is missing or very far away, up to the end of the keyslots. */
static uint64_t backup_bytes(const QCryptoLUKS *luks)
{
    uint64_t payload = qcrypto_luks_payload_offset(luks);

    if (luks->place.detached || luks_is_header_only(luks) || payload > QCRYPTO_LUKS_MAX_BACKUP_BYTES) {
        return qcrypto_luks_header_bytes(luks);
    }
    return payload;
}

SecretBuffer *qcrypto_luks_backup(const QCryptoLUKSIO *io, bool detached, Error **errp)
{
    QCryptoLUKSOpenOptions options = { .detached = detached };
    g_autoptr(QCryptoLUKS) luks = luks_load(io, &options, NULL, errp);
    g_autoptr(SecretBuffer) backup = NULL;

    if (!luks) {
        return NULL;
    }
    if (backup_bytes(luks) > QCRYPTO_LUKS_MAX_BACKUP_BYTES) {
        error_setg(errp, "LUKS keyslots end at byte %" PRIu64 ", too far away for a backup",
                   backup_bytes(luks));
        return NULL;
    }
    backup = secret_buffer_new(backup_bytes(luks));
    if (!luks_pread(io, 0, backup->data, backup->len, "header", errp)) {
        return NULL;
    }
    return g_steal_pointer(&backup);
}
