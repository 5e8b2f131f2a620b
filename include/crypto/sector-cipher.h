/*
 * QCryptoSectorCipher: a cipher with an IV generator, for runs of disk sectors
 *
 * Each sector is encrypted separately. Its size is 512, 1024, 2048 or 4096 bytes, fixed for each cipher. Sector numbers
 * always count in units of 512 bytes, as in dm-crypt: sectors of 4096 bytes have the numbers 0, 8, 16, and so on. The
 * IV is derived from the number:
 *
 *     plain     the low 32 bits of the number, little-endian, zero padded; repeats after 2 TiB
 *     plain64   the number as 64 bits, little-endian, zero padded
 *     essiv     plain64, encrypted with the hash of the key as its key
 *
 * One call handles any number of sectors, which makes it fast: with AES in xts mode the whole run goes through one loop
 * that computes the tweaks itself and keeps many blocks in flight.
 *
 *     g_autoptr(QCryptoSectorCipher) sc =
 *         qcrypto_sector_cipher_new(QCRYPTO_CIPHER_ALGO_AES_256, QCRYPTO_CIPHER_MODE_XTS,
 *                                   QCRYPTO_IV_GEN_ALGO_PLAIN64, 0, QCRYPTO_SECTOR_SIZE, key->data, key->len, errp);
 *
 *     if (!sc) {
 *         return false;
 *     }
 *     qcrypto_sectors_decrypt(sc, offset / QCRYPTO_SECTOR_SIZE, buf, buf,
 *                             len / QCRYPTO_SECTOR_SIZE);
 *
 * A sector cipher never changes after creation; any number of threads may use it at once.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef CRYPTO_SECTOR_CIPHER_H
#define CRYPTO_SECTOR_CIPHER_H

#include "crypto/cipher.h"

#define QCRYPTO_SECTOR_SIZE 512         /* unit of sector numbers, and the smallest sector */
#define QCRYPTO_MAX_SECTOR_SIZE 4096

typedef struct QCryptoSectorCipher QCryptoSectorCipher;

/*
 * The cipher that encrypts the IVs of essiv: the one of @alg's family whose key is as long as a digest of @hash. Fails
 * if there is none (sha1 or sha512 with aes, anything with cast5).
 */
bool qcrypto_essiv_cipher(QCryptoCipherAlgo alg, QCryptoHashAlgo hash, QCryptoCipherAlgo *out,
                          Error **errp);

/*
 * @sector_size: in bytes, a power of two from QCRYPTO_SECTOR_SIZE to QCRYPTO_MAX_SECTOR_SIZE
 * @key: the volume key, @nkey bytes as for qcrypto_cipher_new(); need not outlive the call
 * @ivhash: only looked at with essiv
 *
 * Fails, with an error that names the algorithms, if the combination is not supported. In ecb mode there is no IV, and
 * the generator has no effect.
 */
QCryptoSectorCipher *qcrypto_sector_cipher_new(QCryptoCipherAlgo alg, QCryptoCipherMode mode,
                                               QCryptoIVGenAlgo ivgen, QCryptoHashAlgo ivhash,
                                               size_t sector_size, const uint8_t *key, size_t nkey,
                                               Error **errp);

/*
 * Encrypt or decrypt @sectors sectors of the cipher's size from @in to @out, which are either the same or do not
 * overlap, and need no alignment. The first one has the number @first_sector.
 */
void qcrypto_sectors_encrypt(const QCryptoSectorCipher *sc, uint64_t first_sector,
                             const void *in, void *out, size_t sectors);
void qcrypto_sectors_decrypt(const QCryptoSectorCipher *sc, uint64_t first_sector,
                             const void *in, void *out, size_t sectors);

void qcrypto_sector_cipher_free(QCryptoSectorCipher *sc);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(QCryptoSectorCipher, qcrypto_sector_cipher_free)

#endif
