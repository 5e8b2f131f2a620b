/*
 * What the parts of the file and host_device drivers share
 *
 *     file.c          open, close, the driver's table      file-rw.c       reads, writes, flush
 *     host-device.c   the same for devices                 file-uring.c    io_uring
 *     file-limits.c   alignment                            file-space.c    holes: status, discard, zeroes
 *     file-lock.c     image locks                          file-resize.c   length and preallocation
 *     file-create.c   new files                            file-erase*.c   what an overwritten range is worth
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef BLOCK_DRIVERS_FILE_H
#define BLOCK_DRIVERS_FILE_H

#include "block/block_int.h"
#include "block/job.h"

/*
 * Image locks: advisory byte-range locks that belong to the open file description (F_OFD_SETLK), so that they work
 * between two nodes of one process as well as between processes. A shared lock on byte 100 + n says "I use permission
 * n", on byte 200 + n "I do not share permission n". This is QEMU's protocol, on the same bytes.
 */
typedef struct FileLock {
    bool enabled;
    uint64_t perm;          /* the permissions granted last */
    uint64_t shared;
    uint64_t held_perm;     /* locked bytes 100 + n */
    uint64_t held_unshared; /* locked bytes 200 + n */
} FileLock;

/* Whether the file of @fd supports locks. */
bool file_lock_supported(int fd);
/* Initialize a lock that holds nothing. */
void file_lock_init(FileLock *lock, bool enabled);
/*
 * Lock what @perm and @shared need in addition to the bytes already held, and check for conflicts with other users.
 * False with @errp, which names @filename; the locks are then as before.
 */
bool file_lock_prepare(FileLock *lock, int fd, uint64_t perm, uint64_t shared, const char *filename,
                       Error **errp);
/* After a successful prepare: release what is no longer needed, or undo it. */
void file_lock_commit(FileLock *lock, int fd, uint64_t perm, uint64_t shared);
void file_lock_abort(FileLock *lock, int fd);

/* Hold exactly the same bytes on @fd, another open file description of the same file. 0 or -errno. */
int file_lock_copy(const FileLock *lock, int fd);

typedef struct BDRVFileState {
    int fd;
    int reopen_fd;              /* opened with the new options during a reopen; else -1 */
    bool is_blkdev;
    bool direct;                /* O_DIRECT: no page cache */
    bool use_uring;
    bool copy_in_threads;       /* large reads from the page cache do not go to io_uring */
    unsigned max_batch;         /* requests submitted to io_uring at once; 0: no limit */
    uint32_t request_alignment; /* bytes */
    uint32_t mem_alignment;     /* bytes */
    uint32_t extent_size_hint;  /* bytes: allocation unit suggested to the file system; 0: none */
    uint32_t logical_block;     /* bytes: unit of discards and zeroing of a block device; 0 for files */
    FileLock lock;

    /* Detected at run time, from any thread; atomic. */
    gint no_nowait;             /* preadv2() does not support RWF_NOWAIT */
    gint no_punch_hole;
    gint no_zero_range;
    gint no_zeroout;
    gint no_discard;
} BDRVFileState;

/* The part of opening that file and host_device share. */
bool coroutine_fn file_open_common(BlockDriverState *bs, const BlockdevOptionsFile *options, bool device,
                                   Error **errp);

/* Bytes up to the end of the file, not necessarily whole sectors, or -errno. */
int64_t coroutine_fn file_co_real_length(const BDRVFileState *s);

/* Set the alignments and the extent size hint of @s; may block. */
void file_probe_limits(BDRVFileState *s);
void file_refresh_limits(BlockDriverState *bs);

/* A read or write of one system call. */
typedef struct FileRequest {
    int fd;
    bool write;
    int rwf_flags;              /* RWF_DSYNC or 0 */
    int64_t offset;
    struct iovec *iov;
    int niov;
    unsigned max_batch;
} FileRequest;

/* Bytes transferred (possibly fewer than requested) or -errno; -EAGAIN: try another way. */
int coroutine_fn file_uring_transfer(FileRequest *req);

/* Callbacks */
void coroutine_fn file_co_close(BlockDriverState *bs);
bool coroutine_fn file_co_reopen_prepare(BDRVReopenState *reopen, Error **errp);
void coroutine_fn file_co_reopen_commit(BlockDriverState *bs);
void coroutine_fn file_co_reopen_abort(BlockDriverState *bs);
int64_t coroutine_fn file_co_getlength(BlockDriverState *bs);
int64_t coroutine_fn file_co_get_allocated_file_size(BlockDriverState *bs);
bool file_check_perm(BlockDriverState *bs, uint64_t perm, uint64_t shared, Error **errp);
void file_set_perm(BlockDriverState *bs, uint64_t perm, uint64_t shared);
void file_abort_perm_update(BlockDriverState *bs);
int coroutine_fn file_co_preadv(BlockDriverState *bs, int64_t offset, int64_t bytes, QEMUIOVector *qiov,
                                BdrvRequestFlags flags);
int coroutine_fn file_co_pwritev(BlockDriverState *bs, int64_t offset, int64_t bytes, QEMUIOVector *qiov,
                                 BdrvRequestFlags flags);
int coroutine_fn file_co_flush(BlockDriverState *bs);
int coroutine_fn file_co_pwrite_zeroes(BlockDriverState *bs, int64_t offset, int64_t bytes,
                                       BdrvRequestFlags flags);
int coroutine_fn file_co_pdiscard(BlockDriverState *bs, int64_t offset, int64_t bytes);
int coroutine_fn file_co_block_status(BlockDriverState *bs, int64_t offset, int64_t bytes, int64_t *pnum,
                                      int64_t *map, BlockDriverState **file);
bool coroutine_fn file_co_truncate(BlockDriverState *bs, int64_t offset, bool exact, PreallocMode prealloc, Job *job,
                                   Error **errp);
bool coroutine_fn file_co_create(const BlockdevCreateOptions *options, Job *job, Error **errp);
void coroutine_fn file_co_erase_info(BlockDriverState *bs, int64_t offset, int64_t bytes,
                                     BdrvEraseInfo *info);

/* Put the part of @filename after "PROTOCOL:" into @options. */
bool file_parse_filename(const char *filename, struct json_object *options, Error **errp);

/*
 * Change the length of the regular file @fd from @old_bytes. If it fails, or @job is cancelled, the length does not
 * change. Preallocated space is not flushed. @job, which may be NULL, shows the progress of preallocation.
 */
bool coroutine_fn file_resize(int fd, int64_t old_bytes, int64_t new_bytes, PreallocMode prealloc, Job *job,
                              Error **errp);

#endif
