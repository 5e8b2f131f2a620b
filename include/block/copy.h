/*
 * BlockCopy: copying the data of one volume to another, both of which may be in use
 *
 * The engine of all who copy: qemu-img convert and dd, mirror, backup. Several coroutines each take a piece of work,
 * read it, and write it. Where block status says that there are zeroes, nothing is read; what is zero becomes a hole
 * where the target can have one. The speed limit of the job is kept to, and each coroutine pauses with it.
 *
 * A whole volume:
 *
 *     BlockCopy *copy = block_copy_new(&(BlockCopyOptions){
 *         .source = source, .target = target, .bytes = blk_getlength(source),
 *         .workers = 8, .write_zeroes = true, .zero_flags = BDRV_REQ_MAY_UNMAP, .sparse_bytes = 4 * KiB,
 *     });
 *     bool ok = block_copy_co_estimate(copy, job, &total, errp);
 *     if (ok) {
 *         job_progress_set_remaining(job, total);
 *         ok = block_copy_co_run(copy, job, errp);
 *     }
 *     block_copy_free(copy);
 *
 * What a dirty bitmap says, while others write to the source. block_copy_co_run() returns when nothing is dirty, so a
 * mirror calls it again and again:
 *
 *     BlockCopy *copy = block_copy_new(&(BlockCopyOptions){
 *         .source = source, .target = target, .bytes = blk_getlength(source), .bitmap = bitmap, .workers = 16,
 *         .on_source_error = BLOCKDEV_ON_ERROR_REPORT, .on_target_error = BLOCKDEV_ON_ERROR_ENOSPC,
 *     });
 *     while ((ok = block_copy_co_run(copy, job, errp)) && !done) {
 *         job_sleep_ns(job, 100 * SCALE_MS);
 *     }
 *
 * A filter above the source keeps its writers and the engine apart. One that has each write go to both volumes (mirror
 * with copy-mode=write-blocking) keeps the range to itself:
 *
 *     block_copy_co_range_begin(copy, &range, offset, bytes);     // waits for copies of overlapping ranges
 *     ...write to the source, and to the target...
 *     block_copy_range_end(&range);
 *
 * One that saves what is about to be overwritten (backup; its bitmap is disabled, so that writes do not count) has it
 * copied first:
 *
 *     ret = block_copy_co_range(copy, offset, bytes);     // returns once none of it has still to be copied
 *     if (ret == 0) {
 *         ...write to the source...
 *     }
 *
 * A BlockCopy is made and freed, and works, on the main loop; the functions for filters may be called from any.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef BLOCK_COPY_H
#define BLOCK_COPY_H

#include "block/block-backend.h"
#include "block/dirty-bitmap.h"
#include "block/job.h"

typedef struct BlockCopy BlockCopy;

/* What a caller does in its own way. Offsets count from the start of the copy. */
typedef struct BlockCopyOps {
    /* Write @bytes from @buf, which it may change; NULL: zeroes. 0 or -errno. Optional: block_copy_co_write(). */
    int coroutine_fn (*write)(void *opaque, int64_t offset, int64_t bytes, void *buf);
    /* A read failed with @ret. True: go on as if it had not, with what is in @buf now. Optional: never. */
    bool coroutine_fn (*recover)(void *opaque, int64_t offset, int64_t bytes, void *buf, int ret);
} BlockCopyOps;

typedef struct BlockCopyOptions {
    BlockBackend *source;       /* it and @target stay for as long as the BlockCopy */
    BlockBackend *target;       /* NULL: only where ops->write sees to all */
    int64_t source_offset;
    int64_t target_offset;
    int64_t bytes;              /* within both */

    /*
     * What of it is to be copied: its bits are cleared as that is done. It has as many bytes, and both offsets are 0.
     * NULL: all, once, from start to end.
     */
    BdrvDirtyBitmap *bitmap;

    unsigned workers;           /* pieces at once, at least 1 */
    int64_t chunk_bytes;        /* that one request reads or writes; 0: 2 MiB */
    bool write_zeroes;          /* zeroes are written as such where the target can do that, and not as data */
    int64_t sparse_bytes;       /* with that: so many zeroes in a row, in what was read, are taken as such; 0: none */
    bool target_is_zero;        /* with that: already, so zeroes need not be written. Without a bitmap only */
    BdrvRequestFlags read_flags;
    BdrvRequestFlags write_flags;   /* the engine adds BDRV_REQ_OWN_BUFFER */
    BdrvRequestFlags zero_flags;    /* BDRV_REQ_MAY_UNMAP: holes will do */

    /* What is done where requests fail, once ops->recover has had its turn; to try again needs a bitmap. */
    BlockdevOnError on_source_error;
    BlockdevOnError on_target_error;

    const BlockCopyOps *ops;    /* NULL: none */
    void *opaque;
} BlockCopyOptions;

BlockCopy *block_copy_new(const BlockCopyOptions *options);
/* Nobody uses it any more. NULL is allowed. */
void block_copy_free(BlockCopy *copy);

/*
 * How many bytes block_copy_co_run() will count as copied: those of data, and zeroes that have to be written out. As
 * block status has it now; without a bitmap. False with @errp: the job was cancelled.
 */
bool coroutine_fn block_copy_co_estimate(BlockCopy *copy, Job *job, int64_t *bytes, Error **errp);

/*
 * Copy, and return when all was copied, or with a bitmap, when there is nothing dirty and nothing under way. False with
 * @errp: requests failed, or the job was cancelled; then nothing is under way, either.
 * Adds to the progress of @job (may be NULL); with a bitmap it also sets what remains.
 */
bool coroutine_fn block_copy_co_run(BlockCopy *copy, Job *job, Error **errp);

/* What ops->write takes the place of: to the target, with zeroes as the options say. @buf NULL: zeroes. */
int coroutine_fn block_copy_co_write(BlockCopy *copy, int64_t offset, int64_t bytes, void *buf);

/*
 * See that nothing of the range has to be copied any more: copy what is dirty, and wait for what others are copying.
 * 0 or -errno, with nothing lost: it is still dirty. Needs a bitmap. Any thread.
 */
int coroutine_fn block_copy_co_range(BlockCopy *copy, int64_t offset, int64_t bytes);

/* A range that somebody has to himself. The fields are the engine's. */
typedef struct BlockCopyRange {
    BlockCopy *copy;
    int64_t offset;
    int64_t bytes;
    bool is_copy;               /* the engine copies it */
    GList link;
    CoQueue waiters;
} BlockCopyRange;

/*
 * Keep the engine, and others who call this, out of a range. Who came first has it first; ranges must not be taken
 * while holding another. Any thread.
 */
void coroutine_fn block_copy_co_range_begin(BlockCopy *copy, BlockCopyRange *range, int64_t offset, int64_t bytes);
void block_copy_range_end(BlockCopyRange *range);

#endif
