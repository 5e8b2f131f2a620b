/*
 * What credentials and sessions share
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef CRYPTO_TLS_CREDS_INT_H
#define CRYPTO_TLS_CREDS_INT_H

#include <gnutls/gnutls.h>

#include "crypto/object-types.h"
#include "crypto/secret-int.h"
#include "crypto/tls-creds.h"

struct QCryptoTLSCreds {
    gint refcnt;            /* atomic */
    bool is_psk;
    bool verify_peer;
    QCryptoTLSCredsEndpoint endpoint;
    char *dir;
    char *priority;         /* GnuTLS priority string */
    union {
        gnutls_certificate_credentials_t cert;
        gnutls_psk_server_credentials_t psk_server;
        gnutls_psk_client_credentials_t psk_client;
    } u;
    gnutls_dh_params_t dh_params;   /* NULL: GnuTLS chooses groups itself */
    SecretBuffer *psk_keys;         /* of a server: the lines of its file */
};

/* A file of credentials. */
typedef struct TlsFile {
    char *path;
    SecretBuffer *data;             /* NULL: there is no such file */
    gnutls_datum_t datum;           /* @data as GnuTLS takes it */
} TlsFile;

void tls_file_cleanup(TlsFile *file);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(TlsFile, tls_file_cleanup)

/* Credentials with what is common to all kinds; NULL with @errp where @props lack the directory. */
QCryptoTLSCreds *tls_creds_new(const TlsCredsProperties *props, bool is_psk, Error **errp);

/*
 * Read the file @name of the directory. That it is not there is an error only where it is @required: false with @errp.
 * Waits as secret_read_file() does.
 */
bool coroutine_mixed_fn tls_file_read(const QCryptoTLSCreds *creds, const char *name, bool required, TlsFile *file,
                                      Error **errp);

/* True where @rc is no GnuTLS error; else false, with "WHAT 'PATH': why" in @errp. */
bool tls_creds_check_gnutls(int rc, const char *what, const char *path, Error **errp);

/* Look for mistakes in certificates that a peer would refuse later; false with @errp. */
bool tls_creds_check_certs(const TlsFile *ca_file, const TlsFile *cert_file, bool is_server, Error **errp);

#endif
