/*
 * BlockCrypto without the luks driver: sectors of any size, and a header in the middle of a file
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include <json-c/json.h>

#include "block/crypto/block-crypto.h"
#include "luks-node.h"
#include "qapi/keyval.h"
#include "qapi/qapi.h"

#define CRYPT_BYTES (64 * KiB)

static void fill_random(uint8_t *buf, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        buf[i] = g_test_rand_int();
    }
}

/* Split @buf into buffers of any length. */
static void cut_randomly(QEMUIOVector *qiov, uint8_t *buf, size_t len)
{
    qemu_iovec_init(qiov, 16);
    for (size_t n; len; buf += n, len -= n) {
        n = g_test_rand_int_range(1, 9000);
        n = MIN(n, len);
        qemu_iovec_add(qiov, buf, n);
    }
}

/* Encrypt part of a split buffer, in place or not, on one processor or several; then decrypt it. */
static void coroutine_fn crypt_and_compare(const BlockCrypto *c, bool in_place)
{
    g_autofree uint8_t *plain = g_malloc(CRYPT_BYTES), *buf = g_malloc(CRYPT_BYTES);
    g_autofree uint8_t *want = g_malloc(CRYPT_BYTES), *out = g_malloc(CRYPT_BYTES);
    size_t skip = g_test_rand_int_range(0, 5000);
    BlockCryptoRange range = {
        .encrypt = true, .sector = UINT32_MAX - 40, .qiov_offset = skip,
        .bytes = ROUND_DOWN(CRYPT_BYTES - skip, c->sector_size), .out = in_place ? NULL : out,
    };
    QEMUIOVector qiov;

    fill_random(plain, CRYPT_BYTES);
    memcpy(buf, plain, CRYPT_BYTES);
    memcpy(want, plain, CRYPT_BYTES);
    qcrypto_sectors_encrypt(c->cipher, range.sector, want + skip, want + skip, range.bytes / c->sector_size);

    cut_randomly(&qiov, buf, CRYPT_BYTES);
    range.qiov = &qiov;
    block_crypto_co_crypt(c, &range);
    if (in_place) {
        g_assert_cmpmem(buf, CRYPT_BYTES, want, CRYPT_BYTES);
    } else {
        g_assert_cmpmem(buf, CRYPT_BYTES, plain, CRYPT_BYTES);
        g_assert_cmpmem(out, range.bytes, want + skip, range.bytes);
        memcpy(buf, want, CRYPT_BYTES);
    }
    range.encrypt = false;
    range.out = NULL;
    block_crypto_co_crypt(c, &range);
    g_assert_cmpmem(buf, CRYPT_BYTES, plain, CRYPT_BYTES);
    qemu_iovec_destroy(&qiov);
}

static void coroutine_fn crypt_entry(void *opaque)
{
    static const uint8_t key[64] = "key";

    for (unsigned bits = 9; bits <= 12; bits++) {
        g_autoptr(QCryptoSectorCipher) cipher =
            qcrypto_sector_cipher_new(QCRYPTO_CIPHER_ALGO_AES_256, QCRYPTO_CIPHER_MODE_XTS,
                                      QCRYPTO_IV_GEN_ALGO_PLAIN64, 0, 1 << bits, key, sizeof(key), &error_abort);
        BlockCrypto c = { .cipher = cipher, .sector_size = 1 << bits, .sector_bits = bits };

        for (int i = 0; i < 20; i++) {
            c.piece_bytes = i % 2 ? 8 * KiB : 1 * MiB;
            crypt_and_compare(&c, i / 2 % 2);
        }
    }
}

/* A raw node in place of a format that keeps a LUKS header somewhere in its file, and its data in any order. */
#define HEADER_OFFSET (1 * MiB)
#define HEADER_BYTES 2068480
#define FILE_BYTES (8 * MiB)

static void format_header(BlockDriverState *bs, BlockCryptoVolume *volume)
{
    *volume = (BlockCryptoVolume){ .child = bs->file, .offset = HEADER_OFFSET, .length = HEADER_BYTES };
}

static const BlockCryptoOps format_ops = { .header = format_header };

static BlockBackend *coroutine_fn open_format(BlockCrypto *c, const char *key_secret, Error **errp)
{
    g_autofree char *file = file_options("file.", "format.img");
    g_autofree char *text = g_strdup_printf("driver=raw,%s", file);
    g_autoptr(json_object) json = keyval_parse(text, NULL, NULL, &error_abort);
    BlockBackend *blk = blk_co_new_open("test", NULL, json, 0, BLK_PERM_CONSISTENT_READ | BLK_PERM_WRITE, BLK_PERM_ALL,
                                        &error_abort);

    *c = (BlockCrypto){ .bs = blk_bs(blk), .ops = &format_ops, .separate_header = true };
    if (!block_crypto_co_open(c, key_secret, 0, errp)) {
        block_crypto_cleanup(c);
        blk_co_unref(blk);
        return NULL;
    }
    return blk;
}

static void coroutine_fn close_format(BlockBackend *blk, BlockCrypto *c)
{
    block_crypto_cleanup(c);
    blk_co_unref(blk);
}

static bool coroutine_fn format_opens(const char *key_secret)
{
    BlockCrypto c;
    BlockBackend *blk = open_format(&c, key_secret, NULL);

    if (blk) {
        close_format(blk, &c);
    }
    return blk;
}

/* Create a file of random bytes, with the header of a volume that "pw0" opens. */
static void coroutine_fn make_format(void)
{
    g_autofree uint8_t *bytes = g_malloc(FILE_BYTES);

    make_volume("volume.luks", "");
    g_autoptr(GBytes) volume = scratch_read("volume.luks");
    fill_random(bytes, FILE_BYTES);
    memcpy(bytes + HEADER_OFFSET, g_bytes_get_data(volume, NULL), HEADER_BYTES);
    scratch_file("format.img", FILE_BYTES);
    scratch_write("format.img", 0, bytes, FILE_BYTES);
}

/* Check that the two files are equal except for the header. */
static void assert_rest_unchanged(GBytes *a, GBytes *b)
{
    const uint8_t *x = g_bytes_get_data(a, NULL), *y = g_bytes_get_data(b, NULL);
    size_t end = HEADER_OFFSET + HEADER_BYTES;

    g_assert_cmpmem(x, HEADER_OFFSET, y, HEADER_OFFSET);
    g_assert_cmpmem(x + end, FILE_BYTES - end, y + end, FILE_BYTES - end);
}

static void coroutine_fn header_entry(void *opaque)
{
    QCryptoBlockAmendOptionsLUKS amend = {
        .state = QCRYPTO_BLOCK_LUKS_KEYSLOT_STATE_INACTIVE, .old_secret = (char *)"pw1",
    };
    g_autoptr(SecureEraseReport) report = g_new0(SecureEraseReport, 1);
    BdrvKeyslotChange done;
    BlockCrypto c;

    make_format();
    g_autoptr(GBytes) before = scratch_read("format.img");
    BlockBackend *blk = open_format(&c, "pw0", &error_abort);
    g_autoptr(SecretBuffer) backup = block_crypto_co_header_backup(&c, &error_abort);

    block_crypto_co_keyslot_add(&c, NULL, "pw1", 5, 1, false, &done, NULL, &error_abort);
    g_assert_true(format_opens("pw1"));
    g_assert_cmpint(done.added, ==, 5);
    g_assert_cmphex(done.removed, ==, 0);
    block_crypto_co_amend(&c, &amend, false, NULL, &error_abort);
    g_assert_false(format_opens("pw1"));
    block_crypto_co_keyslot_change(&c, "pw0", "pw2", QCRYPTO_LUKS_SLOT_ANY, 1, false, &done, NULL, &error_abort);
    g_assert_true(format_opens("pw2") && !format_opens("pw0"));
    g_assert_cmpint(done.added, ==, 1);
    g_assert_cmphex(done.removed, ==, 1 << 0);
    block_crypto_co_header_restore(&c, backup, false, NULL, &error_abort);
    g_assert_true(format_opens("pw0") && !format_opens("pw2"));
    block_crypto_co_keyslot_remove(&c, 0, NULL, true, &done, NULL, &error_abort);
    g_assert_false(format_opens("pw0"));
    g_assert_cmpint(done.added, ==, -1);
    g_assert_cmphex(done.removed, ==, 1 << 0);

    report->regions = g_new0(SecureEraseRegionList, 1);
    report->layers = g_new0(SecureEraseLayerList, 1);
    block_crypto_co_secure_erase(&c, SECURE_ERASE_SCOPE_IMAGE, 1, false, NULL, report, &error_abort);
    close_format(blk, &c);

    g_autoptr(GBytes) after = scratch_read("format.img");
    assert_rest_unchanged(before, after);
    g_assert_cmpint(memcmp((const uint8_t *)g_bytes_get_data(after, NULL) + HEADER_OFFSET, "LUKS", 4), !=, 0);
}

/* Sectors are numbered by their position in the payload, not in the file. */
static void coroutine_fn payload_entry(void *opaque)
{
    g_autofree uint8_t *plain = g_malloc(64 * KiB), *want = g_malloc(64 * KiB), *back = g_malloc0(64 * KiB);
    QEMUIOVector qiov;
    BlockCrypto c;

    make_format();
    BlockBackend *blk = open_format(&c, "pw0", &error_abort);
    fill_random(plain, 64 * KiB);
    memcpy(want, plain, 64 * KiB);
    qcrypto_sectors_encrypt(c.cipher, 7, want, want, 128);

    qemu_iovec_init_buf(&qiov, plain, 64 * KiB);
    g_assert_cmpint(block_crypto_co_pwritev(&c, blk_bs(blk)->file, 4 * MiB, 7 * 512, 64 * KiB, &qiov, 0), ==, 0);
    g_autoptr(GBytes) bytes = scratch_read("format.img");
    g_assert_cmpmem((const uint8_t *)g_bytes_get_data(bytes, NULL) + 4 * MiB, 64 * KiB, want, 64 * KiB);
    qemu_iovec_init_buf(&qiov, back, 64 * KiB);
    g_assert_cmpint(block_crypto_co_preadv(&c, blk_bs(blk)->file, 4 * MiB, 7 * 512, 64 * KiB, &qiov, 0), ==, 0);
    g_assert_cmpmem(back, 64 * KiB, plain, 64 * KiB);
    close_format(blk, &c);
}

int main(int argc, char **argv)
{
    luks_node_init(&argc, &argv);
    luks_node_add("/block-crypto/crypt", crypt_entry);
    luks_node_add("/block-crypto/header", header_entry);
    luks_node_add("/block-crypto/payload", payload_entry);
    return luks_node_run();
}
