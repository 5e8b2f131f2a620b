/*
 * Secrets in the Linux keyring
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include <keyutils.h>

#include "crypto/secret-int.h"

static SecretBuffer *secret_read_keyring(int32_t serial, Error **errp)
{
    g_autoptr(SecretBuffer) buf = secret_buffer_new(0);
    long len;

    /* The key may grow between asking for its length and reading it. */
    while ((len = keyctl_read(serial, (char *)buf->data, buf->capacity)) > (long)buf->capacity) {
        if (len > QCRYPTO_SECRET_MAX_BYTES) {
            error_setg(errp, "Key %" PRId32 " has more than %d bytes", serial,
                       QCRYPTO_SECRET_MAX_BYTES);
            return NULL;
        }
        secret_buffer_reserve(buf, len);
    }
    if (len < 0) {
        error_setg_errno(errp, errno, "Could not read key %" PRId32 " from the kernel keyring",
                         serial);
        return NULL;
    }
    buf->len = len;
    return g_steal_pointer(&buf);
}

static void *secret_keyring_create(const ObjectOptions *options, Error **errp)
{
    ERRP_GUARD();
    const SecretKeyringProperties *props = &options->u.secret_keyring;

    return secret_new(options->id, qapi_SecretKeyringProperties_base(props),
                      secret_read_keyring(props->serial, errp), errp);
}

const UserCreatableType secret_keyring_type = {
    .type = OBJECT_TYPE_SECRET_KEYRING,
    .create = secret_keyring_create,
    .free = secret_free,
};
