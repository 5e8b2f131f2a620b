/*
 * Authorization: which authenticated peers may use a service
 *
 * The objects authz-simple (one identity) and authz-list (rules) decide. A service names one by its id and asks it for
 * each connection, so that a new object with that id takes effect at once:
 *
 *     if (!qauthz_is_allowed_by_id("authz0", "CN=laptop,O=Example", errp)) {
 *         return false;
 *     }
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef CRYPTO_AUTHZ_H
#define CRYPTO_AUTHZ_H

#include <stdbool.h>

#include "util/error.h"

/* Whether @authzid names an authorization object; false with @errp. */
bool qauthz_check_id(const char *authzid, Error **errp);

/* Whether the object @authzid accepts @identity; false with @errp if not, or if there is no such object. */
bool qauthz_is_allowed_by_id(const char *authzid, const char *identity, Error **errp);

#endif
