/*
 * Sources of secrets
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
    SECRET_FILE_OPTIONAL,       /* a missing file is not an error */
    SECRET_FILE_REGULAR,        /* nor is a file of another type, which is not read */
} SecretFileKind;

/*
 * Read the regular file or pipe @filename to its end. NULL with @errp; NULL without it in the cases that @kind allows.
 * A coroutine does not block its loop, and can be cancelled while it waits for a writer to the pipe.
 */
SecretBuffer *coroutine_mixed_fn secret_read_file(const char *filename, SecretFileKind kind, Error **errp);

/*
 * Create the object @id from what its source returned, undoing the encryption and encoding that @props describe. Takes
 * ownership of @raw, which is NULL if the source failed with @errp set; puts @id before an error.
 */
void *secret_new(const char *id, const SecretCommonProperties *props, SecretBuffer *raw,
                 Error **errp);
void secret_free(void *obj);

#endif
