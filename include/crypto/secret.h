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

/* The most bytes that a secret may have before decoding; a longer file is an error, not a cut. */
#define QCRYPTO_SECRET_MAX_BYTES (10 * 1024 * 1024)

/*
 * A new copy of the secret that the object @secretid holds: any bytes, no terminating NUL, maybe
 * none at all. Fails where there is no such object or it is not a secret.
 */
SecretBuffer *qcrypto_secret_lookup(const char *secretid, Error **errp);

/*
 * Bytes of a file, read by a worker thread: @size of them (fewer are an error), or with 0 all that there are, from
 * @offset on. @filename is a regular file or a pipe, or with @size a device, too; NULL: standard input, whatever that
 * is, from where it stands.
 */
SecretBuffer *coroutine_mixed_fn qcrypto_secret_read_file(const char *filename, uint64_t offset, uint64_t size,
                                                          Error **errp);

#endif
