/*
 * Certificates that no tool would make: each field and extension as a text says, encoded with libtasn1
 *
 *     ForgedCert *ca = forge_cert("test CA", "bc!=ca:0 ku!=certsign", NULL);
 *     ForgedCert *leaf = forge_cert("localhost", "ku!=sign eku=server", ca);
 *     forge_write(dir, "server-cert.pem", leaf, NULL);
 *     forge_write_key(dir, "server-key.pem", leaf);
 *     forge_free(leaf);
 *     forge_free(ca);
 *
 * A text is words, which become extensions in this order. "!" before "=" makes one critical:
 *
 *     bc=ca, bc=ca:N, bc=leaf, bc=leaf:N     basic constraints, N is the path length
 *     ku=BIT+BIT                             key usage: sign, commit, encipher, data, agree, certsign, crlsign,
 *                                            enciphonly, deciphonly; or none
 *     eku=NAME+NAME                          purposes: server, client, any, code
 *     1.2.3.4=0500                           any extension, in hexadecimal digits; also bc=0x30, ku=0x, eku=0x
 *
 * or other fields:
 *
 *     from=TIME, to=TIME                     validity: seconds from forge_now, or the characters of a UTCTime or,
 *                                            after "G", of a GeneralizedTime
 *     v1                                     no version number; extensions stay
 *     rsa                                    an RSA key, not one for ECDSA
 *     cut=N                                  leave out the last N bytes
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef TESTS_X509_FORGE_H
#define TESTS_X509_FORGE_H

#include <glib.h>
#include <gnutls/x509.h>

typedef struct ForgedCert {
    char *name;
    gnutls_x509_privkey_t key;      /* not owned: keys are used again */
    GByteArray *der;
} ForgedCert;

/* What validity periods relate to, in seconds since 1970. By default a certificate is valid a day before and after. */
extern time_t forge_now;

/* Make a certificate for CN=@name, signed by @issuer (NULL: itself). */
ForgedCert *forge_cert(const char *name, const char *text, const ForgedCert *issuer);
void forge_free(ForgedCert *cert);

/* Write @cert, and those of @chain (NULL-terminated, may be NULL), to DIR/NAME. */
void forge_write(const char *dir, const char *name, const ForgedCert *cert, ForgedCert *const *chain);
void forge_write_key(const char *dir, const char *name, const ForgedCert *cert);

#endif
