/*
 * XTS kernels: AES-XTS over runs of sectors, tweaks included, in the processor's own instructions
 *
 * A kernel works on 512 bytes at a time, a unit; longer sectors are several of them.
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
 * Round keys of both AES keys, four words each; those for decryption in the order in which they are
 * used. Belongs into a SecretBuffer.
 */
typedef struct XTSKeys {
    uint32_t encrypt[4 * (AES_MAX_ROUNDS + 1)];
    uint32_t decrypt[4 * (AES_MAX_ROUNDS + 1)];
    uint32_t tweak[4 * (AES_MAX_ROUNDS + 1)];
    unsigned rounds;
} __attribute__((aligned(16))) XTSKeys;

/* How many sectors have their tweaks encrypted together. */
#define XTS_TWEAKS 16

typedef struct XTSTweaks {
    uint8_t block[XTS_TWEAKS][16];
} __attribute__((aligned(32))) XTSTweaks;

/* Expand the two keys in the @nkey bytes at @key (32, 48 or 64). */
typedef void XTSExpandFunc(XTSKeys *keys, const uint8_t *key, size_t nkey);

/* Encrypt the blocks in @tweaks with the second key. */
typedef void XTSTweakFunc(const XTSKeys *keys, XTSTweaks *tweaks);

/* Crypt a unit; @tweak is the one of its first block. */
typedef void XTSUnitFunc(const XTSKeys *keys, const uint8_t tweak[16],
                         const uint8_t *in, uint8_t *out);

typedef struct XTSKernel {
    const char *name;
    bool (*supported)(void);    /* by this processor */
    XTSExpandFunc *expand;
    XTSTweakFunc *tweak;
    XTSUnitFunc *encrypt;
    XTSUnitFunc *decrypt;
} XTSKernel;

/* All kernels of this build, fastest first; ends with a NULL name. */
extern const XTSKernel xts_kernels[];

/* The fastest one that this processor has; NULL where there is none. */
const XTSKernel *xts_kernel_best(void);

/*
 * Crypt @sectors sectors of @sector_size bytes; the tweak of each is its number under @sector_mask, little-endian, zero
 * padded. Numbers count QCRYPTO_SECTOR_SIZE bytes.
 */
void xts_crypt(const XTSKernel *kernel, const XTSKeys *keys, bool encrypt, uint64_t first_sector,
               uint64_t sector_mask, size_t sector_size, const uint8_t *in, uint8_t *out, size_t sectors);

/* What the table is made of; defined where the processor family has it. */
XTSExpandFunc xts_aesni_expand;
XTSTweakFunc xts_aesni_tweak, xts_vaes_tweak;
XTSUnitFunc xts_aesni_encrypt, xts_aesni_decrypt;
XTSUnitFunc xts_vaes_encrypt, xts_vaes_decrypt;

/*
 * As qcrypto_sector_cipher_new(), with a kernel of choice: NULL for the portable code. @kernel has
 * no effect on what is not AES in xts mode with plain or plain64.
 */
QCryptoSectorCipher *qcrypto_sector_cipher_new_with(const XTSKernel *kernel,
                                                    QCryptoCipherAlgo alg, QCryptoCipherMode mode,
                                                    QCryptoIVGenAlgo ivgen, QCryptoHashAlgo ivhash,
                                                    size_t sector_size, const uint8_t *key, size_t nkey,
                                                    Error **errp);

#endif
