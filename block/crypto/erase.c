/*
 * BlockCrypto: secure erase: key material or header first, so that the data is dead at once, then the payload where
 * that is wanted
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "block/crypto/block-crypto.h"

/* Once is enough for ciphertext whose key is gone. */
#define PAYLOAD_DEFAULT_PASSES 1

static QCryptoLUKSRegion *region_at(const QCryptoLUKSErasePlan *plan, guint i)
{
    return &g_array_index(plan->regions, QCryptoLUKSRegion, i);
}

/* The payload as a plan of its own, since it may lie on another volume; NULL where there is none. */
static QCryptoLUKSErasePlan *plan_payload(BlockCrypto *c, const QCryptoLUKSErasePlan *header_plan)
{
    uint64_t offset = header_plan->detached ? (uint64_t)c->payload_offset : header_plan->payload_offset;
    BlockCryptoVolume volume;

    c->ops->payload(c->bs, &volume);
    uint64_t end = ROUND_DOWN(volume.length, QCRYPTO_LUKS_SECTOR_SIZE);
    if (offset >= end) {
        return NULL;
    }
    QCryptoLUKSErasePlan *plan = qcrypto_luks_erase_plan_new_empty();
    qcrypto_luks_erase_plan_append(plan, offset, end - offset, "payload");
    return plan;
}

/* One question for all regions: what lies between them is on the same storage. */
static void coroutine_fn add_layers(const BlockCryptoVolume *volume, const QCryptoLUKSErasePlan *plan,
                                    SecureEraseReport *report)
{
    uint64_t start = UINT64_MAX, end = 0;

    for (guint i = 0; i < plan->regions->len; i++) {
        QCryptoLUKSRegion *r = region_at(plan, i);

        start = MIN(start, r->offset);
        end = MAX(end, r->offset + r->length);
    }
    if (start < end) {
        bdrv_co_erase_add_layers(volume->child, volume->offset + start, end - start, report);
    }
}

/* What this layer adds: it found everything, or says what it did not find. */
static void add_own_layer(BlockDriverState *bs, const QCryptoLUKSErasePlan *plan, SecureEraseReport *report)
{
    SecureEraseLayer *layer = g_new0(SecureEraseLayer, 1);

    layer->node_name = g_strdup(bs->node_name);
    layer->driver = g_strdup(bs->drv->format_name);
    layer->assurance = plan->notes->len ? SECURE_ERASE_ASSURANCE_MAY_SURVIVE
                                        : SECURE_ERASE_ASSURANCE_OVERWRITTEN;
    layer->notes = g_new0(strList, 1);
    for (guint i = 0; i < plan->notes->len; i++) {
        QAPI_LIST_APPEND(layer->notes, g_strdup(g_ptr_array_index(plan->notes, i)));
    }
    QAPI_LIST_APPEND(report->layers, layer);
}

static void report_regions(const QCryptoLUKSErasePlan *plan, SecureEraseReport *report)
{
    for (guint i = 0; i < plan->regions->len; i++) {
        const QCryptoLUKSRegion *r = region_at(plan, i);
        SecureEraseRegion *out = g_new0(SecureEraseRegion, 1);

        out->offset = r->offset;
        out->length = r->length;
        out->what = g_strdup(r->what);
        out->has_keyslot = r->keyslot >= 0;
        out->keyslot = r->keyslot;
        out->passes = r->passes;
        out->verified = r->verified;
        QAPI_LIST_APPEND(report->regions, out);
    }
}

/* In addition, where the storage has a command for it. Other requests never see these ranges again. */
static bool coroutine_fn discard_regions(const BlockCryptoVolume *volume, const QCryptoLUKSErasePlan *plan)
{
    for (guint i = 0; i < plan->regions->len; i++) {
        QCryptoLUKSRegion *r = region_at(plan, i);

        if (bdrv_co_secure_discard(volume->child, volume->offset + r->offset, r->length) < 0) {
            return false;
        }
    }
    return true;
}

static bool coroutine_fn run_plan(BlockCryptoIO *v, QCryptoLUKSErasePlan *plan, unsigned passes,
                                  SecureEraseReport *report, Error **errp)
{
    if (!qcrypto_luks_erase_run(&v->io, plan, passes, errp)) {
        return false;
    }
    if (discard_regions(&v->volume, plan)) {
        bdrv_erase_set_discarded(v->volume.child, report);
    }
    report_regions(plan, report);
    return true;
}

static bool coroutine_fn erase_by_plan(BlockCrypto *c, QCryptoLUKSErasePlan *plan, bool image, unsigned passes,
                                       Job *job, SecureEraseReport *report, Error **errp)
{
    g_autoptr(QCryptoLUKSErasePlan) payload = image ? plan_payload(c, plan) : NULL;
    unsigned payload_passes = passes ?: PAYLOAD_DEFAULT_PASSES;
    BlockCryptoIO header_io, payload_io;

    add_own_layer(c->bs, plan, report);
    block_crypto_header_io_init(&header_io, c, job);
    add_layers(&header_io.volume, plan, report);
    if (payload) {
        block_crypto_payload_io_init(&payload_io, c, job);
        add_layers(&payload_io.volume, payload, report);
        /* As the library counts: every pass, and reading back. */
        header_io.after = region_at(payload, 0)->length * (payload_passes + 1);
    }
    return run_plan(&header_io, plan, passes, report, errp) &&
           (!payload || run_plan(&payload_io, payload, payload_passes, report, errp));
}

bool coroutine_fn block_crypto_co_secure_erase(BlockCrypto *c, SecureEraseScope scope, unsigned passes, bool force,
                                               Job *job, SecureEraseReport *report, Error **errp)
{
    bool image = scope == SECURE_ERASE_SCOPE_IMAGE && c->ops->payload;
    bool ok = false;
    BlockCryptoIO v;

    if (passes > QCRYPTO_LUKS_MAX_PASSES) {
        error_setg(errp, "Parameter 'passes' must not be greater than %d", QCRYPTO_LUKS_MAX_PASSES);
        return false;
    }
    if (!block_crypto_co_update_begin(c, image, force, job, errp)) {
        return false;
    }
    block_crypto_header_io_init(&v, c, job);
    g_autoptr(QCryptoLUKSErasePlan) plan =
        qcrypto_luks_erase_plan_new(&v.io, scope == SECURE_ERASE_SCOPE_KEY_MATERIAL
                                    ? QCRYPTO_LUKS_ERASE_KEY_MATERIAL : QCRYPTO_LUKS_ERASE_HEADER,
                                    block_crypto_is_detached(c), errp);
    if (plan && image && plan->detached && !c->separate_header) {
        error_setg(errp, "Node '%s': the payload of this header is on another volume", c->bs->node_name);
        error_append_hint(errp, "Open it as 'file' with this volume as 'header', or erase the header alone.\n");
    } else if (plan) {
        ok = erase_by_plan(c, plan, image, passes, job, report, errp);
    }
    block_crypto_co_update_end(c);
    return ok;
}
