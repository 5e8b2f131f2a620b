/*
 * Bytes from hexadecimal text, for test vectors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef TESTS_UNIT_HEX_H
#define TESTS_UNIT_HEX_H

#include <glib.h>

/* Convert @hex to bytes, whose number goes to *@len. */
static inline uint8_t *unhex(const char *hex, size_t *len)
{
    size_t n = strlen(hex) / 2;
    uint8_t *bytes = g_malloc(n + 1);

    g_assert_true(strlen(hex) % 2 == 0);
    for (size_t i = 0; i < n; i++) {
        bytes[i] = g_ascii_xdigit_value(hex[2 * i]) << 4 | g_ascii_xdigit_value(hex[2 * i + 1]);
    }
    *len = n;
    return bytes;
}

/* Check that @data equals @hex. */
static inline void assert_hex(const void *data, size_t len, const char *hex)
{
    size_t nexpected;
    g_autofree uint8_t *expected = unhex(hex, &nexpected);

    g_assert_cmpmem(data, len, expected, nexpected);
}

#endif
