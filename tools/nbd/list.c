/*
 * qemu-nbd --list: list the exports of a server
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include "block/nbd-proto.h"
#include "io/sockets.h"
#include "io/tls.h"
#include "tools/nbd/serve.h"

/* Limits that no sane server reaches. */
#define REPLY_MAX_BYTES (64 * 1024)
#define EXPORTS_MAX 10000

typedef struct Reply {
    uint32_t type;
    uint32_t len;
    uint8_t *data;
} Reply;

typedef struct Export {
    char *name;
    char *description;
    uint64_t size;
    uint16_t flags;
    uint32_t min_block, opt_block, max_block;   /* bytes; 0: unknown */
    GPtrArray *contexts;                        /* of char * */
} Export;

static void reply_clear(Reply *r)
{
    g_clear_pointer(&r->data, g_free);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Reply, reply_clear)

static void export_free(void *opaque)
{
    Export *e = opaque;

    g_free(e->name);
    g_free(e->description);
    g_ptr_array_unref(e->contexts);
    g_free(e);
}

static bool coroutine_fn send_option(IOChannel *ch, uint32_t option, const void *data, uint32_t len,
                                     Error **errp)
{
    uint8_t header[16];
    struct iovec iov[] = {
        { .iov_base = header, .iov_len = sizeof(header) },
        { .iov_base = (void *)data, .iov_len = len },
    };

    nbd_put32(nbd_put32(nbd_put64(header, NBD_OPTS_MAGIC), option), len);
    int ret = io_channel_co_writev_all(ch, iov, G_N_ELEMENTS(iov));
    if (ret < 0) {
        error_setg_errno(errp, -ret, "Could not write to the server");
    }
    return ret >= 0;
}

static bool coroutine_fn channel_receive(IOChannel *ch, void *buf, size_t len, Error **errp)
{
    int ret = io_channel_co_read_all(ch, buf, len);

    if (ret < 0) {
        error_setg_errno(errp, -ret, "Could not read from the server");
    } else if (ret == 0) {
        error_setg(errp, "The server closed the connection");
    }
    return ret == 1;
}

static bool coroutine_fn receive_reply(IOChannel *ch, uint32_t option, Reply *r, Error **errp)
{
    uint8_t header[20];

    reply_clear(r);
    if (!channel_receive(ch, header, sizeof(header), errp)) {
        return false;
    }
    r->type = nbd_get32(header + 12);
    r->len = nbd_get32(header + 16);
    if (nbd_get64(header) != NBD_REP_MAGIC || nbd_get32(header + 8) != option || r->len > REPLY_MAX_BYTES) {
        error_setg(errp, "The server sent an invalid reply");
        return false;
    }
    r->data = g_malloc(r->len);
    return r->len == 0 || channel_receive(ch, r->data, r->len, errp);
}

/* Whether the reply to @option is an error; if so, sets @errp to the server's message. */
static bool reply_is_error(uint32_t option, const Reply *r, Error **errp)
{
    if (!(r->type >> 31)) {
        return false;
    }
    if (r->type == NBD_REP_ERR_TLS_REQD) {
        error_setg(errp, "The server requires TLS");
        error_append_hint(errp, "Name credentials with --tls-creds.\n");
    } else {
        g_autofree char *text = g_strndup((const char *)r->data, MIN(r->len, 200));
        g_autofree char *printable = g_strescape(text, NULL);

        error_setg(errp, "The server refused option %" PRIu32 " with error %" PRIu32 "%s%s", option,
                   r->type & INT32_MAX, *printable ? ": " : "", printable);
    }
    return true;
}

static bool coroutine_fn server_greet(IOChannel *ch, Error **errp)
{
    uint8_t buf[18];

    if (!channel_receive(ch, buf, sizeof(buf), errp)) {
        return false;
    }
    uint16_t flags = nbd_get16(buf + 16);
    if (nbd_get64(buf) != NBD_INIT_MAGIC || nbd_get64(buf + 8) != NBD_OPTS_MAGIC ||
        !(flags & NBD_FLAG_FIXED_NEWSTYLE)) {
        error_setg(errp, "The server does not speak the fixed newstyle protocol of NBD");
        return false;
    }
    nbd_put32(buf, flags & (NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES));
    int ret = io_channel_co_write_all(ch, buf, 4);
    if (ret < 0) {
        error_setg_errno(errp, -ret, "Could not write to the server");
    }
    return ret >= 0;
}

static bool coroutine_fn start_tls(IOChannel *ch, const NbdOptions *o, Error **errp)
{
    g_auto(Reply) r = { 0 };
    const char *host = o->tls_hostname;
    g_autoptr(QCryptoTLSCreds) creds =
        qcrypto_tls_creds_lookup(o->server->tls_creds, QCRYPTO_TLS_CREDS_ENDPOINT_CLIENT, errp);

    if (!creds || !send_option(ch, NBD_OPT_STARTTLS, NULL, 0, errp) ||
        !receive_reply(ch, NBD_OPT_STARTTLS, &r, errp) || reply_is_error(NBD_OPT_STARTTLS, &r, errp)) {
        return false;
    }
    if (!host && o->server->addr->type == SOCKET_ADDRESS_TYPE_INET) {
        host = o->server->addr->u.inet.host;
    }
    return io_channel_co_tls_handshake(ch, creds, host, NULL, errp) == QCRYPTO_TLS_DONE;
}

static bool coroutine_fn list_names(IOChannel *ch, GPtrArray *exports, Error **errp)
{
    g_auto(Reply) r = { 0 };

    if (!send_option(ch, NBD_OPT_LIST, NULL, 0, errp)) {
        return false;
    }
    while (receive_reply(ch, NBD_OPT_LIST, &r, errp) && !reply_is_error(NBD_OPT_LIST, &r, errp)) {
        uint32_t len = r.len >= 4 ? nbd_get32(r.data) : UINT32_MAX;

        if (r.type == NBD_REP_ACK) {
            return true;
        }
        if (r.type != NBD_REP_SERVER || len > r.len - 4 || exports->len == EXPORTS_MAX) {
            error_setg(errp, "The server sent an invalid list of exports");
            return false;
        }
        Export *e = g_new0(Export, 1);
        e->name = g_strndup((const char *)r.data + 4, len);
        e->description = g_strndup((const char *)r.data + 4 + len, r.len - 4 - len);
        e->contexts = g_ptr_array_new_with_free_func(g_free);
        g_ptr_array_add(exports, e);
    }
    return false;
}

static void export_set_info(Export *e, const Reply *r)
{
    uint16_t info = r->len >= 2 ? nbd_get16(r->data) : UINT16_MAX;

    if (info == NBD_INFO_EXPORT && r->len == 12) {
        e->size = nbd_get64(r->data + 2);
        e->flags = nbd_get16(r->data + 10);
    } else if (info == NBD_INFO_BLOCK_SIZE && r->len == 14) {
        e->min_block = nbd_get32(r->data + 2);
        e->opt_block = nbd_get32(r->data + 6);
        e->max_block = nbd_get32(r->data + 10);
    }
}

static void export_add_context(Export *e, const Reply *r)
{
    if (r->len > 4) {
        g_ptr_array_add(e->contexts, g_strndup((const char *)r->data + 4, r->len - 4));
    }
}

/*
 * Send @option about @e: its name, followed by @n bytes at @tail. Each reply of @type goes to @handle_reply. If the
 * server does not support the option, or the export is gone, @e is left as it is.
 */
static bool coroutine_fn export_query(IOChannel *ch, Export *e, uint32_t option, const void *tail, size_t n,
                                      uint32_t type, void (*handle_reply)(Export *e, const Reply *r), Error **errp)
{
    g_auto(Reply) r = { 0 };
    size_t len = strlen(e->name);
    g_autofree uint8_t *data = g_malloc(4 + len + n);
    uint8_t *p = nbd_put32(data, len);

    memcpy(p, e->name, len);
    memcpy(p + len, tail, n);
    if (!send_option(ch, option, data, 4 + len + n, errp)) {
        return false;
    }
    while (receive_reply(ch, option, &r, errp)) {
        if (r.type == NBD_REP_ACK || r.type >> 31) {
            return true;
        }
        if (r.type == type) {
            handle_reply(e, &r);
        }
    }
    return false;
}

static bool coroutine_fn export_describe(IOChannel *ch, Export *e, Error **errp)
{
    /* Block sizes are the only extra information. Without queries, the server lists all contexts. */
    static const uint8_t infos[] = { 0, 1, 0, NBD_INFO_BLOCK_SIZE }, queries[4];

    return export_query(ch, e, NBD_OPT_INFO, infos, sizeof(infos), NBD_REP_INFO, export_set_info, errp) &&
           export_query(ch, e, NBD_OPT_LIST_META_CONTEXT, queries, sizeof(queries), NBD_REP_META_CONTEXT,
                        export_add_context, errp);
}

static void print_export(const Export *e)
{
    static const char *const flags[] = {
        NULL, "readonly", "flush", "fua", "rotational", "trim", "zeroes", "df", "multi", "resize", "cache",
        "fast-zero", "block-status-payload",
    };
    g_autofree char *name = g_strescape(e->name, NULL);
    g_autofree char *description = g_strescape(e->description, NULL);

    printf(" export: '%s'\n", name);
    if (*description) {
        printf("  description: %s\n", description);
    }
    if (e->flags & NBD_FLAG_HAS_FLAGS) {
        printf("  size:  %" PRIu64 "\n  flags: 0x%x (", e->size, e->flags);
        for (size_t i = 1; i < G_N_ELEMENTS(flags); i++) {
            if (e->flags & 1 << i) {
                printf(" %s", flags[i]);
            }
        }
        printf(" )\n");
    }
    if (e->min_block) {
        printf("  min block: %" PRIu32 "\n  opt block: %" PRIu32 "\n  max block: %" PRIu32 "\n", e->min_block,
               e->opt_block, e->max_block);
    }
    if (e->contexts->len) {
        printf("  available meta contexts: %u\n", e->contexts->len);
    }
    for (guint i = 0; i < e->contexts->len; i++) {
        g_autofree char *context = g_strescape(g_ptr_array_index(e->contexts, i), NULL);
        printf("   %s\n", context);
    }
}

/* Some servers offer contexts only with structured replies; ignore a server that does not support them. */
static bool coroutine_fn try_structured_replies(IOChannel *ch, Error **errp)
{
    g_auto(Reply) r = { 0 };

    return send_option(ch, NBD_OPT_STRUCTURED_REPLY, NULL, 0, errp) &&
           receive_reply(ch, NBD_OPT_STRUCTURED_REPLY, &r, errp) &&
           !(r.type == NBD_REP_ERR_TLS_REQD && reply_is_error(NBD_OPT_STRUCTURED_REPLY, &r, errp));
}

bool coroutine_fn nbd_list(const NbdOptions *o, Error **errp)
{
    ERRP_GUARD();
    g_autoptr(IOChannel) ch = socket_connect(o->server->addr, 0, errp);
    g_autoptr(GPtrArray) exports = g_ptr_array_new_with_free_func(export_free);

    if (!ch || !server_greet(ch, errp) || (o->server->tls_creds && !start_tls(ch, o, errp)) ||
        !try_structured_replies(ch, errp) || !list_names(ch, exports, errp)) {
        return false;
    }
    printf("exports available: %u\n", exports->len);
    for (guint i = 0; i < exports->len; i++) {
        Export *e = g_ptr_array_index(exports, i);

        if (!export_describe(ch, e, errp)) {
            return false;
        }
        print_export(e);
    }
    send_option(ch, NBD_OPT_ABORT, NULL, 0, NULL);
    return true;
}
