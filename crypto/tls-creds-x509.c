/*
 * TLS credentials: certificates
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include "crypto/secret.h"
#include "crypto/tls-creds-int.h"

/* The files of credentials; those that are missing and not needed are NULL. */
typedef struct Files {
    char *ca_cert;
    char *ca_crl;
    char *cert;
    char *key;
    char *dh_params;
} Files;

static void files_cleanup(Files *f)
{
    g_free(f->ca_cert);
    g_free(f->ca_crl);
    g_free(f->cert);
    g_free(f->key);
    g_free(f->dh_params);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Files, files_cleanup)

static bool find_files(const QCryptoTLSCreds *creds, Files *f, Error **errp)
{
    bool is_server = creds->endpoint == QCRYPTO_TLS_CREDS_ENDPOINT_SERVER;

    f->ca_cert = tls_creds_path(creds, "ca-cert.pem", true, errp);
    if (!f->ca_cert) {
        return false;
    }
    f->ca_crl = tls_creds_path(creds, "ca-crl.pem", false, NULL);
    f->cert = tls_creds_path(creds, is_server ? "server-cert.pem" : "client-cert.pem", is_server, errp);
    if (is_server && !f->cert) {
        return false;
    }
    /* A certificate is of no use without its key, nor the other way round. */
    f->key = tls_creds_path(creds, is_server ? "server-key.pem" : "client-key.pem", f->cert, errp);
    if (f->cert && !f->key) {
        return false;
    }
    f->dh_params = is_server ? tls_creds_path(creds, "dh-params.pem", false, NULL) : NULL;
    return true;
}

/* The password of the private key, with a NUL behind it; NULL where there is none, or with @errp. */
static SecretBuffer *key_password(const char *passwordid, Error **errp)
{
    SecretBuffer *password = passwordid ? qcrypto_secret_lookup(passwordid, errp) : NULL;

    if (password) {
        secret_buffer_append(password, "", 1);
    }
    return password;
}

static bool load_dh_params(QCryptoTLSCreds *creds, const char *path, Error **errp)
{
    gnutls_datum_t data;
    int rc = gnutls_load_file(path, &data);

    if (rc >= 0) {
        rc = gnutls_dh_params_init(&creds->dh_params);
        if (rc >= 0) {
            rc = gnutls_dh_params_import_pkcs3(creds->dh_params, &data, GNUTLS_X509_FMT_PEM);
        }
        gnutls_free(data.data);
    }
    if (!tls_creds_check_gnutls(rc, "the Diffie-Hellman parameters", path, errp)) {
        return false;
    }
    gnutls_certificate_set_dh_params(creds->u.cert, creds->dh_params);
    return true;
}

static bool load_key(QCryptoTLSCreds *creds, const Files *f, const char *passwordid, Error **errp)
{
    ERRP_GUARD();
    g_autoptr(SecretBuffer) password = key_password(passwordid, errp);

    if (passwordid && !password) {
        error_prepend(errp, "Option 'passwordid': ");
        return false;
    }
    int rc = gnutls_certificate_set_x509_key_file2(creds->u.cert, f->cert, f->key, GNUTLS_X509_FMT_PEM,
                                                   password ? (const char *)password->data : NULL, 0);
    if (rc == GNUTLS_E_DECRYPTION_FAILED) {
        error_setg(errp, "Could not decrypt the private key '%s'", f->key);
        error_append_hint(errp, "Option 'passwordid' names the secret that holds its password.\n");
        return false;
    }
    return tls_creds_check_gnutls(rc, "the certificate and key", f->cert, errp);
}

static bool load_files(QCryptoTLSCreds *creds, const Files *f, const char *passwordid, Error **errp)
{
    int rc = gnutls_certificate_allocate_credentials(&creds->u.cert);

    if (!tls_creds_check_gnutls(rc, "certificates from", creds->dir, errp)) {
        return false;
    }
    rc = gnutls_certificate_set_x509_trust_file(creds->u.cert, f->ca_cert, GNUTLS_X509_FMT_PEM);
    if (!tls_creds_check_gnutls(rc, "the CA's certificate", f->ca_cert, errp)) {
        return false;
    }
    if (f->cert && !load_key(creds, f, passwordid, errp)) {
        return false;
    }
    if (f->ca_crl) {
        rc = gnutls_certificate_set_x509_crl_file(creds->u.cert, f->ca_crl, GNUTLS_X509_FMT_PEM);
        if (!tls_creds_check_gnutls(rc, "the list of revoked certificates", f->ca_crl, errp)) {
            return false;
        }
    }
    return !f->dh_params || load_dh_params(creds, f->dh_params, errp);
}

static void *x509_create(const ObjectOptions *options, Error **errp)
{
    ERRP_GUARD();
    const TlsCredsX509Properties *props = &options->u.tls_creds_x509;
    g_autoptr(QCryptoTLSCreds) creds = tls_creds_new((const TlsCredsProperties *)props, false, errp);
    g_auto(Files) f = { NULL };
    bool ok = creds && find_files(creds, &f, errp);

    if (ok && (!props->has_sanity_check || props->sanity_check)) {
        ok = tls_creds_check_certs(f.ca_cert, f.cert, creds->endpoint == QCRYPTO_TLS_CREDS_ENDPOINT_SERVER,
                                   errp);
    }
    if (!ok || !load_files(creds, &f, props->passwordid, errp)) {
        error_prepend(errp, "TLS credentials '%s': ", options->id);
        return NULL;
    }
    return g_steal_pointer(&creds);
}

static void x509_free(void *obj)
{
    qcrypto_tls_creds_unref(obj);
}

const UserCreatableType tls_creds_x509_type = {
    .type = OBJECT_TYPE_TLS_CREDS_X509,
    .create = x509_create,
    .free = x509_free,
};
