/*
 * XTS kernels: AES-XTS over runs of sectors, including tweaks, with the processor's AES instructions
 *
 * A kernel processes units of 512 bytes; longer sectors consist of several.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef CRYPTO_XTS_KERNEL_H
#define CRYPTO_XTS_KERNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "crypto/sector-cipher.h"

#define XTS_UNIT_BYTES 512
#define XTS_BLOCKS_PER_UNIT (XTS_UNIT_BYTES / 16)
#define AES_MAX_ROUNDS 14

/*
 * Round keys of both AES keys, four words each; those for decryption in the order of use. To be kept in a SecretBuffer.
 */
typedef struct XTSKeys {
    uint32_t encrypt[4 * (AES_MAX_ROUNDS + 1)];
    uint32_t decrypt[4 * (AES_MAX_ROUNDS + 1)];
    uint32_t tweak[4 * (AES_MAX_ROUNDS + 1)];
    unsigned rounds;
} __attribute__((aligned(16))) XTSKeys;

/* Number of sectors whose tweaks are encrypted together. */
#define XTS_TWEAKS 16

typedef struct XTSTweaks {
    uint8_t block[XTS_TWEAKS][16];
} __attribute__((aligned(32))) XTSTweaks;

/* Expand the two keys in the @nkey bytes at @key (32, 48 or 64). */
typedef void XTSExpandFunc(XTSKeys *keys, const uint8_t *key, size_t nkey);

/* Encrypt the blocks in @tweaks with the second key. */
typedef void XTSTweakFunc(const XTSKeys *keys, XTSTweaks *tweaks);

/* Encrypt or decrypt a unit; @tweak is that of its first block. */
typedef void XTSUnitFunc(const XTSKeys *keys, const uint8_t tweak[16],
                         const uint8_t *in, uint8_t *out);

typedef struct XTSKernel {
    const char *name;
    bool (*supported)(void);    /* whether this processor can run it */
    XTSExpandFunc *expand;
    XTSTweakFunc *tweak;
    XTSUnitFunc *encrypt;
    XTSUnitFunc *decrypt;
} XTSKernel;

/* All kernels in this build, fastest first; ends with a NULL name. */
extern const XTSKernel xts_kernels[];

/* The fastest kernel that this processor can run; NULL if there is none. */
const XTSKernel *xts_kernel_best(void);

/*
 * Encrypt or decrypt @sectors sectors of @sector_size bytes. The tweak of each is its number masked with @sector_mask,
 * little-endian, padded with zeroes. Numbers count in units of QCRYPTO_SECTOR_SIZE.
 */
void xts_crypt(const XTSKernel *kernel, const XTSKeys *keys, bool encrypt, uint64_t first_sector,
               uint64_t sector_mask, size_t sector_size, const uint8_t *in, uint8_t *out, size_t sectors);

/* The entries of the table; defined if the processor family has them. */
XTSExpandFunc xts_aesni_expand;
XTSTweakFunc xts_aesni_tweak, xts_vaes_tweak;
XTSUnitFunc xts_aesni_encrypt, xts_aesni_decrypt;
XTSUnitFunc xts_vaes_encrypt, xts_vaes_decrypt;

/*
 * Like qcrypto_sector_cipher_new(), with a given kernel; NULL: the portable code. @kernel only affects AES in xts mode
 * with plain or plain64.
 */
QCryptoSectorCipher *qcrypto_sector_cipher_new_with(const XTSKernel *kernel,
                                                    QCryptoCipherAlgo alg, QCryptoCipherMode mode,
                                                    QCryptoIVGenAlgo ivgen, QCryptoHashAlgo ivhash,
                                                    size_t sector_size, const uint8_t *key, size_t nkey,
                                                    Error **errp);

#endif
