/*
 * XTS kernels: which there are, and which one this processor is given
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include "crypto/xts-kernel.h"

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
    { "vaes-avx2", have_vaes, xts_aesni_expand, xts_vaes_encrypt, xts_vaes_decrypt },
    { "aesni", have_aesni, xts_aesni_expand, xts_aesni_encrypt, xts_aesni_decrypt },
#endif
    { NULL, NULL, NULL, NULL, NULL },
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
