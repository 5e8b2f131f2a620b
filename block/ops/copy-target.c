/*
 * CopyTarget: decides how the target of a copy is encrypted, creates it or checks it, and opens it
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "block/block-backend.h"
#include "block/block_int.h"
#include "block/copy-target.h"
#include "block/job.h"
#include "block/ops/copy-target-int.h"
#include "crypto/luks.h"
#include "crypto/secret.h"
#include "qapi/json.h"
#include "qapi/qapi.h"
#include "util/main-thread.h"

/* The work, which is a job so that it can be cancelled. */
typedef struct TargetJob {
    Job common;
    const CopyTargetOptions *o;
    CopyTarget *t;
    BlockdevDriver format;
    bool probe;                             /* of an existing target, unless it turns out to be luks */
    QCryptoBlockCreateOptionsLUKS *luks;    /* for format luks, complete */
} TargetJob;

/* Checks that need no I/O */

static bool set_format(TargetJob *s, const BlockDriverState *luks_source, Error **errp)
{
    const CopyTargetOptions *o = s->o;

    if (!o->format) {
        s->format = luks_source && !o->clone_header ? BLOCKDEV_DRIVER_LUKS : BLOCKDEV_DRIVER_RAW;
        s->probe = !luks_source && o->mode == NEW_IMAGE_MODE_EXISTING;
        return true;
    }
    const BlockDriver *drv = bdrv_find_format(o->format);
    if (!drv || (drv->driver != BLOCKDEV_DRIVER_RAW && drv->driver != BLOCKDEV_DRIVER_LUKS)) {
        error_setg(errp, "Format '%s' cannot be the target of a copy: use 'raw' or 'luks'", o->format);
        return false;
    }
    s->format = drv->driver;
    return true;
}

static bool check_clone(TargetJob *s, const BlockDriverState *luks_source, Error **errp)
{
    const CopyTargetOptions *o = s->o;
    const char *name = bdrv_get_display_name(o->source);

    if (!luks_source || luks_source != bdrv_skip_filters(o->source)) {
        error_setg(errp, "Parameter 'clone-header' needs an encrypted source: node '%s' has driver '%s'", name,
                   bdrv_get_format_name(o->source));
    } else if (bdrv_get_child(luks_source, "header")) {
        error_setg(errp, "Parameter 'clone-header': node '%s' has a detached header; save it with 'qemu-img header "
                   "backup', and copy the node of the payload, '%s', in format raw", name,
                   bdrv_get_display_name(luks_source->file->bs));
    } else if (o->format || o->key_secret || o->create_options) {
        error_setg(errp, "Parameters 'clone-header' and '%s' exclude each other: a clone is encrypted as its source is",
                   o->format ? "format" : o->key_secret ? "key-secret" : "create-options");
    } else {
        return true;
    }
    return false;
}

/* Set s->luks: the options of the new header, and the secret. */
static bool set_luks_options(TargetJob *s, const BlockDriverState *luks_source, Error **errp)
{
    const TargetCreateOptions *given = s->o->create_options;
    const char *secret = s->o->key_secret;

    if (given) {
        s->luks = QAPI_CLONE(QCryptoBlockCreateOptionsLUKS, qapi_TargetCreateOptions_base(given));
    } else {
        s->luks = g_new0(QCryptoBlockCreateOptionsLUKS, 1);
    }
    if (secret && s->luks->key_secret) {
        error_setg(errp, "Parameters 'key-secret' and 'create-options.key-secret' exclude each other");
        return false;
    }
    if (!s->luks->key_secret) {
        s->luks->key_secret = g_strdup(secret ?: luks_source ? luks_source->options->u.luks.key_secret : NULL);
    }
    if (!s->luks->key_secret) {
        error_setg(errp, "Parameter 'key-secret' is required: the target is encrypted, and node '%s' is not",
                   bdrv_get_display_name(s->o->source));
        return false;
    }
    g_autoptr(SecretBuffer) password = qcrypto_secret_lookup(s->luks->key_secret, errp);
    if (!password) {
        return false;
    }
    bdrv_inherit_luks_options(s->o->source, s->luks);
    return qcrypto_luks_create_bytes(s->luks, NULL, errp);
}

/* Refuse options that do not apply to the target's format or mode. */
static bool check_unused(const TargetJob *s, Error **errp)
{
    const TargetCreateOptions *c = s->o->create_options;
    const char *format = BlockdevDriver_str(s->format);
    bool crypto = c && (c->key_secret || c->has_cipher_alg || c->has_cipher_mode || c->has_ivgen_alg ||
                        c->has_ivgen_hash_alg || c->has_hash_alg || c->has_iter_time);

    if (s->format != BLOCKDEV_DRIVER_LUKS && s->o->key_secret) {
        error_setg(errp, "Format '%s' does not encrypt, so parameter 'key-secret' cannot be used", format);
    } else if (s->format != BLOCKDEV_DRIVER_LUKS && (crypto || (c && c->header))) {
        error_setg(errp, "Parameter 'create-options' is for format 'luks', but the target's is '%s'", format);
    } else if (s->o->mode == NEW_IMAGE_MODE_EXISTING && c && (crypto || c->has_preallocation)) {
        error_setg(errp, "Parameter 'create-options': for an existing target only 'header' can be set");
    } else if (c && c->has_preallocation && c->preallocation == PREALLOC_MODE_METADATA) {
        error_setg(errp, "Unsupported preallocation mode '%s'", PreallocMode_str(c->preallocation));
    } else {
        return true;
    }
    return false;
}

static bool check_options(TargetJob *s, Error **errp)
{
    const CopyTargetOptions *o = s->o;
    BlockDriverState *luks_source = bdrv_find_luks(o->source);

    if ((o->node_name && !bdrv_check_node_name(o->node_name, errp)) ||
        (o->clone_header && !check_clone(s, luks_source, errp)) || !set_format(s, luks_source, errp)) {
        return false;
    }
    s->t->source = bdrv_ref(o->clone_header ? luks_source->file->bs : o->source);
    if (o->clone_header) {
        return true;
    }
    /* If the format is to be probed, this is checked once the target is open. */
    return s->probe || (check_unused(s, errp) &&
                        (s->format != BLOCKDEV_DRIVER_LUKS || set_luks_options(s, luks_source, errp)));
}

/* The node below the source of a clone may have been replaced while the target was opened. */
static bool check_still_source(const CopyTarget *t, const CopyTargetOptions *o, Error **errp)
{
    if (o->clone_header && bdrv_find_luks(o->source)->file->bs != t->source) {
        error_setg(errp, "Node '%s' is not stored in node '%s' any more: try again", bdrv_get_display_name(o->source),
                   bdrv_get_display_name(t->source));
        return false;
    }
    return true;
}

/* Record in the log who can read the copy from now on. */
static void warn_readable(const CopyTarget *t, const CopyTargetOptions *o)
{
    const char *name = bdrv_get_display_name(o->source);

    if (o->clone_header) {
        warn_report("'%s' is becoming a clone of node '%s' with the same volume key: whoever can open one of the two "
                    "can decrypt the other, even after its passwords were changed", t->payload->bs->filename, name);
    } else if (bdrv_find_luks(o->source) && !bdrv_find_luks(t->bs)) {
        warn_report("node '%s' is encrypted, but its copy in '%s' is not", name, t->payload->bs->filename);
    }
}

/* Opening */

static BlockdevRef ref_to(const BlockDriverState *bs)
{
    return (BlockdevRef){ .type = QTYPE_QSTRING, .u.reference = bs->node_name };
}

/* A volume that cannot be resized may be longer than the @bytes that are used of it. */
static bool needs_window(const TargetVolume *v, int64_t bytes)
{
    return target_volume_is_fixed(v) && bdrv_getlength(v->bs) > bytes;
}

static BlockDriverState *coroutine_fn open_raw_over(const TargetVolume *v, int64_t bytes, const char *node_name,
                                                    bool unmap, Error **errp)
{
    bool window = needs_window(v, bytes);
    BlockdevRef file = ref_to(v->bs);
    const BlockdevOptions options = {
        .driver = BLOCKDEV_DRIVER_RAW, .node_name = (char *)node_name, .has_discard = true,
        .discard = unmap ? BLOCKDEV_DISCARD_OPTIONS_UNMAP : BLOCKDEV_DISCARD_OPTIONS_IGNORE,
        .u.raw = { .file = &file, .has_size = window, .size = window ? bytes : 0 },
    };

    return bdrv_co_open_blockdev(&options, 0, errp);
}

static BlockDriverState *coroutine_fn open_luks_over(const TargetJob *s, BlockDriverState *bs, BdrvOpenFlags flags,
                                                     Error **errp)
{
    const CopyTarget *t = s->t;
    BlockdevRef file = ref_to(bs), header = t->header ? ref_to(t->header->bs) : (BlockdevRef){ 0 };
    bool named = !(flags & BDRV_O_NO_IO);
    const BlockdevRef ref = {
        .type = QTYPE_QDICT,
        .u.definition = {
            .driver = BLOCKDEV_DRIVER_LUKS, .node_name = named ? (char *)s->o->node_name : NULL, .has_discard = true,
            .discard = s->o->unmap ? BLOCKDEV_DISCARD_OPTIONS_UNMAP : BLOCKDEV_DISCARD_OPTIONS_IGNORE,
            .u.luks = { .key_secret = s->luks->key_secret, .file = &file, .header = t->header ? &header : NULL },
        },
    };

    return bdrv_co_open_blockdev_ref(&ref, flags, (Job *)&s->common, errp);
}

/* Open the luks volume whose payload begins at @payload_offset. */
static bool coroutine_fn open_luks(TargetJob *s, int64_t payload_offset, Error **errp)
{
    int64_t bytes = payload_offset + bdrv_getlength(s->o->source);
    const TargetVolume *v = s->t->payload;
    BlockDriverState *bs = needs_window(v, bytes) ? open_raw_over(v, bytes, NULL, true, errp) : bdrv_ref(v->bs);

    if (bs) {
        s->t->bs = open_luks_over(s, bs, 0, errp);
        bdrv_co_unref(bs);
    }
    return s->t->bs;
}

static bool coroutine_fn open_raw(TargetJob *s, Error **errp)
{
    s->t->bs = open_raw_over(s->t->payload, bdrv_getlength(s->t->source), s->o->node_name, s->o->unmap, errp);
    return s->t->bs;
}

/* Open and check the volumes. Until this succeeds, nothing is written. */
static bool coroutine_fn open_volumes(TargetJob *s, Error **errp)
{
    const TargetCreateOptions *c = s->o->create_options;
    bool create = s->o->mode == NEW_IMAGE_MODE_ABSOLUTE_PATHS;
    CopyTarget *t = s->t;

    if (!(t->payload = target_volume_new("target", s->o->filename, errp)) ||
        (c && c->header && !(t->header = target_volume_new("target's header", c->header, errp))) ||
        !target_volume_open(t->payload, create, false, &s->common, errp) ||
        !target_volume_check_apart(t->payload, s->o->source, errp) || !target_volume_check_unused(t->payload, errp)) {
        return false;
    }
    return !t->header || (target_volume_open(t->header, create, true, &s->common, errp) &&
                          target_volume_check_apart(t->header, s->o->source, errp) &&
                          target_volume_check_apart(t->header, t->payload->bs, errp) &&
                          target_volume_check_unused(t->header, errp));
}

/* New targets */

static bool coroutine_fn write_luks_header(const TargetJob *s, PreallocMode prealloc, Error **errp)
{
    g_autoptr(BlockdevCreateOptions) options = g_new0(BlockdevCreateOptions, 1);
    BlockdevRef file = ref_to(s->t->payload->bs), header = { 0 };
    BlockdevCreateOptionsLUKS *luks = &options->u.luks;

    options->driver = BLOCKDEV_DRIVER_LUKS;
    *qapi_BlockdevCreateOptionsLUKS_base(luks) = *s->luks;
    luks->key_secret = g_strdup(s->luks->key_secret);
    luks->size = bdrv_getlength(s->o->source);
    luks->has_preallocation = true;
    luks->preallocation = prealloc;
    luks->file = QAPI_CLONE(BlockdevRef, &file);
    if (s->t->header) {
        header = ref_to(s->t->header->bs);
        luks->header = QAPI_CLONE(BlockdevRef, &header);
    }
    return bdrv_create(options, (Job *)&s->common, errp);
}

static bool coroutine_fn create_luks(TargetJob *s, PreallocMode prealloc, Error **errp)
{
    const TargetVolume *payload = s->t->payload, *header = s->t->header;
    int64_t bytes = bdrv_getlength(s->o->source);
    uint64_t header_bytes;

    if (!qcrypto_luks_create_bytes(s->luks, &header_bytes, errp)) {
        return false;
    }
    int64_t payload_offset = header ? 0 : header_bytes;
    if (bytes > BDRV_MAX_LENGTH - payload_offset) {
        error_setg(errp, "Node '%s' is too large for an encrypted copy", bdrv_get_display_name(s->o->source));
        return false;
    }
    if (!target_volume_check(payload, payload_offset + bytes, errp) ||
        (header && !target_volume_check(header, header_bytes, errp))) {
        return false;
    }
    return target_volume_resize(payload, 0, PREALLOC_MODE_OFF, &s->common, errp) &&
           (!header || target_volume_resize(header, 0, PREALLOC_MODE_OFF, &s->common, errp)) &&
           write_luks_header(s, prealloc, errp) && open_luks(s, payload_offset, errp);
}

static bool coroutine_fn create_raw(TargetJob *s, PreallocMode prealloc, Error **errp)
{
    const TargetVolume *v = s->t->payload;
    int64_t bytes = bdrv_getlength(s->t->source);

    s->t->is_zero = !target_volume_is_fixed(v);
    return target_volume_check(v, bytes, errp) && target_volume_resize(v, bytes, prealloc, &s->common, errp) &&
           open_raw(s, errp);
}

/* Existing targets */

static bool coroutine_fn open_existing_luks(TargetJob *s, Error **errp)
{
    BlockDriverState *luks = open_luks_over(s, s->t->payload->bs, BDRV_O_NO_IO, errp);

    if (!luks) {
        return false;
    }
    g_autoptr(ImageInfoSpecific) info = bdrv_get_specific_info(luks);
    bool ok = bdrv_getlength(luks) >= bdrv_getlength(s->o->source);
    if (!ok) {
        error_setg(errp, "The LUKS volume in '%s' can store %" PRId64 " bytes, but node '%s' has %" PRId64,
                   s->t->payload->bs->filename, bdrv_getlength(luks), bdrv_get_display_name(s->o->source),
                   bdrv_getlength(s->o->source));
    }
    bdrv_co_unref(luks);
    return ok && open_luks(s, info->u.luks.data->payload_offset, errp);
}

/* Open a target without a given format. */
static bool coroutine_fn open_probed(TargetJob *s, Error **errp)
{
    g_autofree char *uuid = bdrv_probe_luks_uuid(s->t->payload->bs);

    if (uuid || s->o->key_secret || s->t->header) {
        s->format = BLOCKDEV_DRIVER_LUKS;
        return check_unused(s, errp) && set_luks_options(s, NULL, errp) && open_existing_luks(s, errp);
    }
    g_autoptr(json_object) options = json_object_new_object();
    json_object_object_add(options, "file", json_object_new_string(s->t->payload->bs->node_name));
    json_object_object_add(options, "discard", json_object_new_string(s->o->unmap ? "unmap" : "ignore"));
    if (s->o->node_name) {
        json_object_object_add(options, "node-name", json_object_new_string(s->o->node_name));
    }
    s->t->bs = bdrv_co_open(NULL, options, 0, errp);
    return s->t->bs;
}

static bool coroutine_fn open_existing(TargetJob *s, Error **errp)
{
    const BlockDriverState *source = s->t->source;

    if (s->probe ? !open_probed(s, errp)
                 : s->format == BLOCKDEV_DRIVER_LUKS ? !open_existing_luks(s, errp) : !open_raw(s, errp)) {
        return false;
    }
    if (bdrv_getlength(s->t->bs) != bdrv_getlength(source)) {
        error_setg(errp, "Source and target image have different sizes: node '%s' has %" PRId64 " bytes, '%s' %" PRId64,
                   bdrv_get_display_name(source), bdrv_getlength(source), s->t->payload->bs->filename,
                   bdrv_getlength(s->t->bs));
        return false;
    }
    return true;
}

static bool coroutine_fn target_run(Job *job, Error **errp)
{
    TargetJob *s = container_of(job, TargetJob, common);
    const TargetCreateOptions *c = s->o->create_options;
    PreallocMode prealloc = c && c->has_preallocation ? c->preallocation : PREALLOC_MODE_OFF;

    if (!open_volumes(s, errp)) {
        return false;
    }
    if (s->o->mode == NEW_IMAGE_MODE_EXISTING) {
        return open_existing(s, errp);
    }
    return s->format == BLOCKDEV_DRIVER_LUKS ? create_luks(s, prealloc, errp) : create_raw(s, prealloc, errp);
}

/* With an abort function, a cancel makes the job fail even if it comes after the work. The caller does the rest. */
static void coroutine_fn target_abort(Job *job)
{
}

static void target_free(Job *job)
{
    TargetJob *s = container_of(job, TargetJob, common);

    qapi_free_QCryptoBlockCreateOptionsLUKS(s->luks);
}

/* Check the options and run the job, which frees @s. Meanwhile, the source can be neither deleted nor resized. */
static bool coroutine_fn target_job_run(TargetJob *s, Error **errp)
{
    g_autofree char *user = g_strdup_printf("job '%s'", s->common.id);
    BlockBackend *blk = blk_new(user, 0, BLK_PERM_ALL & ~BLK_PERM_RESIZE);
    bool ok = check_options(s, errp) && blk_insert_bs(blk, s->o->source, errp);

    if (ok) {
        ok = job_run_co(&s->common, errp);
    } else {
        job_discard(&s->common);
    }
    blk_co_unref(blk);
    return ok;
}

CopyTarget *coroutine_fn copy_target_new(const char *job_id, const CopyTargetOptions *options, Error **errp)
{
    static const JobDriver driver = {
        .instance_size = sizeof(TargetJob), .type = JOB_TYPE_CREATE, .run = target_run, .abort = target_abort,
        .free = target_free,
    };

    GLOBAL_STATE_CODE();
    TargetJob *s = job_create(job_id, &driver, JOB_QUIET, errp);
    if (!s) {
        return NULL;
    }
    CopyTarget *t = g_new0(CopyTarget, 1);
    s->o = options;
    s->t = t;
    if (!target_job_run(s, errp) || !check_still_source(t, options, errp)) {
        copy_target_free(t, false);
        return NULL;
    }
    warn_readable(t, options);
    return t;
}

void coroutine_fn copy_target_free(CopyTarget *t, bool keep)
{
    if (!t) {
        return;
    }
    bdrv_co_unref(t->bs);
    bdrv_co_unref(t->source);
    target_volume_free(t->header, keep);
    target_volume_free(t->payload, keep);
    g_free(t);
}
