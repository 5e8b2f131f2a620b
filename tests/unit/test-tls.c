/*
 * TLS: credentials are checked when loaded, handshakes verify peers, and channels carry data both ways
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include <glib/gstdio.h>

#include "crypto/authz.h"
#include "crypto/object.h"
#include "io/tls.h"
#include "tls-certs.h"
#include "tls-peers.h"
#include "util/aio.h"

#define KEYS "alice:0123456789abcdef0123456789abcdef\nqemu:fedcba9876543210fedcba9876543210\n"

static char *dir;

static bool G_GNUC_PRINTF(2, 3) make(Error **errp, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    g_autofree char *arg = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    return user_creatable_parse(arg, errp);
}

static void write_keys(const char *keys)
{
    g_autofree char *path = g_build_filename(dir, "keys.psk", NULL);

    g_assert_true(g_file_set_contents(path, keys, -1, NULL));
}

static void remove_file(const char *name)
{
    g_autofree char *path = g_build_filename(dir, name, NULL);

    g_unlink(path);
}

static void assert_error(Error **err, const char *expected)
{
    g_assert_nonnull(*err);
    if (!strstr(error_get_pretty(*err), expected)) {
        g_error("'%s' does not mention '%s'", error_get_pretty(*err), expected);
    }
    error_free(g_steal_pointer(err));
}

static void make_x509_pair(const char *server_options)
{
    make(&error_abort, "tls-creds-x509,id=server,endpoint=server,dir=%s%s", dir, server_options);
    make(&error_abort, "tls-creds-x509,id=client,endpoint=client,dir=%s", dir);
}

static void test_x509_good(void)
{
    TlsEnd server = { 0 }, client = { .hostname = "localhost" };

    tls_certs_write(dir, 0, 0, 0, NULL);
    make_x509_pair("");
    tls_handshake(&server, &client);
    g_assert_true(server.ok && client.ok);
    user_creatable_cleanup();
}

static void test_x509_wrong_host(void)
{
    TlsEnd server = { 0 }, client = { .hostname = "example.org" };

    tls_certs_write(dir, 0, 0, 0, NULL);
    make_x509_pair("");
    tls_handshake(&server, &client);
    g_assert_false(client.ok);
    assert_error(&client.err, "not for 'example.org'");
    error_free(server.err);
    user_creatable_cleanup();
}

static void test_x509_no_client_cert(void)
{
    TlsEnd server = { 0 }, client = { .hostname = "localhost" };

    tls_certs_write(dir, 0, 0, 0, NULL);
    remove_file("client-cert.pem");
    remove_file("client-key.pem");
    make_x509_pair("");
    tls_handshake(&server, &client);
    g_assert_false(server.ok || client.ok);
    assert_error(&server.err, "TLS handshake failed");
    error_free(client.err);
    user_creatable_cleanup();

    /* If the server does not ask for a certificate, that is fine, but then nobody can be authorized. */
    server = (TlsEnd){ 0 };
    client = (TlsEnd){ .hostname = "localhost" };
    make_x509_pair(",verify-peer=off");
    tls_handshake(&server, &client);
    g_assert_true(server.ok && client.ok);
    make(&error_abort, "authz-simple,id=auth,identity=CN=tester");
    server = (TlsEnd){ .authzid = "auth" };
    client = (TlsEnd){ .hostname = "localhost" };
    tls_handshake(&server, &client);
    g_assert_false(server.ok || client.ok);
    assert_error(&server.err, "not authenticated");
    error_free(client.err);
    user_creatable_cleanup();
}

static void test_x509_not_trusted(void)
{
    static const struct {
        TlsCertFault server, client;
    } cases[] = {
        { .server = TLS_CERT_OTHER_CA },
        { .server = TLS_CERT_EXPIRED },
        { .server = TLS_CERT_PURPOSE_WRONG },
        { .client = TLS_CERT_EXPIRED },
        { .client = TLS_CERT_NOT_YET_VALID },
        { .client = TLS_CERT_PURPOSE_WRONG },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        TlsEnd server = { 0 }, client = { .hostname = "localhost" };
        TlsEnd *refuses = cases[i].server ? &client : &server;

        tls_certs_write(dir, 0, cases[i].server, cases[i].client, NULL);
        make(&error_abort, "tls-creds-x509,id=server,endpoint=server,sanity-check=off,dir=%s", dir);
        make(&error_abort, "tls-creds-x509,id=client,endpoint=client,sanity-check=off,dir=%s", dir);
        tls_handshake(&server, &client);
        g_assert_false(server.ok || client.ok);
        assert_error(&refuses->err, "not trusted");
        error_free(server.err);
        error_free(client.err);
        user_creatable_cleanup();
    }
}

static void test_x509_authz(void)
{
    static const struct {
        const char *object;
        bool allowed;
    } cases[] = {
        { "authz-simple,id=auth,identity=CN=tester", true },
        { "authz-simple,id=auth,identity=CN=teste", false },
        { "authz-list,id=auth", false },
        { "authz-list,id=auth,policy=allow", true },
        { "authz-list,id=auth,policy=allow,rules.0.match=CN=t*,rules.0.policy=deny", true },
        { "authz-list,id=auth,policy=allow,rules.0.match=CN=t*,rules.0.policy=deny,rules.0.format=glob", false },
        { "authz-list,id=auth,rules.0.match=CN=tester,rules.0.policy=allow,rules.1.match=*,"
          "rules.1.format=glob,rules.1.policy=deny", true },
        { "authz-list,id=auth,rules.0.match=*,rules.0.format=glob,rules.0.policy=deny,"
          "rules.1.match=CN=tester,rules.1.policy=allow", false },
    };

    tls_certs_write(dir, 0, 0, 0, NULL);
    make_x509_pair("");
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        TlsEnd server = { .authzid = "auth" }, client = { .hostname = "localhost" };

        make(&error_abort, "%s", cases[i].object);
        tls_handshake(&server, &client);
        g_assert_cmpint(server.ok, ==, cases[i].allowed);
        g_assert_cmpint(client.ok, ==, cases[i].allowed);
        if (!cases[i].allowed) {
            assert_error(&server.err, "'CN=tester' is not allowed by 'auth'");
            g_assert_cmpint(server.state, ==, QCRYPTO_TLS_REFUSED);
            error_free(client.err);
        }
        user_creatable_del("auth", &error_abort);
    }
    TlsEnd server = { .authzid = "auth" }, client = { .hostname = "localhost" };
    tls_handshake(&server, &client);
    g_assert_false(server.ok);
    g_assert_cmpint(server.state, ==, QCRYPTO_TLS_REFUSED);
    assert_error(&server.err, "'CN=tester' cannot be let in: There is no object with id 'auth'");
    error_free(client.err);
    user_creatable_cleanup();
}

static void test_x509_sanity(void)
{
    static const struct {
        TlsCertFault ca, server, client;
        const char *server_error, *client_error;
    } cases[] = {
        { .ca = TLS_CERT_EXPIRED, .server_error = "has expired", .client_error = "ca-cert.pem" },
        { .ca = TLS_CERT_CA_FLAG_WRONG, .server_error = "is not a CA certificate", .client_error = "CA" },
        { .ca = TLS_CERT_USAGE_WRONG, .server_error = "signing", .client_error = "signing" },
        { .server = TLS_CERT_EXPIRED, .server_error = "has expired" },
        { .server = TLS_CERT_NOT_YET_VALID, .server_error = "not yet valid" },
        { .server = TLS_CERT_CA_FLAG_WRONG, .server_error = "is a CA certificate" },
        { .server = TLS_CERT_USAGE_WRONG, .server_error = "does not permit digital signatures" },
        { .server = TLS_CERT_PURPOSE_WRONG, .server_error = "not for a TLS server" },
        { .server = TLS_CERT_OTHER_CA, .server_error = "not signed by" },
        { .client = TLS_CERT_EXPIRED, .client_error = "has expired" },
        { .client = TLS_CERT_PURPOSE_WRONG, .client_error = "not for a TLS client" },
        { .client = TLS_CERT_OTHER_CA, .client_error = "not signed by" },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        for (int is_client = 0; is_client < 2; is_client++) {
            const char *end = is_client ? "client" : "server";
            const char *expected = is_client ? cases[i].client_error : cases[i].server_error;
            Error *err = NULL;

            tls_certs_write(dir, cases[i].ca, cases[i].server, cases[i].client, NULL);
            if (make(&err, "tls-creds-x509,id=c%d,endpoint=%s,dir=%s", is_client, end, dir)) {
                g_assert_null(expected);
            } else {
                g_assert_nonnull(expected);
                assert_error(&err, expected);
                make(&error_abort, "tls-creds-x509,id=u,endpoint=%s,dir=%s,sanity-check=off", end, dir);
            }
            user_creatable_cleanup();
        }
    }
}

static void test_x509_password(void)
{
    TlsEnd server = { 0 }, client = { .hostname = "localhost" };
    Error *err = NULL;

    tls_certs_write(dir, 0, 0, 0, "swordfish");
    g_assert_false(make(&err, "tls-creds-x509,id=server,endpoint=server,dir=%s", dir));
    assert_error(&err, "Could not decrypt");
    g_assert_false(make(&err, "tls-creds-x509,id=server,endpoint=server,dir=%s,passwordid=none", dir));
    assert_error(&err, "passwordid");
    make(&error_abort, "secret,id=good,data=swordfish");
    make(&error_abort, "secret,id=bad,data=herring");
    g_assert_false(make(&err, "tls-creds-x509,id=server,endpoint=server,dir=%s,passwordid=bad", dir));
    assert_error(&err, "server");
    make(&error_abort, "tls-creds-x509,id=server,endpoint=server,dir=%s,passwordid=good", dir);
    make(&error_abort, "tls-creds-x509,id=client,endpoint=client,dir=%s,passwordid=good", dir);
    tls_handshake(&server, &client);
    g_assert_true(server.ok && client.ok);
    user_creatable_cleanup();
}

static void test_missing_files(void)
{
    static const char *const needed[] = { "ca-cert.pem", "server-cert.pem", "server-key.pem" };
    Error *err = NULL;

    for (size_t i = 0; i < G_N_ELEMENTS(needed); i++) {
        tls_certs_write(dir, 0, 0, 0, NULL);
        remove_file(needed[i]);
        g_assert_false(make(&err, "tls-creds-x509,id=a,endpoint=server,dir=%s", dir));
        assert_error(&err, needed[i]);
    }
    remove_file("keys.psk");
    g_assert_false(make(&err, "tls-creds-psk,id=a,endpoint=server,dir=%s", dir));
    assert_error(&err, "keys.psk");
    g_assert_false(make(&err, "tls-creds-psk,id=a,endpoint=server"));
    assert_error(&err, "'dir'");
    g_assert_false(make(&err, "tls-creds-x509,id=a,dir=%s,priority=NONSENSE", dir));
    assert_error(&err, "NONSENSE");
}

static void test_psk(void)
{
    static const struct {
        const char *user;
        const char *client_keys;    /* NULL: the server's */
        const char *authz;
        bool ok;
    } cases[] = {
        { .user = "alice", .ok = true },
        { .ok = true },
        { .user = "alice", .client_keys = "alice:00000000000000000000000000000000\n" },
        { .user = "mallory", .client_keys = "mallory:00000000000000000000000000000000\n" },
        { .user = "alice", .authz = "alice", .ok = true },
        { .user = "alice", .authz = "qemu" },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *user = cases[i].user ? g_strconcat(",username=", cases[i].user, NULL) : g_strdup("");
        TlsEnd server = { 0 }, client = { 0 };

        write_keys(cases[i].client_keys ?: KEYS);
        make(&error_abort, "tls-creds-psk,id=client,dir=%s%s", dir, user);
        write_keys(KEYS);
        make(&error_abort, "tls-creds-psk,id=server,endpoint=server,dir=%s", dir);
        if (cases[i].authz) {
            make(&error_abort, "authz-simple,id=auth,identity=%s", cases[i].authz);
            server.authzid = "auth";
        }
        tls_handshake(&server, &client);
        g_assert_cmpint(server.ok, ==, cases[i].ok);
        g_assert_cmpint(client.ok, ==, cases[i].ok);
        error_free(server.err);
        error_free(client.err);
        user_creatable_cleanup();
    }
    Error *err = NULL;
    g_assert_false(make(&err, "tls-creds-psk,id=client,dir=%s,username=bob", dir));
    assert_error(&err, "no key for user 'bob'");
}

static void test_lookup(void)
{
    Error *err = NULL;

    write_keys(KEYS);
    make(&error_abort, "tls-creds-psk,id=a,dir=%s", dir);
    make(&error_abort, "secret,id=s,data=x");
    g_assert_null(qcrypto_tls_creds_lookup("a", QCRYPTO_TLS_CREDS_ENDPOINT_SERVER, &err));
    assert_error(&err, "client, not a server");
    g_assert_null(qcrypto_tls_creds_lookup("s", QCRYPTO_TLS_CREDS_ENDPOINT_SERVER, &err));
    assert_error(&err, "not TLS credentials");
    g_assert_null(qcrypto_tls_creds_lookup("b", QCRYPTO_TLS_CREDS_ENDPOINT_SERVER, &err));
    assert_error(&err, "'b'");
    g_assert_false(qauthz_check_id("s", &err));
    assert_error(&err, "cannot authorize");

    /* A reference outlives the object. */
    QCryptoTLSCreds *creds = qcrypto_tls_creds_lookup("a", QCRYPTO_TLS_CREDS_ENDPOINT_CLIENT, &error_abort);
    user_creatable_cleanup();
    qcrypto_tls_creds_unref(creds);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    dir = g_dir_make_tmp("test-tls-XXXXXX", NULL);
    aio_context_set_current(qemu_get_aio_context());
    g_test_add_func("/tls/x509/good", test_x509_good);
    g_test_add_func("/tls/x509/wrong-host", test_x509_wrong_host);
    g_test_add_func("/tls/x509/no-client-cert", test_x509_no_client_cert);
    g_test_add_func("/tls/x509/not-trusted", test_x509_not_trusted);
    g_test_add_func("/tls/x509/authz", test_x509_authz);
    g_test_add_func("/tls/x509/sanity", test_x509_sanity);
    g_test_add_func("/tls/x509/password", test_x509_password);
    g_test_add_func("/tls/missing-files", test_missing_files);
    g_test_add_func("/tls/psk", test_psk);
    g_test_add_func("/tls/lookup", test_lookup);
    int ret = g_test_run();

    static const char *const files[] = { "ca-cert.pem", "server-cert.pem", "server-key.pem", "client-cert.pem",
                                         "client-key.pem", "keys.psk" };
    for (size_t i = 0; i < G_N_ELEMENTS(files); i++) {
        remove_file(files[i]);
    }
    g_rmdir(dir);
    g_free(dir);
    return ret;
}
