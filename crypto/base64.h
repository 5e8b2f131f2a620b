/*
 * base64 (RFC 4648) of secrets: decoded into a SecretBuffer, without tables that a secret would
 * index
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef CRYPTO_BASE64_H
#define CRYPTO_BASE64_H

#include "util/error.h"
#include "util/secret-buffer.h"

/*
 * The bytes that the @len characters at @text stand for. Line ends may come anywhere, as tools
 * insert them; everything else must be as the RFC has it: no other characters, padding complete and
 * last, unused bits zero. The error does not quote @text.
 */
SecretBuffer *qcrypto_base64_decode(const void *text, size_t len, Error **errp);

#endif
