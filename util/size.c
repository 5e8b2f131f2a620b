/*
 * Sizes as people write them
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "util/size.h"

/* The bits that a suffix shifts by; 0 without one, -1 for an unknown one. */
static int suffix_shift(const char *suffix)
{
    static const char letters[] = "BKMGTPE";
    const char *found;

    if (!suffix[0]) {
        return 0;
    }
    found = suffix[1] ? NULL : strchr(letters, g_ascii_toupper(suffix[0]));
    return found ? (found - letters) * 10 : -1;
}

/* The digits after the point, as a fraction of @unit bytes; moves *@pos behind them. */
static uint64_t parse_fraction(const char **pos, uint64_t unit)
{
    double digit = 0.1, fraction = 0;

    for (; g_ascii_isdigit(**pos); (*pos)++, digit /= 10) {
        fraction += (**pos - '0') * digit;
    }
    return fraction * unit + 0.5;
}

int qemu_strtosz(const char *str, uint64_t *bytes)
{
    bool hex = g_str_has_prefix(str, "0x") || g_str_has_prefix(str, "0X");
    const char *point, *suffix;
    uint64_t whole, fraction = 0;
    char *end;
    int shift;

    if (!g_ascii_isdigit(str[0]) || (hex && !g_ascii_isxdigit(str[2]))) {
        return -EINVAL;
    }
    errno = 0;
    whole = g_ascii_strtoull(str, &end, hex ? 16 : 10);
    if (errno) {
        return -errno;
    }
    point = end;
    suffix = point;
    if (*point == '.' && g_ascii_isdigit(point[1])) {
        suffix += 1 + strspn(point + 1, "0123456789");
    }
    shift = suffix_shift(suffix);
    if (shift < 0 || (suffix > point && (hex || !shift))) {
        return -EINVAL;
    }
    if (suffix > point) {
        point++;
        fraction = parse_fraction(&point, UINT64_C(1) << shift);
    }
    if (whole > (UINT64_MAX >> shift) || (whole << shift) > UINT64_MAX - fraction) {
        return -ERANGE;
    }
    *bytes = (whole << shift) + fraction;
    return 0;
}
