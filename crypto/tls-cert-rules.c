/*
 * TLS: the rules of RFC 5280 for one certificate
 *
 * GnuTLS verifies chains, but not every certificate that it accepts follows the rules: it takes malformed extensions of
 * the first certificate for absent ones.
 *
 * An extension that we know counts whether or not it is critical. That only matters where it is unknown.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include <gnutls/x509-ext.h>
#include <time.h>

#include "crypto/tls-creds-int.h"

/* GnuTLS has another name for 2.5.29.52, which does not exist. */
#define OID_INHIBIT_ANY_POLICY "2.5.29.54"

static bool refuse_malformed(const char *name, const char *what, const char *rule, int rc, Error **errp)
{
    error_setg(errp, "The certificate %s has malformed %s (RFC 5280, %s): %s", name, what, rule, gnutls_strerror(rc));
    return false;
}

static bool cert_check_times(gnutls_x509_crt_t cert, const char *name, Error **errp)
{
    time_t now = time(NULL);
    time_t from = gnutls_x509_crt_get_activation_time(cert);
    time_t to = gnutls_x509_crt_get_expiration_time(cert);

    if (from == (time_t)-1 || to == (time_t)-1) {
        error_setg(errp, "The certificate %s has a malformed validity period (RFC 5280, 4.1.2.5)", name);
        return false;
    }
    if (to < now) {
        error_setg(errp, "The certificate %s has expired (RFC 5280, 4.1.2.5)", name);
        return false;
    }
    if (from > now) {
        error_setg(errp, "The certificate %s is not yet valid (RFC 5280, 4.1.2.5)", name);
        return false;
    }
    return true;
}

/* Extensions that may be critical: those that are checked here, or that GnuTLS knows when it verifies a chain. */
static bool is_known_extension(const char *oid)
{
    static const char *const known[] = {
        GNUTLS_X509EXT_OID_SUBJECT_KEY_ID, GNUTLS_X509EXT_OID_KEY_USAGE, GNUTLS_X509EXT_OID_SAN, GNUTLS_X509EXT_OID_IAN,
        GNUTLS_X509EXT_OID_BASIC_CONSTRAINTS, GNUTLS_X509EXT_OID_NAME_CONSTRAINTS, GNUTLS_X509EXT_OID_CRL_DIST_POINTS,
        GNUTLS_X509EXT_OID_CRT_POLICY, GNUTLS_X509EXT_OID_AUTHORITY_KEY_ID, GNUTLS_X509EXT_OID_EXTENDED_KEY_USAGE,
        OID_INHIBIT_ANY_POLICY, GNUTLS_X509EXT_OID_AUTHORITY_INFO_ACCESS, GNUTLS_X509EXT_OID_PROXY_CRT_INFO,
        GNUTLS_X509EXT_OID_TLSFEATURES, NULL,
    };

    return g_strv_contains(known, oid);
}

static bool cert_check_critical(gnutls_x509_crt_t cert, const char *name, Error **errp)
{
    for (unsigned i = 0; ; i++) {
        char oid[128];
        size_t size = sizeof(oid);
        unsigned critical;
        int rc = gnutls_x509_crt_get_extension_info(cert, i, oid, &size, &critical);

        if (rc == GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE) {
            return true;
        }
        if (rc < 0) {
            return refuse_malformed(name, "extensions", "4.2", rc, errp);
        }
        if (critical && !is_known_extension(oid)) {
            error_setg(errp, "The certificate %s has the extension %s, which is unknown and critical (RFC 5280, 4.2)",
                       name, oid);
            return false;
        }
    }
}

static bool cert_check_basic_constraints(gnutls_x509_crt_t cert, const char *name, TlsCertRole role, Error **errp)
{
    int rc = gnutls_x509_crt_get_basic_constraints(cert, NULL, NULL, NULL);

    if (rc < 0 && rc != GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE) {
        return refuse_malformed(name, "basic constraints", "4.2.1.9", rc, errp);
    }
    if (role == TLS_CERT_CA && rc <= 0) {
        error_setg(errp, "The certificate %s %s (RFC 5280, 4.2.1.9)", name,
                   rc == 0 ? "is not a CA certificate" : "does not say that it is a CA certificate");
        return false;
    }
    return true;
}

/* What a peer's key must do. An RSA key of a server can also decrypt a secret, up to TLS 1.2. */
static unsigned cert_needed_usage(gnutls_x509_crt_t cert, TlsCertRole role)
{
    if (role == TLS_CERT_CA) {
        return GNUTLS_KEY_KEY_CERT_SIGN;
    }
    bool may_decrypt = role == TLS_CERT_SERVER && gnutls_x509_crt_get_pk_algorithm(cert, NULL) == GNUTLS_PK_RSA;
    return GNUTLS_KEY_DIGITAL_SIGNATURE | (may_decrypt ? GNUTLS_KEY_KEY_ENCIPHERMENT : 0);
}

/* A certificate without the extension may be used for everything. */
static bool cert_check_usage(gnutls_x509_crt_t cert, const char *name, TlsCertRole role, Error **errp)
{
    unsigned usage, needed = cert_needed_usage(cert, role);
    int rc = gnutls_x509_crt_get_key_usage(cert, &usage, NULL);

    if (rc == GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE) {
        return true;
    }
    if (rc < 0) {
        return refuse_malformed(name, "key usage", "4.2.1.3", rc, errp);
    }
    if (!(usage & needed)) {
        error_setg(errp, "The certificate %s does not permit %s (RFC 5280, 4.2.1.3)", name,
                   role == TLS_CERT_CA ? "signing certificates" :
                   needed & GNUTLS_KEY_KEY_ENCIPHERMENT ? "digital signatures or key encipherment"
                                                        : "digital signatures");
        return false;
    }
    return true;
}

/* A certificate without the extension is for everything. */
static bool cert_check_purpose(gnutls_x509_crt_t cert, const char *name, TlsCertRole role, Error **errp)
{
    const char *wanted = role == TLS_CERT_SERVER ? GNUTLS_KP_TLS_WWW_SERVER : GNUTLS_KP_TLS_WWW_CLIENT;
    uint8_t none[1];
    size_t none_size = 0;

    if (gnutls_x509_crt_get_extension_by_oid(cert, GNUTLS_X509EXT_OID_EXTENDED_KEY_USAGE, 0, none, &none_size, NULL) ==
        GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE) {
        return true;
    }
    for (unsigned i = 0; ; i++) {
        char oid[128];
        size_t size = sizeof(oid);
        int rc = gnutls_x509_crt_get_key_purpose_oid(cert, i, oid, &size, NULL);

        if (rc == GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE) {
            error_setg(errp, "The certificate %s is not for a TLS %s (RFC 5280, 4.2.1.12)", name,
                       role == TLS_CERT_SERVER ? "server" : "client");
            return false;
        }
        if (rc < 0) {
            return refuse_malformed(name, "purposes", "4.2.1.12", rc, errp);
        }
        if (g_str_equal(oid, wanted) || g_str_equal(oid, GNUTLS_KP_ANY)) {
            return true;
        }
    }
}

bool tls_cert_check_path_length(gnutls_x509_crt_t cert, const char *name, unsigned below, Error **errp)
{
    int max;

    if (gnutls_x509_crt_get_basic_constraints(cert, NULL, NULL, &max) <= 0 || max < 0 || below <= (unsigned)max) {
        return true;
    }
    error_setg(errp, "The certificate %s has a path length of %d, but the number of CA certificates below it is %u "
               "(RFC 5280, 4.2.1.9)", name, max, below);
    return false;
}

char *tls_cert_explain_status(unsigned status)
{
    static const struct {
        unsigned bit;
        const char *why;
    } reasons[] = {
        { GNUTLS_CERT_SIGNER_NOT_FOUND, "its issuer is not known (RFC 5280, 6.1.3)" },
        { GNUTLS_CERT_SIGNATURE_FAILURE, "a signature is wrong (RFC 5280, 6.1.3)" },
        { GNUTLS_CERT_REVOKED, "it has been revoked (RFC 5280, 6.3)" },
        { GNUTLS_CERT_EXPIRED, "it, or one above it, has expired (RFC 5280, 4.1.2.5)" },
        { GNUTLS_CERT_NOT_ACTIVATED, "it, or one above it, is not yet valid (RFC 5280, 4.1.2.5)" },
        { GNUTLS_CERT_UNKNOWN_CRIT_EXTENSIONS, "it has an extension that is unknown and critical (RFC 5280, 4.2)" },
        { GNUTLS_CERT_PURPOSE_MISMATCH, "it, or one above it, is not for this purpose (RFC 5280, 4.2.1.12)" },
        { GNUTLS_CERT_SIGNER_NOT_CA,
          "one above it is not a CA certificate, or its path length is malformed (RFC 5280, 4.2.1.9)" },
        { GNUTLS_CERT_SIGNER_CONSTRAINTS_FAILURE,
          "one above it does not permit it, by its key usage, path length or name constraints (RFC 5280, 4.2.1.3, "
          "4.2.1.9 and 4.2.1.10)" },
    };
    g_autoptr(GString) why = g_string_new(NULL);
    gnutls_datum_t text = { NULL };

    for (size_t i = 0; i < G_N_ELEMENTS(reasons); i++) {
        if (status & reasons[i].bit) {
            g_string_append_printf(why, "%s%s", why->len ? "; " : "", reasons[i].why);
        }
    }
    if (why->len == 0 && gnutls_certificate_verification_status_print(status, GNUTLS_CRT_X509, &text, 0) >= 0) {
        g_string_append(why, g_strchomp((char *)text.data));
        gnutls_free(text.data);
    }
    return g_strdup(why->str);
}

const char *tls_cert_rule_of_error(int rc)
{
    switch (rc) {
    case GNUTLS_E_X509_DUPLICATE_EXTENSION:
        return " (RFC 5280, 4.2)";
    case GNUTLS_E_ASN1_TIME_ERROR:
    case GNUTLS_E_CERTIFICATE_TIME_ERROR:
        return " (RFC 5280, 4.1.2.5)";
    default:
        return "";
    }
}

bool tls_cert_check(gnutls_x509_crt_t cert, const char *name, TlsCertRole role, Error **errp)
{
    return cert_check_times(cert, name, errp) &&
           cert_check_critical(cert, name, errp) &&
           cert_check_basic_constraints(cert, name, role, errp) &&
           cert_check_usage(cert, name, role, errp) &&
           (role == TLS_CERT_CA || cert_check_purpose(cert, name, role, errp));
}
