/*
 * QCryptoTLSCreds: the credentials with which one end of TLS connections authenticates itself and checks the other
 *
 * Created as objects of type tls-creds-x509 or tls-creds-psk, and named by id in options:
 *
 *     g_autoptr(QCryptoTLSCreds) creds =
 *         qcrypto_tls_creds_lookup("tls0", QCRYPTO_TLS_CREDS_ENDPOINT_SERVER, errp);
 *
 * Users hold references, so that an object can be deleted while connections that use it continue. Files:
 *
 *   tls-creds-x509   DIR/ca-cert.pem                         whom to trust
 *                    DIR/server-cert.pem, server-key.pem     needed by servers
 *                    DIR/client-cert.pem, client-key.pem     for clients, where the server asks for them
 *                    DIR/ca-crl.pem, dh-params.pem           optional
 *   tls-creds-psk    DIR/keys.psk                            lines of USER:HEX
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef CRYPTO_TLS_CREDS_H
#define CRYPTO_TLS_CREDS_H

#include "qapi/qapi-types.h"
#include "util/coroutine.h"
#include "util/error.h"

typedef struct QCryptoTLSCreds QCryptoTLSCreds;

/*
 * A new reference to the credentials in the object @id, which must be for @endpoint; NULL with @errp. From the main
 * thread.
 */
QCryptoTLSCreds *qcrypto_tls_creds_lookup(const char *id, QCryptoTLSCredsEndpoint endpoint, Error **errp);

/*
 * The same for options "tls-creds" and "tls-authz", either of which may be NULL: *@creds is NULL if there are no
 * credentials. An authorization object must exist, and needs credentials of a server. False with @errp.
 */
bool qcrypto_tls_options_lookup(const char *creds_id, const char *authz_id, QCryptoTLSCredsEndpoint endpoint,
                                QCryptoTLSCreds **creds, Error **errp);

/*
 * Before a handshake: read a server's keys.psk again, so that keys can change without a restart. A pipe is read only
 * once. False with @errp if it cannot be read. Main thread.
 */
bool coroutine_mixed_fn qcrypto_tls_creds_refresh(QCryptoTLSCreds *creds, Error **errp);

/* References are counted atomically: any thread may hold one. @creds may be NULL. */
QCryptoTLSCreds *qcrypto_tls_creds_ref(QCryptoTLSCreds *creds);
void qcrypto_tls_creds_unref(QCryptoTLSCreds *creds);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(QCryptoTLSCreds, qcrypto_tls_creds_unref)

#endif
