/*
 * Where secrets come from
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef CRYPTO_SECRET_INT_H
#define CRYPTO_SECRET_INT_H

#include "crypto/object.h"
#include "crypto/secret.h"
#include "util/coroutine.h"

/* All bytes of the regular file or pipe @filename, read by a worker thread. */
SecretBuffer *coroutine_mixed_fn secret_read_file(const char *filename, Error **errp);

/* The payload of the key @serial in the kernel's keyring. */
SecretBuffer *secret_read_keyring(int32_t serial, Error **errp);

/*
 * Undo the encryption and the encoding that @props tell of. @raw may be taken over: it becomes NULL
 * then.
 */
SecretBuffer *secret_decode(const SecretCommonProperties *props, SecretBuffer **raw, Error **errp);

extern const UserCreatableType secret_type;
#ifdef CONFIG_KEYRING
extern const UserCreatableType secret_keyring_type;
#endif

#endif
