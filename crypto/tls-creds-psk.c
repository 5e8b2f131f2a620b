/*
 * TLS credentials: pre-shared keys
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include "crypto/tls-creds-int.h"

#define KEYS_FILE "keys.psk"

/* Find the key of @username in a file with lines USER:HEX. @key points into @file. False if there is none. */
static bool psk_find_key(const SecretBuffer *file, const char *username, gnutls_datum_t *key)
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

static bool psk_load_client(QCryptoTLSCreds *creds, const TlsFile *file, const char *username, Error **errp)
{
    gnutls_datum_t key;

    if (!psk_find_key(file->data, username, &key)) {
        error_setg(errp, "'%s' has no key for user '%s'", file->path, username);
        return false;
    }
    return tls_creds_check_gnutls(gnutls_psk_allocate_client_credentials(&creds->u.psk_client), "the keys",
                                  file->path, errp) &&
           tls_creds_check_gnutls(gnutls_psk_set_client_credentials(creds->u.psk_client, username, &key,
                                                                    GNUTLS_PSK_KEY_HEX),
                                  "the key in", file->path, errp);
}

/*
 * Called by GnuTLS in a handshake. 1: there is no such user; GnuTLS then continues with a random key and fails later.
 */
static int psk_find_server_key(gnutls_session_t handle, const char *username, gnutls_datum_t *key)
{
    const QCryptoTLSCreds *creds = gnutls_session_get_ptr(handle);
    gnutls_datum_t hex;

    if (!psk_find_key(creds->psk_keys, username, &hex)) {
        return 1;
    }
    return gnutls_hex_decode2(&hex, key) < 0 ? -1 : 0;
}

static bool psk_load_server(QCryptoTLSCreds *creds, TlsFile *file, Error **errp)
{
    creds->psk_keys = g_steal_pointer(&file->data);
    if (!tls_creds_check_gnutls(gnutls_psk_allocate_server_credentials(&creds->u.psk_server), "the keys",
                                file->path, errp)) {
        return false;
    }
    gnutls_psk_set_server_credentials_function(creds->u.psk_server, psk_find_server_key);
    return true;
}

bool coroutine_mixed_fn qcrypto_tls_creds_refresh(QCryptoTLSCreds *creds, Error **errp)
{
    ERRP_GUARD();

    if (!creds->psk_keys) {
        return true;
    }
    g_autofree char *path = g_build_filename(creds->dir, KEYS_FILE, NULL);
    SecretBuffer *keys = secret_read_file(path, SECRET_FILE_REGULAR, errp);
    if (keys) {
        secret_buffer_free(creds->psk_keys);
        creds->psk_keys = keys;
    }
    return !*errp;
}

static bool coroutine_mixed_fn psk_load(QCryptoTLSCreds *creds, const char *username, Error **errp)
{
    g_auto(TlsFile) file = { NULL };

    if (!tls_file_read(creds, KEYS_FILE, true, &file, errp)) {
        return false;
    }
    if (creds->endpoint == QCRYPTO_TLS_CREDS_ENDPOINT_CLIENT) {
        return psk_load_client(creds, &file, username ?: "qemu", errp);
    }
    if (username) {
        error_setg(errp, "Option 'username' is for clients: a server accepts every user in '%s'", file.path);
        return false;
    }
    return psk_load_server(creds, &file, errp);
}

static void *coroutine_mixed_fn psk_create(const ObjectOptions *options, Error **errp)
{
    ERRP_GUARD();
    const TlsCredsPskProperties *props = &options->u.tls_creds_psk;
    g_autoptr(QCryptoTLSCreds) creds = tls_creds_new((const TlsCredsProperties *)props, true, errp);

    if (!creds || !psk_load(creds, props->username, errp)) {
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
