/*
 * Reading and writing the header volume, with errors that name the part of the header
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include "crypto/luks/luks-int.h"

bool luks_pause_point(const QCryptoLUKSIO *io, Error **errp)
{
    return !io->pause_point || io->pause_point(io->opaque, errp);
}

static bool check_range(const QCryptoLUKSIO *io, uint64_t offset, uint64_t bytes, const char *verb,
                        const char *what, Error **errp)
{
    g_assert(QEMU_IS_ALIGNED(offset | bytes, QCRYPTO_LUKS_SECTOR_SIZE));
    if (offset > io->length || bytes > io->length - offset) {
        error_setg(errp, "Could not %s LUKS %s: it ends at byte %" PRIu64 ", but the volume has"
                   " only %" PRIu64, verb, what, offset + bytes, io->length);
        return false;
    }
    return true;
}

static bool io_failed(int ret, const char *verb, const char *what, Error **errp)
{
    error_setg_errno(errp, -ret, "Could not %s LUKS %s", verb, what);
    return false;
}

bool luks_pread(const QCryptoLUKSIO *io, uint64_t offset, void *buf, uint64_t bytes,
                const char *what, Error **errp)
{
    int ret;

    if (!check_range(io, offset, bytes, "read", what, errp) || !luks_pause_point(io, errp)) {
        return false;
    }
    ret = io->pread(io->opaque, offset, buf, bytes);
    if (ret < 0) {
        return io_failed(ret, "read", what, errp);
    }
    return true;
}

bool luks_pwrite(const QCryptoLUKSIO *io, uint64_t offset, const void *buf, uint64_t bytes,
                 const char *what, Error **errp)
{
    int ret;

    if (!check_range(io, offset, bytes, "write", what, errp) || !luks_pause_point(io, errp)) {
        return false;
    }
    ret = io->pwrite(io->opaque, offset, buf, bytes);
    if (ret < 0) {
        return io_failed(ret, "write", what, errp);
    }
    return true;
}

bool luks_flush(const QCryptoLUKSIO *io, const char *what, Error **errp)
{
    int ret;

    if (!luks_pause_point(io, errp)) {
        return false;
    }
    ret = io->flush(io->opaque);
    if (ret < 0) {
        return io_failed(ret, "flush", what, errp);
    }
    return true;
}

void luks_plan(const QCryptoLUKSIO *io, uint64_t work)
{
    if (io->plan) {
        io->plan(io->opaque, work);
    }
}

void luks_advance(const QCryptoLUKSIO *io, uint64_t work)
{
    if (io->advance) {
        io->advance(io->opaque, work);
    }
}

void luks_set_activity(const QCryptoLUKSIO *io, const char *what, int64_t ns)
{
    if (io->activity) {
        io->activity(io->opaque, what, ns);
    }
}
