/*
 * The rules of RFC 5280 for certificates: credentials with one that breaks them are not loaded, and a peer with one is
 * not trusted
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include <glib/gstdio.h>
#include <time.h>

#include "crypto/object.h"
#include "tls-peers.h"
#include "util/aio.h"
#include "x509-forge.h"

#define GOOD_CA "bc!=ca ku!=certsign"
/* What is in "%" is the purpose of the end that has the certificate. */
#define GOOD_LEAF "bc!=leaf ku!=sign eku=%"
/* Name constraints that permit host names in example.org */
#define EXAMPLE_ORG " 2.5.29.30!=3011a00f300d820b6578616d706c652e6f7267"
#define DUPLICATE "Duplicate extension in X.509 certificate. (RFC 5280, 4.2)"
#define CHAIN_OF_5 GOOD_CA "|" GOOD_CA "|" GOOD_CA "|" GOOD_CA "|" GOOD_CA

static char *dir;

/* We and GnuTLS ask this clock. */
time_t time(time_t *t)
{
    if (t) {
        *t = forge_now;
    }
    return forge_now;
}

static ForgedCert *forge_leaf(const char *text, const char *end, const ForgedCert *issuer)
{
    g_auto(GStrv) parts = g_strsplit(text, "%", -1);
    g_autofree char *full = g_strjoinv(end, parts);

    return forge_cert("leaf", full, issuer);
}

/* Certificates below @ca, separated by "|", the lowest first. */
static void forge_chain(ForgedCert **chain, const char *texts, const ForgedCert *ca)
{
    g_auto(GStrv) words = g_strsplit(texts, "|", -1);
    unsigned n = g_strv_length(words);

    for (unsigned i = 0; i < n; i++) {
        g_autofree char *name = g_strdup_printf("intermediate%*s", i, "");

        chain[n - 1 - i] = forge_cert(name, words[i], i == 0 ? ca : chain[n - i]);
    }
}

static void write_end(const char *end, const ForgedCert *cert, ForgedCert *const *chain)
{
    g_autofree char *cert_name = g_strconcat(end, "-cert.pem", NULL);
    g_autofree char *key_name = g_strconcat(end, "-key.pem", NULL);

    forge_write(dir, cert_name, cert, chain);
    forge_write_key(dir, key_name, cert);
}

/* Write a CA, and certificates for both ends that it has signed. */
static void write_good(void)
{
    static const char *const ends[] = { "server", "client" };
    ForgedCert *ca = forge_cert("CA", GOOD_CA, NULL);

    forge_write(dir, "ca-cert.pem", ca, NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(ends); i++) {
        ForgedCert *leaf = forge_leaf(GOOD_LEAF, ends[i], ca);

        write_end(ends[i], leaf, NULL);
        forge_free(leaf);
    }
    forge_free(ca);
}

static bool load(const char *end, const char *options, Error **errp)
{
    g_autofree char *arg = g_strdup_printf("tls-creds-x509,id=%s,endpoint=%s,dir=%s%s", end, end, dir, options);

    return user_creatable_parse(arg, errp);
}

/* Load the credentials of @end, and drop them again: NULL, or the error, which the caller frees. */
static char *load_error(const char *end)
{
    Error *err = NULL;
    char *text = NULL;

    if (!load(end, "", &err)) {
        text = g_strdup(error_get_pretty(err));
        error_free(err);
    }
    user_creatable_cleanup();
    return text;
}

/* NULL if both ends trust each other though their certificates were not checked when loaded; else why, to be freed. */
static char *handshake_error(void)
{
    TlsEnd server = { 0 }, client = { 0 };
    Error *err = NULL;
    char *text = NULL;

    if (load("server", ",sanity-check=off", &err) && load("client", ",sanity-check=off", &err)) {
        tls_handshake(&server, &client);
        if (!server.ok || !client.ok) {
            text = g_strdup_printf("server: %s, client: %s", server.err ? error_get_pretty(server.err) : "",
                                   client.err ? error_get_pretty(client.err) : "");
        }
    } else {
        text = g_strdup(error_get_pretty(err));
    }
    error_free(err);
    error_free(server.err);
    error_free(client.err);
    user_creatable_cleanup();
    return text;
}

typedef struct Case {
    const char *name;
    const char *ca, *chain, *leaf;  /* NULL: good ones, and no chain */
    const char *error;              /* part of the message; NULL: accepted */
    bool only_at_load;              /* a peer with it is trusted */
    bool only_client;               /* a server may have it */
} Case;

static const Case ca_cases[] = {
    { "good", .ca = GOOD_CA },
    { "basic constraints not critical", .ca = "bc=ca ku!=certsign" },
    /* A trust anchor need not have them (6.1.1), but other clients refuse it. */
    { "no basic constraints", .ca = "ku!=certsign", .error = "CA certificate (RFC 5280, 4.2.1.9)",
      .only_at_load = true },
    { "version 1", .ca = "v1", .error = "CA certificate (RFC 5280, 4.2.1.9)", .only_at_load = true },
    { "version 1 with extensions", .ca = "v1 " GOOD_CA, .error = "ca-cert.pem" },
    { "not a CA", .ca = "bc!=leaf ku!=certsign", .error = "is not a CA certificate (RFC 5280, 4.2.1.9)" },
    { "not a CA, not critical", .ca = "bc=leaf", .error = "is not a CA certificate (RFC 5280, 4.2.1.9)" },
    { "constraints end early", .ca = "bc!=0x300301 ku!=certsign", .error = "basic constraints (RFC 5280, 4.2.1.9)" },
    { "constraints with more", .ca = "bc!=0x30030101ff00 ku!=certsign", .error = "basic constraints" },
    { "constraints empty", .ca = "bc!=0x ku!=certsign", .error = "basic constraints" },
    { "constraints of another type", .ca = "bc!=0x0401ff ku!=certsign", .error = "basic constraints" },
    { "path length of 7 bytes", .ca = "bc!=0x300c0101ff02077fffffffffffff ku!=certsign",
      .error = "path length is malformed (RFC 5280, 4.2.1.9)" },
    { "constraints twice", .ca = "bc!=ca bc!=ca ku!=certsign", .error = DUPLICATE },
    { "constraints contradict", .ca = "bc!=ca bc!=leaf ku!=certsign", .error = DUPLICATE },
    { "no usage", .ca = "bc!=ca" },
    { "usage not critical", .ca = "bc!=ca ku=certsign" },
    { "usage without certsign", .ca = "bc!=ca ku!=sign+crlsign", .error = "signing certificates (RFC 5280, 4.2.1.3)" },
    { "the same, not critical", .ca = "bc!=ca ku=sign+crlsign", .error = "signing certificates (RFC 5280, 4.2.1.3)" },
    { "usage of no bits", .ca = "bc!=ca ku!=none", .error = "signing certificates" },
    { "usage ends early", .ca = "bc!=ca ku!=0x0303", .error = "key usage (RFC 5280, 4.2.1.3)" },
    { "usage with 9 unused bits", .ca = "bc!=ca ku!=0x030209ff", .error = "key usage" },
    { "purpose", .ca = GOOD_CA " eku=code" },
    { "unknown, critical", .ca = GOOD_CA " 1.2.3.4!=0500", .error = "1.2.3.4, which is unknown and critical" },
    { "unknown, not critical", .ca = GOOD_CA " 1.2.3.4=0500" },
    { "expired", .ca = GOOD_CA " to=-1", .error = "has expired (RFC 5280, 4.1.2.5)" },
    { "last second", .ca = GOOD_CA " to=+0" },
    { "first second", .ca = GOOD_CA " from=+0" },
    { "not yet", .ca = GOOD_CA " from=+1", .error = "is not yet valid (RFC 5280, 4.1.2.5)" },
};

static const Case leaf_cases[] = {
    { "no extensions", .leaf = "" },
    { "version 1", .leaf = "v1" },
    { "version 1 with extensions", .leaf = "v1 bc!=leaf", .error = "-cert.pem" },
    /* A mistake, but no rule forbids it. */
    { "CA", .leaf = "bc!=ca ku!=sign+certsign eku=%", .error = "is a CA certificate", .only_at_load = true },
    { "CA, not critical", .leaf = "bc=ca", .error = "is a CA certificate", .only_at_load = true },
    { "constraints end early", .leaf = "bc!=0x300301", .error = "basic constraints (RFC 5280, 4.2.1.9)" },
    { "the same, not critical", .leaf = "bc=0x300301", .error = "basic constraints (RFC 5280, 4.2.1.9)" },
    { "constraints twice", .leaf = "bc!=leaf bc!=leaf", .error = DUPLICATE },
    { "path length without CA", .leaf = "bc=leaf:0" },
    { "usage of no bits", .leaf = "ku=none", .error = "digital signatures" },
    { "usage ends early", .leaf = "ku=0x0303", .error = "key usage (RFC 5280, 4.2.1.3)" },
    { "usage twice", .leaf = "ku=sign ku=certsign", .error = DUPLICATE },
    { "encryption by ECDSA", .leaf = "ku!=encipher", .error = "digital signatures (RFC 5280, 4.2.1.3)" },
    { "encryption by RSA", .leaf = "rsa ku!=encipher", .error = "digital signatures", .only_client = true },
    { "the same, not critical", .leaf = "rsa ku=encipher", .error = "digital signatures", .only_client = true },
    { "signature by RSA", .leaf = "rsa ku!=sign" },
    { "no purpose in the list", .leaf = "eku=0x3000", .error = "is not for a TLS" },
    { "purposes end early", .leaf = "eku=0x3005", .error = "purposes (RFC 5280, 4.2.1.12)" },
    { "a purpose ends early", .leaf = "eku!=0x30050603", .error = "purposes" },
    { "purposes twice", .leaf = "eku=% eku=code", .error = DUPLICATE },
    { "unknown, critical", .leaf = GOOD_LEAF " 1.2.3.4!=0500", .error = "extension 1.2.3.4, which is unknown" },
    { "unknown, critical, empty", .leaf = GOOD_LEAF " 1.2.3.4!=", .error = "extension 1.2.3.4, which is unknown" },
    { "unknown, not critical", .leaf = GOOD_LEAF " 1.2.3.4=0500" },
    { "unknown, twice", .leaf = GOOD_LEAF " 1.2.3.4=0500 1.2.3.4=0500", .error = DUPLICATE },
    { "subject key id", .leaf = GOOD_LEAF " 2.5.29.14!=040101" },
    { "private key usage period", .leaf = GOOD_LEAF " 2.5.29.16!=3000", .error = "2.5.29.16" },
    { "alternative name", .leaf = GOOD_LEAF " 2.5.29.17!=3003820161" },
    { "issuer's alternative name", .leaf = GOOD_LEAF " 2.5.29.18!=3003820161" },
    { "number of a CRL", .leaf = GOOD_LEAF " 2.5.29.20!=020100", .error = "2.5.29.20" },
    { "name constraints", .leaf = GOOD_LEAF " 2.5.29.30!=3000" },
    { "distribution points", .leaf = GOOD_LEAF " 2.5.29.31!=3000" },
    { "policies", .leaf = GOOD_LEAF " 2.5.29.32!=3006300406022a03" },
    { "policy mappings", .leaf = GOOD_LEAF " 2.5.29.33!=300a300806022a0306022a04", .error = "2.5.29.33" },
    { "authority key id", .leaf = GOOD_LEAF " 2.5.29.35!=3000" },
    { "policy constraints", .leaf = GOOD_LEAF " 2.5.29.36!=3003800100", .error = "2.5.29.36" },
    { "freshest CRL", .leaf = GOOD_LEAF " 2.5.29.46!=3000", .error = "2.5.29.46" },
    { "inhibit any policy", .leaf = GOOD_LEAF " 2.5.29.54!=020100" },
    { "authority information", .leaf = GOOD_LEAF " 1.3.6.1.5.5.7.1.1!=3000" },
    { "subject information", .leaf = GOOD_LEAF " 1.3.6.1.5.5.7.1.11!=3000", .error = "1.3.6.1.5.5.7.1.11" },
    { "proxy", .leaf = GOOD_LEAF " 1.3.6.1.5.5.7.1.14!=300c300a06082b06010505071501" },
    { "stapling", .leaf = GOOD_LEAF " 1.3.6.1.5.5.7.1.24=3003020105", .error = "TLS features (RFC 7633)" },
    { "only for a log", .leaf = GOOD_LEAF " 1.3.6.1.4.1.11129.2.4.3!=0500", .error = "1.3.6.1.4.1.11129.2.4.3" },
    { "expired", .leaf = GOOD_LEAF " to=-1", .error = "has expired (RFC 5280, 4.1.2.5)" },
    { "last second", .leaf = GOOD_LEAF " to=+0" },
    { "first second", .leaf = GOOD_LEAF " from=+0" },
    { "not yet", .leaf = GOOD_LEAF " from=+1", .error = "is not yet valid (RFC 5280, 4.1.2.5)" },
    { "no end", .leaf = GOOD_LEAF " to=G99991231235959Z" },
    { "ends in 2049", .leaf = GOOD_LEAF " to=491231235959Z" },
    { "ended in 1950", .leaf = GOOD_LEAF " to=500101000000Z", .error = "has expired" },
    { "began in 1950", .leaf = GOOD_LEAF " from=500101000000Z" },
    { "ends in 2050", .leaf = GOOD_LEAF " to=G20500101000000Z" },
    { "letters in a time", .leaf = GOOD_LEAF " to=4913xx235959Z", .error = "(RFC 5280, 4.1.2.5)" },
    { "13th month", .leaf = GOOD_LEAF " to=491331235959Z", .error = "(RFC 5280, 4.1.2.5)" },
    { "no characters", .leaf = GOOD_LEAF " to=", .error = "-cert.pem" },
    { "time zone", .leaf = GOOD_LEAF " to=491231235959+0100", .error = "(RFC 5280, 4.1.2.5)" },
    { "no time zone", .leaf = GOOD_LEAF " to=491231235959", .error = "(RFC 5280, 4.1.2.5)" },
    { "half seconds", .leaf = GOOD_LEAF " to=G20491231235959.5Z", .error = "(RFC 5280, 4.1.2.5)" },
    { "letters in the first time", .leaf = GOOD_LEAF " from=xx0101000000Z", .error = "(RFC 5280, 4.1.2.5)" },
    { "13th month in the first time", .leaf = GOOD_LEAF " from=201301000000Z", .error = "(RFC 5280, 4.1.2.5)" },
};

static const Case chain_cases[] = {
    { "two", .chain = GOOD_CA "|" GOOD_CA },
    { "fifteen", .chain = CHAIN_OF_5 "|" CHAIN_OF_5 "|" CHAIN_OF_5 },
    { "sixteen", .chain = CHAIN_OF_5 "|" CHAIN_OF_5 "|" CHAIN_OF_5 "|" GOOD_CA, .error = "in a chain of 17" },
    { "path length 0, direct", .ca = "bc!=ca:0 ku!=certsign" },
    { "path length 0", .ca = "bc!=ca:0 ku!=certsign", .chain = GOOD_CA,
      .error = "ca-cert.pem' has a path length of 0, but the number of CA certificates below it is 1 "
               "(RFC 5280, 4.2.1.9)" },
    { "path length 1", .ca = "bc!=ca:1 ku!=certsign", .chain = GOOD_CA },
    { "path length 1, two", .ca = "bc!=ca:1 ku!=certsign", .chain = GOOD_CA "|" GOOD_CA,
      .error = "ca-cert.pem' has a path length of 1, but the number of CA certificates below it is 2 (" },
    { "path length below", .chain = "bc!=ca:0 ku!=certsign|" GOOD_CA, .error = "certificate 3 in " },
    { "name constraints", .chain = GOOD_CA EXAMPLE_ORG,
      .leaf = GOOD_LEAF " 2.5.29.17=300f820d612e6578616d706c652e6f7267" },
    { "name constraints, other name", .chain = GOOD_CA EXAMPLE_ORG, .leaf = GOOD_LEAF " 2.5.29.17=3003820161",
      .error = "name constraints (RFC 5280, 4.2.1.3, 4.2.1.9 and 4.2.1.10)" },
    { "not a CA", .chain = "bc!=leaf ku!=certsign", .error = "certificate 2 in " },
    { "no basic constraints", .chain = "ku!=certsign", .error = "does not say that it is a CA" },
    { "constraints end early", .chain = "bc!=0x300301 ku!=certsign", .error = "basic constraints" },
    { "constraints twice", .chain = "bc!=ca bc!=ca ku!=certsign", .error = DUPLICATE },
    { "version 1", .chain = "v1", .error = "does not say that it is a CA" },
    { "no usage", .chain = "bc!=ca" },
    { "usage without certsign", .chain = "bc!=ca ku=sign", .error = "signing certificates (RFC 5280, 4.2.1.3)" },
    { "usage of no bits", .chain = "bc!=ca ku=none", .error = "signing certificates" },
    { "usage ends early", .chain = "bc!=ca ku=0x0303", .error = "key usage" },
    { "other purpose", .chain = GOOD_CA " eku=code", .error = "is not for this purpose (RFC 5280, 4.2.1.12)" },
    { "purposes end early", .chain = GOOD_CA " eku=0x3005", .error = "purpose (RFC 5280, 4.2.1.12)" },
    { "expired", .chain = GOOD_CA " to=-1", .error = "certificate 2 in " },
    { "not yet", .chain = GOOD_CA " from=+1", .error = "is not yet valid" },
    { "the second expired", .chain = GOOD_CA " to=-1|" GOOD_CA, .error = "certificate 3 in " },
    { "unknown, critical", .chain = GOOD_CA " 1.2.3.4!=0500", .error = "extension 1.2.3.4" },
    { "name constraints end early", .chain = GOOD_CA " 2.5.29.30!=3005",
      .error = "name constraints (RFC 5280, 4.2.1.3, 4.2.1.9 and 4.2.1.10)" },
};

/* Load @end's credentials as @c says, and connect to an @other that has good ones. */
static void check_case(const Case *c, const char *end, const char *other)
{
    bool refused = c->error && (!c->only_client || g_str_equal(end, "client"));
    ForgedCert *ca = forge_cert("CA", c->ca ?: GOOD_CA, NULL), *chain[20] = { NULL };

    if (c->chain) {
        forge_chain(chain, c->chain, ca);
    }
    ForgedCert *leaf = forge_leaf(c->leaf ?: GOOD_LEAF, end, chain[0] ?: ca);
    ForgedCert *peer = forge_leaf(GOOD_LEAF, other, ca);
    forge_write(dir, "ca-cert.pem", ca, NULL);
    write_end(end, leaf, chain);
    write_end(other, peer, NULL);

    g_autofree char *why = load_error(end);
    g_autofree char *peers_why = handshake_error();
    g_test_message("%s, %s: %s; peer: %s", c->name, end, why ?: "loaded", peers_why ?: "trusts it");
    g_assert_cmpint(!!why, ==, refused);
    if (refused && !strstr(why, c->error)) {
        g_error("'%s' does not mention '%s'", why, c->error);
    }
    g_assert_cmpint(!!peers_why, ==, refused && !c->only_at_load);
    for (size_t i = 0; chain[i]; i++) {
        forge_free(chain[i]);
    }
    forge_free(peer);
    forge_free(leaf);
    forge_free(ca);
}

static void check_cases(const Case *cases, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        check_case(&cases[i], "server", "client");
        check_case(&cases[i], "client", "server");
    }
}

static void test_ca(void)
{
    check_cases(ca_cases, G_N_ELEMENTS(ca_cases));
}

static void test_leaf(void)
{
    check_cases(leaf_cases, G_N_ELEMENTS(leaf_cases));
}

static void test_chain(void)
{
    check_cases(chain_cases, G_N_ELEMENTS(chain_cases));
}

#define USAGES 512

/* The extension for a key usage whose bits are those of @usage, bit 0 first. */
static char *usage_text(unsigned usage, bool critical)
{
    static const char *const names[] = {
        "sign", "commit", "encipher", "data", "agree", "certsign", "crlsign", "enciphonly", "deciphonly",
    };
    g_autoptr(GString) text = g_string_new(critical ? "ku!=none" : "ku=none");

    for (unsigned bit = 0; bit < G_N_ELEMENTS(names); bit++) {
        if (usage >> bit & 1) {
            g_string_append_printf(text, "+%s", names[bit]);
        }
    }
    return g_strdup(text->str);
}

static void test_every_usage(void)
{
    ForgedCert *ca = forge_cert("CA", GOOD_CA, NULL);

    write_good();
    for (unsigned i = 0; i < 2 * USAGES; i++) {
        unsigned usage = i / 2;
        g_autofree char *text = usage_text(usage, i % 2);
        ForgedCert *leaf = forge_cert("leaf", text, ca);

        forge_write(dir, "server-cert.pem", leaf, NULL);
        g_autofree char *why = load_error("server");
        g_assert_cmpint(!why, ==, usage & 1);
        forge_free(leaf);
    }
    forge_free(ca);
}

static void test_every_usage_of_ca(void)
{
    write_good();
    for (unsigned i = 0; i < 2 * USAGES; i++) {
        unsigned usage = i / 2;
        g_autofree char *text = usage_text(usage, i % 2), *full = g_strconcat("bc!=ca ", text, NULL);
        ForgedCert *ca = forge_cert("CA", full, NULL);

        forge_write(dir, "ca-cert.pem", ca, NULL);
        g_autofree char *why = load_error("client");
        g_assert_cmpint(!why, ==, usage >> 5 & 1);
        forge_free(ca);
    }
}

static void test_every_purpose(void)
{
    static const char *const names[] = { "server", "client", "any", "code" };

    for (unsigned i = 2; i < 2 * 16; i++) {
        g_autoptr(GString) text = g_string_new(NULL);

        for (unsigned bit = 0; bit < G_N_ELEMENTS(names); bit++) {
            if (i / 2 >> bit & 1) {
                g_string_append_printf(text, "%s%s", text->len ? "+" : i % 2 ? "eku!=" : "eku=", names[bit]);
            }
        }
        for (unsigned is_client = 0; is_client < 2; is_client++) {
            bool fits = i / 2 & (4 | 1 << is_client);
            Case c = { text->str, .leaf = text->str, .error = fits ? NULL : "is not for a TLS" };

            check_case(&c, names[is_client], names[!is_client]);
        }
    }
}

/* Without verify-peer, any peer will do; what we load ourselves is checked all the same. */
static void test_verify_peer_off(void)
{
    TlsEnd server = { 0 }, client = { 0 };
    ForgedCert *ca = forge_cert("CA", GOOD_CA, NULL);
    ForgedCert *leaf = forge_cert("leaf", "bc=0x300301 to=-1", ca);
    Error *err = NULL;

    write_good();
    forge_write(dir, "ca-cert.pem", ca, NULL);
    write_end("server", leaf, NULL);
    g_assert_false(load("server", ",verify-peer=off", &err));
    error_free(g_steal_pointer(&err));
    load("server", ",verify-peer=off,sanity-check=off", &error_abort);
    load("client", ",verify-peer=off", &error_abort);
    tls_handshake(&server, &client);
    g_assert_true(server.ok && client.ok);
    user_creatable_cleanup();
    forge_free(leaf);
    forge_free(ca);
}

/* However much is missing, the error names the file. */
static void test_truncated(void)
{
    ForgedCert *ca = forge_cert("CA", GOOD_CA, NULL);
    ForgedCert *leaf = forge_leaf(GOOD_LEAF, "server", ca);

    forge_write(dir, "ca-cert.pem", ca, NULL);
    write_end("server", leaf, NULL);
    g_assert_null(load_error("server"));
    for (size_t len = leaf->der->len - 1; len > 0; len--) {
        g_byte_array_set_size(leaf->der, len);
        forge_write(dir, "server-cert.pem", leaf, NULL);
        g_autofree char *why = load_error("server");
        g_assert_nonnull(strstr(why, "server-cert.pem"));
    }
    for (size_t len = ca->der->len - 1; len > 0; len--) {
        g_byte_array_set_size(ca->der, len);
        forge_write(dir, "ca-cert.pem", ca, NULL);
        g_autofree char *why = load_error("server");
        Error *err = NULL;
        g_assert_nonnull(strstr(why, "ca-cert.pem"));
        g_assert_false(load("server", ",sanity-check=off", &err));
        error_free(err);
    }
    forge_free(leaf);
    forge_free(ca);
}

/* A certificate with one byte changed is not the one that was signed. */
static void test_every_byte_changed(void)
{
    ForgedCert *ca = forge_cert("CA", GOOD_CA, NULL);
    ForgedCert *leaf = forge_leaf(GOOD_LEAF, "server", ca);

    forge_write(dir, "ca-cert.pem", ca, NULL);
    write_end("server", leaf, NULL);
    for (size_t i = 0; i < leaf->der->len; i++) {
        uint8_t mask = 1 << i % 8;

        leaf->der->data[i] ^= mask;
        forge_write(dir, "server-cert.pem", leaf, NULL);
        g_autofree char *why = load_error("server");
        g_assert_nonnull(why);
        leaf->der->data[i] ^= mask;
    }
    forge_free(leaf);
    forge_free(ca);
}

static void remove_files(void)
{
    static const char *const names[] = {
        "ca-cert.pem", "server-cert.pem", "server-key.pem", "client-cert.pem", "client-key.pem",
    };

    for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
        g_autofree char *path = g_build_filename(dir, names[i], NULL);

        g_unlink(path);
    }
    g_rmdir(dir);
}

/* GnuTLS loses the certificates of a file whose names it cannot parse, which happens with sanity-check=off. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:gnutls_x509_crt_init\nleak:libtasn1.so\n";
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    forge_now = 1800000000;
    gnutls_global_set_time_function(time);
    dir = g_dir_make_tmp("test-tls-rules-XXXXXX", NULL);
    aio_context_set_current(qemu_get_aio_context());
    g_test_add_func("/tls/rules/ca", test_ca);
    g_test_add_func("/tls/rules/leaf", test_leaf);
    g_test_add_func("/tls/rules/chain", test_chain);
    g_test_add_func("/tls/rules/every-usage", test_every_usage);
    g_test_add_func("/tls/rules/every-usage-of-ca", test_every_usage_of_ca);
    g_test_add_func("/tls/rules/every-purpose", test_every_purpose);
    g_test_add_func("/tls/rules/verify-peer-off", test_verify_peer_off);
    g_test_add_func("/tls/rules/truncated", test_truncated);
    g_test_add_func("/tls/rules/every-byte-changed", test_every_byte_changed);
    int ret = g_test_run();
    remove_files();
    g_free(dir);
    return ret;
}
