/*
 * Secret objects: passwords that options name by id instead of carrying them
 *
 *     qemu-img create --object secret,id=sec0,file=passwd.txt -f luks -o key-secret=sec0 \
 *         disk.luks 1G
 *
 * A secret comes from "data" (text), "file" (any bytes), or as secret_keyring from the Linux
 * keyring. It may be base64 (format=base64), and encrypted with AES-256-CBC under another secret
 * (keyid, iv).
 *
 *     g_autoptr(SecretBuffer) password = qcrypto_secret_lookup("sec0", errp);
 *
 *     if (!password) {
 *         return false;
 *     }
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef CRYPTO_SECRET_H
#define CRYPTO_SECRET_H

#include "util/coroutine.h"
#include "util/error.h"
#include "util/secret-buffer.h"

/* Maximum bytes of a secret before decoding. A longer file is an error, and is not truncated. */
#define QCRYPTO_SECRET_MAX_BYTES (10 * 1024 * 1024)

/*
 * A new copy of the secret in the object @secretid: any bytes, no terminating NUL, maybe empty. Fails if there is no
 * such object, or it is not a secret.
 */
SecretBuffer *qcrypto_secret_lookup(const char *secretid, Error **errp);

/*
 * Read bytes of a file: @size of them (fewer are an error) or, with 0, all, starting at @offset. @filename is a regular
 * file or a pipe or, with @size, also a device; NULL: standard input of any type, from its current position. A
 * coroutine does not block its loop, and can be cancelled while it waits for the writer of a pipe.
 */
SecretBuffer *coroutine_mixed_fn qcrypto_secret_read_file(const char *filename, uint64_t offset, uint64_t size,
                                                          Error **errp);

#endif
