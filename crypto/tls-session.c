/*
 * TLS sessions: GnuTLS behind callbacks that never block
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include <gnutls/gnutls.h>
#include <gnutls/x509.h>

#include "crypto/authz.h"
#include "crypto/tls-creds-int.h"
#include "crypto/tls-session.h"

struct QCryptoTLSSession {
    QCryptoTLSCreds *creds;
    gnutls_session_t handle;
    char *hostname;
    char *authzid;
    char *peer_name;
    QCryptoTLSPushFunc *push;
    QCryptoTLSPullFunc *pull;
    void *opaque;
};

static ssize_t transport_result(QCryptoTLSSession *session, ssize_t ret)
{
    if (ret < 0) {
        gnutls_transport_set_errno(session->handle, -ret);
        return -1;
    }
    return ret;
}

static ssize_t transport_push(gnutls_transport_ptr_t opaque, const void *buf, size_t len)
{
    QCryptoTLSSession *session = opaque;

    return transport_result(session, session->push(session->opaque, buf, len));
}

static ssize_t transport_pull(gnutls_transport_ptr_t opaque, void *buf, size_t len)
{
    QCryptoTLSSession *session = opaque;

    return transport_result(session, session->pull(session->opaque, buf, len));
}

static int session_set_credentials(QCryptoTLSSession *session, bool is_server)
{
    QCryptoTLSCreds *creds = session->creds;

    if (!creds->is_psk) {
        if (is_server && creds->verify_peer) {
            gnutls_certificate_server_set_request(session->handle, GNUTLS_CERT_REQUIRE);
        }
        return gnutls_credentials_set(session->handle, GNUTLS_CRD_CERTIFICATE, creds->u.cert);
    }
    return gnutls_credentials_set(session->handle, GNUTLS_CRD_PSK,
                                  is_server ? (void *)creds->u.psk_server : (void *)creds->u.psk_client);
}

/* Servers with several certificates choose by name (RFC 6066). Addresses are not names. */
static void session_send_server_name(QCryptoTLSSession *session)
{
    if (session->hostname && !g_hostname_is_ip_address(session->hostname)) {
        gnutls_server_name_set(session->handle, GNUTLS_NAME_DNS, session->hostname,
                               strlen(session->hostname));
    }
}

QCryptoTLSSession *qcrypto_tls_session_new(QCryptoTLSCreds *creds, const char *hostname,
                                           const char *authzid, Error **errp)
{
    QCryptoTLSSession *session = g_new0(QCryptoTLSSession, 1);
    bool is_server = creds->endpoint == QCRYPTO_TLS_CREDS_ENDPOINT_SERVER;

    session->creds = qcrypto_tls_creds_ref(creds);
    session->hostname = g_strdup(hostname);
    session->authzid = g_strdup(authzid);
    int rc = gnutls_init(&session->handle, GNUTLS_NONBLOCK | (is_server ? GNUTLS_SERVER : GNUTLS_CLIENT));
    if (rc >= 0) {
        rc = gnutls_priority_set_direct(session->handle, creds->priority, NULL);
    } else {
        session->handle = NULL;
    }
    if (rc >= 0) {
        rc = session_set_credentials(session, is_server);
    }
    if (rc < 0) {
        error_setg(errp, "Could not begin a TLS session: %s", gnutls_strerror(rc));
        qcrypto_tls_session_free(session);
        return NULL;
    }
    if (!is_server) {
        session_send_server_name(session);
    }
    gnutls_session_set_ptr(session->handle, creds);
    gnutls_transport_set_ptr(session->handle, session);
    gnutls_transport_set_push_function(session->handle, transport_push);
    gnutls_transport_set_pull_function(session->handle, transport_pull);
    return session;
}

void qcrypto_tls_session_free(QCryptoTLSSession *session)
{
    if (!session) {
        return;
    }
    if (session->handle) {
        gnutls_deinit(session->handle);
    }
    qcrypto_tls_creds_unref(session->creds);
    g_free(session->hostname);
    g_free(session->authzid);
    g_free(session->peer_name);
    g_free(session);
}

void qcrypto_tls_session_set_callbacks(QCryptoTLSSession *session, QCryptoTLSPushFunc *push,
                                       QCryptoTLSPullFunc *pull, void *opaque)
{
    session->push = push;
    session->pull = pull;
    session->opaque = opaque;
}

/* The peer's own certificate; NULL if there is none. Caller frees. */
static gnutls_x509_crt_t session_import_certificate(QCryptoTLSSession *session)
{
    unsigned n;
    const gnutls_datum_t *chain = gnutls_certificate_get_peers(session->handle, &n);
    gnutls_x509_crt_t cert;

    if (!chain || n == 0 || gnutls_x509_crt_init(&cert) < 0) {
        return NULL;
    }
    if (gnutls_x509_crt_import(cert, &chain[0], GNUTLS_X509_FMT_DER) < 0) {
        gnutls_x509_crt_deinit(cert);
        return NULL;
    }
    return cert;
}

/* Check that the chain is valid, current, signed by the CA, not revoked, and (for clients) for the right host. */
static bool session_verify_chain(QCryptoTLSSession *session, Error **errp)
{
    unsigned status;
    bool is_server = session->creds->endpoint == QCRYPTO_TLS_CREDS_ENDPOINT_SERVER;
    gnutls_typed_vdata_st data[] = {
        { .type = GNUTLS_DT_KEY_PURPOSE_OID,
          .data = (uint8_t *)(is_server ? GNUTLS_KP_TLS_WWW_CLIENT : GNUTLS_KP_TLS_WWW_SERVER) },
        { .type = GNUTLS_DT_DNS_HOSTNAME, .data = (uint8_t *)session->hostname },
    };
    int rc = gnutls_certificate_verify_peers(session->handle, data, session->hostname ? 2 : 1, &status);

    if (rc < 0) {
        error_setg(errp, "Could not verify the peer's certificate: %s", gnutls_strerror(rc));
        return false;
    }
    if (status == 0) {
        return true;
    }
    if (status & GNUTLS_CERT_UNEXPECTED_OWNER) {
        error_setg(errp, "The peer's certificate is not for '%s'", session->hostname);
        return false;
    }
    g_autofree char *why = tls_cert_explain_status(status);
    error_setg(errp, "The peer's certificate is not trusted: %s", why);
    return false;
}

/* GnuTLS is content with the chain. Its own checks of the first certificate are looser. */
static bool session_check_certificate(QCryptoTLSSession *session, Error **errp)
{
    bool is_server = session->creds->endpoint == QCRYPTO_TLS_CREDS_ENDPOINT_SERVER;
    gnutls_x509_crt_t cert = session_import_certificate(session);

    if (!cert) {
        error_setg(errp, "Could not read the peer's certificate");
        return false;
    }
    bool ok = tls_cert_check(cert, "of the peer", is_server ? TLS_CERT_CLIENT : TLS_CERT_SERVER, errp);
    gnutls_x509_crt_deinit(cert);
    return ok;
}

/* The distinguished name in the peer's certificate, in the order used by QEMU's rules. */
static char *session_certificate_name(QCryptoTLSSession *session)
{
    gnutls_x509_crt_t cert = session_import_certificate(session);
    gnutls_datum_t dn = { NULL };
    char *name = NULL;

    if (!cert) {
        return NULL;
    }
    if (gnutls_x509_crt_get_dn2(cert, &dn) >= 0) {
        name = g_strndup((const char *)dn.data, dn.size);
        gnutls_free(dn.data);
    }
    gnutls_x509_crt_deinit(cert);
    return name;
}

/* After the handshake: identify and authorize the peer. */
static QCryptoTLSState session_check_peer(QCryptoTLSSession *session, Error **errp)
{
    if (session->creds->is_psk) {
        /* NULL for a client: knowing the key identifies the server. */
        session->peer_name = g_strdup(gnutls_psk_server_get_username(session->handle));
    } else {
        if (session->creds->verify_peer &&
            (!session_verify_chain(session, errp) || !session_check_certificate(session, errp))) {
            return QCRYPTO_TLS_FAILED;
        }
        session->peer_name = session->creds->verify_peer ? session_certificate_name(session) : NULL;
    }
    if (!session->authzid) {
        return QCRYPTO_TLS_DONE;
    }
    if (!session->peer_name) {
        error_setg(errp, "'%s' cannot authorize a peer that is not authenticated", session->authzid);
        return QCRYPTO_TLS_FAILED;
    }
    return qauthz_is_allowed_by_id(session->authzid, session->peer_name, errp) ? QCRYPTO_TLS_DONE : QCRYPTO_TLS_REFUSED;
}

/* Results of GnuTLS that are not errors. */
static bool session_is_harmless(int rc)
{
    return rc == GNUTLS_E_INTERRUPTED || rc == GNUTLS_E_WARNING_ALERT_RECEIVED;
}

/* Failures of a client that credentials of the wrong kind, among other things, lead to. */
static bool is_failure_of_wrong_kind(int rc, gnutls_alert_description_t alert)
{
    return rc == GNUTLS_E_PREMATURE_TERMINATION || rc == GNUTLS_E_PUSH_ERROR || rc == GNUTLS_E_PULL_ERROR ||
           rc == GNUTLS_E_INSUFFICIENT_CREDENTIALS ||
           (rc == GNUTLS_E_FATAL_ALERT_RECEIVED &&
            (alert == GNUTLS_A_HANDSHAKE_FAILURE || alert == GNUTLS_A_MISSING_EXTENSION));
}

static void session_report_failure(QCryptoTLSSession *session, int rc, Error **errp)
{
    ERRP_GUARD();
    const QCryptoTLSCreds *creds = session->creds;
    gnutls_alert_description_t alert = gnutls_alert_get(session->handle);

    if (rc == GNUTLS_E_FATAL_ALERT_RECEIVED) {
        error_setg(errp, "TLS handshake failed: the peer says '%s'", gnutls_alert_get_name(alert));
    } else {
        error_setg(errp, "TLS handshake failed: %s", rc == GNUTLS_E_PUSH_ERROR || rc == GNUTLS_E_PULL_ERROR ?
                   "the connection was closed" : gnutls_strerror(rc));
    }
    if (creds->endpoint == QCRYPTO_TLS_CREDS_ENDPOINT_CLIENT && is_failure_of_wrong_kind(rc, alert)) {
        error_append_hint(errp, "The server may want %s, but these credentials are %s.\n",
                          creds->is_psk ? "certificates (tls-creds-x509)" : "pre-shared keys (tls-creds-psk)",
                          creds->is_psk ? "pre-shared keys (tls-creds-psk)" : "certificates (tls-creds-x509)");
    }
}

QCryptoTLSState qcrypto_tls_session_handshake(QCryptoTLSSession *session, Error **errp)
{
    int rc;

    do {
        rc = gnutls_handshake(session->handle);
    } while (session_is_harmless(rc));

    if (rc == GNUTLS_E_AGAIN) {
        return qcrypto_tls_session_wants_write(session) ? QCRYPTO_TLS_WANTS_WRITE : QCRYPTO_TLS_WANTS_READ;
    }
    if (rc < 0) {
        if (rc != GNUTLS_E_FATAL_ALERT_RECEIVED) {
            /* Tell the peer why, in one attempt. */
            gnutls_alert_send_appropriate(session->handle, rc);
        }
        session_report_failure(session, rc, errp);
        return QCRYPTO_TLS_FAILED;
    }
    QCryptoTLSState state = session_check_peer(session, errp);
    if (state != QCRYPTO_TLS_DONE) {
        gnutls_alert_send(session->handle, GNUTLS_AL_FATAL, GNUTLS_A_BAD_CERTIFICATE);
    }
    return state;
}

static ssize_t session_result(ssize_t rc)
{
    if (rc >= 0) {
        return rc;
    }
    switch (rc) {
    case GNUTLS_E_AGAIN:
        return -EAGAIN;
    case GNUTLS_E_PREMATURE_TERMINATION:
    case GNUTLS_E_PULL_ERROR:
    case GNUTLS_E_PUSH_ERROR:
        return -ECONNRESET;
    default:
        return -EIO;
    }
}

ssize_t qcrypto_tls_session_read(QCryptoTLSSession *session, void *buf, size_t len)
{
    ssize_t rc;

    do {
        rc = gnutls_record_recv(session->handle, buf, len);
    } while (rc < 0 && session_is_harmless(rc));
    return session_result(rc);
}

ssize_t qcrypto_tls_session_write(QCryptoTLSSession *session, const void *buf, size_t len)
{
    ssize_t rc;

    do {
        rc = gnutls_record_send(session->handle, buf, len);
    } while (rc < 0 && session_is_harmless(rc));
    return session_result(rc);
}

bool qcrypto_tls_session_wants_write(QCryptoTLSSession *session)
{
    return gnutls_record_get_direction(session->handle);
}

void qcrypto_tls_session_bye(QCryptoTLSSession *session)
{
    gnutls_bye(session->handle, GNUTLS_SHUT_WR);
}
