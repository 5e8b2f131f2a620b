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

/* Whether more than the header is overwritten. */
static bool has_payload(const BlockCrypto *c, SecureEraseScope scope)
{
    return c->ops->payload && (scope == SECURE_ERASE_SCOPE_IMAGE || scope == SECURE_ERASE_SCOPE_VOLUME);
}

/*
 * The payload, or with @all what the header leaves of the volume, as a plan of its own, since the header may lie on
 * another volume; NULL where there is none.
 */
static QCryptoLUKSErasePlan *plan_payload(BlockCrypto *c, const QCryptoLUKSErasePlan *header_plan, bool all)
{
    uint64_t offset = header_plan->payload_offset;
    BlockCryptoVolume volume;

    c->ops->payload(c->bs, &volume);
    if (all) {
        offset = c->separate_header ? 0 : header_plan->header_end;
    } else if (header_plan->detached) {
        offset = c->payload_offset;
    }
    uint64_t end = ROUND_DOWN(volume.length, QCRYPTO_LUKS_SECTOR_SIZE);
    if (offset >= end) {
        return NULL;
    }
    QCryptoLUKSErasePlan *plan = qcrypto_luks_erase_plan_new_empty();
    qcrypto_luks_erase_plan_append(plan, offset, end - offset, all ? "rest of the volume" : "payload");
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

/* It ended early: say what is gone and how to go on. */
static void explain_header(const QCryptoLUKSErasePlan *plan, Error **errp)
{
    unsigned keyslots = 0, gone = 0, left = 0;
    ERRP_GUARD();

    for (guint i = 0; i < plan->regions->len; i++) {
        const QCryptoLUKSRegion *r = region_at(plan, i);

        keyslots += r->keyslot >= 0;
        gone += r->keyslot >= 0 && r->written == r->length;
        left += r->written < r->length;
    }
    if (left || plan->scope == QCRYPTO_LUKS_ERASE_KEY_MATERIAL) {
        error_prepend(errp, "Erase ended early, with the key material of %u of %u keyslots overwritten: ", gone,
                      keyslots);
        error_append_hint(errp, "The header can still be found: run the same command again to go on.\n");
    } else {
        error_prepend(errp, "Erase ended early, with header and keyslots overwritten, but not as often as asked for: ");
        error_append_hint(errp, "No password opens the image any more.\n");
    }
}

static void explain_payload(const QCryptoLUKSErasePlan *plan, Error **errp)
{
    const QCryptoLUKSRegion *r = region_at(plan, 0);
    ERRP_GUARD();

    error_prepend(errp, "Erase ended early, with header and keyslots overwritten, and of the payload the first %" PRIu64
                  " of %" PRIu64 " bytes: ", r->written, r->length);
    error_append_hint(errp, "No password opens the image any more. To go on, use --scope volume, which overwrites all "
                      "of it from its start.\n");
}

static bool coroutine_fn erase_by_plan(BlockCrypto *c, QCryptoLUKSErasePlan *plan, SecureEraseScope scope,
                                       unsigned passes, Job *job, SecureEraseReport *report, Error **errp)
{
    g_autoptr(QCryptoLUKSErasePlan) payload =
        has_payload(c, scope) ? plan_payload(c, plan, scope == SECURE_ERASE_SCOPE_VOLUME) : NULL;
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
    if (!run_plan(&header_io, plan, passes, report, errp)) {
        explain_header(plan, errp);
        return false;
    }
    if (payload && !run_plan(&payload_io, payload, payload_passes, report, errp)) {
        explain_payload(payload, errp);
        return false;
    }
    return true;
}

/* How often to overwrite a volume whose header cannot be made out: more where there may be keys. */
static unsigned coroutine_fn whole_volume_passes(BlockCrypto *c)
{
    uint8_t sector[QCRYPTO_LUKS_SECTOR_SIZE] = { 0 };
    BlockCryptoIO v;

    block_crypto_payload_io_init(&v, c, NULL);
    if (v.io.length >= sizeof(sector) && v.io.pread(&v, 0, sector, sizeof(sector)) == 0 &&
        qcrypto_luks_probe(sector, sizeof(sector)) == QCRYPTO_LUKS_VERSION_NONE) {
        return PAYLOAD_DEFAULT_PASSES;
    }
    return QCRYPTO_LUKS_DEFAULT_PASSES;
}

/* All of the payload's volume; a header elsewhere is gone already. */
static bool coroutine_fn erase_whole_volume(BlockCrypto *c, unsigned passes, Job *job, SecureEraseReport *report,
                                            Error **errp)
{
    g_autoptr(QCryptoLUKSErasePlan) plan = qcrypto_luks_erase_plan_new_empty();
    BlockCryptoIO v;
    ERRP_GUARD();

    block_crypto_payload_io_init(&v, c, job);
    uint64_t bytes = ROUND_DOWN(v.io.length, QCRYPTO_LUKS_SECTOR_SIZE);
    qcrypto_luks_erase_plan_append(plan, 0, bytes, "volume");
    if (c->separate_header) {
        g_ptr_array_add(plan->notes, g_strdup("no LUKS header was found on its volume, which was left as it is"));
    }
    add_own_layer(c->bs, plan, report);
    add_layers(&v.volume, plan, report);
    if (!run_plan(&v, plan, passes ?: whole_volume_passes(c), report, errp)) {
        error_prepend(errp, "Erase ended early, with the first %" PRIu64 " of %" PRIu64 " bytes overwritten: ",
                      region_at(plan, 0)->written, bytes);
        error_append_hint(errp, "Run the same command again to go on; it begins at the start.\n");
        return false;
    }
    return true;
}

static bool coroutine_fn erase_scope(BlockCrypto *c, SecureEraseScope scope, unsigned passes, Job *job,
                                     SecureEraseReport *report, Error **errp)
{
    BlockCryptoIO v;
    ERRP_GUARD();

    block_crypto_header_io_init(&v, c, job);
    g_autoptr(QCryptoLUKSErasePlan) plan =
        qcrypto_luks_erase_plan_new(&v.io, scope == SECURE_ERASE_SCOPE_KEY_MATERIAL
                                    ? QCRYPTO_LUKS_ERASE_KEY_MATERIAL : QCRYPTO_LUKS_ERASE_HEADER,
                                    block_crypto_is_detached(c), errp);
    if (plan && scope == SECURE_ERASE_SCOPE_IMAGE && plan->detached && !c->separate_header) {
        error_setg(errp, "Node '%s': the payload of this header is on another volume", c->bs->node_name);
        error_append_hint(errp, "Open it as 'file' with this volume as 'header', or erase the header alone.\n");
        return false;
    }
    if (plan) {
        return erase_by_plan(c, plan, scope, passes, job, report, errp);
    }
    if (scope == SECURE_ERASE_SCOPE_VOLUME && has_payload(c, scope)) {
        error_free(*errp);
        *errp = NULL;
        return erase_whole_volume(c, passes, job, report, errp);
    }
    if (scope == SECURE_ERASE_SCOPE_IMAGE) {
        error_append_hint(errp, "If an erase of this image ended early, its header is gone already: --scope volume "
                          "overwrites the whole volume, whatever it holds.\n");
    }
    return false;
}

bool coroutine_fn block_crypto_co_secure_erase(BlockCrypto *c, SecureEraseScope scope, unsigned passes, bool force,
                                               Job *job, SecureEraseReport *report, Error **errp)
{
    if (passes > QCRYPTO_LUKS_MAX_PASSES) {
        error_setg(errp, "Parameter 'passes' must not be greater than %d", QCRYPTO_LUKS_MAX_PASSES);
        return false;
    }
    if (!block_crypto_co_update_begin(c, has_payload(c, scope), force, job, errp)) {
        return false;
    }
    bool ok = erase_scope(c, scope, passes, job, report, errp);
    block_crypto_co_update_end(c);
    return ok;
}
