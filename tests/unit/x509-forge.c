/*
 * Certificates that no tool would make
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include <glib/gstdio.h>
#include <gnutls/abstract.h>
#include <libtasn1.h>
#include <time.h>

#include "tls-certs.h"
#include "x509-forge.h"

#define DAY (24 * 60 * 60)

#define CHECK_ASN1(expr)                                                        \
    do {                                                                        \
        int rc_ = (expr);                                                       \
        if (rc_ != ASN1_SUCCESS) {                                              \
            g_error("%s: %s", #expr, asn1_strerror(rc_));                       \
        }                                                                       \
    } while (0)

time_t forge_now;

/* RFC 5280, appendix A, with ANY for what is encoded before. */
static const char module[] =
    "X509 { } DEFINITIONS EXPLICIT TAGS ::= BEGIN\n"
    "BasicConstraints ::= SEQUENCE { cA BOOLEAN DEFAULT FALSE, pathLenConstraint INTEGER OPTIONAL }\n"
    "KeyUsage ::= BIT STRING\n"
    "ExtKeyUsage ::= SEQUENCE OF OBJECT IDENTIFIER\n"
    "Attribute ::= SEQUENCE { type OBJECT IDENTIFIER, value UTF8String }\n"
    "RelativeName ::= SET OF Attribute\n"
    "Name ::= SEQUENCE OF RelativeName\n"
    "Extension ::= SEQUENCE { extnID OBJECT IDENTIFIER, critical BOOLEAN DEFAULT FALSE, extnValue OCTET STRING }\n"
    "Extensions ::= SEQUENCE OF Extension\n"
    "TBSCertificate ::= SEQUENCE { version [0] INTEGER OPTIONAL, serialNumber INTEGER, signature ANY, issuer ANY,\n"
    "    notBeforeAndAfter ANY, subject ANY, subjectPublicKeyInfo ANY, extensions [3] Extensions OPTIONAL }\n"
    "Certificate ::= SEQUENCE { tbsCertificate ANY, signatureAlgorithm ANY, signature BIT STRING }\n"
    "END\n";

/* AlgorithmIdentifier of ecdsa-with-SHA256 */
static const uint8_t ecdsa_sha256[] = { 0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02 };

static asn1_node asn1_new(const char *type)
{
    static asn1_node definitions;
    g_autofree char *name = g_strconcat("X509.", type, NULL);
    asn1_node node = NULL;

    if (!definitions) {
        char why[ASN1_MAX_ERROR_DESCRIPTION_SIZE];
        g_autofree char *path = NULL;
        int fd = g_file_open_tmp("x509-forge-XXXXXX", &path, NULL);

        g_assert_cmpint(fd, >=, 0);
        close(fd);
        g_assert_true(g_file_set_contents(path, module, -1, NULL));
        if (asn1_parser2tree(path, &definitions, why) != ASN1_SUCCESS) {
            g_error("%s", why);
        }
        g_unlink(path);
    }
    CHECK_ASN1(asn1_create_element(definitions, name, &node));
    return node;
}

static void asn1_set(asn1_node node, const char *field, const void *value, int len)
{
    CHECK_ASN1(asn1_write_value(node, field, value, len));
}

static void asn1_set_bytes(asn1_node node, const char *field, GByteArray *bytes)
{
    asn1_set(node, field, bytes->len ? bytes->data : (const void *)"", bytes->len);
    g_byte_array_unref(bytes);
}

/* Encode and free @node. */
static GByteArray *asn1_end(asn1_node node)
{
    GByteArray *der = g_byte_array_new();
    int len = 0;

    g_assert_cmpint(asn1_der_coding(node, "", NULL, &len, NULL), ==, ASN1_MEM_ERROR);
    g_byte_array_set_size(der, len);
    CHECK_ASN1(asn1_der_coding(node, "", der->data, &len, NULL));
    g_byte_array_set_size(der, len);
    asn1_delete_structure(&node);
    return der;
}

static GByteArray *from_hex(const char *digits)
{
    GByteArray *bytes = g_byte_array_new();

    for (; *digits; digits += 2) {
        uint8_t byte = g_ascii_xdigit_value(digits[0]) << 4 | g_ascii_xdigit_value(digits[1]);

        g_byte_array_append(bytes, &byte, 1);
    }
    return bytes;
}

/* The place of @word among @n @names. */
static unsigned index_of(const char *const *names, size_t n, const char *word)
{
    for (size_t i = 0; i < n; i++) {
        if (g_str_equal(names[i], word)) {
            return i;
        }
    }
    g_error("unknown word '%s'", word);
}

static GByteArray *encode_basic_constraints(const char *value)
{
    asn1_node node = asn1_new("BasicConstraints");
    const char *length = strchr(value, ':');

    asn1_set(node, "cA", g_str_has_prefix(value, "ca") ? "TRUE" : "FALSE", 1);
    asn1_set(node, "pathLenConstraint", length ? length + 1 : NULL, 0);
    return asn1_end(node);
}

static GByteArray *encode_key_usage(const char *value)
{
    static const char *const names[] = {
        "sign", "commit", "encipher", "data", "agree", "certsign", "crlsign", "enciphonly", "deciphonly", "none",
    };
    g_auto(GStrv) words = g_strsplit(value, "+", -1);
    asn1_node node = asn1_new("KeyUsage");
    uint8_t bits[2] = { 0 };
    unsigned n = 0;

    for (char **word = words; *word; word++) {
        unsigned bit = index_of(names, G_N_ELEMENTS(names), *word);

        if (bit < 9) {
            bits[bit / 8] |= 0x80 >> bit % 8;
            n = MAX(n, bit + 1);
        }
    }
    asn1_set(node, "", bits, n);
    return asn1_end(node);
}

static GByteArray *encode_purposes(const char *value)
{
    static const char *const names[] = { "server", "client", "any", "code" };
    static const char *const oids[] = {
        GNUTLS_KP_TLS_WWW_SERVER, GNUTLS_KP_TLS_WWW_CLIENT, GNUTLS_KP_ANY, GNUTLS_KP_CODE_SIGNING,
    };
    g_auto(GStrv) words = g_strsplit(value, "+", -1);
    asn1_node node = asn1_new("ExtKeyUsage");

    for (char **word = words; *word; word++) {
        asn1_set(node, "", "NEW", 1);
        asn1_set(node, "?LAST", oids[index_of(names, G_N_ELEMENTS(names), *word)], 1);
    }
    return asn1_end(node);
}

static GByteArray *encode_name(const char *name)
{
    asn1_node node = asn1_new("Name");

    asn1_set(node, "", "NEW", 1);
    asn1_set(node, "?LAST", "NEW", 1);
    asn1_set(node, "?LAST.?LAST.type", GNUTLS_OID_X520_COMMON_NAME, 1);
    asn1_set(node, "?LAST.?LAST.value", name, strlen(name));
    return asn1_end(node);
}

/* Append a time: its characters, or seconds from forge_now. */
static void append_time(GByteArray *der, const char *text)
{
    g_autofree char *characters = NULL;
    bool generalized = text[0] == 'G';

    if (text[0] == '+' || text[0] == '-') {
        g_autoptr(GDateTime) when = g_date_time_new_from_unix_utc(forge_now + atoll(text));

        characters = g_date_time_format(when, "%y%m%d%H%M%SZ");
    } else {
        characters = g_strdup(text + generalized);
    }
    uint8_t head[] = { generalized ? 0x18 : 0x17, strlen(characters) };
    g_byte_array_append(der, head, sizeof(head));
    g_byte_array_append(der, (uint8_t *)characters, strlen(characters));
}

static GByteArray *encode_validity(const char *from, const char *to)
{
    uint8_t head[] = { 0x30, 0 };
    GByteArray *der = g_byte_array_new();

    g_byte_array_append(der, head, sizeof(head));
    append_time(der, from);
    append_time(der, to);
    der->data[1] = der->len - 2;
    return der;
}

static gnutls_x509_privkey_t get_key(bool rsa, unsigned number)
{
    static gnutls_x509_privkey_t keys[2][3];
    gnutls_x509_privkey_t *key = &keys[rsa][number];

    if (!*key) {
        CHECK_GNUTLS(gnutls_x509_privkey_init(key));
        CHECK_GNUTLS(gnutls_x509_privkey_generate(*key, rsa ? GNUTLS_PK_RSA : GNUTLS_PK_ECDSA,
                                           rsa ? 2048 : GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1), 0));
    }
    return *key;
}

static GByteArray *encode_public_key(gnutls_x509_privkey_t key)
{
    gnutls_privkey_t abstract;
    gnutls_pubkey_t public;
    gnutls_datum_t der;
    GByteArray *bytes = g_byte_array_new();

    CHECK_GNUTLS(gnutls_privkey_init(&abstract));
    CHECK_GNUTLS(gnutls_privkey_import_x509(abstract, key, 0));
    CHECK_GNUTLS(gnutls_pubkey_init(&public));
    CHECK_GNUTLS(gnutls_pubkey_import_privkey(public, abstract, 0, 0));
    CHECK_GNUTLS(gnutls_pubkey_export2(public, GNUTLS_X509_FMT_DER, &der));
    g_byte_array_append(bytes, der.data, der.size);
    gnutls_free(der.data);
    gnutls_pubkey_deinit(public);
    gnutls_privkey_deinit(abstract);
    return bytes;
}

static GByteArray *sign(const GByteArray *data, gnutls_x509_privkey_t key)
{
    gnutls_datum_t in = { data->data, data->len }, out;
    gnutls_privkey_t abstract;
    GByteArray *signature = g_byte_array_new();

    CHECK_GNUTLS(gnutls_privkey_init(&abstract));
    CHECK_GNUTLS(gnutls_privkey_import_x509(abstract, key, 0));
    CHECK_GNUTLS(gnutls_privkey_sign_data(abstract, GNUTLS_DIG_SHA256, 0, &in, &out));
    g_byte_array_append(signature, out.data, out.size);
    gnutls_free(out.data);
    gnutls_privkey_deinit(abstract);
    return signature;
}

/* Add the extension NAME[!]=VALUE to @tbs. */
static void add_extension(asn1_node tbs, const char *word)
{
    static const struct {
        const char *name, *oid;
        GByteArray *(*encode)(const char *value);
    } known[] = {
        { "bc", GNUTLS_X509EXT_OID_BASIC_CONSTRAINTS, encode_basic_constraints },
        { "ku", GNUTLS_X509EXT_OID_KEY_USAGE, encode_key_usage },
        { "eku", GNUTLS_X509EXT_OID_EXTENDED_KEY_USAGE, encode_purposes },
    };
    g_auto(GStrv) parts = g_strsplit(word, "=", 2);
    bool critical = g_str_has_suffix(parts[0], "!");
    const char *oid;
    GByteArray *value = NULL;

    g_assert_nonnull(parts[1]);
    parts[0][strlen(parts[0]) - critical] = '\0';
    oid = parts[0];
    for (size_t i = 0; i < G_N_ELEMENTS(known); i++) {
        if (g_str_equal(known[i].name, parts[0])) {
            oid = known[i].oid;
            value = g_str_has_prefix(parts[1], "0x") ? from_hex(parts[1] + 2) : known[i].encode(parts[1]);
        }
    }
    asn1_set(tbs, "extensions", "NEW", 1);
    asn1_set(tbs, "extensions.?LAST.extnID", oid, 1);
    asn1_set(tbs, "extensions.?LAST.critical", critical ? "TRUE" : "FALSE", 1);
    asn1_set_bytes(tbs, "extensions.?LAST.extnValue", value ?: from_hex(parts[1]));
}

ForgedCert *forge_cert(const char *name, const char *text, const ForgedCert *issuer)
{
    static uint8_t serial;
    g_auto(GStrv) words = g_strsplit(text, " ", -1);
    ForgedCert *cert = g_new0(ForgedCert, 1);
    asn1_node tbs = asn1_new("TBSCertificate"), whole = asn1_new("Certificate");
    const char *from = "-86400", *to = "+86400";
    unsigned cut = 0;
    bool extended = false;

    cert->name = g_strdup(name);
    cert->key = get_key(g_strv_contains((const char *const *)words, "rsa"), issuer ? strlen(issuer->name) % 2 + 1 : 0);
    asn1_set(tbs, "version", g_strv_contains((const char *const *)words, "v1") ? NULL : "2", 0);
    for (char **word = words; *word; word++) {
        if (g_str_has_prefix(*word, "from=")) {
            from = *word + strlen("from=");
        } else if (g_str_has_prefix(*word, "to=")) {
            to = *word + strlen("to=");
        } else if (g_str_has_prefix(*word, "cut=")) {
            cut = atoi(*word + strlen("cut="));
        } else if (**word && !g_str_equal(*word, "v1") && !g_str_equal(*word, "rsa")) {
            add_extension(tbs, *word);
            extended = true;
        }
    }
    if (!extended) {
        asn1_set(tbs, "extensions", NULL, 0);
    }
    serial = serial % 127 + 1;
    asn1_set(tbs, "serialNumber", &serial, 1);
    asn1_set(tbs, "signature", ecdsa_sha256, sizeof(ecdsa_sha256));
    asn1_set_bytes(tbs, "issuer", encode_name(issuer ? issuer->name : name));
    asn1_set_bytes(tbs, "notBeforeAndAfter", encode_validity(from, to));
    asn1_set_bytes(tbs, "subject", encode_name(name));
    asn1_set_bytes(tbs, "subjectPublicKeyInfo", encode_public_key(cert->key));

    GByteArray *signed_part = asn1_end(tbs);
    GByteArray *signature = sign(signed_part, issuer ? issuer->key : cert->key);
    asn1_set_bytes(whole, "tbsCertificate", signed_part);
    asn1_set(whole, "signatureAlgorithm", ecdsa_sha256, sizeof(ecdsa_sha256));
    asn1_set(whole, "signature", signature->data, signature->len * 8);
    g_byte_array_unref(signature);
    cert->der = asn1_end(whole);
    g_byte_array_set_size(cert->der, cert->der->len - MIN(cut, cert->der->len));
    return cert;
}

void forge_free(ForgedCert *cert)
{
    if (cert) {
        g_free(cert->name);
        g_byte_array_unref(cert->der);
        g_free(cert);
    }
}

static void append_pem(GString *text, const ForgedCert *cert)
{
    gnutls_datum_t der = { cert->der->data, cert->der->len }, pem;

    CHECK_GNUTLS(gnutls_pem_base64_encode2("CERTIFICATE", &der, &pem));
    g_string_append_len(text, (char *)pem.data, pem.size);
    gnutls_free(pem.data);
}

/* Without the fsync() of g_file_set_contents(), since tests write thousands of files. */
static void write_file(const char *dir, const char *name, const char *data, size_t len)
{
    g_autofree char *path = g_build_filename(dir, name, NULL);

    g_unlink(path);
    g_assert_true(g_file_set_contents_full(path, data, len, G_FILE_SET_CONTENTS_NONE, 0600, NULL));
}

void forge_write(const char *dir, const char *name, const ForgedCert *cert, ForgedCert *const *chain)
{
    g_autoptr(GString) text = g_string_new(NULL);

    append_pem(text, cert);
    for (; chain && *chain; chain++) {
        append_pem(text, *chain);
    }
    write_file(dir, name, text->str, text->len);
}

void forge_write_key(const char *dir, const char *name, const ForgedCert *cert)
{
    gnutls_datum_t data;

    CHECK_GNUTLS(gnutls_x509_privkey_export2(cert->key, GNUTLS_X509_FMT_PEM, &data));
    write_file(dir, name, (char *)data.data, data.size);
    gnutls_free(data.data);
}
