/*
 * iscsi: a LUN of an iSCSI target
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include <iscsi/iscsi.h>
#include <iscsi/scsi-lowlevel.h>

#include "block/drivers.h"
#include "block/drivers/iscsi.h"
#include "block/graph/graph_int.h"
#include "crypto/secret.h"

#define MAX_TRANSFER (16 * MiB)
/* libiscsi truncates longer strings. */
#define MAX_STRING 255
/* QEMU's default, which access lists of targets may contain. */
#define DEFAULT_INITIATOR "iqn.2008-11.org.linux-kvm"

enum {
    CDB_FUA = 0x08,
    CDB_UNMAP = 0x08,           /* of WRITE SAME */
    SERVICE_ACTION_LBA_STATUS = 0x12,
    LBA_STATUS_BYTES = 24,
    UNMAP_LIST_BYTES = 24,
};

static void target_clear(ISCSITarget *t)
{
    g_free(t->name);
    g_free(t->portal);
    g_free(t->target);
    g_free(t->user);
    secret_buffer_free(t->password);
    g_free(t->initiator);
}

/* CHAP: both a user and a password, or neither. */
static bool target_take_password(ISCSITarget *t, const BlockdevOptionsIscsi *o, Error **errp)
{
    if (!o->user != !o->password_secret) {
        error_setg(errp, "Option '%s' needs '%s'", o->user ? "user" : "password-secret",
                   o->user ? "password-secret" : "user");
        if (o->user) {
            error_append_hint(errp, "Create a secret object with the password (--object secret,id=ID,file=...), and "
                              "specify it with password-secret=ID.\n");
        }
        return false;
    }
    if (!o->user) {
        return true;
    }
    t->password = qcrypto_secret_lookup(o->password_secret, errp);
    if (!t->password) {
        return false;
    }
    if (t->password->len > MAX_STRING || memchr(t->password->data, 0, t->password->len)) {
        error_setg(errp, "The password in secret '%s' is longer than %d bytes, or has a NUL byte", o->password_secret,
                   MAX_STRING);
        return false;
    }
    secret_buffer_append(t->password, "", 1);
    t->user = g_strdup(o->user);
    return true;
}

static bool check_string(const char *option, const char *value, Error **errp)
{
    if (value && (!*value || strlen(value) > MAX_STRING)) {
        error_setg(errp, "Option '%s' must have 1 to %d bytes", option, MAX_STRING);
        return false;
    }
    return true;
}

static bool check_options(const BlockdevOptionsIscsi *o, Error **errp)
{
    if (o->transport != ISCSI_TRANSPORT_TCP) {
        error_setg(errp, "Transport '%s' is not supported, only 'tcp'", IscsiTransport_str(o->transport));
    } else if (o->has_lun && (o->lun < 0 || o->lun > UINT16_MAX)) {
        error_setg(errp, "Option 'lun' must be from 0 to %d", UINT16_MAX);
    } else if (o->has_timeout && (o->timeout < 0 || o->timeout > INT32_MAX)) {
        error_setg(errp, "Option 'timeout' must be from 0 to %d seconds", INT32_MAX);
    } else {
        return check_string("portal", o->portal, errp) && check_string("target", o->target, errp) &&
               check_string("user", o->user, errp) && check_string("initiator-name", o->initiator_name, errp);
    }
    return false;
}

static int digest_of(const BlockdevOptionsIscsi *o)
{
    static const int digests[] = {
        [QAPI_ISCSI_HEADER_DIGEST_CRC32C] = ISCSI_HEADER_DIGEST_CRC32C,
        [QAPI_ISCSI_HEADER_DIGEST_NONE] = ISCSI_HEADER_DIGEST_NONE,
        [QAPI_ISCSI_HEADER_DIGEST_CRC32C_NONE] = ISCSI_HEADER_DIGEST_CRC32C_NONE,
        [QAPI_ISCSI_HEADER_DIGEST_NONE_CRC32C] = ISCSI_HEADER_DIGEST_NONE_CRC32C,
    };

    return o->has_header_digest ? digests[o->header_digest] : ISCSI_HEADER_DIGEST_NONE_CRC32C;
}

static bool target_init(ISCSITarget *t, const BlockdevOptionsIscsi *o, Error **errp)
{
    g_autofree char *host = NULL, *port = NULL;
    unsigned lun = o->has_lun ? o->lun : 0;

    if (!check_options(o, errp) || !iscsi_parse_portal(o->portal, &host, &port, errp)) {
        return false;
    }
    g_autofree char *name = g_strdup_printf("%s/%s/%u", o->portal, o->target, lun);
    t->name = bdrv_printable(name);
    t->portal = g_strdup(o->portal);
    t->target = g_strdup(o->target);
    t->lun = lun;
    t->initiator = g_strdup(o->initiator_name ?: DEFAULT_INITIATOR);
    t->header_digest = digest_of(o);
    t->timeout_ns = o->has_timeout ? o->timeout * NANOSECONDS_PER_SECOND : 0;
    t->isid = g_random_int() & 0xffffff;
    /* Even: discovery uses the odd ones. */
    t->isid_qualifier = g_random_int() & 0xfffe;
    return target_take_password(t, o, errp);
}

/* If the LUN is read-only, adjust *@read_only if @options allow that. False with @errp. */
static bool check_read_only(const BDRVISCSIState *s, const BlockdevOptions *options, bool *read_only, Error **errp)
{
    if (!s->lun.read_only || bdrv_apply_auto_read_only(options, read_only, "the LUN is read-only", errp)) {
        return true;
    }
    error_prepend(errp, "iSCSI LUN '%s': ", s->target.name);
    return false;
}

static bool coroutine_fn iscsi_co_open(BlockDriverState *bs, Error **errp)
{
    BDRVISCSIState *s = bs->opaque;
    const BlockdevOptionsIscsi *o = &bs->options->u.iscsi;
    ISCSISession *session = NULL;

    if (target_init(&s->target, o, errp)) {
        int64_t timeout_ns = s->target.timeout_ns ?: ISCSI_CONNECT_TIMEOUT_NS;

        session = iscsi_session_new(&s->target, MIN(timeout_ns, ISCSI_CONNECT_TIMEOUT_NS), bdrv_opening_cancelled, bs,
                                    errp);
    }
    if (session) {
        s->lun = session->lun;
        if (check_read_only(s, bs->options, &bs->read_only, errp)) {
            s->link = iscsi_link_new(bs, &s->target, session);
            bs->filename = iscsi_filename(o);
            return true;
        }
    }
    iscsi_session_free(session);
    target_clear(&s->target);
    return false;
}

static void coroutine_fn iscsi_co_close(BlockDriverState *bs)
{
    BDRVISCSIState *s = bs->opaque;

    iscsi_link_free(g_steal_pointer(&s->link));
    target_clear(&s->target);
}

static bool coroutine_fn iscsi_co_reopen_prepare(BDRVReopenState *reopen, Error **errp)
{
    return check_read_only(reopen->bs->opaque, reopen->options, &reopen->read_only, errp);
}

/* The session stays as it is. */
static void coroutine_fn iscsi_co_reopen_end(BlockDriverState *bs)
{
}

static void iscsi_drain_begin(BlockDriverState *bs)
{
    BDRVISCSIState *s = bs->opaque;

    if (s->link) {
        iscsi_link_drain(s->link);
    }
}

static void iscsi_cancel_in_flight(BlockDriverState *bs)
{
    BDRVISCSIState *s = bs->opaque;

    if (s->link) {
        iscsi_link_cancel(s->link);
    }
}

/* Report why the LUN has refused @r, but do not repeat the same message. */
static void report_error(BlockDriverState *bs, const ISCSIRequest *r)
{
    BDRVISCSIState *s = bs->opaque;
    gint code = r->cdb[0] << 24 | r->status << 16 | r->sense.key << 12 | (r->sense.code & 0xfff);

    if (g_atomic_int_get(&s->reported) != code) {
        g_autofree char *why = iscsi_request_explain(r);

        g_atomic_int_set(&s->reported, code);
        warn_report("node '%s', iSCSI LUN '%s': command 0x%02x failed: %s", bdrv_get_display_name(bs), s->target.name,
                    r->cdb[0], why);
    }
}

static int coroutine_fn iscsi_co_request(BlockDriverState *bs, ISCSIRequest *r)
{
    BDRVISCSIState *s = bs->opaque;
    int ret = iscsi_link_co_request(s->link, r);

    if (ret < 0 && r->ret == 0) {
        report_error(bs, r);
    }
    return ret;
}

/* The current size, which may have changed. */
static int64_t coroutine_fn iscsi_co_getlength(BlockDriverState *bs)
{
    BDRVISCSIState *s = bs->opaque;
    uint8_t buf[ISCSI_CAPACITY_BYTES];
    ISCSIRequest r = iscsi_capacity_request(buf);
    ISCSILunInfo info = s->lun;

    int ret = iscsi_link_co_request(s->link, &r);
    if (ret < 0 && !iscsi_is_unsupported(&r)) {
        return ret;
    }
    if (ret == 0 && (!iscsi_capacity_parse(&r, &info, NULL) || info.block_size != s->lun.block_size)) {
        return -EIO;
    }
    return info.blocks * info.block_size;
}

static int64_t limit_of(const BDRVISCSIState *s, uint64_t blocks, uint64_t most)
{
    return blocks && blocks <= most / s->lun.block_size ? blocks * s->lun.block_size : most;
}

static void iscsi_refresh_limits(BlockDriverState *bs)
{
    BDRVISCSIState *s = bs->opaque;
    /* The most that a 32-bit number of blocks can express, whatever their size. */
    uint64_t most = ROUND_DOWN((uint64_t)UINT32_MAX * BDRV_SECTOR_SIZE, 64 * KiB);

    bs->bl.request_alignment = s->lun.block_size;
    bs->bl.max_transfer = limit_of(s, s->lun.max_transfer, MAX_TRANSFER);
    bs->bl.opt_transfer = s->lun.opt_transfer ? limit_of(s, s->lun.opt_transfer, MAX_TRANSFER) : 0;
    bs->bl.max_iov = 1;
    bs->bl.max_pdiscard = limit_of(s, s->lun.max_unmap, most);
    bs->bl.max_pwrite_zeroes = limit_of(s, s->lun.max_write_same, most);
}

/* A command for blocks, in the form with 10 bytes if possible: some targets know no other. */
static ISCSIRequest block_request(const BDRVISCSIState *s, uint8_t opcode10, uint8_t opcode16, uint8_t byte1,
                                  int64_t offset, int64_t bytes)
{
    uint64_t lba = offset / s->lun.block_size, n = bytes / s->lun.block_size;
    bool is_short = opcode10 && lba <= UINT32_MAX && n <= UINT16_MAX;
    ISCSIRequest r = iscsi_request_init(is_short ? opcode10 : opcode16, byte1);

    if (is_short) {
        iscsi_put32(&r.cdb[2], lba);
        r.cdb[7] = n >> 8;
        r.cdb[8] = n;
    } else {
        iscsi_put64(&r.cdb[2], lba);
        iscsi_put32(&r.cdb[10], n);
    }
    return r;
}

static int coroutine_fn iscsi_co_preadv(BlockDriverState *bs, int64_t offset, int64_t bytes, QEMUIOVector *qiov,
                                        BdrvRequestFlags flags)
{
    BDRVISCSIState *s = bs->opaque;
    ISCSIRequest r = block_request(s, SCSI_OPCODE_READ10, SCSI_OPCODE_READ16, 0, offset, bytes);

    r.direction = ISCSI_FROM_TARGET;
    r.buf = qiov->iov[0].iov_base;
    r.bytes = bytes;
    r.must_fill = true;
    return iscsi_co_request(bs, &r);
}

static int coroutine_fn iscsi_co_flush(BlockDriverState *bs)
{
    BDRVISCSIState *s = bs->opaque;
    ISCSIRequest r = iscsi_request_init(SCSI_OPCODE_SYNCHRONIZECACHE10, 0);

    r.flush = true;
    int ret = iscsi_link_co_request(s->link, &r);
    if (iscsi_is_unsupported(&r) && !s->lun.write_cache) {
        return 0;
    }
    if (ret < 0 && r.ret == 0) {
        report_error(bs, &r);
    }
    /* A flush that was repeated after a loss says nothing about what the target had before. */
    return ret ?: bdrv_get_flush_error(bs);
}

/* A request that changes data, followed by a flush for FUA if the LUN does not support that. */
static int coroutine_fn iscsi_co_change(BlockDriverState *bs, ISCSIRequest *r, bool fua)
{
    r->unflushed = true;
    int ret = iscsi_co_request(bs, r);
    return ret == 0 && fua ? iscsi_co_flush(bs) : ret;
}

static int coroutine_fn iscsi_co_pwritev(BlockDriverState *bs, int64_t offset, int64_t bytes, QEMUIOVector *qiov,
                                         BdrvRequestFlags flags)
{
    BDRVISCSIState *s = bs->opaque;
    bool fua = flags & BDRV_REQ_FUA;
    ISCSIRequest r = block_request(s, SCSI_OPCODE_WRITE10, SCSI_OPCODE_WRITE16, fua && s->lun.can_fua ? CDB_FUA : 0,
                                   offset, bytes);

    r.direction = ISCSI_TO_TARGET;
    r.buf = qiov->iov[0].iov_base;
    r.bytes = bytes;
    r.must_fill = true;
    if (fua && s->lun.can_fua) {
        return iscsi_co_request(bs, &r);
    }
    return iscsi_co_change(bs, &r, fua);
}

static int coroutine_fn iscsi_co_pwrite_zeroes(BlockDriverState *bs, int64_t offset, int64_t bytes,
                                               BdrvRequestFlags flags)
{
    BDRVISCSIState *s = bs->opaque;
    bool unmap = flags & BDRV_REQ_MAY_UNMAP && s->lun.can_unmap_same && s->lun.zero_when_unmapped;
    ISCSIRequest r = block_request(s, 0, SCSI_OPCODE_WRITE_SAME16, unmap ? CDB_UNMAP : 0, offset, bytes);

    if ((flags & BDRV_REQ_NO_FALLBACK && !unmap) || g_atomic_int_get(&s->no_write_same)) {
        return -ENOTSUP;
    }
    r.direction = ISCSI_TO_TARGET;
    r.buf = s->zeroes;
    r.bytes = s->lun.block_size;
    r.unflushed = true;
    int ret = iscsi_link_co_request(s->link, &r);
    if (iscsi_is_unsupported(&r)) {
        g_atomic_int_set(&s->no_write_same, !unmap);
        return -ENOTSUP;
    }
    if (ret < 0 && r.ret == 0) {
        report_error(bs, &r);
    }
    return ret == 0 && flags & BDRV_REQ_FUA ? iscsi_co_flush(bs) : ret;
}

static int coroutine_fn iscsi_co_pdiscard(BlockDriverState *bs, int64_t offset, int64_t bytes)
{
    BDRVISCSIState *s = bs->opaque;
    ISCSIRequest r = iscsi_request_init(SCSI_OPCODE_UNMAP, 0);
    uint8_t list[UNMAP_LIST_BYTES] = { 0, UNMAP_LIST_BYTES - 2, 0, UNMAP_LIST_BYTES - 8 };

    if (!s->lun.can_unmap) {
        return -ENOTSUP;
    }
    iscsi_put64(&list[8], offset / s->lun.block_size);
    iscsi_put32(&list[16], bytes / s->lun.block_size);
    r.cdb[8] = sizeof(list);
    r.direction = ISCSI_TO_TARGET;
    r.buf = list;
    r.bytes = sizeof(list);
    return iscsi_co_change(bs, &r, false);
}

static int coroutine_fn iscsi_co_block_status(BlockDriverState *bs, int64_t offset, int64_t bytes, int64_t *pnum,
                                              int64_t *map, BlockDriverState **file)
{
    BDRVISCSIState *s = bs->opaque;
    uint64_t block = s->lun.block_size, lba = offset / block;
    int data = BDRV_BLOCK_OFFSET_VALID | BDRV_BLOCK_ALLOCATED | BDRV_BLOCK_DATA;
    uint8_t buf[LBA_STATUS_BYTES];
    ISCSIRequest r = iscsi_request_init(0x9e, SERVICE_ACTION_LBA_STATUS);

    *map = offset;
    *file = bs;
    *pnum = bytes;
    if (!s->lun.thin || g_atomic_int_get(&s->no_lba_status)) {
        return data;
    }
    iscsi_put64(&r.cdb[2], lba);
    r.cdb[13] = sizeof(buf);
    r.direction = ISCSI_FROM_TARGET;
    r.buf = buf;
    r.bytes = sizeof(buf);
    int ret = iscsi_link_co_request(s->link, &r);
    if (r.ret < 0) {
        return ret;
    }
    /* Without a reply, everything counts as data. */
    if (iscsi_is_unsupported(&r)) {
        g_atomic_int_set(&s->no_lba_status, 1);
    }
    uint64_t first = iscsi_get64(&buf[8]), n = iscsi_get32(&buf[16]);
    if (ret < 0 || r.transferred < sizeof(buf) || first > lba || n <= lba - first) {
        return data;
    }
    *pnum = MIN(bytes, (int64_t)((n - (lba - first)) * block));
    if ((buf[20] & 0xf) == 0) {
        return data;
    }
    return BDRV_BLOCK_OFFSET_VALID | BDRV_BLOCK_ALLOCATED | (s->lun.zero_when_unmapped ? BDRV_BLOCK_ZERO : 0);
}

/* The target decides how large a LUN is. */
static bool coroutine_fn iscsi_co_truncate(BlockDriverState *bs, int64_t offset, bool exact, PreallocMode prealloc,
                                           Job *job, Error **errp)
{
    int64_t length = iscsi_co_getlength(bs);

    if (prealloc != PREALLOC_MODE_OFF) {
        error_setg(errp, "Preallocation mode '%s' unsupported for iSCSI LUNs", PreallocMode_str(prealloc));
    } else if (length < 0) {
        error_setg_errno(errp, -length, "Could not determine the length of '%s'", bs->filename);
    } else if (offset > length || (exact && offset != length)) {
        error_setg(errp, "Cannot resize iSCSI LUNs: '%s' has %" PRId64 " bytes", bs->filename, length);
    } else {
        return true;
    }
    return false;
}

const BlockDriver bdrv_iscsi = {
    .format_name = "iscsi",
    .driver = BLOCKDEV_DRIVER_ISCSI,
    .instance_size = sizeof(BDRVISCSIState),
    .is_protocol = true,
    .protocol_names = (const char *const[]){ "iscsi", "iser", NULL },
    .bdrv_parse_filename = iscsi_parse_filename,
    .strong_runtime_opts = (const char *const[]){
        "transport", "portal", "target", "lun", "user", "password-secret", "initiator-name", "header-digest", NULL,
    },
    .filename_says_all = true,

    .bdrv_co_open = iscsi_co_open,
    .bdrv_co_close = iscsi_co_close,
    .bdrv_co_reopen_prepare = iscsi_co_reopen_prepare,
    .bdrv_co_reopen_commit = iscsi_co_reopen_end,
    .bdrv_co_reopen_abort = iscsi_co_reopen_end,
    .bdrv_drain_begin = iscsi_drain_begin,
    .bdrv_cancel_in_flight = iscsi_cancel_in_flight,
    .bdrv_co_getlength = iscsi_co_getlength,
    .bdrv_refresh_limits = iscsi_refresh_limits,

    .bdrv_co_preadv = iscsi_co_preadv,
    .bdrv_co_pwritev = iscsi_co_pwritev,
    .bdrv_co_flush = iscsi_co_flush,
    .supported_write_flags = BDRV_REQ_FUA,
    .supported_zero_flags = BDRV_REQ_FUA | BDRV_REQ_MAY_UNMAP | BDRV_REQ_NO_FALLBACK,
    .bdrv_co_pwrite_zeroes = iscsi_co_pwrite_zeroes,
    .bdrv_co_pdiscard = iscsi_co_pdiscard,
    .bdrv_co_block_status = iscsi_co_block_status,
    .bdrv_co_truncate = iscsi_co_truncate,
    .bdrv_co_secure_discard = iscsi_co_secure_discard,
    .bdrv_co_erase_info = iscsi_co_erase_info,
};
