/*
 * Sizes as users write them
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "util/size.h"

static void test_good(void)
{
    static const struct {
        const char *text;
        uint64_t bytes;
    } sizes[] = {
        { "0", 0 }, { "1", 1 }, { "1b", 1 }, { "1k", KiB }, { "64K", 64 * KiB }, { "3M", 3 * MiB }, { "1G", GiB },
        { "1.5G", 3 * GiB / 2 }, { "0.5t", TiB / 2 }, { "16383P", UINT64_C(16383) << 50 },
        { "15E", UINT64_C(15) << 60 },
        { "18446744073709551615", UINT64_MAX }, { "0x200", 512 }, { "0XfF", 255 }, { "010", 10 },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(sizes); i++) {
        uint64_t bytes;

        g_test_message("%s", sizes[i].text);
        g_assert_cmpint(qemu_strtosz(sizes[i].text, &bytes), ==, 0);
        g_assert_cmpuint(bytes, ==, sizes[i].bytes);
    }
}

static void test_bad(void)
{
    static const char *const invalid[] = {
        "", "-1", "+1", " 1", "1 ", "k", "1kk", "1.5", "1.5B", "1.", ".5G", "1e3", "0x", "0x1.8k", "inf", "1Z", "x",
    };
    static const char *const too_large[] = {
        "18446744073709551616", "16E", "15.99999999999999999999E", "99999999999999999999999G", "0x10000000000000000",
    };
    uint64_t bytes;

    for (size_t i = 0; i < G_N_ELEMENTS(invalid); i++) {
        g_test_message("%s", invalid[i]);
        g_assert_cmpint(qemu_strtosz(invalid[i], &bytes), ==, -EINVAL);
    }
    for (size_t i = 0; i < G_N_ELEMENTS(too_large); i++) {
        g_test_message("%s", too_large[i]);
        g_assert_cmpint(qemu_strtosz(too_large[i], &bytes), ==, -ERANGE);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/size/good", test_good);
    g_test_add_func("/size/bad", test_bad);
    return g_test_run();
}
