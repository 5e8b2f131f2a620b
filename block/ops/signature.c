/*
 * What a volume carries: LUKS headers, images of other formats, and whatever libblkid knows
 *
 * libblkid wants a file. It gets one in memory, as long as the volume and with its beginning and end: that is
 * where signatures are, and so any protocol will do.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

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

static const struct {
    int64_t offset;         /* negative: from the end */
    const char *magic;
    size_t len;
    const char *what;
} image_magics[] = {
    { 0,    "QFI\xfb",          4, "qcow2 image" },
    { 0,    "QED\0",            4, "QED image" },
    { 0,    "KDMV",             4, "VMDK image" },
    { 0,    "COWD",             4, "VMDK image" },
    { 0,    "vhdxfile",         8, "VHDX image" },
    { 0,    "conectix",         8, "VHD image" },
    { -512, "conectix",         8, "VHD image" },
    { 64,   "\x7f\x10\xda\xbe", 4, "VDI image" },
    { 0,    "WithoutFreeSpace", 16, "Parallels image" },
    { 0,    "WithouFreSpacExt", 16, "Parallels image" },
};

/* The ends of a volume. */
typedef struct Ends {
    int64_t length;
    uint8_t *head;
    int64_t head_bytes;
    uint8_t *tail;
    int64_t tail_bytes;     /* of what the head does not cover */
    char *found;            /* by the worker */
    Error *err;
} Ends;

static void ends_cleanup(Ends *ends)
{
    qemu_vfree(ends->head);
    qemu_vfree(ends->tail);
    g_free(ends->found);
    error_free(ends->err);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Ends, ends_cleanup)

static bool coroutine_fn read_ends(BlockBackend *blk, Ends *ends, Error **errp)
{
    ends->length = blk_getlength(blk);
    ends->head_bytes = MIN(ends->length, HEAD_BYTES);
    ends->tail_bytes = MIN(ends->length - ends->head_bytes, TAIL_BYTES);
    ends->head = qemu_blockalign(blk_bs(blk), ends->head_bytes);
    ends->tail = qemu_blockalign(blk_bs(blk), ends->tail_bytes);

    int ret = blk_co_pread(blk, 0, ends->head_bytes, ends->head);
    if (ret == 0) {
        ret = blk_co_pread(blk, ends->length - ends->tail_bytes, ends->tail_bytes, ends->tail);
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

static char *find_image(const Ends *ends)
{
    for (size_t i = 0; i < G_N_ELEMENTS(image_magics); i++) {
        int64_t offset = image_magics[i].offset;
        const uint8_t *p = ends_at(ends, offset < 0 ? ends->length + offset : offset, image_magics[i].len);

        if (p && !memcmp(p, image_magics[i].magic, image_magics[i].len)) {
            return g_strdup(image_magics[i].what);
        }
    }
    return NULL;
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
    found = block_luks_signature(ends.head, ends.head_bytes) ?: find_image(&ends);
    return found ?: find_with_blkid(&ends, errp);
}
