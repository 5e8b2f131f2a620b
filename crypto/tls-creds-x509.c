/*
 * TLS credentials: certificates
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include "crypto/tls-creds-int.h"
#include "util/thread-pool.h"

/* The files of credentials. */
typedef struct Files {
    TlsFile ca_cert;
    TlsFile ca_crl;
    TlsFile cert;
    TlsFile key;
    TlsFile dh_params;
} Files;

static void x509_files_cleanup(Files *f)
{
    tls_file_cleanup(&f->ca_cert);
    tls_file_cleanup(&f->ca_crl);
    tls_file_cleanup(&f->cert);
    tls_file_cleanup(&f->key);
    tls_file_cleanup(&f->dh_params);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Files, x509_files_cleanup)

static bool coroutine_mixed_fn x509_read_files(const QCryptoTLSCreds *creds, Files *f, Error **errp)
{
    bool is_server = creds->endpoint == QCRYPTO_TLS_CREDS_ENDPOINT_SERVER;

    return tls_file_read(creds, "ca-cert.pem", true, &f->ca_cert, errp) &&
           tls_file_read(creds, "ca-crl.pem", false, &f->ca_crl, errp) &&
           tls_file_read(creds, is_server ? "server-cert.pem" : "client-cert.pem", is_server, &f->cert, errp) &&
           /* A certificate needs its key, and a key its certificate. */
           (!f->cert.data ||
            tls_file_read(creds, is_server ? "server-key.pem" : "client-key.pem", true, &f->key, errp)) &&
           (!is_server || tls_file_read(creds, "dh-params.pem", false, &f->dh_params, errp));
}

/* The password of the private key, NUL-terminated; NULL with @errp. */
static SecretBuffer *x509_key_password(const char *passwordid, Error **errp)
{
    SecretBuffer *password = qcrypto_secret_lookup(passwordid, errp);

    if (password) {
        secret_buffer_append(password, "", 1);
    }
    return password;
}

static bool x509_load_dh_params(QCryptoTLSCreds *creds, const TlsFile *file, Error **errp)
{
    int rc = gnutls_dh_params_init(&creds->dh_params);

    if (rc >= 0) {
        rc = gnutls_dh_params_import_pkcs3(creds->dh_params, &file->datum, GNUTLS_X509_FMT_PEM);
    }
    if (!tls_creds_check_gnutls(rc, "the Diffie-Hellman parameters", file->path, errp)) {
        return false;
    }
    gnutls_certificate_set_dh_params(creds->u.cert, creds->dh_params);
    return true;
}

static bool x509_load_key(QCryptoTLSCreds *creds, const Files *f, const SecretBuffer *password, Error **errp)
{
    int rc = gnutls_certificate_set_x509_key_mem2(creds->u.cert, &f->cert.datum, &f->key.datum, GNUTLS_X509_FMT_PEM,
                                                  password ? (const char *)password->data : NULL, 0);

    if (rc == GNUTLS_E_DECRYPTION_FAILED) {
        error_setg(errp, "Could not decrypt the private key '%s'", f->key.path);
        error_append_hint(errp, "Option 'passwordid' names the secret that holds its password.\n");
        return false;
    }
    return tls_creds_check_gnutls(rc, "the certificate and key", f->cert.path, errp);
}

static bool x509_load_files(QCryptoTLSCreds *creds, const Files *f, const SecretBuffer *password, Error **errp)
{
    int rc = gnutls_certificate_allocate_credentials(&creds->u.cert);

    if (!tls_creds_check_gnutls(rc, "certificates from", creds->dir, errp)) {
        return false;
    }
    rc = gnutls_certificate_set_x509_trust_mem(creds->u.cert, &f->ca_cert.datum, GNUTLS_X509_FMT_PEM);
    if (!tls_creds_check_gnutls(rc, "the CA's certificate", f->ca_cert.path, errp)) {
        return false;
    }
    if (f->cert.data && !x509_load_key(creds, f, password, errp)) {
        return false;
    }
    if (f->ca_crl.data) {
        rc = gnutls_certificate_set_x509_crl_mem(creds->u.cert, &f->ca_crl.datum, GNUTLS_X509_FMT_PEM);
        if (!tls_creds_check_gnutls(rc, "the list of revoked certificates", f->ca_crl.path, errp)) {
            return false;
        }
    }
    return !f->dh_params.data || x509_load_dh_params(creds, &f->dh_params, errp);
}

typedef struct LoadWork {
    QCryptoTLSCreds *creds;
    const Files *files;
    const SecretBuffer *password;
    bool sanity_check;
    Error **errp;
} LoadWork;

/* On a worker: the key may be encrypted with a key that is slow to derive. */
static int x509_check_and_load(void *opaque)
{
    LoadWork *work = opaque;
    const Files *f = work->files;
    bool is_server = work->creds->endpoint == QCRYPTO_TLS_CREDS_ENDPOINT_SERVER;

    return (!work->sanity_check || tls_creds_check_certs(&f->ca_cert, &f->cert, is_server, work->errp)) &&
           x509_load_files(work->creds, f, work->password, work->errp);
}

static bool coroutine_mixed_fn x509_load(QCryptoTLSCreds *creds, const TlsCredsX509Properties *props, Error **errp)
{
    ERRP_GUARD();
    g_auto(Files) files = { .ca_cert.path = NULL };
    g_autoptr(SecretBuffer) password = NULL;

    if (!x509_read_files(creds, &files, errp)) {
        return false;
    }
    /* Only a certificate's key needs a password. */
    if (files.cert.data && props->passwordid && !(password = x509_key_password(props->passwordid, errp))) {
        error_prepend(errp, "Option 'passwordid': ");
        return false;
    }
    LoadWork work = {
        .creds = creds, .files = &files, .password = password,
        .sanity_check = !props->has_sanity_check || props->sanity_check, .errp = errp,
    };
    return thread_pool_submit_co(THREAD_POOL_LONG, x509_check_and_load, &work);
}

static void *coroutine_mixed_fn x509_create(const ObjectOptions *options, Error **errp)
{
    ERRP_GUARD();
    const TlsCredsX509Properties *props = &options->u.tls_creds_x509;
    g_autoptr(QCryptoTLSCreds) creds = tls_creds_new((const TlsCredsProperties *)props, false, errp);

    if (!creds || !x509_load(creds, props, errp)) {
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
