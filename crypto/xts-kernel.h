/*
 * XTS kernels: AES-XTS over runs of 512-byte sectors, tweaks included, in the processor's own
 * instructions
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef CRYPTO_XTS_KERNEL_H
#define CRYPTO_XTS_KERNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "crypto/sector-cipher.h"

#define XTS_BLOCKS_PER_SECTOR (QCRYPTO_SECTOR_SIZE / 16)
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

/* Expand the two keys in the @nkey bytes at @key (32, 48 or 64). */
typedef void XTSExpandFunc(XTSKeys *keys, const uint8_t *key, size_t nkey);

/*
 * Crypt @sectors sectors; the tweak of each is its number under @sector_mask, little-endian, zero
 * padded.
 */
typedef void XTSFunc(const XTSKeys *keys, uint64_t first_sector, uint64_t sector_mask,
                     const uint8_t *in, uint8_t *out, size_t sectors);

typedef struct XTSKernel {
    const char *name;
    bool (*supported)(void);    /* by this processor */
    XTSExpandFunc *expand;
    XTSFunc *encrypt;
    XTSFunc *decrypt;
} XTSKernel;

/* All kernels of this build, fastest first; ends with a NULL name. */
extern const XTSKernel xts_kernels[];

/* The fastest one that this processor has; NULL where there is none. */
const XTSKernel *xts_kernel_best(void);

/* What the table is made of; defined where the processor family has it. */
XTSExpandFunc xts_aesni_expand;
XTSFunc xts_aesni_encrypt, xts_aesni_decrypt;
XTSFunc xts_vaes_encrypt, xts_vaes_decrypt;

/*
 * As qcrypto_sector_cipher_new(), with a kernel of choice: NULL for the portable code. @kernel has
 * no effect on what is not AES in xts mode with plain or plain64.
 */
QCryptoSectorCipher *qcrypto_sector_cipher_new_with(const XTSKernel *kernel,
                                                    QCryptoCipherAlgo alg, QCryptoCipherMode mode,
                                                    QCryptoIVGenAlgo ivgen, QCryptoHashAlgo ivhash,
                                                    const uint8_t *key, size_t nkey, Error **errp);

#endif
