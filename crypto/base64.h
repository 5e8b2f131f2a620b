/*
 * base64 (RFC 4648) of secrets: decoded into a SecretBuffer, without tables that would be indexed by a secret
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef CRYPTO_BASE64_H
#define CRYPTO_BASE64_H

#include "util/error.h"
#include "util/secret-buffer.h"

/*
 * Decode @len characters at @text. Line ends may be anywhere, since tools insert them. Everything else must follow the
 * RFC: no other characters, padding complete and last, unused bits zero. The error does not quote @text.
 */
SecretBuffer *qcrypto_base64_decode(const void *text, size_t len, Error **errp);

#endif
