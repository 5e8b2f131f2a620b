/*
 * XTS kernel for VAES with AVX2: two blocks per register, eight registers in flight
 *
 * Every tweak of a sector is computed from the first one, with a shift and a carry-less product, so that no chain of
 * doublings delays the rounds.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include <immintrin.h>

#include "crypto/xts-kernel.h"

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
 * AES over all lanes, with @t added before and after. The second time it is part of the last key, which the last round
 * adds anyway.
 */
INLINE void aes(__m256i *b, const __m256i *t, bool encrypt, const uint32_t *schedule,
                unsigned rounds)
{
    __m256i k = round_key(schedule, 0);

    UNROLL for (unsigned i = 0; i < LANES; i++) {
        b[i] = _mm256_xor_si256(_mm256_xor_si256(b[i], k), t[i]);
    }
    for (unsigned r = 1; r < rounds; r++) {
        k = round_key(schedule, r);
        UNROLL for (unsigned i = 0; i < LANES; i++) {
            b[i] = encrypt ? _mm256_aesenc_epi128(b[i], k) : _mm256_aesdec_epi128(b[i], k);
        }
    }
    k = round_key(schedule, rounds);
    UNROLL for (unsigned i = 0; i < LANES; i++) {
        __m256i last = _mm256_xor_si256(k, t[i]);

        b[i] = encrypt ? _mm256_aesenclast_epi128(b[i], last)
                       : _mm256_aesdeclast_epi128(b[i], last);
    }
}

TARGET void xts_vaes_tweak(const XTSKeys *keys, XTSTweaks *tweaks)
{
    __m256i *t = (__m256i *)tweaks;
    __m256i b[LANES], zero[LANES] = { 0 };

    G_STATIC_ASSERT(XTS_TWEAKS == BLOCKS);
    UNROLL for (unsigned i = 0; i < LANES; i++) {
        b[i] = t[i];
    }
    aes(b, zero, true, keys->tweak, keys->rounds);
    UNROLL for (unsigned i = 0; i < LANES; i++) {
        t[i] = b[i];
    }
}

/*
 * Multiply @tweak, which is the same in both halves, by x^n in GF(2^128) in the low half and by x^(n+1) in the high
 * half; @n is at most 30. Bits shifted out of either 64-bit word go into the next one; those from the top word come
 * back times 0x87 (IEEE 1619, section 5.2).
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

INLINE void crypt_unit(const uint32_t *schedule, unsigned rounds, bool encrypt,
                         const uint8_t *first_tweak, const uint8_t *in, uint8_t *out)
{
    __m256i tweak = _mm256_broadcastsi128_si256(_mm_load_si128((const __m128i *)first_tweak));

    _Pragma("GCC unroll 2")
    for (unsigned group = 0; group < XTS_BLOCKS_PER_UNIT / BLOCKS; group++) {
        __m256i b[LANES], t[LANES];

        UNROLL for (unsigned i = 0; i < LANES; i++) {
            t[i] = times_x_pow(tweak, group * BLOCKS + 2 * i);
            b[i] = _mm256_loadu_si256((const __m256i *)in + group * LANES + i);
        }
        aes(b, t, encrypt, schedule, rounds);
        UNROLL for (unsigned i = 0; i < LANES; i++) {
            _mm256_storeu_si256((__m256i *)out + group * LANES + i, b[i]);
        }
    }
}

TARGET void xts_vaes_encrypt(const XTSKeys *keys, const uint8_t tweak[16],
                             const uint8_t *in, uint8_t *out)
{
    crypt_unit(keys->encrypt, keys->rounds, true, tweak, in, out);
}

TARGET void xts_vaes_decrypt(const XTSKeys *keys, const uint8_t tweak[16],
                             const uint8_t *in, uint8_t *out)
{
    crypt_unit(keys->decrypt, keys->rounds, false, tweak, in, out);
}
