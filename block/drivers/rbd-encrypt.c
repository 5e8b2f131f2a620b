/*
 * rbd: librbd's own encryption
 *
 * librbd detects errors late, and reports them without details. So the header is checked first. These calls block.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include "block/drivers/rbd.h"
#include "qapi/qapi.h"

static const uint8_t luks_magic[] = { 'L', 'U', 'K', 'S', 0xba, 0xbe };

bool qemu_rbd_encryption_probe(RBDImage *i, RBDOpen *open)
{
    uint8_t header[sizeof(luks_magic) + 2] = { 0 };
    ssize_t ret = i->size >= sizeof(header) ? librbd.rbd_read(i->image, 0, sizeof(header), (char *)header) : 0;

    if (ret < 0) {
        qemu_rbd_explain(open, ret, "read its beginning");
        return false;
    }
    i->luks_version = memcmp(header, luks_magic, sizeof(luks_magic)) ? 0 : header[6] << 8 | header[7];
    return true;
}

#ifdef LIBRBD_SUPPORTS_ENCRYPTION
static bool encryption_check_library(RBDOpen *open)
{
    if (!librbd.rbd_encryption_load || !librbd.rbd_encryption_format) {
        error_setg(&open->err, "RBD image '%s': this librbd does not support encryption, which needs version 16",
                   open->name);
        error_append_hint(&open->err, "Without the option encrypt, a luks node above can open the image.\n");
        return false;
    }
    return true;
}

bool qemu_rbd_encryption_load(RBDImage *i, RBDOpen *open)
{
    RbdImageEncryptionFormat format = open->location->encrypt->format;
    unsigned wanted = format == RBD_IMAGE_ENCRYPTION_FORMAT_LUKS ? 1 :
                      format == RBD_IMAGE_ENCRYPTION_FORMAT_LUKS2 ? 2 : i->luks_version;
    const char *passphrase = (const char *)open->passphrase->data;

    if (!encryption_check_library(open)) {
        return false;
    }
    if (i->luks_version != 1 && i->luks_version != 2) {
        error_setg(&open->err, "RBD image '%s' is not encrypted: it has no LUKS header", open->name);
        error_append_hint(&open->err, "\"rbd encryption format\" writes one.\n");
        return false;
    }
    if (i->luks_version != wanted) {
        error_setg(&open->err, "RBD image '%s' has a header of LUKS version %u, not %u", open->name, i->luks_version,
                   wanted);
        error_append_hint(&open->err, "Use encrypt.format=%s, or luks-any.\n", i->luks_version == 1 ? "luks" : "luks2");
        return false;
    }
    rbd_encryption_luks1_format_options_t luks1 = {
        .passphrase = passphrase, .passphrase_size = open->passphrase->len,
    };
    rbd_encryption_luks2_format_options_t luks2 = {
        .passphrase = passphrase, .passphrase_size = open->passphrase->len,
    };
    int ret = wanted == 1
        ? librbd.rbd_encryption_load(i->image, RBD_ENCRYPTION_FORMAT_LUKS1, &luks1, sizeof(luks1))
        : librbd.rbd_encryption_load(i->image, RBD_ENCRYPTION_FORMAT_LUKS2, &luks2, sizeof(luks2));
    if (ret == -EPERM) {
        error_setg(&open->err, "RBD image '%s': the password of encrypt.key-secret does not open it", open->name);
    } else if (ret < 0) {
        error_setg_errno(&open->err, -ret, "RBD image '%s': librbd could not open its encryption", open->name);
    }
    i->is_encrypted = ret == 0;
    return ret == 0;
}

int qemu_rbd_encryption_format(rbd_image_t image, RBDOpen *open, RbdImageEncryptionFormat format, bool aes128)
{
    rbd_encryption_algorithm_t alg = aes128 ? RBD_ENCRYPTION_ALGORITHM_AES128 : RBD_ENCRYPTION_ALGORITHM_AES256;
    const char *passphrase = (const char *)open->passphrase->data;
    rbd_encryption_luks1_format_options_t luks1 = {
        .alg = alg, .passphrase = passphrase, .passphrase_size = open->passphrase->len,
    };
    rbd_encryption_luks2_format_options_t luks2 = {
        .alg = alg, .passphrase = passphrase, .passphrase_size = open->passphrase->len,
    };

    if (!encryption_check_library(open)) {
        return -ENOTSUP;
    }
    int ret = format == RBD_IMAGE_ENCRYPTION_FORMAT_LUKS
        ? librbd.rbd_encryption_format(image, RBD_ENCRYPTION_FORMAT_LUKS1, &luks1, sizeof(luks1))
        : librbd.rbd_encryption_format(image, RBD_ENCRYPTION_FORMAT_LUKS2, &luks2, sizeof(luks2));
    if (ret < 0) {
        error_setg_errno(&open->err, -ret, "RBD image '%s': librbd could not encrypt it", open->name);
    }
    return ret;
}
#else
bool qemu_rbd_encryption_load(RBDImage *i, RBDOpen *open)
{
    error_setg(&open->err, "RBD image '%s': this program was built with a librbd that does not support encryption",
               open->name);
    return false;
}

int qemu_rbd_encryption_format(rbd_image_t image, RBDOpen *open, RbdImageEncryptionFormat format, bool aes128)
{
    error_setg(&open->err, "RBD image '%s': this program was built with a librbd that does not support encryption",
               open->name);
    return -ENOTSUP;
}
#endif
