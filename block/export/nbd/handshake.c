/*
 * NBD, first phase: greeting, then options until the client has chosen an export
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "block/export/nbd/nbd-int.h"
#include "io/tls.h"

/* Maximum bytes of data that any option needs. */
#define OPTION_MAX_BYTES (64 * 1024)

int coroutine_fn nbd_send_rep(NBDClient *client, uint32_t option, uint32_t type, const void *data, size_t len)
{
    uint8_t header[20], *p = header;
    struct iovec iov[2] = {
        { .iov_base = header, .iov_len = sizeof(header) },
        { .iov_base = (void *)data, .iov_len = len },
    };

    p = nbd_put64(p, NBD_REP_MAGIC);
    p = nbd_put32(p, option);
    p = nbd_put32(p, type);
    nbd_put32(p, len);
    return io_channel_co_writev_all(client->ch, iov, 2);
}

int coroutine_fn nbd_send_rep_err(NBDClient *client, uint32_t option, uint32_t type, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    g_autofree char *text = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    return nbd_send_rep(client, option, type, text, MIN(strlen(text), NBD_MAX_STRING));
}

char *nbd_option_string(const NBDOption *opt, size_t *pos)
{
    if (opt->len - *pos < 4) {
        return NULL;
    }
    uint32_t len = nbd_get32(opt->data + *pos);
    const uint8_t *str = opt->data + *pos + 4;
    if (len > NBD_MAX_STRING || len > opt->len - *pos - 4 || memchr(str, 0, len)) {
        return NULL;
    }
    *pos += 4 + len;
    return g_strndup((const char *)str, len);
}

static bool coroutine_fn handshake_greet(NBDClient *client)
{
    uint8_t buf[18], *p = buf;
    const uint32_t known = NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES;

    p = nbd_put64(p, NBD_INIT_MAGIC);
    p = nbd_put64(p, NBD_OPTS_MAGIC);
    nbd_put16(p, known);
    if (io_channel_co_write_all(client->ch, buf, sizeof(buf)) < 0 ||
        io_channel_co_read_all(client->ch, buf, 4) != 1) {
        return false;
    }
    uint32_t flags = nbd_get32(buf);
    client->fixed_newstyle = flags & NBD_FLAG_FIXED_NEWSTYLE;
    client->no_zeroes = flags & NBD_FLAG_NO_ZEROES;
    return !(flags & ~known);
}

static int coroutine_fn handshake_start_tls(NBDClient *client, const NBDOption *opt)
{
    g_autoptr(Error) err = NULL;

    if (!nbd_server_tls_creds()) {
        return nbd_send_rep_err(client, opt->option, NBD_REP_ERR_POLICY, "this server has no TLS");
    }
    if (opt->len > 0 || client->tls) {
        return nbd_send_rep_err(client, opt->option, NBD_REP_ERR_INVALID,
                                client->tls ? "TLS is on already" : "STARTTLS takes no data");
    }
    int ret = nbd_send_rep(client, opt->option, NBD_REP_ACK, NULL, 0);
    if (ret < 0) {
        return ret;
    }
    QCryptoTLSState state = io_channel_co_tls_handshake(client->ch, nbd_server_tls_creds(), NULL,
                                                        nbd_server_tls_authz(), &err);
    if (state == QCRYPTO_TLS_REFUSED) {
        /* A client that gets this far has a certificate of ours. Reports about others could flood the log. */
        io_channel_tls_report("NBD server", err);
    }
    if (state != QCRYPTO_TLS_DONE) {
        return -EPERM;
    }
    client->tls = true;
    return NBD_HANDSHAKE_GO_ON;
}

/* Check that the option is allowed at this point, then execute it. */
static int coroutine_fn handshake_handle_option(NBDClient *client, const NBDOption *opt)
{
    if (!client->fixed_newstyle && opt->option != NBD_OPT_EXPORT_NAME) {
        /* Such a client does not understand replies. */
        return NBD_HANDSHAKE_ABORT;
    }
    if (opt->option == NBD_OPT_STARTTLS) {
        return handshake_start_tls(client, opt);
    }
    if (nbd_server_tls_creds() && !client->tls && opt->option != NBD_OPT_ABORT) {
        if (opt->option == NBD_OPT_EXPORT_NAME) {
            return NBD_HANDSHAKE_ABORT;
        }
        return nbd_send_rep_err(client, opt->option, NBD_REP_ERR_TLS_REQD, "begin TLS before anything else");
    }
    return nbd_handle_option(client, opt);
}

static bool coroutine_fn handshake_skip(IOChannel *ch, uint32_t len)
{
    uint8_t buf[4096];

    while (len > 0) {
        uint32_t n = MIN(len, sizeof(buf));

        if (io_channel_co_read_all(ch, buf, n) != 1) {
            return false;
        }
        len -= n;
    }
    return true;
}

/* Receive and answer one option: NBD_HANDSHAKE_* or -errno. */
static int coroutine_fn handshake_next_option(NBDClient *client)
{
    uint8_t header[16];
    NBDOption opt;

    if (io_channel_co_read_all(client->ch, header, sizeof(header)) != 1 ||
        nbd_get64(header) != NBD_OPTS_MAGIC) {
        return NBD_HANDSHAKE_ABORT;
    }
    opt.option = nbd_get32(header + 8);
    opt.len = nbd_get32(header + 12);
    if (opt.len > NBD_MAX_BUFFER) {
        return NBD_HANDSHAKE_ABORT;
    }
    if (opt.len > OPTION_MAX_BYTES) {
        if (!handshake_skip(client->ch, opt.len)) {
            return NBD_HANDSHAKE_ABORT;
        }
        return nbd_send_rep_err(client, opt.option, NBD_REP_ERR_TOO_BIG, "an option may have %d bytes",
                                OPTION_MAX_BYTES);
    }
    /* One more byte, so that it is never NULL. */
    g_autofree uint8_t *data = g_malloc(opt.len + 1);
    opt.data = data;
    if (opt.len > 0 && io_channel_co_read_all(client->ch, data, opt.len) != 1) {
        return NBD_HANDSHAKE_ABORT;
    }
    return handshake_handle_option(client, &opt);
}

bool coroutine_fn nbd_handshake(NBDClient *client)
{
    int ret;

    if (!handshake_greet(client)) {
        return false;
    }
    do {
        ret = handshake_next_option(client);
    } while (ret == NBD_HANDSHAKE_GO_ON);
    return ret == NBD_HANDSHAKE_DONE;
}
