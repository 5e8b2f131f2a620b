/*
 * What an opened LUKS1 header says about itself
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

QCryptoBlockInfoLUKS *qcrypto_luks_get_info(const QCryptoLUKS *luks)
{
    QCryptoBlockInfoLUKS *info = g_new0(QCryptoBlockInfoLUKS, 1);

    info->cipher_alg = luks->alg.cipher;
    info->cipher_mode = luks->alg.mode;
    info->ivgen_alg = luks->alg.ivgen;
    info->has_ivgen_hash_alg = luks->alg.ivgen == QCRYPTO_IV_GEN_ALGO_ESSIV;
    info->ivgen_hash_alg = info->has_ivgen_hash_alg ? luks->alg.ivgen_hash : 0;
    info->hash_alg = luks->alg.hash;
    info->detached_header = luks->place.detached;
    info->payload_offset = qcrypto_luks_payload_offset(luks);
    info->master_key_iters = luks->header.digest_iterations;
    info->uuid = g_strdup(luks->header.uuid);
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
