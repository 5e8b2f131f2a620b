/*
 * Certificates for tests, created with GnuTLS
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include <gnutls/x509.h>
#include <time.h>

#include "tls-certs.h"

#define DAY (24 * 60 * 60)

typedef struct Cert {
    gnutls_x509_crt_t crt;
    gnutls_x509_privkey_t key;
} Cert;

static void cert_new(Cert *c, const char *name, TlsCertFault fault, bool is_ca, const char *purpose)
{
    static uint8_t serial;
    time_t now = time(NULL);
    unsigned usage = is_ca ? GNUTLS_KEY_KEY_CERT_SIGN : GNUTLS_KEY_DIGITAL_SIGNATURE;

    serial++;
    CHECK_GNUTLS(gnutls_x509_privkey_init(&c->key));
    CHECK_GNUTLS(gnutls_x509_privkey_generate(c->key, GNUTLS_PK_ECDSA, GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1),
                                       0));
    CHECK_GNUTLS(gnutls_x509_crt_init(&c->crt));
    CHECK_GNUTLS(gnutls_x509_crt_set_version(c->crt, 3));
    CHECK_GNUTLS(gnutls_x509_crt_set_key(c->crt, c->key));
    CHECK_GNUTLS(gnutls_x509_crt_set_serial(c->crt, &serial, 1));
    CHECK_GNUTLS(gnutls_x509_crt_set_dn_by_oid(c->crt, GNUTLS_OID_X520_COMMON_NAME, 0, name, strlen(name)));
    CHECK_GNUTLS(gnutls_x509_crt_set_activation_time(c->crt, now + (fault == TLS_CERT_NOT_YET_VALID ? DAY : -DAY)));
    CHECK_GNUTLS(gnutls_x509_crt_set_expiration_time(c->crt, now + (fault == TLS_CERT_EXPIRED ? -60 : 2 * DAY)));
    CHECK_GNUTLS(gnutls_x509_crt_set_basic_constraints(c->crt, is_ca ^ (fault == TLS_CERT_CA_FLAG_WRONG), -1));
    if (fault == TLS_CERT_USAGE_WRONG) {
        usage = is_ca ? GNUTLS_KEY_DIGITAL_SIGNATURE : GNUTLS_KEY_KEY_CERT_SIGN;
    }
    CHECK_GNUTLS(gnutls_x509_crt_set_key_usage(c->crt, usage));
    if (purpose) {
        CHECK_GNUTLS(gnutls_x509_crt_set_key_purpose_oid(c->crt, purpose, 1));
        CHECK_GNUTLS(gnutls_x509_crt_set_subject_alt_name(c->crt, GNUTLS_SAN_DNSNAME, name, strlen(name), 0));
    }
}

static void write_file(const char *dir, const char *name, gnutls_datum_t *data)
{
    g_autofree char *path = g_build_filename(dir, name, NULL);

    g_assert_true(g_file_set_contents(path, (char *)data->data, data->size, NULL));
    gnutls_free(data->data);
}

static void cert_write(const Cert *c, const char *dir, const char *cert_name, const char *key_name,
                       const char *password)
{
    gnutls_datum_t data;

    CHECK_GNUTLS(gnutls_x509_crt_export2(c->crt, GNUTLS_X509_FMT_PEM, &data));
    write_file(dir, cert_name, &data);
    if (key_name) {
        if (password) {
            CHECK_GNUTLS(gnutls_x509_privkey_export2_pkcs8(c->key, GNUTLS_X509_FMT_PEM, password,
                                                    GNUTLS_PKCS_PBES2_AES_256, &data));
        } else {
            CHECK_GNUTLS(gnutls_x509_privkey_export2(c->key, GNUTLS_X509_FMT_PEM, &data));
        }
        write_file(dir, key_name, &data);
    }
}

static void cert_free(Cert *c)
{
    gnutls_x509_crt_deinit(c->crt);
    gnutls_x509_privkey_deinit(c->key);
}

static void end_write(const Cert *ca, const Cert *stranger, const char *dir, bool is_server,
                      TlsCertFault fault, const char *password)
{
    const char *purpose = is_server ^ (fault == TLS_CERT_PURPOSE_WRONG) ? GNUTLS_KP_TLS_WWW_SERVER
                                                                       : GNUTLS_KP_TLS_WWW_CLIENT;
    const Cert *signer = fault == TLS_CERT_OTHER_CA ? stranger : ca;
    Cert c;

    cert_new(&c, is_server ? "localhost" : "tester", fault, false, purpose);
    CHECK_GNUTLS(gnutls_x509_crt_sign2(c.crt, signer->crt, signer->key, GNUTLS_DIG_SHA256, 0));
    cert_write(&c, dir, is_server ? "server-cert.pem" : "client-cert.pem",
               is_server ? "server-key.pem" : "client-key.pem", password);
    cert_free(&c);
}

void tls_certs_write(const char *dir, TlsCertFault ca_fault, TlsCertFault server, TlsCertFault client,
                     const char *password)
{
    Cert ca, stranger;

    cert_new(&ca, "test CA", ca_fault, true, NULL);
    CHECK_GNUTLS(gnutls_x509_crt_sign2(ca.crt, ca.crt, ca.key, GNUTLS_DIG_SHA256, 0));
    cert_write(&ca, dir, "ca-cert.pem", NULL, NULL);
    cert_new(&stranger, "other CA", TLS_CERT_FINE, true, NULL);
    CHECK_GNUTLS(gnutls_x509_crt_sign2(stranger.crt, stranger.crt, stranger.key, GNUTLS_DIG_SHA256, 0));
    end_write(&ca, &stranger, dir, true, server, password);
    end_write(&ca, &stranger, dir, false, client, password);
    cert_free(&ca);
    cert_free(&stranger);
}
