/*
 * Where secrets come from
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef CRYPTO_SECRET_INT_H
#define CRYPTO_SECRET_INT_H

#include "crypto/object-types.h"
#include "crypto/secret.h"
#include "util/coroutine.h"

/* All bytes of the regular file or pipe @filename, read by a worker thread. */
SecretBuffer *coroutine_mixed_fn secret_read_file(const char *filename, Error **errp);

/*
 * The object @id from what its source gave: undoes the encryption and the encoding that @props tell
 * of. Takes @raw, which is NULL where the source failed with @errp set; puts @id before an error.
 */
void *secret_new(const char *id, const SecretCommonProperties *props, SecretBuffer *raw,
                 Error **errp);
void secret_free(void *obj);

#endif
