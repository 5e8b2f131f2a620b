/*
 * The luks driver's requests: data read equals data written, however it is split, and is encrypted below
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "luks-node.h"
#include "util/aio.h"

static void fill(uint8_t *buf, size_t len, unsigned seed)
{
    g_autoptr(GRand) rand = g_rand_new_with_seed(seed);

    for (size_t i = 0; i < len; i++) {
        buf[i] = g_rand_int(rand);
    }
}

/* Split @buf into buffers of pseudo-random lengths up to @max. */
static void cut(QEMUIOVector *qiov, uint8_t *buf, size_t len, int max, GRand *rand)
{
    qemu_iovec_init(qiov, 16);
    for (size_t n; len; buf += n, len -= n) {
        n = g_rand_int_range(rand, 1, max);
        n = MIN(len, n);
        qemu_iovec_add(qiov, buf, n);
    }
}

static void coroutine_fn check_content(BlockBackend *blk, const uint8_t *shadow)
{
    g_autofree uint8_t *buf = g_malloc(TEST_SIZE);

    g_assert_cmpint(blk_co_pread(blk, 0, TEST_SIZE, buf), ==, 0);
    g_assert_cmpint(memcmp(buf, shadow, TEST_SIZE), ==, 0);
}

/* Requests at any offset and of any length, in buffers of any length, with and without BDRV_REQ_OWN_BUFFER. */
static void coroutine_fn random_requests(const char *options)
{
    g_autofree uint8_t *shadow = g_malloc(TEST_SIZE);
    g_autofree uint8_t *buf = g_malloc(TEST_SIZE);
    g_autoptr(GRand) rand = g_rand_new_with_seed(1);

    make_volume("io.luks", options);
    BlockBackend *blk = open_volume_blk("io.luks", "");
    fill(shadow, TEST_SIZE, 0);
    g_assert_cmpint(blk_co_pwrite(blk, 0, TEST_SIZE, shadow, 0), ==, 0);
    check_content(blk, shadow);

    for (int i = 0; i < 300; i++) {
        int64_t bytes = g_rand_int_range(rand, 1, i % 10 == 0 ? (int)TEST_SIZE : 20000);
        int64_t offset = g_rand_int_range(rand, 0, TEST_SIZE - bytes + 1);
        int max = i % 3 == 0 ? 700 : i % 3 == 1 ? 70000 : 3000000;
        QEMUIOVector qiov;

        if (i % 2) {
            offset = ROUND_DOWN(offset, 512);
            bytes = MAX(ROUND_DOWN(bytes, 512), 512);
        }
        fill(buf, bytes, i);
        memcpy(shadow + offset, buf, bytes);
        cut(&qiov, buf, bytes, max, rand);
        g_assert_cmpint(blk_co_pwritev(blk, offset, bytes, &qiov, i % 4 ? 0 : BDRV_REQ_OWN_BUFFER), ==, 0);
        qemu_iovec_destroy(&qiov);
        if (i % 4) {
            g_assert_cmpint(memcmp(buf, shadow + offset, bytes), ==, 0);
        }

        memset(buf, 0, bytes);
        cut(&qiov, buf, bytes, max, rand);
        g_assert_cmpint(blk_co_preadv(blk, offset, bytes, &qiov, 0), ==, 0);
        qemu_iovec_destroy(&qiov);
        g_assert_cmpint(memcmp(buf, shadow + offset, bytes), ==, 0);
    }
    check_content(blk, shadow);
    blk_co_unref(blk);

    blk = open_volume_blk("io.luks", "");
    check_content(blk, shadow);
    blk_co_unref(blk);
}

static void coroutine_fn random_entry(void *opaque)
{
    random_requests("");
}

static void coroutine_fn slow_cipher_entry(void *opaque)
{
    random_requests(",cipher-alg=twofish-128,cipher-mode=cbc,ivgen-alg=essiv");
}

/* A buffer that is given away afterwards holds the ciphertext; whole sectors are not copied. */
static void coroutine_fn own_buffer_entry(void *opaque)
{
    g_autofree uint8_t *plain = g_malloc(1 * MiB);
    g_autofree uint8_t *buf = g_malloc(1 * MiB);
    QEMUIOVector qiov;

    make_volume("own.luks", "");
    BlockBackend *blk = open_volume_blk("own.luks", "");
    fill(plain, 1 * MiB, 3);
    memcpy(buf, plain, 1 * MiB);
    qemu_iovec_init(&qiov, 2);
    qemu_iovec_add(&qiov, buf, 512);
    qemu_iovec_add(&qiov, buf + 512, 1 * MiB - 512);
    g_assert_cmpint(blk_co_pwritev(blk, 4096, 1 * MiB, &qiov, BDRV_REQ_OWN_BUFFER | BDRV_REQ_FUA), ==, 0);
    qemu_iovec_destroy(&qiov);

    g_autoptr(GBytes) file = scratch_read("own.luks");
    const uint8_t *below = (const uint8_t *)g_bytes_get_data(file, NULL) + g_bytes_get_size(file) - TEST_SIZE;
    g_assert_cmpint(memcmp(below + 4096, buf, 1 * MiB), ==, 0);
    g_assert_cmpint(memcmp(plain, buf, 512), !=, 0);
    g_assert_cmpint(blk_co_pread(blk, 4096, 1 * MiB, buf), ==, 0);
    g_assert_cmpint(memcmp(plain, buf, 1 * MiB), ==, 0);
    blk_co_unref(blk);
}

/* Many requests at once share the worker threads. */
typedef struct Parallel {
    BlockBackend *blk;
    unsigned seed;
    int *pending;
} Parallel;

static void coroutine_fn parallel_write(void *opaque)
{
    Parallel *p = opaque;
    g_autofree uint8_t *buf = g_malloc(400000);

    fill(buf, 400000, p->seed);
    g_assert_cmpint(blk_co_pwrite(p->blk, p->seed * 400000, 400000, buf, 0), ==, 0);
    memset(buf, 0, 400000);
    g_assert_cmpint(blk_co_pread(p->blk, p->seed * 400000, 400000, buf), ==, 0);
    g_autofree uint8_t *want = g_malloc(400000);
    fill(want, 400000, p->seed);
    g_assert_cmpint(memcmp(buf, want, 400000), ==, 0);
    --*p->pending;
}

static void coroutine_fn parallel_entry(void *opaque)
{
    Parallel ops[10];
    int pending = G_N_ELEMENTS(ops);

    make_volume("par.luks", "");
    BlockBackend *blk = open_volume_blk("par.luks", "");
    for (unsigned i = 0; i < G_N_ELEMENTS(ops); i++) {
        ops[i] = (Parallel){ .blk = blk, .seed = i, .pending = &pending };
        qemu_coroutine_enter(qemu_coroutine_create(parallel_write, &ops[i]));
    }
    while (pending) {
        co_sleep_ns(SCALE_MS);
    }
    blk_co_unref(blk);
}

/* Everything is data, zeroes are written encrypted, and discards are passed on only if the user enabled them. */
static void coroutine_fn holes_entry(void *opaque)
{
    g_autofree uint8_t *buf = g_malloc(TEST_SIZE);
    int64_t n;

    make_volume("holes.luks", "");
    BlockBackend *blk = open_volume_blk("holes.luks", "");
    int ret = bdrv_co_block_status(blk_bs(blk), 0, TEST_SIZE, &n, NULL, NULL);
    g_assert_cmpint(ret & (BDRV_BLOCK_DATA | BDRV_BLOCK_ZERO), ==, BDRV_BLOCK_DATA);
    g_assert_cmpint(n, ==, TEST_SIZE);

    memset(buf, 0xaa, TEST_SIZE);
    g_assert_cmpint(blk_co_pwrite(blk, 0, TEST_SIZE, buf, 0), ==, 0);
    g_assert_cmpint(blk_co_pwrite_zeroes(blk, 65536, 65536, BDRV_REQ_MAY_UNMAP), ==, 0);
    g_assert_cmpint(blk_co_pdiscard(blk, 1 * MiB, 1 * MiB), ==, 0);
    g_assert_cmpint(blk_co_pread(blk, 0, TEST_SIZE, buf), ==, 0);
    g_assert_true(buffer_is_zero(buf + 65536, 65536));
    g_assert_cmpint(buf[65535], ==, 0xaa);
    g_assert_cmpint(buf[131072], ==, 0xaa);
    g_assert_cmpint(buf[1 * MiB], ==, 0xaa);
    blk_co_unref(blk);

    blk = open_volume_blk("holes.luks", ",discard=unmap");
    g_assert_cmpint(blk_co_pdiscard(blk, 1 * MiB, 1 * MiB), ==, 0);
    blk_co_unref(blk);
    g_autoptr(GBytes) file = scratch_read("holes.luks");
    const uint8_t *below = (const uint8_t *)g_bytes_get_data(file, NULL) + g_bytes_get_size(file) - TEST_SIZE;
    g_assert_true(buffer_is_zero(below + 1 * MiB + 4096, 1 * MiB - 8192));
    g_assert_false(buffer_is_zero(below + 65536, 65536));
}

static void coroutine_fn resize_entry(void *opaque)
{
    uint8_t buf[512], seen[512];
    g_autoptr(Error) err = NULL;

    make_volume("size.luks", "");
    BlockBackend *blk = open_volume_blk("size.luks", "");
    g_assert_cmpint(blk_getlength(blk), ==, TEST_SIZE);
    memset(buf, 1, sizeof(buf));
    g_assert_cmpint(blk_co_pwrite(blk, TEST_SIZE - 512, 512, buf, 0), ==, 0);
    g_assert_true(blk_co_truncate(blk, 2 * TEST_SIZE, true, PREALLOC_MODE_OFF, NULL, &error_abort));
    g_assert_cmpint(blk_getlength(blk), ==, 2 * TEST_SIZE);
    g_assert_cmpint(blk_co_pwrite(blk, 2 * TEST_SIZE - 512, 512, buf, 0), ==, 0);
    g_assert_cmpint(blk_co_pread(blk, TEST_SIZE - 512, 512, seen), ==, 0);
    g_assert_cmpint(memcmp(buf, seen, 512), ==, 0);
    g_assert_true(blk_co_truncate(blk, 0, true, PREALLOC_MODE_OFF, NULL, &error_abort));
    g_assert_cmpint(blk_getlength(blk), ==, 0);
    g_assert_false(blk_co_truncate(blk, BDRV_MAX_LENGTH - 4096, true, PREALLOC_MODE_OFF, NULL, &err));
    assert_error(&err, "too large");
    blk_co_unref(blk);
    blk = open_volume_blk("size.luks", "");
    blk_co_unref(blk);
}

int main(int argc, char **argv)
{
    luks_node_init(&argc, &argv);
    luks_node_add("/luks/io/random", random_entry);
    luks_node_add("/luks/io/random-slow-cipher", slow_cipher_entry);
    luks_node_add("/luks/io/own-buffer", own_buffer_entry);
    luks_node_add("/luks/io/parallel", parallel_entry);
    luks_node_add("/luks/io/holes", holes_entry);
    luks_node_add("/luks/io/resize", resize_entry);
    return luks_node_run();
}
