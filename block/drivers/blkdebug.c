/*
 * blkdebug: a filter that makes requests fail, as its rules say, or limits them as other storage would
 *
 * Rules refer to events, which the layers above raise with bdrv_debug_event(). An event makes rules apply; from then on
 * every request is checked against those that do. For example, a rule for pwritev without iotype also fails the reads
 * after the first write.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include <json-c/json.h>

#include "block/block_int.h"
#include "block/drivers.h"
#include "block/drivers/blkdebug.h"
#include "qapi/json.h"
#include "qapi/qapi.h"
#include "util/aio.h"

/* The largest value of errno; the kernel's system calls have the same limit. */
#define ERRNO_MAX 4095
/* A write that is not aligned needs a buffer of twice this size. */
#define BLKDEBUG_MAX_ALIGN (INT64_C(64) * MiB)

typedef struct ErrorRule {
    BlkdebugInjectErrorOptions *o;
    bool active;
    bool used;          /* once=on, and it has failed a request */
} ErrorRule;

typedef struct BDRVBlkdebugState {
    uint32_t align;     /* these are 0 for what the child has */
    int32_t max_transfer;
    uint32_t opt_write_zero;
    uint32_t opt_discard;
    int64_t max_write_zero;
    int64_t max_discard;
    uint64_t take_child_perms;
    uint64_t unshare_child_perms;

    GMutex lock;
    int64_t state;                          /* under lock */
    GArray *errors;                         /* of ErrorRule, in the order of the options; under lock */
    BlkdebugSetStateOptionsList *states;
} BDRVBlkdebugState;

static void error_rule_clear(void *opaque)
{
    ErrorRule *rule = opaque;

    qapi_free_BlkdebugInjectErrorOptions(rule->o);
}

static bool blkdebug_add_error(BDRVBlkdebugState *s, const BlkdebugInjectErrorOptions *o, Error **errp)
{
    if (o->has_q_errno && (o->q_errno < 0 || o->q_errno > ERRNO_MAX)) {
        error_setg(errp, "inject-error: 'errno' must be between 0 and %d", ERRNO_MAX);
        return false;
    }
    if (o->has_sector && (o->sector < -1 || o->sector > BDRV_MAX_LENGTH / BDRV_SECTOR_SIZE)) {
        error_setg(errp, "inject-error: 'sector' must be between 0 and %" PRId64 ", or -1 for all",
                   BDRV_MAX_LENGTH / BDRV_SECTOR_SIZE);
        return false;
    }
    ErrorRule rule = { .o = QAPI_CLONE(BlkdebugInjectErrorOptions, o) };
    g_array_append_val(s->errors, rule);
    return true;
}

/* Those of the file come first. */
static bool coroutine_fn blkdebug_add_rules(BDRVBlkdebugState *s, const BlockdevOptionsBlkdebug *o, Error **errp)
{
    g_autoptr(BlkdebugInjectErrorOptionsList) errors = NULL;

    if (o->config && !blkdebug_read_config(o->config, &errors, &s->states, errp)) {
        return false;
    }
    for (size_t i = 0; errors && i < errors->n; i++) {
        if (!blkdebug_add_error(s, errors->items[i], errp)) {
            error_prepend(errp, "%s: ", o->config);
            return false;
        }
    }
    for (size_t i = 0; o->inject_error && i < o->inject_error->n; i++) {
        if (!blkdebug_add_error(s, o->inject_error->items[i], errp)) {
            return false;
        }
    }
    for (size_t i = 0; o->set_state && i < o->set_state->n; i++) {
        QAPI_LIST_APPEND(s->states, QAPI_CLONE(BlkdebugSetStateOptions, o->set_state->items[i]));
    }
    return true;
}

/* Check the option @name: @value is 0, or a multiple of *@unit, which it then replaces. */
static bool blkdebug_check_limit(const char *name, uint64_t value, int64_t *unit, Error **errp)
{
    if (value > BDRV_MAX_ALIGNMENT || value % *unit) {
        error_setg(errp, "Cannot meet constraints with %s %" PRIu64 ": it must be a multiple of %" PRId64
                   ", and at most %" PRId64, name, value, *unit, BDRV_MAX_ALIGNMENT);
        return false;
    }
    *unit = value ? (int64_t)value : *unit;
    return true;
}

static bool blkdebug_set_limits(BlockDriverState *bs, Error **errp)
{
    BDRVBlkdebugState *s = bs->opaque;
    const BlockdevOptionsBlkdebug *o = &bs->options->u.blkdebug;
    int64_t align = bs->file->bs->bl.request_alignment;

    if (o->align & (o->align - 1) || o->align > BLKDEBUG_MAX_ALIGN) {
        error_setg(errp, "Cannot meet constraints with align %" PRIu64 ": it must be a power of 2, and at most %"
                   PRId64, o->align, BLKDEBUG_MAX_ALIGN);
        return false;
    }
    align = MAX(align, (int64_t)o->align);
    int64_t transfer = align, zero = align, discard = align;
    if (!blkdebug_check_limit("max-transfer", o->max_transfer, &transfer, errp) ||
        !blkdebug_check_limit("opt-write-zero", o->opt_write_zero, &zero, errp) ||
        !blkdebug_check_limit("max-write-zero", o->max_write_zero, &zero, errp) ||
        !blkdebug_check_limit("opt-discard", o->opt_discard, &discard, errp) ||
        !blkdebug_check_limit("max-discard", o->max_discard, &discard, errp)) {
        return false;
    }
    s->align = o->align;
    s->max_transfer = o->max_transfer;
    s->opt_write_zero = o->opt_write_zero;
    s->max_write_zero = o->max_write_zero;
    s->opt_discard = o->opt_discard;
    s->max_discard = o->max_discard;
    return true;
}

static uint64_t perms_from_list(const BlockPermissionList *list)
{
    uint64_t perm = 0;

    for (size_t i = 0; list && i < list->n; i++) {
        perm |= bdrv_qapi_perm_to_blk_perm(list->items[i]);
    }
    return perm;
}

static void blkdebug_debug_event(BlockDriverState *bs, BlkdebugEvent event);

static void coroutine_fn blkdebug_co_close(BlockDriverState *bs)
{
    BDRVBlkdebugState *s = bs->opaque;

    g_array_unref(s->errors);
    qapi_free_BlkdebugSetStateOptionsList(s->states);
    g_mutex_clear(&s->lock);
}

static bool coroutine_fn blkdebug_co_open(BlockDriverState *bs, Error **errp)
{
    BDRVBlkdebugState *s = bs->opaque;
    const BlockdevOptionsBlkdebug *o = &bs->options->u.blkdebug;

    g_mutex_init(&s->lock);
    s->errors = g_array_new(FALSE, FALSE, sizeof(ErrorRule));
    g_array_set_clear_func(s->errors, error_rule_clear);
    s->state = 1;
    s->take_child_perms = perms_from_list(o->take_child_perms);
    s->unshare_child_perms = perms_from_list(o->unshare_child_perms);

    if (!blkdebug_add_rules(s, o, errp) ||
        !bdrv_co_open_child(bs, "image", o->image, BDRV_CHILD_FILTERED, errp) ||
        !blkdebug_set_limits(bs, errp)) {
        blkdebug_co_close(bs);
        return false;
    }
    blkdebug_debug_event(bs, BLKDBG_NONE);
    return true;
}

static void blkdebug_child_perm(BlockDriverState *bs, const char *name, uint32_t role, uint64_t perm, uint64_t shared,
                                uint64_t *nperm, uint64_t *nshared)
{
    BDRVBlkdebugState *s = bs->opaque;

    bdrv_default_perms(bs, name, role, perm, shared, nperm, nshared);
    *nperm |= s->take_child_perms;
    *nshared &= ~s->unshare_child_perms;
}

/* The child's blocks may have become larger since the options were checked. */
static void blkdebug_refresh_limits(BlockDriverState *bs)
{
    BDRVBlkdebugState *s = bs->opaque;
    BlockLimits *bl = &bs->bl;

    bl->request_alignment = MAX(bl->request_alignment, s->align);
    bl->max_transfer = s->max_transfer;
    bl->pwrite_zeroes_alignment = ROUND_UP(s->opt_write_zero, bl->request_alignment);
    bl->max_pwrite_zeroes = s->max_write_zero;
    bl->pdiscard_alignment = ROUND_UP(s->opt_discard, bl->request_alignment);
    bl->max_pdiscard = s->max_discard;
}

static bool is_for_state(bool has_state, int64_t state, int64_t current)
{
    return !has_state || state == 0 || state == current;
}

/* Rules are chosen by the state before the event. */
static void blkdebug_debug_event(BlockDriverState *bs, BlkdebugEvent event)
{
    BDRVBlkdebugState *s = bs->opaque;
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&s->lock);
    bool found = false;

    for (guint i = 0; i < s->errors->len; i++) {
        ErrorRule *rule = &g_array_index(s->errors, ErrorRule, i);

        if (rule->used || rule->o->event != event || !is_for_state(rule->o->has_state, rule->o->state, s->state)) {
            continue;
        }
        for (guint j = 0; !found && j < s->errors->len; j++) {
            g_array_index(s->errors, ErrorRule, j).active = false;
        }
        found = true;
        rule->active = true;
    }
    for (size_t i = 0; s->states && i < s->states->n; i++) {
        const BlkdebugSetStateOptions *o = s->states->items[i];

        if (o->event == event && is_for_state(o->has_state, o->state, s->state)) {
            s->state = o->new_state;
            break;
        }
    }
}

static bool error_rule_matches(const ErrorRule *rule, int64_t offset, int64_t bytes, BlkdebugIOType iotype)
{
    const BlkdebugInjectErrorOptions *o = rule->o;
    int64_t sector = o->has_sector ? o->sector : -1;

    if (!rule->active || rule->used) {
        return false;
    }
    if (sector >= 0 && (sector * BDRV_SECTOR_SIZE < offset || sector * BDRV_SECTOR_SIZE >= offset + bytes)) {
        return false;
    }
    return o->has_iotype ? o->iotype == iotype : iotype != BLKDEBUG_IO_TYPE_BLOCK_STATUS;
}

/* -errno if the rules make this request fail, else 0. A request without a range has 0 @bytes. */
static int coroutine_fn blkdebug_co_check_rules(BlockDriverState *bs, int64_t offset, int64_t bytes,
                                                BlkdebugIOType iotype)
{
    BDRVBlkdebugState *s = bs->opaque;
    bool immediately = false;
    int ret = 0;

    g_mutex_lock(&s->lock);
    for (guint i = 0; i < s->errors->len; i++) {
        ErrorRule *rule = &g_array_index(s->errors, ErrorRule, i);

        if (error_rule_matches(rule, offset, bytes, iotype)) {
            ret = rule->o->has_q_errno ? -rule->o->q_errno : -EIO;
            immediately = rule->o->immediately;
            rule->used = rule->o->once && ret < 0;
            break;
        }
    }
    g_mutex_unlock(&s->lock);
    if (ret < 0 && !immediately) {
        aio_co_yield();
    }
    return ret;
}

/* How many of @bytes from @offset on the child has: the last of our blocks may go beyond its end. */
static int64_t blkdebug_child_bytes(BlockDriverState *bs, int64_t offset, int64_t bytes)
{
    return MIN(bytes, MAX(bs->length - offset, 0));
}

static int coroutine_fn blkdebug_co_transfer(BlockDriverState *bs, int64_t offset, QEMUIOVector *qiov, bool write,
                                             BdrvRequestFlags flags)
{
    return write ? bdrv_co_pwritev(bs->file, offset, qiov->size, qiov, flags)
                 : bdrv_co_preadv(bs->file, offset, qiov->size, qiov, flags);
}

static int coroutine_fn blkdebug_co_rw(BlockDriverState *bs, int64_t offset, int64_t bytes, QEMUIOVector *qiov,
                                       bool write, BdrvRequestFlags flags)
{
    int64_t n = blkdebug_child_bytes(bs, offset, bytes);
    int ret = blkdebug_co_check_rules(bs, offset, bytes, write ? BLKDEBUG_IO_TYPE_WRITE : BLKDEBUG_IO_TYPE_READ);
    QEMUIOVector part;

    if (ret < 0 || n == bytes) {
        return ret ?: blkdebug_co_transfer(bs, offset, qiov, write, flags);
    }
    qemu_iovec_init_slice(&part, qiov, 0, n);
    ret = blkdebug_co_transfer(bs, offset, &part, write, flags);
    qemu_iovec_destroy(&part);
    if (!write) {
        qemu_iovec_memset(qiov, n, 0, bytes - n);
    }
    return ret;
}

static int coroutine_fn blkdebug_co_preadv(BlockDriverState *bs, int64_t offset, int64_t bytes, QEMUIOVector *qiov,
                                           BdrvRequestFlags flags)
{
    return blkdebug_co_rw(bs, offset, bytes, qiov, false, flags);
}

static int coroutine_fn blkdebug_co_pwritev(BlockDriverState *bs, int64_t offset, int64_t bytes, QEMUIOVector *qiov,
                                            BdrvRequestFlags flags)
{
    return blkdebug_co_rw(bs, offset, bytes, qiov, true, flags);
}

static int coroutine_fn blkdebug_co_pwrite_zeroes(BlockDriverState *bs, int64_t offset, int64_t bytes,
                                                  BdrvRequestFlags flags)
{
    return blkdebug_co_check_rules(bs, offset, bytes, BLKDEBUG_IO_TYPE_WRITE_ZEROES) ?:
           bdrv_co_pwrite_zeroes(bs->file, offset, blkdebug_child_bytes(bs, offset, bytes), flags);
}

static int coroutine_fn blkdebug_co_pdiscard(BlockDriverState *bs, int64_t offset, int64_t bytes)
{
    return blkdebug_co_check_rules(bs, offset, bytes, BLKDEBUG_IO_TYPE_DISCARD) ?:
           bdrv_co_pdiscard(bs->file, offset, blkdebug_child_bytes(bs, offset, bytes));
}

static int coroutine_fn blkdebug_co_secure_discard(BlockDriverState *bs, int64_t offset, int64_t bytes)
{
    return blkdebug_co_check_rules(bs, offset, bytes, BLKDEBUG_IO_TYPE_DISCARD) ?:
           bdrv_co_secure_discard(bs->file, offset, bytes);
}

/* The child is flushed next. */
static int coroutine_fn blkdebug_co_flush(BlockDriverState *bs)
{
    return blkdebug_co_check_rules(bs, 0, 0, BLKDEBUG_IO_TYPE_FLUSH);
}

static int coroutine_fn blkdebug_co_block_status(BlockDriverState *bs, int64_t offset, int64_t bytes, int64_t *pnum,
                                                 int64_t *map, BlockDriverState **file)
{
    int ret = blkdebug_co_check_rules(bs, offset, bytes, BLKDEBUG_IO_TYPE_BLOCK_STATUS);

    *pnum = bytes;
    *map = offset;
    *file = bs->file->bs;
    return ret ?: BDRV_BLOCK_RECURSE | BDRV_BLOCK_OFFSET_VALID;
}

/* blkdebug:CONFIG:FILENAME, where CONFIG may be empty */
static bool coroutine_mixed_fn blkdebug_parse_filename(const char *filename, struct json_object *options, Error **errp)
{
    const char *config = filename + strlen("blkdebug:");
    const char *image = strchr(config, ':');

    if (!image) {
        error_setg(errp, "'%s' is not blkdebug:CONFIG:FILENAME", filename);
        return false;
    }
    if (image > config) {
        json_object_object_add(options, "config", qapi_json_new_string(config, image - config));
    }
    image++;
    if (g_str_has_prefix(image, "blkdebug:")) {
        error_setg(errp, "'%s': stack one blkdebug on another with options, not with filenames", filename);
        return false;
    }
    struct json_object *child = bdrv_filename_to_options(image, errp);
    if (child) {
        json_object_object_add(options, "image", child);
    }
    return child;
}

const BlockDriver bdrv_blkdebug = {
    .format_name = "blkdebug",
    .driver = BLOCKDEV_DRIVER_BLKDEBUG,
    .instance_size = sizeof(BDRVBlkdebugState),
    .is_filter = true,
    .protocol_names = (const char *const[]){ "blkdebug", NULL },
    .bdrv_parse_filename = blkdebug_parse_filename,
    .strong_runtime_opts = (const char *const[]){ "config", "inject-error", "set-state", NULL },

    .bdrv_co_open = blkdebug_co_open,
    .bdrv_co_close = blkdebug_co_close,
    .bdrv_refresh_limits = blkdebug_refresh_limits,
    .bdrv_child_perm = blkdebug_child_perm,
    .bdrv_debug_event = blkdebug_debug_event,

    .bdrv_co_preadv = blkdebug_co_preadv,
    .bdrv_co_pwritev = blkdebug_co_pwritev,
    .bdrv_co_flush = blkdebug_co_flush,
    .supported_write_flags = BDRV_REQ_FUA | BDRV_REQ_OWN_BUFFER | BDRV_REQ_WRITE_UNCHANGED,
    .supported_zero_flags = BDRV_REQ_FUA | BDRV_REQ_MAY_UNMAP | BDRV_REQ_NO_FALLBACK | BDRV_REQ_WRITE_UNCHANGED,
    .bdrv_co_pwrite_zeroes = blkdebug_co_pwrite_zeroes,
    .bdrv_co_pdiscard = blkdebug_co_pdiscard,
    .bdrv_co_secure_discard = blkdebug_co_secure_discard,
    .bdrv_co_block_status = blkdebug_co_block_status,
};
