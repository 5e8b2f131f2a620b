/*
 * Querying an opened LUKS1 header
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include "crypto/luks/luks-int.h"

uint64_t qcrypto_luks_payload_offset(const QCryptoLUKS *luks)
{
    return (uint64_t)luks->header.payload_sector * QCRYPTO_LUKS_SECTOR_SIZE;
}

uint64_t qcrypto_luks_header_bytes(const QCryptoLUKS *luks)
{
    return luks_material_end(&luks->header);
}

size_t qcrypto_luks_sector_size(const QCryptoLUKS *luks)
{
    /* @alg is not set if an algorithm is unknown, but LUKS1 has only one sector size. */
    return luks->unsupported ? QCRYPTO_LUKS_SECTOR_SIZE : luks->alg.sector_size;
}

const QCryptoSectorCipher *qcrypto_luks_sector_cipher(const QCryptoLUKS *luks)
{
    return luks->sectors;
}

bool qcrypto_luks_is_unlocked(const QCryptoLUKS *luks)
{
    return luks->sectors != NULL;
}

bool qcrypto_luks_keyslot_is_active(const QCryptoLUKS *luks, int slot)
{
    return slot >= 0 && slot < QCRYPTO_LUKS_KEYSLOTS &&
           luks->header.slots[slot].state == LUKS_KEYSLOT_ACTIVE;
}

unsigned qcrypto_luks_keyslots_active(const QCryptoLUKS *luks)
{
    unsigned n = 0;

    for (int i = 0; i < QCRYPTO_LUKS_KEYSLOTS; i++) {
        n += qcrypto_luks_keyslot_is_active(luks, i);
    }
    return n;
}

int qcrypto_luks_keyslot_find_free(const QCryptoLUKS *luks)
{
    for (int i = 0; i < QCRYPTO_LUKS_KEYSLOTS; i++) {
        if (!qcrypto_luks_keyslot_is_active(luks, i)) {
            return i;
        }
    }
    return -1;
}

bool luks_is_header_only(const QCryptoLUKS *luks)
{
    return !luks->place.detached && qcrypto_luks_payload_offset(luks) > luks->place.header_volume_bytes;
}

/* Escape untrusted text: bytes that are not printable ASCII become \xNN. */
static char *escape_text(const char *text)
{
    GString *out = g_string_new(NULL);

    for (; *text; text++) {
        if (g_ascii_isgraph(*text) && *text != '\\') {
            g_string_append_c(out, *text);
        } else {
            g_string_append_printf(out, "\\x%02x", (unsigned char)*text);
        }
    }
    return g_string_free(out, FALSE);
}

static QCryptoBlockInfoLUKSSlot *slot_info(const QCryptoLUKS *luks, int i)
{
    QCryptoBlockInfoLUKSSlot *info = g_new0(QCryptoBlockInfoLUKSSlot, 1);

    info->key_offset = luks_material_offset(&luks->header, i);
    info->active = qcrypto_luks_keyslot_is_active(luks, i);
    if (info->active) {
        info->has_iters = true;
        info->iters = luks->header.slots[i].iterations;
        info->has_stripes = true;
        info->stripes = luks->header.slots[i].stripes;
    }
    return info;
}

static void fill_algorithms(QCryptoBlockInfoLUKS *info, const QCryptoLUKS *luks)
{
    if (luks->unsupported) {
        info->cipher_spec = g_strdup_printf("%s-%s", luks->header.cipher_name, luks->header.cipher_mode);
        info->hash_spec = g_strdup(luks->header.hash_spec);
        info->unsupported = g_strdup(error_get_pretty(luks->unsupported));
        return;
    }
    info->has_cipher_alg = true;
    info->cipher_alg = luks->alg.cipher;
    info->has_cipher_mode = true;
    info->cipher_mode = luks->alg.mode;
    info->has_ivgen_alg = true;
    info->ivgen_alg = luks->alg.ivgen;
    info->has_ivgen_hash_alg = luks->alg.ivgen == QCRYPTO_IV_GEN_ALGO_ESSIV;
    info->ivgen_hash_alg = info->has_ivgen_hash_alg ? luks->alg.ivgen_hash : 0;
    info->has_hash_alg = true;
    info->hash_alg = luks->alg.hash;
}

QCryptoBlockInfoLUKS *qcrypto_luks_get_info(const QCryptoLUKS *luks)
{
    QCryptoBlockInfoLUKS *info = g_new0(QCryptoBlockInfoLUKS, 1);

    fill_algorithms(info, luks);
    info->has_header_only = info->header_only = luks_is_header_only(luks);
    info->detached_header = luks->place.detached;
    info->payload_offset = qcrypto_luks_payload_offset(luks);
    info->master_key_iters = luks->header.digest_iterations;
    info->uuid = escape_text(luks->header.uuid);
    info->slots = g_new0(QCryptoBlockInfoLUKSSlotList, 1);
    info->slots->n = QCRYPTO_LUKS_KEYSLOTS;
    info->slots->items = g_new0(QCryptoBlockInfoLUKSSlot *, QCRYPTO_LUKS_KEYSLOTS);
    for (int i = 0; i < QCRYPTO_LUKS_KEYSLOTS; i++) {
        info->slots->items[i] = slot_info(luks, i);
    }
    return info;
}

QCryptoBlockCreateOptionsLUKS *qcrypto_luks_get_create_options(const QCryptoLUKS *luks)
{
    QCryptoBlockCreateOptionsLUKS *options = g_new0(QCryptoBlockCreateOptionsLUKS, 1);

    if (luks->unsupported) {
        return options;
    }
    options->has_cipher_alg = true;
    options->cipher_alg = luks->alg.cipher;
    options->has_cipher_mode = true;
    options->cipher_mode = luks->alg.mode;
    options->has_ivgen_alg = true;
    options->ivgen_alg = luks->alg.ivgen;
    options->has_ivgen_hash_alg = luks->alg.ivgen == QCRYPTO_IV_GEN_ALGO_ESSIV;
    options->ivgen_hash_alg = options->has_ivgen_hash_alg ? luks->alg.ivgen_hash : 0;
    options->has_hash_alg = true;
    options->hash_alg = luks->alg.hash;
    return options;
}
