/*
 * TLS on a channel: a channel filter with a TLS session
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "io/tls.h"

static ssize_t tls_push(void *opaque, const void *buf, size_t len)
{
    return io_channel_raw_write(opaque, buf, len);
}

static ssize_t tls_pull(void *opaque, void *buf, size_t len)
{
    return io_channel_raw_read(opaque, buf, len);
}

static IOWait tls_session_wait(QCryptoTLSSession *session)
{
    return qcrypto_tls_session_wants_write(session) ? IO_WAIT_OUT : IO_WAIT_IN;
}

static ssize_t tls_filter_read(void *opaque, void *buf, size_t len, IOWait *wait)
{
    ssize_t ret = qcrypto_tls_session_read(opaque, buf, len);

    *wait = tls_session_wait(opaque);
    return ret;
}

static ssize_t tls_filter_write(void *opaque, const void *buf, size_t len, IOWait *wait)
{
    ssize_t ret = qcrypto_tls_session_write(opaque, buf, len);

    *wait = tls_session_wait(opaque);
    return ret;
}

static void tls_filter_bye(void *opaque)
{
    qcrypto_tls_session_bye(opaque);
}

static void tls_filter_free(void *opaque)
{
    qcrypto_tls_session_free(opaque);
}

static const IOChannelFilter tls_filter = {
    .read = tls_filter_read,
    .write = tls_filter_write,
    .bye = tls_filter_bye,
    .free = tls_filter_free,
};

QCryptoTLSState coroutine_fn io_channel_co_tls_handshake(IOChannel *ch, QCryptoTLSCreds *creds, const char *hostname,
                                                         const char *authzid, Error **errp)
{
    QCryptoTLSState state;

    if (!qcrypto_tls_creds_refresh(creds, errp)) {
        return QCRYPTO_TLS_FAILED;
    }
    QCryptoTLSSession *session = qcrypto_tls_session_new(creds, hostname, authzid, errp);
    if (!session) {
        return QCRYPTO_TLS_FAILED;
    }
    qcrypto_tls_session_set_callbacks(session, tls_push, tls_pull, ch);
    while ((state = qcrypto_tls_session_handshake(session, errp)) > QCRYPTO_TLS_DONE) {
        IOWait wait = state == QCRYPTO_TLS_WANTS_WRITE ? IO_WAIT_OUT : IO_WAIT_IN;

        if (io_channel_co_wait(ch, false, wait) < 0) {
            error_setg(errp, qemu_co_is_cancelled() ? "Operation was cancelled"
                       : "The connection was closed during the TLS handshake");
            state = QCRYPTO_TLS_FAILED;
            break;
        }
    }
    if (state == QCRYPTO_TLS_DONE) {
        io_channel_set_filter(ch, &tls_filter, session);
    } else {
        qcrypto_tls_session_free(session);
    }
    return state;
}

void io_channel_tls_report(const char *server, const Error *err)
{
    g_autofree char *text = g_strdup(error_get_pretty(err));

    /* Names in certificates may hold any bytes; keep the log to one line each. */
    for (char *c = text; *c; c++) {
        if (g_ascii_iscntrl(*c)) {
            *c = '?';
        }
    }
    error_report("%s: refused a TLS client: %s", server, text);
}
