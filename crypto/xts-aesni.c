/*
 * XTS kernel for AES-NI: eight blocks in flight, which hides the latency of a round
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include <immintrin.h>

#include "crypto/xts-kernel.h"
#include "util/secret-buffer.h"

#define TARGET __attribute__((target("aes,sse4.1")))
#define INLINE TARGET __attribute__((always_inline)) static inline
#define LANES 8
#define UNROLL _Pragma("GCC unroll 8")

/* SubWord() of FIPS 197, which the instruction returns in its lowest word. */
INLINE uint32_t sub_word(uint32_t word)
{
    return _mm_cvtsi128_si32(_mm_aeskeygenassist_si128(_mm_set1_epi32(word), 0));
}

/* FIPS 197, section 5.2. Words are in memory order, so RotWord() rotates right. */
TARGET static void expand_encrypt(uint32_t *w, const uint8_t *key, unsigned nk, unsigned rounds)
{
    uint32_t rcon = 1;

    memcpy(w, key, nk * 4);
    for (unsigned i = nk; i < 4 * (rounds + 1); i++) {
        uint32_t temp = w[i - 1];

        if (i % nk == 0) {
            temp = sub_word(temp);
            temp = ((temp >> 8) | (temp << 24)) ^ rcon;
            rcon = (rcon << 1) ^ (rcon >> 7) * 0x11b;
        } else if (nk > 6 && i % nk == 4) {
            temp = sub_word(temp);
        }
        w[i] = w[i - nk] ^ temp;
    }
}

INLINE __m128i round_key(const uint32_t *schedule, unsigned round)
{
    return _mm_load_si128((const __m128i *)&schedule[4 * round]);
}

/* The equivalent inverse cipher, section 5.3.5: reversed, inner keys through InvMixColumns(). */
TARGET static void expand_decrypt(uint32_t *w, const uint32_t *encrypt, unsigned rounds)
{
    for (unsigned r = 0; r <= rounds; r++) {
        __m128i k = round_key(encrypt, rounds - r);

        if (r > 0 && r < rounds) {
            k = _mm_aesimc_si128(k);
        }
        _mm_store_si128((__m128i *)&w[4 * r], k);
    }
}

void xts_aesni_expand(XTSKeys *keys, const uint8_t *key, size_t nkey)
{
    unsigned nk = nkey / 2 / 4;

    keys->rounds = nk + 6;
    assert(nkey % 16 == 0 && nk >= 4 && keys->rounds <= AES_MAX_ROUNDS);
    expand_encrypt(keys->encrypt, key, nk, keys->rounds);
    expand_decrypt(keys->decrypt, keys->encrypt, keys->rounds);
    expand_encrypt(keys->tweak, key + nkey / 2, nk, keys->rounds);
    secret_wipe_stack();
}

/* AES over all lanes. */
INLINE void aes(__m128i *b, bool encrypt, const uint32_t *schedule, unsigned rounds)
{
    __m128i k = round_key(schedule, 0);

    UNROLL for (unsigned i = 0; i < LANES; i++) {
        b[i] = _mm_xor_si128(b[i], k);
    }
    for (unsigned r = 1; r < rounds; r++) {
        k = round_key(schedule, r);
        UNROLL for (unsigned i = 0; i < LANES; i++) {
            b[i] = encrypt ? _mm_aesenc_si128(b[i], k) : _mm_aesdec_si128(b[i], k);
        }
    }
    k = round_key(schedule, rounds);
    UNROLL for (unsigned i = 0; i < LANES; i++) {
        b[i] = encrypt ? _mm_aesenclast_si128(b[i], k) : _mm_aesdeclast_si128(b[i], k);
    }
}

TARGET void xts_aesni_tweak(const XTSKeys *keys, XTSTweaks *tweaks)
{
    for (__m128i *t = (__m128i *)tweaks; t < (__m128i *)(tweaks + 1); t += LANES) {
        __m128i b[LANES];

        UNROLL for (unsigned i = 0; i < LANES; i++) {
            b[i] = t[i];
        }
        aes(b, true, keys->tweak, keys->rounds);
        UNROLL for (unsigned i = 0; i < LANES; i++) {
            t[i] = b[i];
        }
    }
}

/* Multiply by x in GF(2^128), in the bit order of IEEE 1619: the bit shifted out at the top comes back as 0x87. */
INLINE __m128i times_x(__m128i t)
{
    __m128i carry = _mm_srai_epi32(_mm_shuffle_epi32(t, 0x13), 31);

    carry = _mm_and_si128(carry, _mm_set_epi32(0, 1, 0, 0x87));
    return _mm_xor_si128(_mm_add_epi64(t, t), carry);
}

INLINE void crypt_unit(const uint32_t *schedule, unsigned rounds, bool encrypt,
                         const uint8_t *first_tweak, const uint8_t *in, uint8_t *out)
{
    __m128i tweak = _mm_load_si128((const __m128i *)first_tweak);

    for (unsigned group = 0; group < XTS_BLOCKS_PER_UNIT / LANES; group++) {
        __m128i b[LANES], t[LANES];

        UNROLL for (unsigned i = 0; i < LANES; i++) {
            t[i] = tweak;
            tweak = times_x(tweak);
            b[i] = _mm_xor_si128(_mm_loadu_si128((const __m128i *)in + i), t[i]);
        }
        aes(b, encrypt, schedule, rounds);
        UNROLL for (unsigned i = 0; i < LANES; i++) {
            _mm_storeu_si128((__m128i *)out + i, _mm_xor_si128(b[i], t[i]));
        }
        in += LANES * 16;
        out += LANES * 16;
    }
}

TARGET void xts_aesni_encrypt(const XTSKeys *keys, const uint8_t tweak[16],
                              const uint8_t *in, uint8_t *out)
{
    crypt_unit(keys->encrypt, keys->rounds, true, tweak, in, out);
}

TARGET void xts_aesni_decrypt(const XTSKeys *keys, const uint8_t tweak[16],
                              const uint8_t *in, uint8_t *out)
{
    crypt_unit(keys->decrypt, keys->rounds, false, tweak, in, out);
}
