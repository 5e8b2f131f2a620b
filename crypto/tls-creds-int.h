/*
 * TLS: what credentials and sessions share
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef CRYPTO_TLS_CREDS_INT_H
#define CRYPTO_TLS_CREDS_INT_H

#include <gnutls/x509.h>

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
    SecretBuffer *psk_keys;         /* of a server: the contents of its file */
};

/* A file of credentials. */
typedef struct TlsFile {
    char *path;
    SecretBuffer *data;             /* NULL: the file does not exist */
    gnutls_datum_t datum;           /* @data in GnuTLS' form */
} TlsFile;

void tls_file_cleanup(TlsFile *file);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(TlsFile, tls_file_cleanup)

/* Create credentials with the common members. NULL with @errp if @props lack the directory. */
QCryptoTLSCreds *tls_creds_new(const TlsCredsProperties *props, bool is_psk, Error **errp);

/*
 * Read the file @name in the directory. False with @errp; a missing file is an error only if @required. Waits like
 * secret_read_file().
 */
bool coroutine_mixed_fn tls_file_read(const QCryptoTLSCreds *creds, const char *name, bool required, TlsFile *file,
                                      Error **errp);

/* True if @rc is not a GnuTLS error; otherwise false, with "WHAT 'PATH': why" in @errp. */
bool tls_creds_check_gnutls(int rc, const char *what, const char *path, Error **errp);

/* What a certificate is for. */
typedef enum TlsCertRole {
    TLS_CERT_CA,            /* of the CA, or in the chain below it */
    TLS_CERT_SERVER,
    TLS_CERT_CLIENT,
} TlsCertRole;

/* Check @cert, called "certificate @name" in messages, against RFC 5280, apart from its signature; false with @errp. */
bool tls_cert_check(gnutls_x509_crt_t cert, const char *name, TlsCertRole role, Error **errp);

/*
 * Check that @cert may have as many as @below certificates of CAs between it and that of a peer. Those that issue
 * themselves do not count. False with @errp.
 */
bool tls_cert_check_path_length(gnutls_x509_crt_t cert, const char *name, unsigned below, Error **errp);

/* Why GnuTLS does not trust a certificate, with the rules of RFC 5280: a clause about "it". Caller frees. */
char *tls_cert_explain_status(unsigned status);

/* The rule that a certificate breaks for which GnuTLS returns the error @rc: " (RFC 5280, N)"; "" if that varies. */
const char *tls_cert_rule_of_error(int rc);

/* Check certificates for mistakes that would make a peer refuse them; false with @errp. */
bool tls_creds_check_certs(const TlsFile *ca_file, const TlsFile *cert_file, bool is_server, Error **errp);

#endif
