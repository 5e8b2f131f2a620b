/*
 * Secret objects: decoding, decryption with another secret, and lookup
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include "crypto/base64.h"
#include "crypto/cipher.h"
#include "crypto/secret-int.h"

#define AES_BLOCK_LEN 16
#define AES_256_KEY_LEN 32

/* RFC 5652, section 6.3: n bytes of value n, at least one. */
static bool secret_remove_padding(SecretBuffer *buf, Error **errp)
{
    uint8_t npad = buf->data[buf->len - 1];
    bool valid = npad >= 1 && npad <= AES_BLOCK_LEN;

    for (size_t i = 1; valid && i <= npad; i++) {
        valid = buf->data[buf->len - i] == npad;
    }
    if (!valid) {
        error_setg(errp, "The decrypted data has no valid padding: wrong key or iv?");
        return false;
    }
    buf->len -= npad;
    return true;
}

/* Decrypt @buf in place: AES-256-CBC with PKCS #7 padding. */
static bool secret_decrypt(SecretBuffer *buf, const char *keyid, const char *iv_text, Error **errp)
{
    ERRP_GUARD();

    if (!iv_text) {
        error_setg(errp, "Option 'iv' is needed with 'keyid'");
        return false;
    }
    g_autoptr(SecretBuffer) iv = qcrypto_base64_decode(iv_text, strlen(iv_text), errp);
    if (!iv) {
        error_prepend(errp, "Option 'iv': ");
        return false;
    }
    if (iv->len != AES_BLOCK_LEN) {
        error_setg(errp, "Option 'iv' must decode to %d bytes, not %zu", AES_BLOCK_LEN, iv->len);
        return false;
    }
    g_autoptr(SecretBuffer) key = qcrypto_secret_lookup(keyid, errp);
    if (!key) {
        error_prepend(errp, "Option 'keyid': ");
        return false;
    }
    if (key->len != AES_256_KEY_LEN) {
        error_setg(errp, "Option 'keyid': secret '%s' has %zu bytes, but an AES-256 key has %d",
                   keyid, key->len, AES_256_KEY_LEN);
        return false;
    }
    if (buf->len == 0 || buf->len % AES_BLOCK_LEN != 0) {
        error_setg(errp, "The encrypted data has %zu bytes, which is not a multiple of %d",
                   buf->len, AES_BLOCK_LEN);
        return false;
    }
    g_autoptr(QCryptoCipher) cipher =
        qcrypto_cipher_new(QCRYPTO_CIPHER_ALGO_AES_256, QCRYPTO_CIPHER_MODE_CBC,
                           key->data, key->len, errp);
    if (!cipher) {
        return false;
    }
    qcrypto_cipher_decrypt(cipher, iv->data, buf->data, buf->data, buf->len);
    return secret_remove_padding(buf, errp);
}

static SecretBuffer *secret_decode(const SecretCommonProperties *props, SecretBuffer *raw,
                                   Error **errp)
{
    g_autoptr(SecretBuffer) buf = raw;

    if (props->iv && !props->keyid) {
        error_setg(errp, "Option 'iv' needs 'keyid'");
        return NULL;
    }
    if (props->has_format && props->format == QCRYPTO_SECRET_FORMAT_BASE64) {
        buf = qcrypto_base64_decode(raw->data, raw->len, errp);
        secret_buffer_free(raw);
        if (!buf) {
            return NULL;
        }
    }
    if (props->keyid && !secret_decrypt(buf, props->keyid, props->iv, errp)) {
        return NULL;
    }
    return g_steal_pointer(&buf);
}

void *secret_new(const char *id, const SecretCommonProperties *props, SecretBuffer *raw,
                 Error **errp)
{
    ERRP_GUARD();
    SecretBuffer *secret = raw ? secret_decode(props, raw, errp) : NULL;

    if (!secret) {
        error_prepend(errp, "Secret '%s': ", id);
    }
    return secret;
}

void secret_free(void *obj)
{
    secret_buffer_free(obj);
}

static SecretBuffer *coroutine_mixed_fn secret_load(const SecretProperties *props, Error **errp)
{
    if (!props->data == !props->file) {
        error_setg(errp, "Exactly one of the options 'data' and 'file' must be given");
        return NULL;
    }
    if (props->file) {
        return secret_read_file(props->file, SECRET_FILE_REQUIRED, errp);
    }
    return secret_buffer_new_from(props->data, strlen(props->data));
}

static void *coroutine_mixed_fn secret_create(const ObjectOptions *options, Error **errp)
{
    ERRP_GUARD();
    const SecretProperties *props = &options->u.secret;

    return secret_new(options->id, qapi_SecretProperties_base(props), secret_load(props, errp),
                      errp);
}

const UserCreatableType secret_type = {
    .type = OBJECT_TYPE_SECRET,
    .create = secret_create,
    .free = secret_free,
};

SecretBuffer *qcrypto_secret_lookup(const char *secretid, Error **errp)
{
    ERRP_GUARD();
    ObjectType type;
    const SecretBuffer *secret = user_creatable_find(secretid, &type);

    if (!secret) {
        error_setg(errp, "No secret with id '%s'", secretid);
        error_append_hint(errp, "Define it with --object secret,id=%s,file=FILENAME.\n", secretid);
        return NULL;
    }
    if (type != OBJECT_TYPE_SECRET && type != OBJECT_TYPE_SECRET_KEYRING) {
        error_setg(errp, "Object '%s' is of type '%s', not a secret", secretid,
                   ObjectType_str(type));
        return NULL;
    }
    return secret_buffer_new_from(secret->data, secret->len);
}
