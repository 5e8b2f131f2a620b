/*
 * base64 of secrets
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include "crypto/base64.h"

/* All ones if @low <= @c <= @high, else 0; without a branch. */
static int base64_in_range(int c, int low, int high)
{
    return ~((c - low) >> 8 | (high - c) >> 8);
}

/* The six bits that @c encodes; -1 if it is not in the alphabet. */
static int base64_sextet(uint8_t c)
{
    return (base64_in_range(c, 'A', 'Z') & (c - 'A' + 1)) +
           (base64_in_range(c, 'a', 'z') & (c - 'a' + 27)) +
           (base64_in_range(c, '0', '9') & (c - '0' + 53)) +
           (base64_in_range(c, '+', '+') & 63) +
           (base64_in_range(c, '/', '/') & 64) - 1;
}

SecretBuffer *qcrypto_base64_decode(const void *text, size_t len, Error **errp)
{
    g_autoptr(SecretBuffer) out = secret_buffer_new(len / 4 * 3 + 3);
    const uint8_t *in = text;
    uint32_t bits = 0;
    unsigned nbits = 0, padding = 0;

    out->len = 0;
    for (size_t i = 0; i < len; i++) {
        if (in[i] == '\n' || in[i] == '\r') {
            continue;
        }
        if (in[i] == '=') {
            padding++;
            continue;
        }
        int value = base64_sextet(in[i]);
        if (value < 0 || padding) {
            error_setg(errp, "Not base64: unexpected character at position %zu", i + 1);
            return NULL;
        }
        bits = bits << 6 | value;
        nbits += 6;
        if (nbits >= 8) {
            nbits -= 8;
            out->data[out->len++] = bits >> nbits;
        }
        bits &= (1U << nbits) - 1;
    }

    /* Leftover bits of the last character: 4 with two '=', 2 with one. */
    if (nbits == 6 || nbits != padding * 2 || bits != 0) {
        error_setg(errp, "Not base64: it ends in the middle of a byte or with wrong padding");
        return NULL;
    }
    return g_steal_pointer(&out);
}
