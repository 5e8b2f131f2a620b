/*
 * What a volume carries: LUKS headers, images of other formats, and whatever libblkid knows
 *
 * libblkid wants a file. It gets one in memory, as long as the volume, with its beginning and end: that is where
 * signatures are, and it works for every protocol.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "config-host.h"

#include <sys/mman.h>

#include "block/block-backend.h"
#include "block/block_int.h"
#include "block/ops/signature.h"
#include "crypto/luks.h"
#include "util/thread-pool.h"

#ifdef CONFIG_BLKID
#include <blkid/blkid.h>
#endif

#define HEAD_BYTES (2 * MiB)
#define TAIL_BYTES (1 * MiB)

/* Magic bytes at either end of an image. */
#define HEAD_FORMAT_BYTES BDRV_SECTOR_SIZE
/* The real end may be anywhere in the last sector. */
#define TAIL_FORMAT_BYTES (2 * BDRV_SECTOR_SIZE)

/* Formats that we have no driver for. Some have their header at the end. */
static const struct {
    int64_t offset;         /* negative: from the end */
    const char *magic;
    size_t len;
    const char *what;
} image_magics[] = {
#define MAGIC(offset, magic, what) { offset, magic, sizeof(magic) - 1, what }
    MAGIC(0, "QFI\xfb", "qcow2 image"),
    MAGIC(0, "QED\0", "QED image"),
    MAGIC(0, "KDMV", "VMDK image"),
    MAGIC(0, "COWD", "VMDK image"),
    MAGIC(0, "# Disk DescriptorFile", "VMDK image"),
    MAGIC(0, "vhdxfile", "VHDX image"),
    MAGIC(0, "conectix", "VHD image"),
    MAGIC(-512, "conectix", "VHD image"),
    MAGIC(64, "\x7f\x10\xda\xbe", "VDI image"),
    MAGIC(0, "WithoutFreeSpace", "Parallels image"),
    MAGIC(0, "WithouFreSpacExt", "Parallels image"),
    MAGIC(0, "Bochs Virtual HD Image", "Bochs image"),
    MAGIC(0, "#!/bin/sh\n#V2.0 Format\nmodprobe cloop", "cloop image"),
    MAGIC(-512, "koly\0\0\0\4\0\0\2\0", "DMG image"),
#undef MAGIC
};

/* The ends of a volume. */
typedef struct Ends {
    int64_t length;
    const uint8_t *head;
    int64_t head_bytes;
    const uint8_t *tail;
    int64_t tail_bytes;
    char *found;            /* by the worker */
    Error *err;
} Ends;

static void ends_cleanup(Ends *ends)
{
    qemu_vfree((void *)ends->head);
    qemu_vfree((void *)ends->tail);
    g_free(ends->found);
    error_free(ends->err);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Ends, ends_cleanup)

static bool coroutine_fn read_ends(BlockBackend *blk, Ends *ends, Error **errp)
{
    ends->length = blk_getlength(blk);
    ends->head_bytes = MIN(ends->length, HEAD_BYTES);
    ends->tail_bytes = MIN(ends->length - ends->head_bytes, TAIL_BYTES);
    uint8_t *head = qemu_blockalign(blk_bs(blk), ends->head_bytes);
    uint8_t *tail = qemu_blockalign(blk_bs(blk), ends->tail_bytes);
    ends->head = head;
    ends->tail = tail;

    int ret = blk_co_pread(blk, 0, ends->head_bytes, head);
    if (ret == 0) {
        ret = blk_co_pread(blk, ends->length - ends->tail_bytes, ends->tail_bytes, tail);
    }
    if (ret < 0) {
        error_setg_errno(errp, -ret, "Could not read '%s' to see what it carries", blk_bs(blk)->filename);
    }
    return ret == 0;
}

/* Where @offset of the volume is in memory, with @len bytes; NULL: not there. */
static const uint8_t *ends_at(const Ends *ends, int64_t offset, size_t len)
{
    int64_t tail_start = ends->length - ends->tail_bytes;

    if (offset >= 0 && offset + (int64_t)len <= ends->head_bytes) {
        return ends->head + offset;
    }
    if (offset >= tail_start && offset + (int64_t)len <= ends->length) {
        return ends->tail + (offset - tail_start);
    }
    return NULL;
}

char *block_luks_signature(const void *buf, size_t len)
{
    QCryptoLUKSVersion version = qcrypto_luks_probe(buf, len);

    switch (version) {
    case QCRYPTO_LUKS_VERSION_NONE:
        return NULL;
    case QCRYPTO_LUKS_VERSION_UNKNOWN:
        return g_strdup("LUKS of an unknown version");
    default:
        return g_strdup_printf("LUKS version %d", version);
    }
}

static const char *find_image(const Ends *ends)
{
    for (size_t i = 0; i < G_N_ELEMENTS(image_magics); i++) {
        int64_t offset = image_magics[i].offset;
        int64_t candidates = offset < 0 ? BDRV_SECTOR_SIZE : 1;

        for (int64_t at = offset < 0 ? ends->length + offset : offset; candidates > 0; at--, candidates--) {
            const uint8_t *p = ends_at(ends, at, image_magics[i].len);

            if (p && !memcmp(p, image_magics[i].magic, image_magics[i].len)) {
                return image_magics[i].what;
            }
        }
    }
    return NULL;
}

bool block_is_image_start(const void *buf, size_t len)
{
    /* As long as possible, so that nothing looks like the end. */
    const Ends ends = { .length = INT64_MAX, .head = buf, .head_bytes = len };

    return qcrypto_luks_probe(buf, len) != QCRYPTO_LUKS_VERSION_NONE || find_image(&ends);
}

/* The format of the image in @blk, for people. NULL: none that we know, or *@errp is set. */
static char *coroutine_fn find_format(BlockBackend *blk, bool *is_luks, Error **errp)
{
    uint8_t head[HEAD_FORMAT_BYTES], tail[TAIL_FORMAT_BYTES];
    int64_t length = blk_getlength(blk);
    const Ends ends = {
        .length = length,
        .head = head, .head_bytes = MIN(length, HEAD_FORMAT_BYTES),
        .tail = tail, .tail_bytes = MIN(length, TAIL_FORMAT_BYTES),
    };
    int ret = blk_co_pread(blk, 0, ends.head_bytes, head);

    if (ret == 0) {
        ret = blk_co_pread(blk, length - ends.tail_bytes, ends.tail_bytes, tail);
    }
    if (ret < 0) {
        error_setg_errno(errp, -ret, "Could not read '%s' to determine its format", blk_bs(blk)->filename);
        return NULL;
    }
    char *luks = block_luks_signature(head, ends.head_bytes);
    *is_luks = luks;
    return luks ?: g_strdup(find_image(&ends));
}

bool coroutine_fn bdrv_check_raw_guess(BlockBackend *blk, BdrvOpenFlags flags, Error **errp)
{
    ERRP_GUARD();
    bool is_luks;
    g_autofree char *what = find_format(blk, &is_luks, errp);

    if (what && !(is_luks && flags & BDRV_O_DESCRIBE)) {
        error_setg(errp, "The image format is not supported: %s", what);
        error_append_hint(errp, "To use the bytes of the file as they are, name the format: -f raw, or driver=raw in "
                          "--image-opts\n");
    }
    return !*errp;
}

char *coroutine_fn bdrv_format_signature(BlockDriverState *bs)
{
    BlockBackend *blk = blk_new("format probe", BLK_PERM_CONSISTENT_READ, BLK_PERM_ALL);
    bool is_luks;
    char *found = blk_insert_bs(blk, bs, NULL) ? find_format(blk, &is_luks, NULL) : NULL;

    blk_co_unref(blk);
    return found;
}

#ifdef CONFIG_BLKID

static bool write_all(int fd, const uint8_t *buf, int64_t bytes, int64_t offset)
{
    while (bytes > 0) {
        ssize_t n = RETRY_ON_EINTR(pwrite(fd, buf, bytes, offset));
        if (n <= 0) {
            return false;
        }
        buf += n;
        offset += n;
        bytes -= n;
    }
    return true;
}

/* A sparse file in memory that looks like the volume, or -1. */
static int make_file(const Ends *ends)
{
    g_auto_fd int fd = memfd_create("signature", MFD_CLOEXEC);

    if (fd < 0 || ftruncate(fd, ends->length) < 0 || !write_all(fd, ends->head, ends->head_bytes, 0) ||
        !write_all(fd, ends->tail, ends->tail_bytes, ends->length - ends->tail_bytes)) {
        return -1;
    }
    return g_steal_auto_fd(&fd);
}

static char *describe(blkid_probe pr)
{
    const char *type, *usage;

    if (blkid_probe_lookup_value(pr, "PTTYPE", &type, NULL) == 0) {
        return !strcmp(type, "gpt") ? g_strdup("GPT partition table")
                                    : g_strdup_printf("%s partition table", type);
    }
    if (blkid_probe_lookup_value(pr, "TYPE", &type, NULL) < 0) {
        return g_strdup("unknown signature");
    }
    if (blkid_probe_lookup_value(pr, "USAGE", &usage, NULL) == 0 && !strcmp(usage, "filesystem")) {
        return g_strdup_printf("%s file system", type);
    }
    return g_strdup_printf("%s signature", type);
}

/* Superblocks first, since a boot sector with a file system can look like a partition table, too. */
static bool probe_file(blkid_probe pr, Ends *ends)
{
    blkid_probe_enable_superblocks(pr, 1);
    blkid_probe_set_superblocks_flags(pr, BLKID_SUBLKS_TYPE | BLKID_SUBLKS_USAGE);
    blkid_probe_enable_partitions(pr, 1);
    int ret = blkid_do_probe(pr);
    if (ret == 0) {
        ends->found = describe(pr);
    }
    return ret >= 0;
}

static int blkid_worker(void *opaque)
{
    Ends *ends = opaque;
    g_auto_fd int fd = make_file(ends);
    blkid_probe pr = fd >= 0 ? blkid_new_probe() : NULL;

    if (!pr) {
        error_setg_errno(&ends->err, errno, "Could not set libblkid up to look for signatures");
        return 0;
    }
    if (blkid_probe_set_device(pr, fd, 0, 0) < 0 || !probe_file(pr, ends)) {
        error_setg(&ends->err, "libblkid could not look for signatures");
    }
    blkid_free_probe(pr);
    return 0;
}

/* NULL: nothing, or *@errp is set. */
static char *coroutine_fn find_with_blkid(Ends *ends, Error **errp)
{
    /* Devices shorter than a sector are not for libblkid. */
    if (ends->length >= 512) {
        thread_pool_submit_co(THREAD_POOL_CPU, blkid_worker, ends);
    }
    error_propagate(errp, g_steal_pointer(&ends->err));
    return g_steal_pointer(&ends->found);
}

#else

static char *coroutine_fn find_with_blkid(Ends *ends, Error **errp)
{
    return NULL;
}

#endif

char *coroutine_fn bdrv_probe_signature(BlockBackend *blk, Error **errp)
{
    g_auto(Ends) ends = { .length = 0 };
    char *found;

    if (!read_ends(blk, &ends, errp)) {
        return NULL;
    }
    found = block_luks_signature(ends.head, ends.head_bytes) ?: g_strdup(find_image(&ends));
    return found ?: find_with_blkid(&ends, errp);
}
