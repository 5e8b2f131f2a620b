/*
 * Secure erase of a LUKS1 header: the plan, and running it
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include "crypto/luks/luks-int.h"
#include "crypto/luks/erase-locate.h"
#include "crypto/luks/overwrite.h"
#include "crypto/luks/erase-regions.h"

/* Read the first two sectors, with zeroes beyond the end of the volume. */
static bool read_fields(const QCryptoLUKSIO *io, uint8_t *raw, Error **errp)
{
    uint64_t bytes = MIN(ROUND_DOWN(io->length, QCRYPTO_LUKS_SECTOR_SIZE), LUKS_HEADER_BYTES);

    memset(raw, 0, LUKS_HEADER_BYTES);
    return luks_pread(io, 0, raw, bytes, "header", errp);
}

QCryptoLUKSErasePlan *qcrypto_luks_erase_plan_new_empty(void)
{
    QCryptoLUKSErasePlan *plan = g_new0(QCryptoLUKSErasePlan, 1);

    plan->scope = QCRYPTO_LUKS_ERASE_HEADER;
    plan->regions = luks_regions_new();
    plan->notes = g_ptr_array_new_with_free_func(g_free);
    return plan;
}

QCryptoLUKSErasePlan *qcrypto_luks_erase_plan_new(const QCryptoLUKSIO *io,
                                                  QCryptoLUKSEraseScope scope, bool detached,
                                                  Error **errp)
{
    g_autoptr(QCryptoLUKSErasePlan) plan = qcrypto_luks_erase_plan_new_empty();
    g_autofree LUKSHeader *header = g_new0(LUKSHeader, 1);
    uint8_t raw[LUKS_HEADER_BYTES];
    LUKSLocation location;

    plan->scope = scope;
    if (!read_fields(io, raw, errp)) {
        return NULL;
    }
    luks_header_decode(header, raw);
    if (!luks_locate(header, ROUND_DOWN(io->length, QCRYPTO_LUKS_SECTOR_SIZE), detached, &location,
                     plan->notes, errp)) {
        return NULL;
    }
    plan->detached = location.detached;
    plan->header_end = location.header_end;
    plan->payload_offset = location.detached ? 0 : location.header_end;

    for (int i = 0; i < QCRYPTO_LUKS_KEYSLOTS; i++) {
        g_autofree char *what = g_strdup_printf("keyslot %d material", i);

        if (location.material_bytes[i]) {
            luks_regions_append(plan->regions, location.material_offset[i],
                                location.material_bytes[i], i, what);
        }
    }
    if (scope == QCRYPTO_LUKS_ERASE_HEADER) {
        luks_regions_append_gaps(plan->regions, 0, location.header_end);
    }
    return g_steal_pointer(&plan);
}

void qcrypto_luks_erase_plan_free(QCryptoLUKSErasePlan *plan)
{
    if (!plan) {
        return;
    }
    g_array_unref(plan->regions);
    g_ptr_array_unref(plan->notes);
    g_free(plan);
}

void qcrypto_luks_erase_plan_append(QCryptoLUKSErasePlan *plan, uint64_t offset, uint64_t length,
                                    const char *what)
{
    g_assert(QEMU_IS_ALIGNED(offset | length, QCRYPTO_LUKS_SECTOR_SIZE));
    luks_regions_append(plan->regions, offset, length, -1, what);
}

static QCryptoLUKSRegion *region_at(const QCryptoLUKSErasePlan *plan, guint i)
{
    return &g_array_index(plan->regions, QCryptoLUKSRegion, i);
}

/* Mark keyslots inactive once their material is gone. Other fields may be damaged, and stay as they are. */
static bool mark_inactive(const QCryptoLUKSIO *io, const QCryptoLUKSErasePlan *plan, Error **errp)
{
    g_autofree LUKSHeader *header = g_new0(LUKSHeader, 1);
    uint8_t raw[LUKS_HEADER_BYTES];
    uint64_t bytes = MIN(ROUND_DOWN(io->length, QCRYPTO_LUKS_SECTOR_SIZE), LUKS_HEADER_BYTES);

    if (!read_fields(io, raw, errp)) {
        return false;
    }
    luks_header_decode(header, raw);
    for (guint i = 0; i < plan->regions->len; i++) {
        int slot = region_at(plan, i)->keyslot;

        if (slot >= 0) {
            header->slots[slot].state = LUKS_KEYSLOT_INACTIVE;
            header->slots[slot].iterations = 0;
            memset(header->slots[slot].salt, 0, LUKS_SALT_BYTES);
        }
    }
    luks_header_encode(header, raw);
    return luks_pwrite(io, 0, raw, bytes, "header", errp) && luks_flush(io, "header", errp);
}

bool qcrypto_luks_erase_run(const QCryptoLUKSIO *io, QCryptoLUKSErasePlan *plan, unsigned passes,
                            Error **errp)
{
    uint64_t work = 0;

    passes = luks_overwrite_passes(passes, errp);
    if (!passes) {
        return false;
    }
    for (guint i = 0; i < plan->regions->len; i++) {
        work += luks_overwrite_work(region_at(plan, i)->length, passes);
    }
    luks_plan(io, work);
    for (guint i = 0; i < plan->regions->len; i++) {
        if (!luks_overwrite(io, region_at(plan, i), passes, errp)) {
            return false;
        }
    }
    return plan->scope != QCRYPTO_LUKS_ERASE_KEY_MATERIAL || mark_inactive(io, plan, errp);
}
