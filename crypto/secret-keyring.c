/*
 * Secrets in the Linux keyring
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include <keyutils.h>

#include "crypto/secret-int.h"
#include "util/thread-pool.h"

typedef struct KeyringWork {
    int32_t serial;
    SecretBuffer *buf;
    Error **errp;
} KeyringWork;

/* On a worker, since the kernel may have to wait for the key. */
static int keyring_read_key(void *opaque)
{
    KeyringWork *work = opaque;
    SecretBuffer *buf = work->buf;
    long len;

    /* The key may grow between the query for its length and reading it. */
    while ((len = keyctl_read(work->serial, (char *)buf->data, buf->capacity)) > (long)buf->capacity) {
        if (len > QCRYPTO_SECRET_MAX_BYTES) {
            error_setg(work->errp, "Key %" PRId32 " has more than %d bytes", work->serial, QCRYPTO_SECRET_MAX_BYTES);
            return false;
        }
        secret_buffer_reserve(buf, len);
    }
    if (len < 0) {
        error_setg_errno(work->errp, errno, "Could not read key %" PRId32 " from the kernel keyring", work->serial);
        return false;
    }
    buf->len = len;
    return true;
}

static SecretBuffer *coroutine_mixed_fn secret_read_keyring(int32_t serial, Error **errp)
{
    g_autoptr(SecretBuffer) buf = secret_buffer_new(0);
    KeyringWork work = { .serial = serial, .buf = buf, .errp = errp };

    return thread_pool_submit_co(THREAD_POOL_IO, keyring_read_key, &work) ? g_steal_pointer(&buf) : NULL;
}

static void *coroutine_mixed_fn secret_keyring_create(const ObjectOptions *options, Error **errp)
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
