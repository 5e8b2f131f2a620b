/*
 * SecretBuffer: growth keeps content, pages are excluded from core dumps, any byte is content
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "util/secret-buffer.h"

static void test_append(void)
{
    g_autoptr(SecretBuffer) buf = secret_buffer_new(0);

    for (unsigned i = 0; i < 10000; i++) {
        uint8_t byte = i;
        secret_buffer_append(buf, &byte, 1);
    }
    g_assert_cmpuint(buf->len, ==, 10000);
    for (unsigned i = 0; i < 10000; i++) {
        g_assert_cmpuint(buf->data[i], ==, (uint8_t)i);
    }
}

static void test_equal(void)
{
    g_autoptr(SecretBuffer) a = secret_buffer_new_from("a\0b", 3);
    g_autoptr(SecretBuffer) b = secret_buffer_new_from("a\0c", 3);
    g_autoptr(SecretBuffer) c = secret_buffer_new_from("a\0b", 3);

    g_assert_false(secret_buffer_equal(a, b));
    g_assert_true(secret_buffer_equal(a, c));
    c->len = 2;
    g_assert_false(secret_buffer_equal(a, c));
}

/* The kernel shows a "dd" (do not dump) flag on the mapping. */
static void test_not_dumped(void)
{
    g_autoptr(SecretBuffer) buf = secret_buffer_new_from("x", 1);
    g_autofree char *smaps = NULL;
    g_autofree char *start = g_strdup_printf("%" PRIxPTR "-", (uintptr_t)buf->data);

    if (!g_file_get_contents("/proc/self/smaps", &smaps, NULL, NULL) || !strstr(smaps, "VmFlags:")) {
        g_test_skip("no VmFlags in /proc/self/smaps");
        return;
    }
    char *mapping = strstr(smaps, start);
    if (!mapping) {
        g_test_skip("the mapping was merged with its neighbour");
        return;
    }
    char *flags = strstr(mapping, "VmFlags:");
    g_assert_nonnull(flags);
    *strchr(flags, '\n') = '\0';
    g_assert_nonnull(strstr(flags, " dd"));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/secret-buffer/append", test_append);
    g_test_add_func("/secret-buffer/equal", test_equal);
    g_test_add_func("/secret-buffer/not-dumped", test_not_dumped);
    return g_test_run();
}
