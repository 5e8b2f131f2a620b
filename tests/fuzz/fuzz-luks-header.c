/*
 * Fuzz target: all code that parses the first bytes of a LUKS1 volume
 *
 * The first two bytes of the input choose the length of the volume, in units of 4 KiB; the rest is the beginning of the
 * volume, followed by zeroes. No input may cause a crash, a hang, a leak or a large allocation.
 *
 *     clang -fsanitize=fuzzer,address ...       with libFuzzer, which has a main() of its own
 *     fuzz-luks-header [-mutate=N] FILE...      runs each file, and N random mutations of it
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include "crypto/luks.h"
#include "fuzz.h"

typedef struct Input {
    const uint8_t *data;
    size_t bytes;
} Input;

static int input_pread(void *opaque, uint64_t offset, void *buf, size_t bytes)
{
    const Input *in = opaque;
    size_t have = offset < in->bytes ? MIN(in->bytes - offset, bytes) : 0;

    if (have) {
        memcpy(buf, in->data + offset, have);
    }
    memset((uint8_t *)buf + have, 0, bytes - have);
    return 0;
}

static int input_pwrite(void *opaque, uint64_t offset, const void *buf, size_t bytes)
{
    return 0;
}

static int input_flush(void *opaque)
{
    return 0;
}

static void fuzz_open(const QCryptoLUKSIO *io, const QCryptoLUKSOpenOptions *options)
{
    g_autoptr(QCryptoLUKS) luks = qcrypto_luks_open(io, options, NULL, NULL);

    if (luks) {
        qapi_free_QCryptoBlockInfoLUKS(qcrypto_luks_get_info(luks));
        qapi_free_QCryptoBlockCreateOptionsLUKS(qcrypto_luks_get_create_options(luks));
        g_assert(qcrypto_luks_header_bytes(luks) <= io->length);
        g_assert(options->detached || !options->password || qcrypto_luks_payload_offset(luks) <= io->length);
    }
}

static void fuzz_erase(const QCryptoLUKSIO *io, QCryptoLUKSEraseScope scope, bool detached)
{
    g_autoptr(QCryptoLUKSErasePlan) plan = qcrypto_luks_erase_plan_new(io, scope, detached, NULL);

    for (guint i = 0; plan && i < plan->regions->len; i++) {
        const QCryptoLUKSRegion *r = &g_array_index(plan->regions, QCryptoLUKSRegion, i);

        g_assert(r->length > 0 && r->length <= io->length);
        g_assert(r->offset <= io->length - r->length);
        g_assert((r->offset | r->length) % QCRYPTO_LUKS_SECTOR_SIZE == 0);
    }
    if (plan) {
        qcrypto_luks_erase_run(io, plan, 1, NULL);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    Input in;
    QCryptoLUKSIO io = {
        .pread = input_pread, .pwrite = input_pwrite, .flush = input_flush, .opaque = &in,
    };

    if (size < 2) {
        return 0;
    }
    io.length = (data[0] << 8 | data[1]) % 2048 * 4096;
    in = (Input) { .data = data + 2, .bytes = size - 2 };

    for (int detached = 0; detached < 2; detached++) {
        g_autoptr(SecretBuffer) password = secret_buffer_new_from("pw", 2);
        g_autoptr(SecretBuffer) backup = qcrypto_luks_backup(&io, detached, NULL);

        qcrypto_luks_findings_free(qcrypto_luks_check(&io, &(QCryptoLUKSOpenOptions) { .detached = detached }, NULL));
        fuzz_open(&io, &(QCryptoLUKSOpenOptions) { .detached = detached });
        fuzz_open(&io, &(QCryptoLUKSOpenOptions) {
            .detached = detached, .password = password, .max_iterations = 2,
        });
        fuzz_erase(&io, QCRYPTO_LUKS_ERASE_KEY_MATERIAL, detached);
        fuzz_erase(&io, QCRYPTO_LUKS_ERASE_HEADER, detached);
        if (backup) {
            qcrypto_luks_restore(&io, backup, detached, 0, true, NULL);
        }
    }
    return 0;
}
