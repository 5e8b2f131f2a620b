/*
 * XTS kernels: the list, the best one for this processor, and the loop over sectors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include "crypto/xts-kernel.h"
#include "util/secret-buffer.h"

#ifdef __x86_64__
static bool have_aesni(void)
{
    return __builtin_cpu_supports("aes") && __builtin_cpu_supports("sse4.1");
}

static bool have_vaes(void)
{
    return have_aesni() && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("vaes") &&
           __builtin_cpu_supports("vpclmulqdq");
}
#endif

const XTSKernel xts_kernels[] = {
#ifdef __x86_64__
    { "vaes-avx2", have_vaes,
      xts_aesni_expand, xts_vaes_tweak, xts_vaes_encrypt, xts_vaes_decrypt },
    { "aesni", have_aesni,
      xts_aesni_expand, xts_aesni_tweak, xts_aesni_encrypt, xts_aesni_decrypt },
#endif
    { .name = NULL },
};

const XTSKernel *xts_kernel_best(void)
{
    for (const XTSKernel *kernel = xts_kernels; kernel->name; kernel++) {
        if (kernel->supported()) {
            return kernel;
        }
    }
    return NULL;
}

/*
 * The tweak of the block after a unit: times x^32 in GF(2^128). The bits shifted out at the top come back times 0x87
 * (IEEE 1619, section 5.2).
 */
static void next_unit_tweak(uint8_t *tweak)
{
    uint64_t word[2];

    memcpy(word, tweak, sizeof(word));
    uint64_t low = GUINT64_FROM_LE(word[0]), high = GUINT64_FROM_LE(word[1]);
    uint64_t out = high >> 32;
    high = high << 32 | low >> 32;
    low = low << 32 ^ out ^ out << 1 ^ out << 2 ^ out << 7;
    word[0] = GUINT64_TO_LE(low);
    word[1] = GUINT64_TO_LE(high);
    memcpy(tweak, word, sizeof(word));
}

void xts_crypt(const XTSKernel *kernel, const XTSKeys *keys, bool encrypt, uint64_t first_sector,
               uint64_t sector_mask, size_t sector_size, const uint8_t *in, uint8_t *out, size_t sectors)
{
    XTSUnitFunc *crypt = encrypt ? kernel->encrypt : kernel->decrypt;
    size_t units = sector_size / XTS_UNIT_BYTES;
    size_t numbers = sector_size / QCRYPTO_SECTOR_SIZE;
    XTSTweaks tweaks = { 0 };

    for (size_t i = 0; i < sectors; i++) {
        if (i % XTS_TWEAKS == 0) {
            for (size_t j = 0; j < XTS_TWEAKS; j++) {
                uint64_t number[2] = { GUINT64_TO_LE((first_sector + (i + j) * numbers) & sector_mask), 0 };

                memcpy(tweaks.block[j], number, sizeof(number));
            }
            kernel->tweak(keys, &tweaks);
        }
        for (size_t unit = 0;;) {
            crypt(keys, tweaks.block[i % XTS_TWEAKS], in, out);
            in += XTS_UNIT_BYTES;
            out += XTS_UNIT_BYTES;
            if (++unit == units) {
                break;
            }
            next_unit_tweak(tweaks.block[i % XTS_TWEAKS]);
        }
    }
    secret_wipe(&tweaks, sizeof(tweaks));
    secret_wipe_registers();
}
