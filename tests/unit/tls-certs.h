/*
 * Certificates for tests, created with GnuTLS
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef TESTS_TLS_CERTS_H
#define TESTS_TLS_CERTS_H

#include <glib.h>
#include <gnutls/gnutls.h>
#include <stdbool.h>

/* Make sure that a call of GnuTLS succeeds. */
#define CHECK_GNUTLS(expr)                                                      \
    do {                                                                        \
        int rc_ = (expr);                                                       \
        if (rc_ < 0) {                                                          \
            g_error("%s: %s", #expr, gnutls_strerror(rc_));                     \
        }                                                                       \
    } while (0)

typedef enum TlsCertFault {
    TLS_CERT_FINE,
    TLS_CERT_EXPIRED,
    TLS_CERT_NOT_YET_VALID,
    TLS_CERT_CA_FLAG_WRONG,     /* a CA certificate without the CA flag, or the reverse */
    TLS_CERT_USAGE_WRONG,       /* not for signing certificates, or only for that */
    TLS_CERT_PURPOSE_WRONG,     /* for the other end of a connection */
    TLS_CERT_OTHER_CA,          /* signed by an unknown CA */
} TlsCertFault;

/*
 * Write DIR/ca-cert.pem, server-cert.pem, server-key.pem, client-cert.pem and client-key.pem. The server is
 * "localhost", the client "CN=tester". @password: of the keys; NULL: none.
 */
void tls_certs_write(const char *dir, TlsCertFault ca, TlsCertFault server, TlsCertFault client,
                     const char *password);

#endif
