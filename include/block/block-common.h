/*
 * Flags, permissions and small types used throughout the block layer
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

/* How to open a node, in addition to its options. */
typedef enum BdrvOpenFlags {
    BDRV_O_NO_IO   = 1 << 0,    /* metadata only: a luks node needs no secret and does not read the payload */
    BDRV_O_DAMAGED = 1 << 1,    /* with NO_IO: accept damaged metadata, to erase or restore it */
    BDRV_O_DESCRIBE = 1 << 2,   /* to describe an image: LUKS 2, which has no driver, may be opened as raw */
    BDRV_O_PROBED  = 1 << 3,    /* the format was not specified: see block/drivers/raw.c */
} BdrvOpenFlags;

typedef enum BdrvRequestFlags {
    BDRV_REQ_FUA         = 1 << 0,  /* on stable storage when the request completes */
    BDRV_REQ_MAY_UNMAP   = 1 << 1,  /* write zeroes: may deallocate instead */
    BDRV_REQ_NO_FALLBACK = 1 << 2,  /* write zeroes: -ENOTSUP instead of writing them out */
    /*
     * Write: the caller gives up the data, so a driver may encrypt it in the caller's buffer. From the call to its
     * return nobody else may read or change the buffer, so it is never memory that a guest or another process sees.
     * Afterwards its content is undefined, even if the write failed: the caller may free or refill the buffer, but not
     * write from it again. A driver that passes on the buffer it was given passes the flag on only if it was given, and
     * only with the last use: not with the first of two writes, nor with one that it may repeat.
     */
    BDRV_REQ_OWN_BUFFER  = 1 << 3,
    /* The visible data does not change, as when data is copied up from below: BLK_PERM_WRITE_UNCHANGED is enough. */
    BDRV_REQ_WRITE_UNCHANGED = 1 << 4,
    /*
     * For reads, too: no overlapping request of this node runs at the same time; first come, first served. If zero
     * writes do not cover whole blocks, they lock one block at a time.
     */
    BDRV_REQ_SERIALISING     = 1 << 5,
} BdrvRequestFlags;

/*
 * What a user of a node does to it (perm), and allows other users to do (shared). The values are QEMU's BLK_PERM_*,
 * since image locks on disk use their bit numbers.
 */
enum {
    BLK_PERM_CONSISTENT_READ = 1 << 0,  /* reads what was written */
    BLK_PERM_WRITE           = 1 << 1,  /* changes the visible data */
    BLK_PERM_WRITE_UNCHANGED = 1 << 2,  /* writes, but never changes what is read */
    BLK_PERM_RESIZE          = 1 << 3,
    BLK_PERM_ALL             = (1 << 4) - 1,
};

/* The role of a child for its parent: bits of BdrvChild.role. */
enum {
    BDRV_CHILD_DATA     = 1 << 0,   /* holds the parent's payload */
    BDRV_CHILD_METADATA = 1 << 1,   /* holds the parent's headers */
    BDRV_CHILD_FILTERED = 1 << 2,   /* same content at the same offsets */
    BDRV_CHILD_COW      = 1 << 3,   /* read where the parent has no data of its own: a backing file */
};

/* What bdrv_co_block_status() knows about a range. */
enum {
    BDRV_BLOCK_DATA         = 1 << 0,   /* reads come from here, and need not be zero */
    BDRV_BLOCK_ZERO         = 1 << 1,   /* reads as zeroes */
    BDRV_BLOCK_OFFSET_VALID = 1 << 2,   /* the content is stored unencrypted at offset *map of *file */
    BDRV_BLOCK_ALLOCATED    = 1 << 3,   /* allocated in this node (always, as long as there are no backing files) */
    BDRV_BLOCK_RECURSE      = 1 << 4,   /* from a driver: *file knows more about *map */
    BDRV_BLOCK_EOF          = 1 << 5,   /* the range reaches the end of the node */
};

/* Upper limit for a request, so that sizes fit into an int in every system call and library. */
#define BDRV_REQUEST_MAX_BYTES (INT64_C(2147483647) & ~INT64_C(4095))
/* Image sizes are multiples of this. */
#define BDRV_SECTOR_SIZE 512
/* Upper limit for alignments in BlockLimits, so that a range within a node can be rounded up to them. */
#define BDRV_MAX_ALIGNMENT (INT64_C(1) << 30)
/* Upper limit for the length of a node. */
#define BDRV_MAX_LENGTH (INT64_MAX & ~(BDRV_MAX_ALIGNMENT - 1))

/* Alignments are powers of 2, or 0 where the comment allows it. */
typedef struct BlockLimits {
    uint32_t request_alignment;     /* bytes: alignment of reads and writes when they reach the driver */
    uint32_t min_mem_alignment;     /* bytes: alignment of buffers that the driver need not copy */
    uint32_t opt_mem_alignment;     /* bytes */
    int64_t max_transfer;           /* bytes per read or write, a multiple of the alignment; 0: no limit */
    int64_t opt_transfer;           /* bytes; 0: no preference */
    int64_t max_pdiscard;           /* bytes; 0: no limit */
    uint32_t pdiscard_alignment;    /* bytes; smaller pieces are ignored. 0: any */
    int64_t max_pwrite_zeroes;      /* bytes; 0: no limit */
    uint32_t pwrite_zeroes_alignment; /* bytes; 0: any */
    int max_iov;                    /* buffers per request; 0: no limit */
} BlockLimits;

/* How reliably a protocol node destroys a range that is overwritten; see bdrv_secure_erase(). */
typedef struct BdrvEraseInfo {
    SecureEraseAssurance assurance;
    GPtrArray *notes;               /* of char *, for users: why, and which copies may survive where */
} BdrvEraseInfo;

/* The keyslots that a change of passwords touched. */
typedef struct BdrvKeyslotChange {
    int added;                      /* the one that the new password opens; -1: there is none */
    unsigned removed;               /* bit N: keyslot N was emptied */
} BdrvKeyslotChange;

#endif
