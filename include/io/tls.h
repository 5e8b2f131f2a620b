/*
 * TLS on a channel
 *
 *     g_autoptr(QCryptoTLSCreds) creds = qcrypto_tls_creds_lookup(id, QCRYPTO_TLS_CREDS_ENDPOINT_CLIENT, errp);
 *
 *     if (io_channel_co_tls_handshake(ch, creds, "example.org", NULL, errp) != QCRYPTO_TLS_DONE) {
 *         return false;
 *     }
 *     // from now on the data of ch is encrypted
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef IO_TLS_H
#define IO_TLS_H

#include "crypto/tls-session.h"
#include "io/channel.h"

/*
 * Perform the handshake for the endpoint of @creds, and encrypt from then on. @hostname and @authzid as in
 * qcrypto_tls_session_new(). Returns DONE or, with @errp, FAILED or REFUSED: the channel is then unusable. Main thread
 * only.
 */
QCryptoTLSState coroutine_fn io_channel_co_tls_handshake(IOChannel *ch, QCryptoTLSCreds *creds, const char *hostname,
                                                         const char *authzid, Error **errp);

/* Report on standard error that @server ("NBD server") refused a client, with @err as the reason. */
void io_channel_tls_report(const char *server, const Error *err);

#endif
