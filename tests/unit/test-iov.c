/*
 * QEMUIOVector: slices and copies against a flat buffer
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "util/iov.h"

static void test_slices(void)
{
    uint8_t flat[100], out[100], parts[100];
    QEMUIOVector qiov;

    for (int i = 0; i < 100; i++) {
        flat[i] = i;
    }
    qemu_iovec_init(&qiov, 1);
    for (int pos = 0, len = 1; pos < 100; pos += len, len = MIN(len + 3, 100 - pos)) {
        qemu_iovec_add(&qiov, parts + pos, len);
    }
    g_assert_cmpuint(qiov.size, ==, 100);
    qemu_iovec_from_buf(&qiov, 0, flat, 100);
    for (size_t from = 0; from < 100; from++) {
        for (size_t len = 0; len <= 100 - from; len++) {
            QEMUIOVector slice;
            qemu_iovec_init_slice(&slice, &qiov, from, len);
            g_assert_cmpuint(slice.size, ==, len);
            qemu_iovec_to_buf(&slice, 0, out, len);
            g_assert_cmpmem(out, len, flat + from, len);
            qemu_iovec_destroy(&slice);
        }
    }
    qemu_iovec_destroy(&qiov);
}

static void test_is_zero(void)
{
    g_autofree uint8_t *buf = g_malloc0(3000);

    for (size_t len = 0; len <= 3000; len += 7) {
        g_assert_true(buffer_is_zero(buf, len));
    }
    for (size_t i = 0; i < 3000; i += 13) {
        buf[i] = 1;
        g_assert_false(buffer_is_zero(buf, 3000));
        g_assert_true(buffer_is_zero(buf, i));
        buf[i] = 0;
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/iov/slices", test_slices);
    g_test_add_func("/iov/is-zero", test_is_zero);
    return g_test_run();
}
