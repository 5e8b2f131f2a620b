/*
 * TLS credentials: mistakes in certificates, reported when they are loaded instead of by a failed handshake
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include <gnutls/x509.h>

#include "crypto/tls-creds-int.h"

/* The maximum number of certificates in a chain that GnuTLS verifies, unless told otherwise. */
#define MAX_CHAIN 16

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

/* How messages call certificate number @i; caller frees. */
static char *cert_list_describe(const CertList *list, unsigned i)
{
    return list->n == 1 ? g_strdup_printf("'%s'", list->path) : g_strdup_printf("%u in '%s'", i + 1, list->path);
}

/* Check each certificate: number 0 has @first_role, and all others are of CAs. */
static bool cert_list_check(const CertList *list, TlsCertRole first_role, Error **errp)
{
    for (unsigned i = 0; i < list->n; i++) {
        g_autofree char *name = cert_list_describe(list, i);

        if (!tls_cert_check(list->certs[i], name, i == 0 ? first_role : TLS_CERT_CA, errp)) {
            return false;
        }
    }
    return true;
}

/* Not a rule, but most likely a mistake. */
static bool cert_check_not_ca(const CertList *list, Error **errp)
{
    if (gnutls_x509_crt_get_basic_constraints(list->certs[0], NULL, NULL, NULL) > 0) {
        g_autofree char *name = cert_list_describe(list, 0);

        error_setg(errp, "The certificate %s is a CA certificate, but a server or client certificate is needed", name);
        return false;
    }
    return true;
}

/* RFC 7633: peers would refuse a certificate that promises TLS features, such as OCSP stapling. */
static bool cert_check_features(const CertList *list, Error **errp)
{
    size_t size = 0;
    int rc = gnutls_x509_crt_get_extension_by_oid(list->certs[0], GNUTLS_X509EXT_OID_TLSFEATURES, 0, NULL, &size, NULL);

    if (rc == GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE) {
        return true;
    }
    g_autofree char *name = cert_list_describe(list, 0);
    error_setg(errp, "The certificate %s requires TLS features (RFC 7633), such as OCSP stapling, which are not "
               "supported", name);
    return false;
}

/* Find the certificate that the chain @list below @ca is too long for: false with @errp if there is one. */
static bool cert_list_check_path_lengths(const CertList *list, const CertList *ca, Error **errp)
{
    unsigned below = 0;

    for (unsigned i = 1; i < list->n; i++) {
        g_autofree char *name = cert_list_describe(list, i);

        if (!tls_cert_check_path_length(list->certs[i], name, below, errp)) {
            return false;
        }
        below += !gnutls_x509_crt_check_issuer(list->certs[i], list->certs[i]);
    }
    for (unsigned i = 0; i < ca->n; i++) {
        g_autofree char *name = cert_list_describe(ca, i);

        if (gnutls_x509_crt_check_issuer(list->certs[list->n - 1], ca->certs[i]) &&
            !tls_cert_check_path_length(ca->certs[i], name, below, errp)) {
            return false;
        }
    }
    return true;
}

/* Let GnuTLS verify the chain, as a peer will: signatures, path lengths, name constraints. */
static bool cert_list_verify(const CertList *list, const CertList *ca, TlsCertRole role, Error **errp)
{
    gnutls_typed_vdata_st purpose = {
        .type = GNUTLS_DT_KEY_PURPOSE_OID,
        .data = (uint8_t *)(role == TLS_CERT_SERVER ? GNUTLS_KP_TLS_WWW_SERVER : GNUTLS_KP_TLS_WWW_CLIENT),
    };
    gnutls_x509_trust_list_t trusted = NULL;
    unsigned status = 0;
    int rc = gnutls_x509_trust_list_init(&trusted, 0);

    if (rc >= 0) {
        rc = gnutls_x509_trust_list_add_cas(trusted, ca->certs, ca->n, 0);
    }
    if (rc >= 0) {
        rc = gnutls_x509_trust_list_verify_crt2(trusted, list->certs, list->n, &purpose, 1, 0, &status, NULL);
    }
    if (trusted) {
        gnutls_x509_trust_list_deinit(trusted, 0);
    }
    if (!tls_creds_check_gnutls(rc, "to verify it, the certificate", list->path, errp)) {
        return false;
    }
    if (status == 0) {
        return true;
    }
    if ((status & GNUTLS_CERT_SIGNER_CONSTRAINTS_FAILURE) && !cert_list_check_path_lengths(list, ca, errp)) {
        return false;
    }
    g_autofree char *why = tls_cert_explain_status(status);
    error_setg(errp, "The certificate '%s' %s '%s': %s", list->path,
               status & GNUTLS_CERT_SIGNER_NOT_FOUND ? "is not signed by" : "is not valid below", ca->path, why);
    return false;
}

static bool cert_list_check_length(const CertList *list, Error **errp)
{
    if (list->n > MAX_CHAIN) {
        error_setg(errp, "The certificate '%s' comes in a chain of %u; peers verify no more than %d", list->path,
                   list->n, MAX_CHAIN);
        return false;
    }
    return true;
}

bool tls_creds_check_certs(const TlsFile *ca_file, const TlsFile *cert_file, bool is_server, Error **errp)
{
    TlsCertRole role = is_server ? TLS_CERT_SERVER : TLS_CERT_CLIENT;
    g_auto(CertList) ca = { NULL };
    g_auto(CertList) cert = { NULL };

    if (!cert_list_load(&ca, ca_file, errp) || !cert_list_check(&ca, TLS_CERT_CA, errp)) {
        return false;
    }
    if (!cert_file->data) {
        return true;
    }
    return cert_list_load(&cert, cert_file, errp) &&
           cert_list_check_length(&cert, errp) &&
           cert_list_check(&cert, role, errp) &&
           cert_check_not_ca(&cert, errp) &&
           cert_check_features(&cert, errp) &&
           cert_list_verify(&cert, &ca, role, errp);
}
