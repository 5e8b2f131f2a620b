/*
 * The object types that this library implements
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef CRYPTO_OBJECT_TYPES_H
#define CRYPTO_OBJECT_TYPES_H

#include "config-host.h"
#include "crypto/object.h"

extern const UserCreatableType authz_list_type;
extern const UserCreatableType authz_simple_type;
extern const UserCreatableType secret_type;
#ifdef CONFIG_KEYRING
extern const UserCreatableType secret_keyring_type;
#endif
extern const UserCreatableType tls_creds_psk_type;
extern const UserCreatableType tls_creds_x509_type;

#endif
