/*
 * nbd: a volume that an NBD server exports
 *
 * The block layer sees whole sectors. If the size of an export is not a multiple of 512, the rest of its last sector
 * reads as zeroes, and only zeroes can be written there.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include <libnbd.h>

#include "block/drivers.h"
#include "block/drivers/nbd.h"
#include "block/io/io_int.h"
#include "block/nbd-proto.h"
#include "io/sockets.h"

/* Pause between attempts to connect when a node is opened, and interval of checks for a cancel. */
#define OPEN_PAUSE_NS (500 * SCALE_MS)
#define OPEN_POLL_NS (50 * SCALE_MS)

/*
 * Zeroes and discards have no data, so they can be larger than other requests. The size adapts: FIRST_PIECE_BYTES at
 * first, doubled after each request that took less than FAST_NS, halved after each that took more than SLOW_NS.
 */
#define FIRST_PIECE_BYTES (64 * MiB)
#define MAX_PIECE_BYTES (1 * GiB)
#define FAST_NS (100 * SCALE_MS)
#define SLOW_NS NANOSECONDS_PER_SECOND

typedef struct BDRVNBDState {
    NBDServer server;
    NBDLink *link;
    NBDExportInfo info;
    int64_t piece_bytes;        /* of zeroes and discards; atomic */
    int64_t piece_max;          /* what the server accepts, as far as known; atomic */
} BDRVNBDState;

void nbd_server_clear(NBDServer *server)
{
    qapi_free(&qapi_type_SocketAddress, server->addr);
    g_free(server->name);
    g_free(server->lookup_step);
    g_free(server->export_name);
    g_free(server->context);
    qcrypto_tls_creds_unref(server->creds);
    g_free(server->tls_hostname);
}

static bool take_tls_options(NBDServer *server, const BlockdevOptionsNbd *o, Error **errp)
{
    if (!o->tls_creds) {
        if (o->tls_hostname) {
            error_setg(errp, "Option 'tls-hostname' needs 'tls-creds'");
        }
        return !o->tls_hostname;
    }
    if (!*o->tls_creds) {
        error_setg(errp, "TLS needs credentials");
        error_append_hint(errp, "Specify an object of type tls-creds-x509 or tls-creds-psk: nbds://...?tls-creds=ID, "
                          "or as option tls-creds=ID.\n");
        return false;
    }
    server->creds = qcrypto_tls_creds_lookup(o->tls_creds, QCRYPTO_TLS_CREDS_ENDPOINT_CLIENT, errp);
    if (o->tls_hostname) {
        server->tls_hostname = g_strdup(o->tls_hostname);
    } else if (o->server->type == SOCKET_ADDRESS_TYPE_INET) {
        server->tls_hostname = g_strdup(o->server->u.inet.host);
    }
    return server->creds;
}

bool nbd_server_init(NBDServer *server, const BlockdevOptionsNbd *o, Error **errp)
{
    g_autofree char *name = socket_address_to_string(o->server);

    if (o->server->type == SOCKET_ADDRESS_TYPE_INET && !socket_check_port(o->server->u.inet.port, errp)) {
        return false;
    }
    if (o->export && strlen(o->export) > NBD_MAX_STRING) {
        error_setg(errp, "Option 'export': the name is longer than %d bytes", NBD_MAX_STRING);
        return false;
    }
    if (o->x_dirty_bitmap && strlen(o->x_dirty_bitmap) > NBD_MAX_STRING) {
        error_setg(errp, "Option 'x-dirty-bitmap': the name is longer than %d bytes", NBD_MAX_STRING);
        return false;
    }
    server->addr = QAPI_CLONE(SocketAddress, o->server);
    server->name = bdrv_printable(name);
    if (server->addr->type == SOCKET_ADDRESS_TYPE_INET) {
        g_autofree char *host = bdrv_printable(server->addr->u.inet.host);
        server->lookup_step = g_strdup_printf("look-up of the address of '%s'", host);
    }
    server->export_name = g_strdup(o->export ?: "");
    server->is_bitmap = o->x_dirty_bitmap;
    server->context = g_strdup(o->x_dirty_bitmap ?: LIBNBD_CONTEXT_BASE_ALLOCATION);
    return take_tls_options(server, o, errp);
}

/* If the export is read-only, adjust *@read_only if @options allow that. False with @errp. */
static bool check_read_only(const BDRVNBDState *s, const BlockdevOptions *options, bool *read_only, Error **errp)
{
    if (!s->info.read_only || bdrv_apply_auto_read_only(options, read_only, "the export is read-only", errp)) {
        return true;
    }
    error_prepend(errp, "NBD server '%s': ", s->server.name);
    return false;
}

/* Try to connect, repeatedly for open-timeout seconds; NULL with @errp. */
static NBDConnection *coroutine_fn connect_at_open(BlockDriverState *bs, Error **errp)
{
    BDRVNBDState *s = bs->opaque;
    const BlockdevOptionsNbd *o = &bs->options->u.nbd;
    int64_t limit_ns = o->has_open_timeout ? o->open_timeout * NANOSECONDS_PER_SECOND : 0;
    int64_t begin = qemu_clock_get_ns(), left_ns = limit_ns;
    NBDConnection *conn;

    for (;;) {
        Error *err = NULL;
        int64_t timeout_ns = left_ns ? MIN(left_ns, NBD_CONNECT_TIMEOUT_NS) : NBD_CONNECT_TIMEOUT_NS;

        conn = nbd_connection_new(&s->server, qemu_get_aio_context(), timeout_ns, bdrv_opening_cancelled, bs, &err);
        int64_t again = qemu_clock_get_ns() + OPEN_PAUSE_NS;
        left_ns = begin + limit_ns - again;
        if (conn || left_ns <= 0 || bdrv_opening_cancelled(bs)) {
            error_propagate(errp, err);
            return conn;
        }
        error_free(err);
        while (qemu_clock_get_ns() < again && !bdrv_opening_cancelled(bs)) {
            co_sleep_ns(OPEN_POLL_NS);
        }
    }
}

static bool coroutine_fn nbd_co_open(BlockDriverState *bs, Error **errp)
{
    BDRVNBDState *s = bs->opaque;
    const BlockdevOptionsNbd *o = &bs->options->u.nbd;

    NBDConnection *conn = nbd_server_init(&s->server, o, errp) ? connect_at_open(bs, errp) : NULL;
    if (conn) {
        s->info = *nbd_connection_get_info(conn);
        s->piece_bytes = FIRST_PIECE_BYTES;
        s->piece_max = MAX_PIECE_BYTES;
        if (check_read_only(s, bs->options, &bs->read_only, errp)) {
            int64_t delay_ns = o->has_reconnect_delay ? o->reconnect_delay * NANOSECONDS_PER_SECOND : 0;

            s->link = nbd_link_new(bs, &s->server, conn, delay_ns);
            bs->filename = nbd_filename(o);
            return true;
        }
    }
    nbd_connection_free(conn);
    nbd_server_clear(&s->server);
    return false;
}

static void coroutine_fn nbd_co_close(BlockDriverState *bs)
{
    BDRVNBDState *s = bs->opaque;

    nbd_link_free(g_steal_pointer(&s->link));
    nbd_server_clear(&s->server);
}

static bool coroutine_fn nbd_co_reopen_prepare(BDRVReopenState *reopen, Error **errp)
{
    return check_read_only(reopen->bs->opaque, reopen->options, &reopen->read_only, errp);
}

/* The connection stays as it is. */
static void coroutine_fn nbd_co_reopen_end(BlockDriverState *bs)
{
}

static void nbd_drain_begin(BlockDriverState *bs)
{
    BDRVNBDState *s = bs->opaque;

    if (s->link) {
        nbd_link_drain(s->link);
    }
}

static void nbd_cancel_in_flight(BlockDriverState *bs)
{
    BDRVNBDState *s = bs->opaque;

    if (s->link) {
        nbd_link_cancel(s->link);
    }
}

static int64_t coroutine_fn nbd_co_getlength(BlockDriverState *bs)
{
    BDRVNBDState *s = bs->opaque;

    return ROUND_UP(s->info.size, BDRV_SECTOR_SIZE);
}

static void nbd_refresh_limits(BlockDriverState *bs)
{
    BDRVNBDState *s = bs->opaque;

    bs->bl.request_alignment = s->info.min_block;
    bs->bl.max_transfer = s->info.max_block;
    bs->bl.opt_transfer = s->info.opt_block;
    bs->bl.max_pwrite_zeroes = bs->bl.max_pdiscard = MAX_PIECE_BYTES;
    bs->bl.max_iov = 1;
}

static int coroutine_fn nbd_co_request(BDRVNBDState *s, NBDRequest *r)
{
    return nbd_link_co_request(s->link, r);
}

/* How many of @bytes from @offset on are within the export. */
static int64_t within_export(const BDRVNBDState *s, int64_t offset, int64_t bytes)
{
    return CLAMP(s->info.size - offset, 0, bytes);
}

static int coroutine_fn nbd_co_preadv(BlockDriverState *bs, int64_t offset, int64_t bytes, QEMUIOVector *qiov,
                                      BdrvRequestFlags flags)
{
    BDRVNBDState *s = bs->opaque;
    NBDRequest r = {
        .type = NBD_REQUEST_READ, .offset = offset, .bytes = within_export(s, offset, bytes),
        .buf = qiov->iov[0].iov_base,
    };

    qemu_iovec_memset(qiov, r.bytes, 0, bytes - r.bytes);
    return r.bytes ? nbd_co_request(s, &r) : 0;
}

static int coroutine_fn nbd_co_flush(BlockDriverState *bs)
{
    BDRVNBDState *s = bs->opaque;

    return s->info.can_flush ? nbd_link_co_flush(s->link) : 0;
}

/* Zeroing or discarding a piece took @ns: adapt the size of the next one. */
static void adapt_pieces(BDRVNBDState *s, int64_t bytes, int64_t ns)
{
    if (ns < FAST_NS && bytes >= qatomic_read(&s->piece_bytes)) {
        qatomic_set(&s->piece_bytes, MIN(2 * bytes, qatomic_read(&s->piece_max)));
    } else if (ns > SLOW_NS && bytes > s->info.max_block) {
        qatomic_set(&s->piece_bytes, ROUND_UP(bytes / 2, s->info.min_block));
    }
}

/* Whether the server may have refused the request because of its size: NBD announces no limit for these. */
static bool is_too_large(const BDRVNBDState *s, const NBDRequest *r)
{
    return r->bytes > s->info.max_block && (r->ret == -EINVAL || r->ret == -EOVERFLOW || r->ret == -ENOTSUP) &&
           !(r->flags & LIBNBD_CMD_FLAG_FAST_ZERO);
}

/* Send a request without data, in pieces; no further ones once the client is gone. */
static int coroutine_fn nbd_co_in_pieces(BDRVNBDState *s, NBDRequest *r)
{
    int64_t end = r->offset + r->bytes;
    int ret = 0;

    for (; ret == 0 && r->offset < end; r->offset += r->bytes) {
        int64_t begin_ns = qemu_clock_get_ns();

        r->bytes = MIN(end - r->offset, qatomic_read(&s->piece_bytes));
        ret = bdrv_check_abandoned() ?: nbd_co_request(s, r);
        if (ret == 0) {
            adapt_pieces(s, r->bytes, qemu_clock_get_ns() - begin_ns);
        } else if (ret == r->ret && is_too_large(s, r)) {
            qatomic_set(&s->piece_max, s->info.max_block);
            qatomic_set(&s->piece_bytes, s->info.max_block);
            r->bytes = 0;
            ret = 0;
        }
    }
    return ret;
}

/* A request that changes data, followed by a flush for FUA if the server does not support that. */
static int coroutine_fn nbd_co_change(BlockDriverState *bs, NBDRequest *r, BdrvRequestFlags flags)
{
    BDRVNBDState *s = bs->opaque;
    bool fua = flags & BDRV_REQ_FUA;

    r->flags |= fua && s->info.can_fua ? LIBNBD_CMD_FLAG_FUA : 0;
    r->unflushed = !(fua && s->info.can_fua);
    int ret = r->bytes == 0 ? 0 : r->type == NBD_REQUEST_WRITE ? nbd_co_request(s, r) : nbd_co_in_pieces(s, r);
    return ret == 0 && fua && !s->info.can_fua ? nbd_co_flush(bs) : ret;
}

static int coroutine_fn nbd_co_pwritev(BlockDriverState *bs, int64_t offset, int64_t bytes, QEMUIOVector *qiov,
                                       BdrvRequestFlags flags)
{
    BDRVNBDState *s = bs->opaque;
    NBDRequest r = {
        .type = NBD_REQUEST_WRITE, .offset = offset, .bytes = within_export(s, offset, bytes),
        .buf = qiov->iov[0].iov_base,
    };

    if (r.bytes < bytes && !qemu_iovec_is_zero(qiov, r.bytes, bytes - r.bytes)) {
        return -ENOSPC;
    }
    return nbd_co_change(bs, &r, flags);
}

static int coroutine_fn nbd_co_pwrite_zeroes(BlockDriverState *bs, int64_t offset, int64_t bytes,
                                             BdrvRequestFlags flags)
{
    BDRVNBDState *s = bs->opaque;
    bool fast = flags & BDRV_REQ_NO_FALLBACK;
    NBDRequest r = {
        .type = NBD_REQUEST_ZERO, .offset = offset, .bytes = within_export(s, offset, bytes),
        .flags = (flags & BDRV_REQ_MAY_UNMAP ? 0 : LIBNBD_CMD_FLAG_NO_HOLE) | (fast ? LIBNBD_CMD_FLAG_FAST_ZERO : 0),
    };

    if (!s->info.can_zero || (fast && !s->info.can_fast_zero)) {
        return -ENOTSUP;
    }
    return nbd_co_change(bs, &r, flags);
}

static int coroutine_fn nbd_co_pdiscard(BlockDriverState *bs, int64_t offset, int64_t bytes)
{
    BDRVNBDState *s = bs->opaque;
    NBDRequest r = { .type = NBD_REQUEST_TRIM, .offset = offset, .bytes = within_export(s, offset, bytes) };

    if (!s->info.can_trim) {
        return -ENOTSUP;
    }
    return nbd_co_in_pieces(s, &r);
}

static int coroutine_fn nbd_co_block_status(BlockDriverState *bs, int64_t offset, int64_t bytes, int64_t *pnum,
                                            int64_t *map, BlockDriverState **file)
{
    BDRVNBDState *s = bs->opaque;
    uint32_t align = s->info.min_block;
    int status = BDRV_BLOCK_OFFSET_VALID | BDRV_BLOCK_ALLOCATED;
    NBDRequest r = {
        .type = NBD_REQUEST_STATUS, .offset = offset, .flags = LIBNBD_CMD_FLAG_REQ_ONE,
        .bytes = MIN(within_export(s, offset, bytes), ROUND_DOWN(UINT32_MAX, align)),
    };

    *map = offset;
    *file = bs;
    *pnum = bytes;
    if (r.bytes == 0) {
        return status | BDRV_BLOCK_ZERO;
    }
    int ret = s->info.has_context ? nbd_co_request(s, &r) : 0;
    if (r.lost || (ret < 0 && s->server.is_bitmap)) {
        return ret;
    }
    /* Without a reply, everything counts as data. */
    if (ret < 0 || r.extent_bytes == 0) {
        return s->server.is_bitmap ? -EPROTO : status | BDRV_BLOCK_DATA;
    }
    if (r.extent_bytes < s->info.size - offset) {
        /* The status of part of a block does not count. */
        *pnum = MIN(bytes, ROUND_DOWN(r.extent_bytes, align));
    }
    if (*pnum == 0) {
        *pnum = MIN(bytes, align);
        return status | BDRV_BLOCK_DATA;
    }
    return status | (r.extent_flags & LIBNBD_STATE_HOLE ? 0 : BDRV_BLOCK_DATA) |
           (r.extent_flags & LIBNBD_STATE_ZERO ? BDRV_BLOCK_ZERO : 0);
}

/* The server decides how large an export is. */
static bool coroutine_fn nbd_co_truncate(BlockDriverState *bs, int64_t offset, bool exact, PreallocMode prealloc,
                                         Job *job, Error **errp)
{
    int64_t length = nbd_co_getlength(bs);

    if (prealloc != PREALLOC_MODE_OFF) {
        error_setg(errp, "Preallocation mode '%s' unsupported for NBD exports", PreallocMode_str(prealloc));
    } else if (offset > length || (exact && offset != length)) {
        error_setg(errp, "Cannot resize NBD exports: '%s' has %" PRId64 " bytes", bs->filename, length);
    } else {
        return true;
    }
    return false;
}

static void coroutine_fn nbd_co_erase_info(BlockDriverState *bs, int64_t offset, int64_t bytes, BdrvEraseInfo *info)
{
    BDRVNBDState *s = bs->opaque;

    info->assurance = SECURE_ERASE_ASSURANCE_UNKNOWN;
    g_ptr_array_add(info->notes, g_strdup_printf("NBD server '%s' was sent plain writes; it does not report how it "
                                                 "stores them, nor whether copies remain", s->server.name));
    if (!s->info.can_flush) {
        g_ptr_array_add(info->notes, g_strdup("the server knows no flush: when it stored them is unknown"));
    }
}

const BlockDriver bdrv_nbd = {
    .format_name = "nbd",
    .driver = BLOCKDEV_DRIVER_NBD,
    .instance_size = sizeof(BDRVNBDState),
    .is_protocol = true,
    .protocol_names = (const char *const[]){ "nbd", "nbd+tcp", "nbd+unix", "nbds", "nbds+tcp", "nbds+unix", NULL },
    .bdrv_parse_filename = nbd_parse_filename,
    .bdrv_modernize_options = nbd_modernize_options,
    .strong_runtime_opts = (const char *const[]){
        "server", "export", "tls-creds", "tls-hostname", "x-dirty-bitmap", NULL,
    },
    .filename_says_all = true,

    .bdrv_co_open = nbd_co_open,
    .bdrv_co_close = nbd_co_close,
    .bdrv_co_reopen_prepare = nbd_co_reopen_prepare,
    .bdrv_co_reopen_commit = nbd_co_reopen_end,
    .bdrv_co_reopen_abort = nbd_co_reopen_end,
    .bdrv_drain_begin = nbd_drain_begin,
    .bdrv_cancel_in_flight = nbd_cancel_in_flight,
    .bdrv_co_getlength = nbd_co_getlength,
    .bdrv_refresh_limits = nbd_refresh_limits,

    .bdrv_co_preadv = nbd_co_preadv,
    .bdrv_co_pwritev = nbd_co_pwritev,
    .bdrv_co_flush = nbd_co_flush,
    .supported_write_flags = BDRV_REQ_FUA,
    .supported_zero_flags = BDRV_REQ_FUA | BDRV_REQ_MAY_UNMAP | BDRV_REQ_NO_FALLBACK,
    .bdrv_co_pwrite_zeroes = nbd_co_pwrite_zeroes,
    .bdrv_co_pdiscard = nbd_co_pdiscard,
    .bdrv_co_block_status = nbd_co_block_status,
    .bdrv_co_truncate = nbd_co_truncate,
    .bdrv_co_erase_info = nbd_co_erase_info,
};
