/*
 * SecretBuffer: growth keeps content, pages are excluded from core dumps, any byte is content
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include <sys/resource.h>

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

/* Small buffers share pages and start as zeroes; large ones do not share. */
static void test_sharing(void)
{
    enum { N = 1000 };
    SecretBuffer *bufs[N];
    static const uint8_t zeroes[5000];

    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 0; i < N; i++) {
            bufs[i] = secret_buffer_new(i * 5);
            g_assert_cmpuint((uintptr_t)bufs[i]->data % 64, ==, 0);
            g_assert_cmpuint(bufs[i]->capacity, >=, i * 5);
            g_assert_cmpmem(bufs[i]->data, i * 5, zeroes, i * 5);
            memset(bufs[i]->data, i, bufs[i]->capacity);
        }
        /* Every third is replaced by one of another size, while the others do not change. */
        for (unsigned i = 0; i < N; i += 3) {
            secret_buffer_free(bufs[i]);
            bufs[i] = secret_buffer_new(i % 70);
            memset(bufs[i]->data, i, bufs[i]->capacity);
        }
        for (unsigned i = 0; i < N; i++) {
            for (size_t at = 0; at < bufs[i]->capacity; at++) {
                g_assert_cmpuint(bufs[i]->data[at], ==, (uint8_t)i);
            }
            secret_buffer_free(bufs[i]);
        }
    }
}

/* The flags in /proc/self/smaps of the mapping with @data; free with g_free(). NULL if there is no such file. */
static char *mapping_flags(const void *data)
{
    g_autofree char *smaps = NULL;
    bool found = false;

    if (!g_file_get_contents("/proc/self/smaps", &smaps, NULL, NULL)) {
        return NULL;
    }
    g_auto(GStrv) lines = g_strsplit(smaps, "\n", -1);
    for (char **line = lines; *line; line++) {
        uintptr_t start, end;

        if (sscanf(*line, "%" SCNxPTR "-%" SCNxPTR " ", &start, &end) == 2) {
            found = (uintptr_t)data >= start && (uintptr_t)data < end;
        } else if (found && g_str_has_prefix(*line, "VmFlags:")) {
            return g_strdup(*line);
        }
    }
    return NULL;
}

/* "dd": do not dump */
static void test_not_dumped(void)
{
    static const size_t lengths[] = { 1, 64, 1000, 2048, 2049, 1000000 };

    for (size_t i = 0; i < G_N_ELEMENTS(lengths); i++) {
        g_autoptr(SecretBuffer) other = secret_buffer_new(lengths[i]);
        g_autoptr(SecretBuffer) buf = secret_buffer_new(lengths[i]);
        g_autofree char *flags = mapping_flags(buf->data);

        if (!flags) {
            g_test_skip("no VmFlags in /proc/self/smaps");
            return;
        }
        g_assert_nonnull(strstr(flags, " dd"));
    }
}

/* Beyond RLIMIT_MEMLOCK secrets are not locked; one warning says so, and everything else works as before. */
static void test_lock_limit(void)
{
    if (g_test_subprocess()) {
        /* The limit does not apply to root. */
        if (geteuid() == 0) {
            g_assert_cmpint(setuid(65534), ==, 0);
        }
        g_assert_cmpint(setrlimit(RLIMIT_MEMLOCK, &(struct rlimit){ 0, 0 }), ==, 0);
        test_sharing();
        test_append();
        return;
    }
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    g_test_skip("sanitizers replace mlock() by one that does nothing");
    return;
#endif
    g_test_trap_subprocess(NULL, 0, 0);
    g_test_trap_assert_passed();
    g_test_trap_assert_stderr("*warning: could not lock memory for secrets*");
    g_test_trap_assert_stderr_unmatched("*could not lock*could not lock*");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/secret-buffer/append", test_append);
    g_test_add_func("/secret-buffer/equal", test_equal);
    g_test_add_func("/secret-buffer/sharing", test_sharing);
    g_test_add_func("/secret-buffer/not-dumped", test_not_dumped);
    g_test_add_func("/secret-buffer/lock-limit", test_lock_limit);
    return g_test_run();
}
