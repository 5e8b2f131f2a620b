/*
 * Key derivation: PBKDF2
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include "crypto/luks/kdf.h"
#include "crypto/pbkdf.h"

static void *pbkdf2_begin(const LUKSKDFParams *params, const SecretBuffer *secret, uint8_t *out, size_t nout,
                          Error **errp)
{
    return qcrypto_pbkdf2_new(params->hash, secret->data, secret->len, params->salt, LUKS_SALT_BYTES,
                              params->iterations, out, nout, errp);
}

static bool pbkdf2_step(void *state, int64_t ns)
{
    return qcrypto_pbkdf2_step(state, ns);
}

static uint64_t pbkdf2_done(const void *state)
{
    return qcrypto_pbkdf2_iterations_done(state);
}

static uint64_t pbkdf2_total(const LUKSKDFParams *params, size_t nout)
{
    return qcrypto_pbkdf2_iterations_total(params->hash, params->iterations, nout);
}

static void pbkdf2_end(void *state)
{
    qcrypto_pbkdf2_free(state);
}

const LUKSKDF luks_kdf_pbkdf2 = {
    .begin = pbkdf2_begin,
    .step = pbkdf2_step,
    .done = pbkdf2_done,
    .total = pbkdf2_total,
    .end = pbkdf2_end,
    .rate = qcrypto_pbkdf2_count_iters_per_sec,
};
