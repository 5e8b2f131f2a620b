/*
 * Flags, permissions and small types that all of the block layer shares
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef BLOCK_COMMON_H
#define BLOCK_COMMON_H

#include "util/coroutine.h"
#include "util/error.h"
#include "util/iov.h"
#include "qapi/qapi-types.h"

typedef struct BlockDriver BlockDriver;
typedef struct BlockDriverState BlockDriverState;
typedef struct BdrvChild BdrvChild;
typedef struct BdrvChildClass BdrvChildClass;
typedef struct BlockBackend BlockBackend;
typedef struct Job Job;

/* How a node is opened, beyond what its options say. */
typedef enum BdrvOpenFlags {
    BDRV_O_NO_IO   = 1 << 0,    /* metadata only: a luks node needs no secret and reads no payload */
    BDRV_O_DAMAGED = 1 << 1,    /* with NO_IO: damaged metadata is no error; to erase or restore it */
    BDRV_O_DESCRIBE = 1 << 2,   /* to tell what an image is: LUKS 2, for which there is no driver, may pass as raw */
    BDRV_O_PROBED  = 1 << 3,    /* nobody named the format: see block/drivers/raw.c */
} BdrvOpenFlags;

typedef enum BdrvRequestFlags {
    BDRV_REQ_FUA         = 1 << 0,  /* on stable storage when the request completes */
    BDRV_REQ_MAY_UNMAP   = 1 << 1,  /* write zeroes: a hole will do */
    BDRV_REQ_NO_FALLBACK = 1 << 2,  /* write zeroes: -ENOTSUP rather than writing them out */
    /* The writer does not need its data any more: a driver may encrypt it in the caller's buffer. */
    BDRV_REQ_OWN_BUFFER  = 1 << 3,
    /* What is read there stays the same, as when data is copied up from below: BLK_PERM_WRITE_UNCHANGED is enough. */
    BDRV_REQ_WRITE_UNCHANGED = 1 << 4,
    /*
     * Reads, too: no other request at this node that overlaps runs at the same time. Whoever comes first is served
     * first. Zeroes that do not cover whole blocks keep others out block by block.
     */
    BDRV_REQ_SERIALISING     = 1 << 5,
} BdrvRequestFlags;

/*
 * What a user of a node does to it (perm), and lets other users do (shared). The values are those of QEMU's
 * BLK_PERM_*: image locks on disk carry their bit numbers.
 */
enum {
    BLK_PERM_CONSISTENT_READ = 1 << 0,  /* reads what was written */
    BLK_PERM_WRITE           = 1 << 1,  /* changes the visible data */
    BLK_PERM_WRITE_UNCHANGED = 1 << 2,  /* writes, but never changes what is read */
    BLK_PERM_RESIZE          = 1 << 3,
    BLK_PERM_ALL             = (1 << 4) - 1,
};

/* What a child is to its parent: bits of BdrvChild.role. */
enum {
    BDRV_CHILD_DATA     = 1 << 0,   /* holds the parent's payload */
    BDRV_CHILD_METADATA = 1 << 1,   /* holds the parent's headers */
    BDRV_CHILD_FILTERED = 1 << 2,   /* same content at the same offsets */
    BDRV_CHILD_COW      = 1 << 3,   /* what reads where the parent has no data of its own: a backing file */
};

/* What bdrv_co_block_status() knows of a range. */
enum {
    BDRV_BLOCK_DATA         = 1 << 0,   /* reads come from here, and need not be zero */
    BDRV_BLOCK_ZERO         = 1 << 1,   /* reads as zeroes */
    BDRV_BLOCK_OFFSET_VALID = 1 << 2,   /* the content stands plain at offset *map of *file */
    BDRV_BLOCK_ALLOCATED    = 1 << 3,   /* this node has it (always, while there are no backing files) */
    BDRV_BLOCK_RECURSE      = 1 << 4,   /* from a driver: *file knows more about *map */
    BDRV_BLOCK_EOF          = 1 << 5,   /* the range reaches the end of the node */
};

/* A request never exceeds this many bytes: sizes stay within int in every system call and library. */
#define BDRV_REQUEST_MAX_BYTES (INT64_C(2147483647) & ~INT64_C(4095))
/* Sizes of images are multiples of this. */
#define BDRV_SECTOR_SIZE 512
/* No alignment in BlockLimits is larger, so that a range within a node can be rounded up to it. */
#define BDRV_MAX_ALIGNMENT (INT64_C(1) << 30)
/* A node is never longer than this. */
#define BDRV_MAX_LENGTH (INT64_MAX & ~(BDRV_MAX_ALIGNMENT - 1))

/* Alignments are powers of 2, or where that says so 0. */
typedef struct BlockLimits {
    uint32_t request_alignment;     /* bytes: reads and writes reach the driver aligned to it */
    uint32_t min_mem_alignment;     /* bytes: buffers that the driver can take without copying */
    uint32_t opt_mem_alignment;     /* bytes */
    int64_t max_transfer;           /* bytes of one read or write, multiple of the alignment; 0: no limit */
    int64_t opt_transfer;           /* bytes; 0: no preference */
    int64_t max_pdiscard;           /* bytes; 0: no limit */
    uint32_t pdiscard_alignment;    /* bytes; smaller pieces are left alone. 0: any */
    int64_t max_pwrite_zeroes;      /* bytes; 0: no limit */
    uint32_t pwrite_zeroes_alignment; /* bytes; 0: any */
    int max_iov;                    /* memory areas of one request; 0: no limit */
} BlockLimits;

/* What a protocol node says that an overwritten range of it is worth; see bdrv_secure_erase(). */
typedef struct BdrvEraseInfo {
    SecureEraseAssurance assurance;
    GPtrArray *notes;               /* of char *, for people: why, and what may survive where */
} BdrvEraseInfo;

#endif
