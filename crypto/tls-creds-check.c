/*
 * TLS credentials: mistakes in certificates, reported when they are loaded instead of by a failed handshake
 *
 * Rules: RFC 5280, sections 4.1.2.5 (time), 4.2.1.3 (key usage), 4.2.1.9 (basic constraints) and 4.2.1.12
 * (purpose).
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include <gnutls/x509.h>
#include <time.h>

#include "crypto/tls-creds-int.h"

typedef struct CertList {
    const char *path;
    gnutls_x509_crt_t *certs;
    unsigned n;
} CertList;

static void cert_list_cleanup(CertList *list)
{
    for (unsigned i = 0; i < list->n; i++) {
        gnutls_x509_crt_deinit(list->certs[i]);
    }
    gnutls_free(list->certs);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(CertList, cert_list_cleanup)

static bool cert_list_load(CertList *list, const TlsFile *file, Error **errp)
{
    list->path = file->path;
    return tls_creds_check_gnutls(gnutls_x509_crt_list_import2(&list->certs, &list->n, &file->datum,
                                                               GNUTLS_X509_FMT_PEM, 0),
                                  "the certificate", file->path, errp);
}

static bool cert_check_times(gnutls_x509_crt_t cert, const char *path, Error **errp)
{
    time_t now = time(NULL);

    if (gnutls_x509_crt_get_expiration_time(cert) < now) {
        error_setg(errp, "The certificate '%s' has expired", path);
        return false;
    }
    if (gnutls_x509_crt_get_activation_time(cert) > now) {
        error_setg(errp, "The certificate '%s' is not yet valid", path);
        return false;
    }
    return true;
}

static bool cert_check_basic_constraints(gnutls_x509_crt_t cert, const char *path, bool is_ca, Error **errp)
{
    int rc = gnutls_x509_crt_get_basic_constraints(cert, NULL, NULL, NULL);

    if (rc > 0 && !is_ca) {
        error_setg(errp, "'%s' is a CA certificate, but a server or client certificate is needed",
                   path);
        return false;
    }
    if (rc == 0 && is_ca) {
        error_setg(errp, "'%s' is not a CA certificate", path);
        return false;
    }
    if (rc == GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE && is_ca) {
        error_setg(errp, "'%s' does not say that it is a CA certificate", path);
        return false;
    }
    return rc == GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE ||
           tls_creds_check_gnutls(rc, "the basic constraints of", path, errp);
}

/* Check what the key may be used for. A certificate without the extension may be used for everything. */
static bool cert_check_usage(gnutls_x509_crt_t cert, const char *path, bool is_ca, Error **errp)
{
    unsigned usage, critical;
    int rc = gnutls_x509_crt_get_key_usage(cert, &usage, &critical);
    unsigned needed = is_ca ? GNUTLS_KEY_KEY_CERT_SIGN
                            : GNUTLS_KEY_DIGITAL_SIGNATURE | GNUTLS_KEY_KEY_ENCIPHERMENT;

    if (rc == GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE) {
        return true;
    }
    if (!tls_creds_check_gnutls(rc, "the key usage of", path, errp)) {
        return false;
    }
    if (critical && !(usage & needed)) {
        error_setg(errp, "The certificate '%s' does not permit %s", path,
                   is_ca ? "signing certificates" : "digital signatures or key encipherment");
        return false;
    }
    return true;
}

/* Check the purpose: "TLS server" or "TLS client". A certificate without the extension is for everything. */
static bool cert_check_purpose(gnutls_x509_crt_t cert, const char *path, bool is_server, Error **errp)
{
    const char *wanted = is_server ? GNUTLS_KP_TLS_WWW_SERVER : GNUTLS_KP_TLS_WWW_CLIENT;
    bool any_critical = false;

    for (unsigned i = 0; ; i++) {
        char oid[128];
        size_t size = sizeof(oid);
        unsigned critical;
        int rc = gnutls_x509_crt_get_key_purpose_oid(cert, i, oid, &size, &critical);

        if (rc == GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE) {
            if (i == 0 || !any_critical) {
                return true;
            }
            error_setg(errp, "The certificate '%s' is not for a TLS %s", path,
                       is_server ? "server" : "client");
            return false;
        }
        if (rc < 0) {
            return tls_creds_check_gnutls(rc, "the purpose of", path, errp);
        }
        if (g_str_equal(oid, wanted) || g_str_equal(oid, GNUTLS_KP_ANY)) {
            return true;
        }
        any_critical |= critical;
    }
}

static bool cert_check_chain(const CertList *cert, const CertList *ca, Error **errp)
{
    unsigned status;
    int rc = gnutls_x509_crt_list_verify(cert->certs, cert->n, ca->certs, ca->n, NULL, 0, 0, &status);
    gnutls_datum_t why = { NULL };

    if (!tls_creds_check_gnutls(rc, "to verify it, the certificate", cert->path, errp)) {
        return false;
    }
    if (status == 0) {
        return true;
    }
    gnutls_certificate_verification_status_print(status, GNUTLS_CRT_X509, &why, 0);
    error_setg(errp, "The certificate '%s' is not signed by '%s'", cert->path, ca->path);
    if (why.data) {
        error_append_hint(errp, "%s\n", why.data);
        gnutls_free(why.data);
    }
    return false;
}

bool tls_creds_check_certs(const TlsFile *ca_file, const TlsFile *cert_file, bool is_server, Error **errp)
{
    ERRP_GUARD();
    const char *ca_path = ca_file->path, *cert_path = cert_file->path;
    g_auto(CertList) ca = { NULL };
    g_auto(CertList) cert = { NULL };

    if (!cert_list_load(&ca, ca_file, errp)) {
        return false;
    }
    for (unsigned i = 0; i < ca.n; i++) {
        if (!cert_check_times(ca.certs[i], ca_path, errp) ||
            !cert_check_basic_constraints(ca.certs[i], ca_path, true, errp) ||
            !cert_check_usage(ca.certs[i], ca_path, true, errp)) {
            return false;
        }
    }
    if (!cert_file->data) {
        return true;
    }
    return cert_list_load(&cert, cert_file, errp) &&
           cert_check_times(cert.certs[0], cert_path, errp) &&
           cert_check_basic_constraints(cert.certs[0], cert_path, false, errp) &&
           cert_check_usage(cert.certs[0], cert_path, false, errp) &&
           cert_check_purpose(cert.certs[0], cert_path, is_server, errp) &&
           cert_check_chain(&cert, &ca, errp);
}
