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

typedef enum SecretFileKind {
    SECRET_FILE_REQUIRED,
    SECRET_FILE_OPTIONAL,       /* that there is no such file is no error */
    SECRET_FILE_REGULAR,        /* neither is that it is no regular file, which nobody would wait for then */
} SecretFileKind;

/*
 * All bytes of the regular file or pipe @filename, NULL with @errp, or NULL without where @kind allows it. A coroutine
 * does not block its loop, and can be cancelled while it waits for somebody to write into a pipe.
 */
SecretBuffer *coroutine_mixed_fn secret_read_file(const char *filename, SecretFileKind kind, Error **errp);

/*
 * The object @id from what its source gave: undoes the encryption and the encoding that @props tell
 * of. Takes @raw, which is NULL where the source failed with @errp set; puts @id before an error.
 */
void *secret_new(const char *id, const SecretCommonProperties *props, SecretBuffer *raw,
                 Error **errp);
void secret_free(void *obj);

#endif
