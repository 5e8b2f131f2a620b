/*
 * TLS credentials: what all types share
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include "crypto/authz.h"
#include "crypto/tls-creds-int.h"

/* Older versions are broken; RFC 8996. */
#define DEFAULT_PRIORITY "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2"
/* Key exchanges that a pre-shared key needs. */
#define PSK_PRIORITY ":+ECDHE-PSK:+DHE-PSK:+PSK"

QCryptoTLSCreds *tls_creds_new(const TlsCredsProperties *props, bool is_psk, Error **errp)
{
    if (!props->dir) {
        error_setg(errp, "Option 'dir' is needed: the directory with the files of the credentials");
        return NULL;
    }
    QCryptoTLSCreds *creds = g_new0(QCryptoTLSCreds, 1);
    creds->refcnt = 1;
    creds->is_psk = is_psk;
    creds->verify_peer = !props->has_verify_peer || props->verify_peer;
    creds->endpoint = props->has_endpoint ? props->endpoint : QCRYPTO_TLS_CREDS_ENDPOINT_CLIENT;
    creds->dir = g_strdup(props->dir);
    creds->priority = g_strconcat(props->priority ?: DEFAULT_PRIORITY, is_psk ? PSK_PRIORITY : NULL, NULL);

    gnutls_priority_t cache;
    const char *where;
    if (gnutls_priority_init(&cache, creds->priority, &where) < 0) {
        error_setg(errp, "Option 'priority': GnuTLS does not accept '%s'", where);
        qcrypto_tls_creds_unref(creds);
        return NULL;
    }
    gnutls_priority_deinit(cache);
    return creds;
}

void tls_file_cleanup(TlsFile *file)
{
    g_free(file->path);
    secret_buffer_free(file->data);
}

bool coroutine_mixed_fn tls_file_read(const QCryptoTLSCreds *creds, const char *name, bool required, TlsFile *file,
                                      Error **errp)
{
    ERRP_GUARD();

    file->path = g_build_filename(creds->dir, name, NULL);
    file->data = secret_read_file(file->path, required ? SECRET_FILE_REQUIRED : SECRET_FILE_OPTIONAL, errp);
    if (file->data) {
        file->datum = (gnutls_datum_t){ .data = file->data->data, .size = file->data->len };
    }
    return !*errp;
}

bool tls_creds_check_gnutls(int rc, const char *what, const char *path, Error **errp)
{
    if (rc < 0) {
        error_setg(errp, "Could not load %s '%s': %s%s", what, path, gnutls_strerror(rc), tls_cert_rule_of_error(rc));
    }
    return rc >= 0;
}

QCryptoTLSCreds *qcrypto_tls_creds_ref(QCryptoTLSCreds *creds)
{
    g_atomic_int_inc(&creds->refcnt);
    return creds;
}

void qcrypto_tls_creds_unref(QCryptoTLSCreds *creds)
{
    if (!creds || !g_atomic_int_dec_and_test(&creds->refcnt)) {
        return;
    }
    if (!creds->is_psk) {
        if (creds->u.cert) {
            gnutls_certificate_free_credentials(creds->u.cert);
        }
    } else if (creds->endpoint == QCRYPTO_TLS_CREDS_ENDPOINT_SERVER) {
        if (creds->u.psk_server) {
            gnutls_psk_free_server_credentials(creds->u.psk_server);
        }
    } else if (creds->u.psk_client) {
        gnutls_psk_free_client_credentials(creds->u.psk_client);
    }
    if (creds->dh_params) {
        gnutls_dh_params_deinit(creds->dh_params);
    }
    secret_buffer_free(creds->psk_keys);
    g_free(creds->dir);
    g_free(creds->priority);
    g_free(creds);
}

QCryptoTLSCreds *qcrypto_tls_creds_lookup(const char *id, QCryptoTLSCredsEndpoint endpoint, Error **errp)
{
    ObjectType type;
    QCryptoTLSCreds *creds = user_creatable_find(id, &type);

    if (!creds) {
        error_setg(errp, "There is no object with id '%s'", id);
        return NULL;
    }
    if (type != OBJECT_TYPE_TLS_CREDS_X509 && type != OBJECT_TYPE_TLS_CREDS_PSK) {
        error_setg(errp, "Object '%s' is of type '%s', which is not TLS credentials", id,
                   ObjectType_str(type));
        return NULL;
    }
    if (creds->endpoint != endpoint) {
        error_setg(errp, "Object '%s' is for a TLS %s, not a %s", id,
                   QCryptoTLSCredsEndpoint_str(creds->endpoint), QCryptoTLSCredsEndpoint_str(endpoint));
        return NULL;
    }
    return qcrypto_tls_creds_ref(creds);
}

bool qcrypto_tls_options_lookup(const char *creds_id, const char *authz_id, QCryptoTLSCredsEndpoint endpoint,
                                QCryptoTLSCreds **creds, Error **errp)
{
    g_autoptr(QCryptoTLSCreds) found = NULL;

    if (creds_id && !(found = qcrypto_tls_creds_lookup(creds_id, endpoint, errp))) {
        return false;
    }
    if (authz_id && (!found || endpoint == QCRYPTO_TLS_CREDS_ENDPOINT_CLIENT)) {
        error_setg(errp, "Option 'tls-authz' %s", found ? "is for servers, which decide about their clients"
                   : "needs 'tls-creds': only TLS identifies clients");
        return false;
    }
    if (authz_id && !qauthz_check_id(authz_id, errp)) {
        return false;
    }
    *creds = g_steal_pointer(&found);
    return true;
}
