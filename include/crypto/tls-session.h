/*
 * QCryptoTLSSession: TLS over any non-blocking transport
 *
 * The session encrypts and decrypts; two callbacks move its bytes. Most users want the coroutine form on an
 * IOChannel, io/tls.h.
 *
 *     QCryptoTLSSession *s = qcrypto_tls_session_new(creds, "example.org", NULL, errp);
 *     qcrypto_tls_session_set_callbacks(s, push, pull, transport);
 *     while ((state = qcrypto_tls_session_handshake(s, errp)) > 0) {
 *         wait until the transport can be read or written, as state says
 *     }
 *     n = qcrypto_tls_session_read(s, buf, len);
 *
 * A session may be used by one thread at a time. After a successful handshake the peer is authenticated: the
 * certificate was checked (verify-peer), the name matches, and the authorization object, if any, has accepted it.
 *
 * Source: RFC 5246 (TLS 1.2), RFC 8446 (TLS 1.3), RFC 4279 (pre-shared keys).
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef CRYPTO_TLS_SESSION_H
#define CRYPTO_TLS_SESSION_H

#include <stdbool.h>
#include <sys/types.h>

#include "crypto/tls-creds.h"

typedef struct QCryptoTLSSession QCryptoTLSSession;

/* Move bytes: a count, 0 at the end of the stream, or -errno (-EAGAIN: it would block). */
typedef ssize_t QCryptoTLSPushFunc(void *opaque, const void *buf, size_t len);
typedef ssize_t QCryptoTLSPullFunc(void *opaque, void *buf, size_t len);

typedef enum QCryptoTLSState {
    QCRYPTO_TLS_REFUSED = -2,   /* the peer is authenticated, but the authorization object rejects it */
    QCRYPTO_TLS_FAILED = -1,
    QCRYPTO_TLS_DONE = 0,
    QCRYPTO_TLS_WANTS_READ,
    QCRYPTO_TLS_WANTS_WRITE,
} QCryptoTLSState;

/*
 * Create a session for the endpoint of @creds; takes a reference to them. @hostname: the name that the server's
 * certificate must be for (clients; NULL: any). @authzid: the authorization object that decides about the peer
 * (servers; NULL: anyone whom @creds accept). NULL with @errp.
 */
QCryptoTLSSession *qcrypto_tls_session_new(QCryptoTLSCreds *creds, const char *hostname,
                                           const char *authzid, Error **errp);
void qcrypto_tls_session_free(QCryptoTLSSession *session);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(QCryptoTLSSession, qcrypto_tls_session_free)

void qcrypto_tls_session_set_callbacks(QCryptoTLSSession *session, QCryptoTLSPushFunc *push,
                                       QCryptoTLSPullFunc *pull, void *opaque);

/* Continue the handshake until the transport would block. FAILED and REFUSED come with @errp. Main thread. */
QCryptoTLSState qcrypto_tls_session_handshake(QCryptoTLSSession *session, Error **errp);

/*
 * One attempt: bytes, 0 at the end of the stream, or -errno; after -EAGAIN, qcrypto_tls_session_wants_write() tells
 * what to wait for. A write that got -EAGAIN must be repeated with the same bytes.
 */
ssize_t qcrypto_tls_session_read(QCryptoTLSSession *session, void *buf, size_t len);
ssize_t qcrypto_tls_session_write(QCryptoTLSSession *session, const void *buf, size_t len);
bool qcrypto_tls_session_wants_write(QCryptoTLSSession *session);

/* Tell the peer that this is the end, in one attempt that may fail. */
void qcrypto_tls_session_bye(QCryptoTLSSession *session);

#endif
