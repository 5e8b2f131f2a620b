/*
 * Random bytes from the kernel, fit for keys and salts
 *
 *     if (!qcrypto_random_bytes(key->data, key->len, errp)) {
 *         return false;
 *     }
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef CRYPTO_RANDOM_H
#define CRYPTO_RANDOM_H

#include <stdbool.h>

#include "util/error.h"

/*
 * Fill @len bytes at @buf. Waits, early after boot, until the kernel has gathered enough entropy.
 */
bool qcrypto_random_bytes(void *buf, size_t len, Error **errp);

#endif
