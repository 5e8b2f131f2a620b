/*
 * TLS credentials: pre-shared keys
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include "crypto/secret-int.h"
#include "crypto/tls-creds-int.h"

/*
 * The key of @username in a file of lines USER:HEX, as a view into @file; false where it has none.
 */
static bool find_key(const SecretBuffer *file, const char *username, gnutls_datum_t *key)
{
    const uint8_t *line = file->data, *end = file->data + file->len;
    size_t n = strlen(username);

    while (line < end) {
        const uint8_t *eol = memchr(line, '\n', end - line) ?: end;

        if ((size_t)(eol - line) > n && memcmp(line, username, n) == 0 && line[n] == ':') {
            const uint8_t *hex = line + n + 1, *last = eol;

            while (last > hex && g_ascii_isspace(last[-1])) {
                last--;
            }
            *key = (gnutls_datum_t){ .data = (uint8_t *)hex, .size = last - hex };
            return true;
        }
        line = eol + 1;
    }
    return false;
}

static bool load_client(QCryptoTLSCreds *creds, const char *path, const char *username, Error **errp)
{
    g_autoptr(SecretBuffer) file = secret_read_file(path, errp);
    gnutls_datum_t key;

    if (!file) {
        return false;
    }
    if (!find_key(file, username, &key)) {
        error_setg(errp, "'%s' has no key for user '%s'", path, username);
        return false;
    }
    return tls_creds_check_gnutls(gnutls_psk_allocate_client_credentials(&creds->u.psk_client), "the keys",
                                  path, errp) &&
           tls_creds_check_gnutls(gnutls_psk_set_client_credentials(creds->u.psk_client, username, &key,
                                                                    GNUTLS_PSK_KEY_HEX),
                                  "the key in", path, errp);
}

/* GnuTLS reads the file at each handshake: keys come and go without a restart. */
static bool load_server(QCryptoTLSCreds *creds, const char *path, Error **errp)
{
    return tls_creds_check_gnutls(gnutls_psk_allocate_server_credentials(&creds->u.psk_server), "the keys",
                                  path, errp) &&
           tls_creds_check_gnutls(gnutls_psk_set_server_credentials_file(creds->u.psk_server, path),
                                  "the keys", path, errp);
}

static void *psk_create(const ObjectOptions *options, Error **errp)
{
    ERRP_GUARD();
    const TlsCredsPskProperties *props = &options->u.tls_creds_psk;
    g_autoptr(QCryptoTLSCreds) creds = tls_creds_new((const TlsCredsProperties *)props, true, errp);
    g_autofree char *path = creds ? tls_creds_path(creds, "keys.psk", true, errp) : NULL;
    bool ok = path;

    if (ok && creds->endpoint == QCRYPTO_TLS_CREDS_ENDPOINT_CLIENT) {
        ok = load_client(creds, path, props->username ?: "qemu", errp);
    } else if (ok && props->username) {
        error_setg(errp, "Option 'username' is for clients: a server takes every user in '%s'", path);
        ok = false;
    } else if (ok) {
        ok = load_server(creds, path, errp);
    }
    if (!ok) {
        error_prepend(errp, "TLS credentials '%s': ", options->id);
        return NULL;
    }
    return g_steal_pointer(&creds);
}

static void psk_free(void *obj)
{
    qcrypto_tls_creds_unref(obj);
}

const UserCreatableType tls_creds_psk_type = {
    .type = OBJECT_TYPE_TLS_CREDS_PSK,
    .create = psk_create,
    .free = psk_free,
};
