/*
 * XTS kernel for VAES with AVX2: two blocks a register, eight registers in flight
 *
 * Every tweak of a sector is computed from the first one alone, by a shift and a carry-less
 * product, so that no chain of doublings holds up the rounds.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include <immintrin.h>

#include "crypto/xts-kernel.h"
#include "util/secret-buffer.h"

#define TARGET __attribute__((target("aes,avx2,vaes,vpclmulqdq")))
#define INLINE TARGET __attribute__((always_inline)) static inline
#define LANES 8
#define BLOCKS (2 * LANES)
#define UNROLL _Pragma("GCC unroll 8")

INLINE __m256i round_key(const uint32_t *schedule, unsigned round)
{
    return _mm256_broadcastsi128_si256(_mm_load_si128((const __m128i *)&schedule[4 * round]));
}

/*
 * AES over all lanes, with @t added before and after: the second time as a part of the last key,
 * which the last round adds anyway.
 */
INLINE void aes_encrypt(__m256i *b, const __m256i *t, const uint32_t *schedule, unsigned rounds)
{
    __m256i k = round_key(schedule, 0);

    UNROLL for (unsigned i = 0; i < LANES; i++) {
        b[i] = _mm256_xor_si256(_mm256_xor_si256(b[i], k), t[i]);
    }
    for (unsigned r = 1; r < rounds; r++) {
        k = round_key(schedule, r);
        UNROLL for (unsigned i = 0; i < LANES; i++) {
            b[i] = _mm256_aesenc_epi128(b[i], k);
        }
    }
    k = round_key(schedule, rounds);
    UNROLL for (unsigned i = 0; i < LANES; i++) {
        b[i] = _mm256_aesenclast_epi128(b[i], _mm256_xor_si256(k, t[i]));
    }
}

INLINE void aes_decrypt(__m256i *b, const __m256i *t, const uint32_t *schedule, unsigned rounds)
{
    __m256i k = round_key(schedule, 0);

    UNROLL for (unsigned i = 0; i < LANES; i++) {
        b[i] = _mm256_xor_si256(_mm256_xor_si256(b[i], k), t[i]);
    }
    for (unsigned r = 1; r < rounds; r++) {
        k = round_key(schedule, r);
        UNROLL for (unsigned i = 0; i < LANES; i++) {
            b[i] = _mm256_aesdec_epi128(b[i], k);
        }
    }
    k = round_key(schedule, rounds);
    UNROLL for (unsigned i = 0; i < LANES; i++) {
        b[i] = _mm256_aesdeclast_epi128(b[i], _mm256_xor_si256(k, t[i]));
    }
}

/* Fill @tweaks for BLOCKS sectors. */
INLINE void sector_tweaks(const XTSKeys *keys, uint64_t sector, uint64_t mask, __m128i *tweaks)
{
    __m256i b[LANES], zero[LANES] = { 0 };

    UNROLL for (unsigned i = 0; i < LANES; i++) {
        b[i] = _mm256_set_epi64x(0, (sector + 2 * i + 1) & mask, 0, (sector + 2 * i) & mask);
    }
    aes_encrypt(b, zero, keys->tweak, keys->rounds);
    UNROLL for (unsigned i = 0; i < LANES; i++) {
        _mm256_storeu_si256((__m256i *)tweaks + i, b[i]);
    }
}

/*
 * @tweak, which is the same in both halves, times x^n in GF(2^128) in the low half and times
 * x^(n+1) in the high half; @n is at most 30. The bits that leave either 64-bit word go into the
 * one above; those that leave the top one come back times 0x87 (IEEE 1619, section 5.2).
 */
INLINE __m256i times_x_pow(__m256i tweak, unsigned n)
{
    __m256i left = _mm256_set_epi64x(n + 1, n + 1, n, n);
    __m256i carry = _mm256_srlv_epi64(tweak, _mm256_sub_epi64(_mm256_set1_epi64x(64), left));
    __m256i folded = _mm256_clmulepi64_epi128(carry, _mm256_set_epi64x(0, 0x87, 0, 0x87), 0x01);

    tweak = _mm256_sllv_epi64(tweak, left);
    tweak = _mm256_xor_si256(tweak, _mm256_slli_si256(carry, 8));
    return _mm256_xor_si256(tweak, folded);
}

INLINE void crypt_sector(const XTSKeys *keys, bool encrypt, __m128i first_tweak,
                         const uint8_t *in, uint8_t *out)
{
    __m256i tweak = _mm256_broadcastsi128_si256(first_tweak);

    _Pragma("GCC unroll 2")
    for (unsigned group = 0; group < XTS_BLOCKS_PER_SECTOR / BLOCKS; group++) {
        __m256i b[LANES], t[LANES];

        UNROLL for (unsigned i = 0; i < LANES; i++) {
            t[i] = times_x_pow(tweak, group * BLOCKS + 2 * i);
            b[i] = _mm256_loadu_si256((const __m256i *)in + group * LANES + i);
        }
        if (encrypt) {
            aes_encrypt(b, t, keys->encrypt, keys->rounds);
        } else {
            aes_decrypt(b, t, keys->decrypt, keys->rounds);
        }
        UNROLL for (unsigned i = 0; i < LANES; i++) {
            _mm256_storeu_si256((__m256i *)out + group * LANES + i, b[i]);
        }
    }
}

INLINE void crypt_sectors(const XTSKeys *keys, bool encrypt, uint64_t sector, uint64_t mask,
                          const uint8_t *in, uint8_t *out, size_t sectors)
{
    __m128i tweaks[BLOCKS];

    for (size_t i = 0; i < sectors; i++) {
        if (i % BLOCKS == 0) {
            sector_tweaks(keys, sector + i, mask, tweaks);
        }
        crypt_sector(keys, encrypt, tweaks[i % BLOCKS],
                     in + i * QCRYPTO_SECTOR_SIZE, out + i * QCRYPTO_SECTOR_SIZE);
    }
    secret_wipe(tweaks, sizeof(tweaks));
    secret_wipe_registers();
}

TARGET void xts_vaes_encrypt(const XTSKeys *keys, uint64_t first_sector, uint64_t sector_mask,
                             const uint8_t *in, uint8_t *out, size_t sectors)
{
    crypt_sectors(keys, true, first_sector, sector_mask, in, out, sectors);
}

TARGET void xts_vaes_decrypt(const XTSKeys *keys, uint64_t first_sector, uint64_t sector_mask,
                             const uint8_t *in, uint8_t *out, size_t sectors)
{
    crypt_sectors(keys, false, first_sector, sector_mask, in, out, sectors);
}
