/*
 * A volume in memory for LUKS tests
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include "luks-volume.h"

static int volume_pread(void *opaque, uint64_t offset, void *buf, size_t bytes)
{
    Volume *v = opaque;

    g_assert_true(QEMU_IS_ALIGNED(offset | bytes, 512));
    g_assert_true(offset <= v->bytes && bytes <= v->bytes - offset);
    memcpy(buf, v->data + offset, bytes);
    v->n_reads++;
    return 0;
}

static int volume_pwrite(void *opaque, uint64_t offset, const void *buf, size_t bytes)
{
    Volume *v = opaque;
    VolumeOp op = { .offset = offset, .bytes = bytes, .data = g_memdup2(buf, bytes) };

    g_assert_true(QEMU_IS_ALIGNED(offset | bytes, 512));
    g_assert_cmpuint(bytes, >, 0);
    g_assert_true(offset <= v->bytes && bytes <= v->bytes - offset);
    v->n_writes++;
    if (v->fail_write && v->n_writes >= (unsigned)v->fail_write) {
        g_free(op.data);
        return -EIO;
    }
    g_array_append_val(v->log, op);
    if (!v->forget_writes) {
        memcpy(v->data + offset, buf, bytes);
    }
    return 0;
}

static int volume_flush(void *opaque)
{
    Volume *v = opaque;
    VolumeOp op = { 0 };

    g_array_append_val(v->log, op);
    return 0;
}

static void volume_plan(void *opaque, uint64_t work)
{
    Volume *v = opaque;

    v->done = 0;
    v->planned = work;
}

static void volume_advance(void *opaque, uint64_t work)
{
    Volume *v = opaque;

    v->done += work;
    g_assert_cmpuint(v->done, <=, v->planned);
}

static void volume_activity(void *opaque, const char *what, int64_t ns)
{
    Volume *v = opaque;

    v->activity = what;
    v->n_measured += what && g_str_has_prefix(what, "Measuring");
}

static bool volume_pause_point(void *opaque, Error **errp)
{
    Volume *v = opaque;

    v->n_pause_points++;
    if (v->cancel_at && v->n_pause_points >= v->cancel_at) {
        error_setg(errp, "cancelled");
        return false;
    }
    return true;
}

static void op_clear(void *opaque)
{
    VolumeOp *op = opaque;

    g_free(op->data);
}

Volume *volume_new(uint64_t bytes)
{
    Volume *v = g_new0(Volume, 1);

    v->log = g_array_new(FALSE, TRUE, sizeof(VolumeOp));
    g_array_set_clear_func(v->log, op_clear);
    v->io = (QCryptoLUKSIO) {
        .pread = volume_pread,
        .pwrite = volume_pwrite,
        .flush = volume_flush,
        .plan = volume_plan,
        .advance = volume_advance,
        .activity = volume_activity,
        .pause_point = volume_pause_point,
        .opaque = v,
    };
    volume_resize(v, bytes);
    return v;
}

void volume_free(Volume *v)
{
    if (v) {
        g_array_unref(v->log);
        g_free(v->data);
        g_free(v);
    }
}

void volume_resize(Volume *v, uint64_t bytes)
{
    v->data = g_realloc(v->data, bytes);
    if (bytes > v->bytes) {
        memset(v->data + v->bytes, 0, bytes - v->bytes);
    }
    v->bytes = bytes;
    v->io.length = bytes;
}

void volume_clear_log(Volume *v)
{
    g_array_set_size(v->log, 0);
    v->n_reads = 0;
    v->n_writes = 0;
    v->done = 0;
    v->planned = 0;
}

SecretBuffer *password_new(const char *text)
{
    return secret_buffer_new_from(text, strlen(text));
}

Volume *volume_create(const QCryptoBlockCreateOptionsLUKS *options, const char *password,
                      uint64_t extra)
{
    QCryptoBlockCreateOptionsLUKS none = { 0 };
    g_autoptr(SecretBuffer) secret = password_new(password);
    QCryptoLUKSCreateOptions co = {
        .options = options ? options : &none,
        .password = secret,
        .force_iterations = TEST_ITERATIONS,
    };
    uint64_t bytes;
    Volume *v;

    qcrypto_luks_create_bytes(co.options, &bytes, &error_abort);
    v = volume_new(bytes + extra);
    qcrypto_luks_free(qcrypto_luks_create(&v->io, &co, &error_abort));
    return v;
}

QCryptoLUKS *volume_open(Volume *v, const char *password, QCryptoLUKSFailure *failure,
                         Error **errp)
{
    g_autoptr(SecretBuffer) secret = password ? password_new(password) : NULL;
    QCryptoLUKSOpenOptions options = { .password = secret };

    return qcrypto_luks_open(&v->io, &options, failure, errp);
}

int volume_add(Volume *v, QCryptoLUKS *luks, const char *password, int slot)
{
    g_autoptr(SecretBuffer) secret = password_new(password);
    QCryptoLUKSKeyslotOptions options = {
        .new_password = secret, .slot = slot, .force_iterations = TEST_ITERATIONS,
    };

    qcrypto_luks_keyslot_add(luks, &v->io, &options, &slot, &error_abort);
    return slot;
}

void luks_fingerprint(const QCryptoLUKS *luks, uint8_t *out)
{
    memset(out, 0, QCRYPTO_LUKS_SECTOR_SIZE);
    qcrypto_sectors_encrypt(qcrypto_luks_sector_cipher(luks), 7, out, out, 1);
}

bool volume_opens(Volume *v, const char *password, const uint8_t *fingerprint)
{
    g_autoptr(QCryptoLUKS) luks = volume_open(v, password, NULL, NULL);
    uint8_t now[QCRYPTO_LUKS_SECTOR_SIZE];

    if (!luks) {
        return false;
    }
    luks_fingerprint(luks, now);
    if (fingerprint) {
        g_assert_cmpmem(now, sizeof(now), fingerprint, sizeof(now));
    }
    return true;
}
