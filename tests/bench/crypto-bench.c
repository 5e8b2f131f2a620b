/*
 * crypto-bench: speed of the sector cipher kernels and PBKDF2, compared with the libraries in the same run
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <time.h>

#include "crypto/hash.h"
#include "crypto/pbkdf.h"
#include "crypto/xts-kernel.h"

#define SECONDS_PER_ROW 0.5
#define BYTES_PER_LOOK (4 << 20)    /* processed before the clock is read again */
#define PBKDF2_ITERATIONS 200000

static double cpu_seconds(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
    return ts.tv_sec + ts.tv_nsec * 1e-9;
}

typedef struct Row {
    uint8_t *buf;
    size_t sectors;
    bool encrypt;
    const QCryptoSectorCipher *sc;      /* NULL: gnutls */
    gnutls_cipher_hd_t gnutls;
} Row;

static void run_gnutls(const Row *row)
{
    for (size_t i = 0; i < row->sectors; i++) {
        uint64_t iv[2] = { GUINT64_TO_LE(i), 0 };
        uint8_t *data = row->buf + i * QCRYPTO_SECTOR_SIZE;

        gnutls_cipher_set_iv(row->gnutls, iv, sizeof(iv));
        if (row->encrypt) {
            gnutls_cipher_encrypt(row->gnutls, data, QCRYPTO_SECTOR_SIZE);
        } else {
            gnutls_cipher_decrypt(row->gnutls, data, QCRYPTO_SECTOR_SIZE);
        }
    }
}

static double row_mb_per_sec(const Row *row)
{
    double start = cpu_seconds(), elapsed;
    uint64_t bytes = 0;

    do {
        for (size_t done = 0; done < BYTES_PER_LOOK; done += row->sectors * QCRYPTO_SECTOR_SIZE) {
            if (!row->sc) {
                run_gnutls(row);
            } else if (row->encrypt) {
                qcrypto_sectors_encrypt(row->sc, 0, row->buf, row->buf, row->sectors);
            } else {
                qcrypto_sectors_decrypt(row->sc, 0, row->buf, row->buf, row->sectors);
            }
        }
        bytes += BYTES_PER_LOOK;
        elapsed = cpu_seconds() - start;
    } while (elapsed < SECONDS_PER_ROW);
    return bytes / elapsed / 1e6;
}

/* Print a line of the table: both directions, and their ratio to gnutls. */
static void print_row(const char *name, Row *row, double base[2])
{
    double mb[2];

    for (int decrypt = 0; decrypt < 2; decrypt++) {
        row->encrypt = !decrypt;
        mb[decrypt] = row_mb_per_sec(row);
        if (!base[decrypt]) {
            base[decrypt] = mb[decrypt];
        }
    }
    printf("  %-12s %8.0f %6.2fx %8.0f %6.2fx\n", name,
           mb[0], mb[0] / base[0], mb[1], mb[1] / base[1]);
}

static void bench_xts(QCryptoCipherAlgo alg, size_t nkey, gnutls_cipher_algorithm_t gnutls_alg,
                      size_t bytes)
{
    g_autofree uint8_t *buf = g_malloc0(bytes);
    Row row = { .buf = buf, .sectors = bytes / QCRYPTO_SECTOR_SIZE };
    uint8_t key[64], iv[16] = { 0 };
    double base[2] = { 0, 0 };
    gnutls_datum_t gnutls_key = { key, nkey }, gnutls_iv = { iv, sizeof(iv) };

    for (size_t i = 0; i < nkey; i++) {
        key[i] = i;
    }
    printf("%s-xts, requests of %zu KiB:  MB/s encrypt        decrypt\n",
           QCryptoCipherAlgo_str(alg), bytes / 1024);
    if (gnutls_cipher_init(&row.gnutls, gnutls_alg, &gnutls_key, &gnutls_iv) == 0) {
        print_row("gnutls", &row, base);
        gnutls_cipher_deinit(row.gnutls);
    }

    const XTSKernel *kernel = xts_kernels;
    for (bool more = true; more; kernel++) {
        more = kernel->name != NULL;
        if (more && !kernel->supported()) {
            continue;
        }
        g_autoptr(QCryptoSectorCipher) sc =
            qcrypto_sector_cipher_new_with(more ? kernel : NULL, alg, QCRYPTO_CIPHER_MODE_XTS,
                                           QCRYPTO_IV_GEN_ALGO_PLAIN64, 0, QCRYPTO_SECTOR_SIZE, key, nkey,
                                           &error_fatal);
        row.sc = sc;
        print_row(more ? kernel->name : "nettle", &row, base);
    }
}

static void bench_pbkdf2(QCryptoHashAlgo hash, gnutls_mac_algorithm_t mac)
{
    gnutls_datum_t pass = { (void *)"password", 8 }, salt = { (void *)"0123456789abcdef", 16 };
    size_t len = qcrypto_hash_digest_len(hash);
    uint8_t ours[64], theirs[64];
    double start = cpu_seconds();

    qcrypto_pbkdf2(hash, pass.data, pass.size, salt.data, salt.size, PBKDF2_ITERATIONS, ours, len,
                   &error_fatal);
    double our_rate = PBKDF2_ITERATIONS / (cpu_seconds() - start);

    start = cpu_seconds();
    if (gnutls_pbkdf2(mac, &pass, &salt, PBKDF2_ITERATIONS, theirs, len) < 0) {
        printf("  %-12s %8.0f  (not in gnutls)\n", QCryptoHashAlgo_str(hash), our_rate / 1000);
        return;
    }
    double their_rate = PBKDF2_ITERATIONS / (cpu_seconds() - start);

    printf("  %-12s %8.0f %6.2fx %8.0f  calibrated %8" PRIu64 "  %s\n", QCryptoHashAlgo_str(hash),
           our_rate / 1000, our_rate / their_rate, their_rate / 1000,
           qcrypto_pbkdf2_count_iters_per_sec(hash, len) / 1000,
           memcmp(ours, theirs, len) ? "DIFFERENT OUTPUT" : "same output");
}

int main(void)
{
    static const size_t sizes[] = { 4096, 65536, 1 << 20 };

    for (size_t i = 0; i < G_N_ELEMENTS(sizes); i++) {
        bench_xts(QCRYPTO_CIPHER_ALGO_AES_128, 32, GNUTLS_CIPHER_AES_128_XTS, sizes[i]);
        bench_xts(QCRYPTO_CIPHER_ALGO_AES_256, 64, GNUTLS_CIPHER_AES_256_XTS, sizes[i]);
    }
    printf("pbkdf2, one digest:     1000/s ours          gnutls\n");
    bench_pbkdf2(QCRYPTO_HASH_ALGO_SHA1, GNUTLS_MAC_SHA1);
    bench_pbkdf2(QCRYPTO_HASH_ALGO_SHA256, GNUTLS_MAC_SHA256);
    bench_pbkdf2(QCRYPTO_HASH_ALGO_SHA512, GNUTLS_MAC_SHA512);
    bench_pbkdf2(QCRYPTO_HASH_ALGO_RIPEMD160, GNUTLS_MAC_RMD160);
    return 0;
}
