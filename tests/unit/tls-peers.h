/*
 * Two ends of a TLS connection, for tests
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef TESTS_TLS_PEERS_H
#define TESTS_TLS_PEERS_H

#include "crypto/tls-creds.h"
#include "crypto/tls-session.h"

/* One end of a connection. */
typedef struct TlsEnd {
    int fd;
    const char *creds;
    QCryptoTLSCredsEndpoint endpoint;
    const char *hostname;
    const char *authzid;
    QCryptoTLSState state;
    bool ok;
    Error *err;
    int *running;
} TlsEnd;

/*
 * Connect credentials "server" to "client", and send some data both ways. The caller sets creds (for others), hostname
 * and authzid; the results go to state, ok and err, which it frees.
 */
void tls_handshake(TlsEnd *server, TlsEnd *client);

#endif
