/*
 * BlockCrypto: secure erase. Overwrites the key material or the header first, which makes the data unreadable at once,
 * then the payload if requested
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "block/crypto/block-crypto.h"

/* One pass is enough for ciphertext whose key is gone. */
#define PAYLOAD_DEFAULT_PASSES 1

static QCryptoLUKSRegion *erase_plan_region(const QCryptoLUKSErasePlan *plan, guint i)
{
    return &g_array_index(plan->regions, QCryptoLUKSRegion, i);
}

/* Whether @scope includes more than the header. */
static bool erase_has_payload(const BlockCrypto *c, SecureEraseScope scope)
{
    return c->ops->payload && (scope == SECURE_ERASE_SCOPE_IMAGE || scope == SECURE_ERASE_SCOPE_VOLUME);
}

/*
 * Plan the erase of the payload or, with @all, of everything outside the header. This is a plan of its own, since the
 * header may be on another volume. NULL if there is nothing to erase.
 */
static QCryptoLUKSErasePlan *erase_plan_payload(BlockCrypto *c, const QCryptoLUKSErasePlan *header_plan, bool all)
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

/* Ask once for all regions: the space between them is on the same storage. */
static void coroutine_fn erase_add_layers(const BlockCryptoVolume *volume, const QCryptoLUKSErasePlan *plan,
                                          SecureEraseReport *report)
{
    uint64_t start = UINT64_MAX, end = 0;

    for (guint i = 0; i < plan->regions->len; i++) {
        QCryptoLUKSRegion *r = erase_plan_region(plan, i);

        start = MIN(start, r->offset);
        end = MAX(end, r->offset + r->length);
    }
    if (start < end) {
        bdrv_co_erase_add_layers(volume->child, volume->offset + start, end - start, report);
    }
}

/* Add the format layer: whether it found everything, or what it could not find. */
static void erase_add_own_layer(BlockDriverState *bs, const QCryptoLUKSErasePlan *plan, SecureEraseReport *report)
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

static void erase_report_regions(const QCryptoLUKSErasePlan *plan, SecureEraseReport *report)
{
    for (guint i = 0; i < plan->regions->len; i++) {
        const QCryptoLUKSRegion *r = erase_plan_region(plan, i);
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

/* Also use the storage's own command, if it has one. Other requests never use these ranges again. */
static bool coroutine_fn erase_discard_regions(const BlockCryptoVolume *volume, const QCryptoLUKSErasePlan *plan)
{
    for (guint i = 0; i < plan->regions->len; i++) {
        QCryptoLUKSRegion *r = erase_plan_region(plan, i);

        if (bdrv_co_secure_discard(volume->child, volume->offset + r->offset, r->length) < 0) {
            return false;
        }
    }
    return true;
}

/*
 * All of a volume was overwritten, region by region: also use a command of the storage that knows no ranges, but erases
 * everything at once.
 */
static void coroutine_fn erase_discard_volume(const BlockCryptoVolume *volume, SecureEraseReport *report)
{
    if (bdrv_co_secure_discard(volume->child, volume->offset, volume->length) >= 0) {
        bdrv_erase_set_discarded(volume->child, report);
    }
}

/* *@discarded (may be NULL): the storage's own command has erased the regions, too. */
static bool coroutine_fn erase_plan_run(BlockCryptoIO *v, QCryptoLUKSErasePlan *plan, unsigned passes,
                                        SecureEraseReport *report, bool *discarded, Error **errp)
{
    if (!qcrypto_luks_erase_run(&v->io, plan, passes, errp)) {
        return false;
    }
    bool ok = erase_discard_regions(&v->volume, plan);
    if (discarded) {
        *discarded = ok;
    }
    if (ok) {
        bdrv_erase_set_discarded(v->volume.child, report);
    }
    erase_report_regions(plan, report);
    return true;
}

/* The erase ended early: explain what is gone already and how to continue. */
static void erase_explain_header(const QCryptoLUKSErasePlan *plan, Error **errp)
{
    unsigned keyslots = 0, gone = 0, left = 0;
    ERRP_GUARD();

    for (guint i = 0; i < plan->regions->len; i++) {
        const QCryptoLUKSRegion *r = erase_plan_region(plan, i);

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

static void erase_explain_payload(const QCryptoLUKSErasePlan *plan, Error **errp)
{
    const QCryptoLUKSRegion *r = erase_plan_region(plan, 0);
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
        erase_has_payload(c, scope) ? erase_plan_payload(c, plan, scope == SECURE_ERASE_SCOPE_VOLUME) : NULL;
    unsigned payload_passes = passes ?: PAYLOAD_DEFAULT_PASSES;
    BlockCryptoIO header_io, payload_io;
    bool discarded = false;

    erase_add_own_layer(c->bs, plan, report);
    block_crypto_header_io_init(&header_io, c, job);
    erase_add_layers(&header_io.volume, plan, report);
    if (payload) {
        block_crypto_payload_io_init(&payload_io, c, job);
        erase_add_layers(&payload_io.volume, payload, report);
        /* Counted as the library does: each pass, plus reading back. */
        block_crypto_io_reserve(&payload_io, erase_plan_region(payload, 0)->length * (payload_passes + 1));
    }
    if (!erase_plan_run(&header_io, plan, passes, report, NULL, errp)) {
        erase_explain_header(plan, errp);
        return false;
    }
    if (payload && !erase_plan_run(&payload_io, payload, payload_passes, report, &discarded, errp)) {
        erase_explain_payload(payload, errp);
        return false;
    }
    if (payload && !discarded && !c->separate_header) {
        erase_discard_volume(&payload_io.volume, report);
    }
    return true;
}

/* Passes for a volume whose header is unreadable: more if it may still contain keys. */
static unsigned coroutine_fn erase_volume_passes(BlockCrypto *c)
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

/* Erase all of the payload's volume. A header elsewhere is gone already. */
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
    erase_add_own_layer(c->bs, plan, report);
    erase_add_layers(&v.volume, plan, report);
    if (!erase_plan_run(&v, plan, passes ?: erase_volume_passes(c), report, NULL, errp)) {
        error_prepend(errp, "Erase ended early, with the first %" PRIu64 " of %" PRIu64 " bytes overwritten: ",
                      erase_plan_region(plan, 0)->written, bytes);
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
        error_setg(errp, "Node '%s': the payload of this header is on another volume", bdrv_get_display_name(c->bs));
        error_append_hint(errp, "Open it as 'file' with this volume as 'header', or erase the header alone.\n");
        return false;
    }
    if (plan) {
        return erase_by_plan(c, plan, scope, passes, job, report, errp);
    }
    if (scope == SECURE_ERASE_SCOPE_VOLUME && erase_has_payload(c, scope)) {
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
    if (!block_crypto_co_update_begin(c, erase_has_payload(c, scope), force, job, errp)) {
        return false;
    }
    bool ok = erase_scope(c, scope, passes, job, report, errp);
    block_crypto_co_update_end(c);
    return ok;
}
