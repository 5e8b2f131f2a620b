/*
 * BlockCopy: copying the data of one volume to another, both of which may be in use
 *
 * The engine behind qemu-img convert and dd, mirror and backup. Several worker coroutines each take a piece, read it
 * and write it. Pieces that block status reports as zero are not read, and become holes if the target has them. Workers
 * respect the speed limit of the job, and pause with it.
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
 * The dirty parts of a source that others write to meanwhile. block_copy_co_run() returns when nothing is dirty, so a
 * mirror calls it repeatedly:
 *
 *     BlockCopy *copy = block_copy_new(&(BlockCopyOptions){
 *         .source = source, .target = target, .bytes = blk_getlength(source), .bitmap = bitmap, .workers = 16,
 *         .on_source_error = BLOCKDEV_ON_ERROR_REPORT, .on_target_error = BLOCKDEV_ON_ERROR_ENOSPC,
 *     });
 *     while ((ok = block_copy_co_run(copy, job, errp)) && !done) {
 *         job_sleep_ns(job, 100 * SCALE_MS);
 *     }
 *
 * A filter above the source synchronises its writers with the engine. If it sends each write to both volumes (mirror
 * with copy-mode=write-blocking), it locks the range:
 *
 *     block_copy_co_range_begin(copy, &range, offset, bytes);     // waits for copies of overlapping ranges
 *     ...write to the source, and to the target...
 *     block_copy_range_end(&range);
 *
 * If it saves old data before each write (backup, whose bitmap is disabled so that writes do not mark it), it has the
 * engine copy the range first:
 *
 *     ret = block_copy_co_range(copy, offset, bytes);     // returns when no dirty part is left
 *     if (ret == 0) {
 *         ...write to the source...
 *     }
 *
 * Writers in the filter wait for copies of the engine. So a drained section of the source, which waits for the writers,
 * must not hold these copies back. The options @filter and @writers_wait ensure that.
 *
 * A BlockCopy is created, runs, and is freed on the main loop; the functions for filters may be called from any thread.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef BLOCK_COPY_H
#define BLOCK_COPY_H

#include "block/block-backend.h"
#include "block/dirty-bitmap.h"
#include "block/job.h"

typedef struct BlockCopy BlockCopy;

/* Callbacks that replace parts of the engine. Offsets count from the start of the copy. */
typedef struct BlockCopyOps {
    /* Write @bytes from @buf, which it may modify; NULL: zeroes. 0 or -errno. Default: block_copy_co_write(). */
    int coroutine_fn (*write)(void *opaque, int64_t offset, int64_t bytes, void *buf);
    /* A read failed with @ret. True: carry on with what is in @buf now. Default: false. */
    bool coroutine_fn (*recover)(void *opaque, int64_t offset, int64_t bytes, void *buf, int ret);
    /*
     * With a bitmap: whether to end the run, although @remaining bytes are dirty or being copied. Called on the main
     * loop before each piece. Default: false.
     */
    bool (*is_enough)(void *opaque, int64_t remaining);
} BlockCopyOps;

typedef struct BlockCopyOptions {
    BlockBackend *source;       /* both must outlive the BlockCopy */
    BlockBackend *target;       /* may be NULL if there is ops->write */
    /*
     * The filter above the source, instead of @source: a copy reads from its child "file", and counts as its request,
     * so draining the source waits for copies in flight, and no copy begins before the drained section ends. With
     * @target_child, a child of the filter, instead of @target, this applies to the target, too. NULL: none.
     */
    BlockDriverState *filter;
    BdrvChild *target_child;
    /*
     * The same for @source and @target: a copy begins only outside drained sections of both, and they wait for its end.
     * This is for a filter that is drained while the rest is copied.
     */
    bool writers_wait;
    int64_t source_offset;
    int64_t target_offset;
    int64_t bytes;              /* of the copy, within both volumes */

    /*
     * Marks what to copy; bits are cleared as it is copied. Its length is @bytes, and both offsets are 0.
     * NULL: copy everything once, from start to end.
     */
    BdrvDirtyBitmap *bitmap;

    unsigned workers;           /* pieces in flight, at least 1 */
    int64_t chunk_bytes;        /* bytes per request; 0: 2 MiB */
    bool write_zeroes;          /* use write-zeroes requests if the target supports them */
    int64_t sparse_bytes;       /* then also for runs of at least this many zeroes in data that was read; 0: never */
    bool target_is_zero;        /* then skip zeroes altogether; without a bitmap only */
    BdrvRequestFlags read_flags;
    BdrvRequestFlags write_flags;   /* the engine adds BDRV_REQ_OWN_BUFFER */
    BdrvRequestFlags zero_flags;    /* BDRV_REQ_MAY_UNMAP: holes will do */

    /* Policy for failed requests that ops->recover did not handle. Retrying needs a bitmap. */
    BlockdevOnError on_source_error;
    BlockdevOnError on_target_error;

    const BlockCopyOps *ops;    /* NULL: none */
    void *opaque;
} BlockCopyOptions;

BlockCopy *block_copy_new(const BlockCopyOptions *options);
/* No range may be in use. NULL is ignored. */
void block_copy_free(BlockCopy *copy);

/*
 * Number of bytes that block_copy_co_run() will count as copied: data, and zeroes that have to be written as data,
 * according to the present block status. Without a bitmap only. False with @errp: the job was cancelled.
 */
bool coroutine_fn block_copy_co_estimate(BlockCopy *copy, Job *job, int64_t *bytes, Error **errp);

/*
 * Copy everything; with a bitmap, until nothing is dirty or in flight, or ops->is_enough says so. False with @errp:
 * requests failed or the job was cancelled; nothing is in flight then, either. Adds to the progress of @job, which may
 * be NULL; with a bitmap, sets what remains, too.
 */
bool coroutine_fn block_copy_co_run(BlockCopy *copy, Job *job, Error **errp);

/* Default of ops->write: write to the target, with zeroes as the options say. @buf NULL: zeroes. */
int coroutine_fn block_copy_co_write(BlockCopy *copy, int64_t offset, int64_t bytes, void *buf);

/* Wait until the job is cancelled, or the copy stopped. False with @errp. */
bool coroutine_fn block_copy_co_wait(BlockCopy *copy, Job *job, Error **errp);

/* Make block_copy_co_run() end with @err, which it takes, once its requests in flight have ended. Main loop only. */
void block_copy_stop(BlockCopy *copy, Error *err);

/*
 * Copy the dirty parts of a range, and wait for copies in flight there. 0, or -errno: what was not copied is still
 * dirty. Needs a bitmap. Any thread.
 */
int coroutine_fn block_copy_co_range(BlockCopy *copy, int64_t offset, int64_t bytes);
/* Whether block_copy_co_range() has nothing to do for this range, nor to wait for. Any thread. */
bool block_copy_range_is_done(BlockCopy *copy, int64_t offset, int64_t bytes);

/* A locked range. The fields are internal. */
typedef struct BlockCopyRange {
    BlockCopy *copy;
    int64_t offset;
    int64_t bytes;
    bool is_copy;               /* locked by the engine */
    GList link;
    CoQueue waiters;
} BlockCopyRange;

/*
 * Lock a range against the engine and other callers, first come, first served. A caller may hold only one at a time.
 * Any thread.
 */
void coroutine_fn block_copy_co_range_begin(BlockCopy *copy, BlockCopyRange *range, int64_t offset, int64_t bytes);
void block_copy_range_end(BlockCopyRange *range);

#endif
