/*
 * BlockCopy: copying the data of one volume to another
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "block/copy.h"
#include "block/graph/graph_int.h"
#include "util/main-thread.h"

#define DEFAULT_CHUNK_BYTES (2 * MiB)
/* Maximum size of a piece of zeroes, so that progress shows. */
#define ZERO_BYTES (256 * MiB)
/* Delay before retrying a failed request. */
#define RETRY_NS (100 * SCALE_MS)

struct BlockCopy {
    BlockCopyOptions o;
    int64_t unit;               /* alignment of pieces in the target, bytes; the last may end anywhere */

    /* main loop only: */
    Job *job;                   /* of block_copy_co_run() */
    CoMutex turn;               /* to choose a piece */
    int64_t next;               /* where to look for the next one */
    int64_t status_start;       /* cached block status: */
    int64_t status_end;
    bool status_zero;
    int64_t unpaid_bytes;       /* chosen since the last job_throttle() */
    bool retry;                 /* a request failed: delay the next piece */
    bool enough;                /* ops->is_enough says so: choose no further piece */
    unsigned running;           /* number of workers */
    CoQueue finished;
    Error *err;                 /* the first one; ends all workers */

    GMutex lock;
    GQueue ranges;              /* of BlockCopyRange, in order of arrival; under lock */
    int64_t copying_bytes;      /* in ranges with is_copy; under lock */
    int64_t copied_bytes;       /* not in the job's progress yet; under lock */
};

/* What a worker copies in one go. */
typedef struct Piece {
    BlockCopyRange range;
    bool zero;                  /* the source reads as zeroes */
    bool as_zeroes;             /* write it with a write-zeroes request, or not at all */
} Piece;

/* The volumes. With a filter or @writers_wait, no request waits for the end of a drained section. */

static BdrvChild *source_child(const BlockCopy *c)
{
    return c->o.filter ? c->o.filter->file : blk_root(c->o.source);
}

static BlockDriverState *source_bs(const BlockCopy *c)
{
    return source_child(c)->bs;
}

/* NULL: there is only ops->write. */
static BlockDriverState *target_bs(const BlockCopy *c)
{
    return c->o.target_child ? c->o.target_child->bs : c->o.target ? blk_bs(c->o.target) : NULL;
}

/* Whether a piece counts as one request from its choice to its end. */
static bool counts_pieces(const BlockCopy *c)
{
    return c->o.filter || c->o.writers_wait;
}

static int coroutine_fn source_read(BlockCopy *c, int64_t offset, int64_t bytes, void *buf)
{
    QEMUIOVector qiov;

    offset += c->o.source_offset;
    qemu_iovec_init_buf(&qiov, buf, bytes);
    return counts_pieces(c) ? bdrv_co_preadv(source_child(c), offset, bytes, &qiov, c->o.read_flags)
                            : blk_co_preadv(c->o.source, offset, bytes, &qiov, c->o.read_flags);
}

static int coroutine_fn source_block_status(BlockCopy *c, int64_t offset, int64_t bytes, int64_t *pnum)
{
    offset += c->o.source_offset;
    return counts_pieces(c) ? bdrv_co_block_status(source_bs(c), offset, bytes, pnum, NULL, NULL)
                            : blk_co_block_status(c->o.source, offset, bytes, pnum);
}

/* The child that writes never wait for; NULL: use the user of the target. */
static BdrvChild *target_child(const BlockCopy *c)
{
    return c->o.target_child ?: c->o.writers_wait ? blk_root(c->o.target) : NULL;
}

static int coroutine_fn target_write(BlockCopy *c, int64_t offset, int64_t bytes, const void *buf)
{
    BdrvRequestFlags flags = c->o.write_flags | BDRV_REQ_OWN_BUFFER;

    return target_child(c) ? bdrv_co_pwrite(target_child(c), offset, bytes, buf, flags)
                           : blk_co_pwrite(c->o.target, offset, bytes, buf, flags);
}

static int coroutine_fn target_write_zeroes(BlockCopy *c, int64_t offset, int64_t bytes)
{
    return target_child(c) ? bdrv_co_pwrite_zeroes(target_child(c), offset, bytes, c->o.zero_flags)
                           : blk_co_pwrite_zeroes(c->o.target, offset, bytes, c->o.zero_flags);
}

BlockCopy *block_copy_new(const BlockCopyOptions *options)
{
    BlockCopy *c = g_new0(BlockCopy, 1);
    bool retries = options->on_source_error != BLOCKDEV_ON_ERROR_REPORT ||
                   options->on_target_error != BLOCKDEV_ON_ERROR_REPORT;

    assert(options->workers > 0);
    assert(options->bitmap ? !options->source_offset && !options->target_offset && !options->target_is_zero : !retries);
    c->o = *options;
    c->o.chunk_bytes = options->chunk_bytes ?: DEFAULT_CHUNK_BYTES;
    c->unit = options->bitmap ? bdrv_dirty_bitmap_granularity(options->bitmap)
                              : target_bs(c) ? target_bs(c)->bl.request_alignment : 1;
    qemu_co_mutex_init(&c->turn);
    qemu_co_queue_init(&c->finished);
    g_mutex_init(&c->lock);
    g_queue_init(&c->ranges);
    return c;
}

void block_copy_free(BlockCopy *c)
{
    if (c) {
        assert(g_queue_is_empty(&c->ranges));
        error_free(c->err);
        qemu_co_mutex_cleanup(&c->turn);
        g_mutex_clear(&c->lock);
        g_free(c);
    }
}

/* Whether zeroes can be skipped, or written with write-zeroes requests. */
static bool makes_zeroes(const BlockCopy *c)
{
    return c->o.write_zeroes && target_bs(c) && (c->o.target_is_zero || target_bs(c)->drv->bdrv_co_pwrite_zeroes);
}

/*
 * Ranges. As with requests of a node, a range waits for earlier ones that overlap it, and never for later ones.
 */

/* First overlapping range that was queued before @before (NULL: any). Under lock. */
static BlockCopyRange *find_range(const BlockCopy *c, int64_t offset, int64_t bytes, bool copies_only,
                                  const GList *before)
{
    for (GList *l = c->ranges.head; l != before; l = l->next) {
        BlockCopyRange *range = l->data;

        if ((range->is_copy || !copies_only) && range->offset < offset + bytes &&
            offset < range->offset + range->bytes) {
            return range;
        }
    }
    return NULL;
}

/* Under lock, which is released while waiting. */
static void coroutine_fn take_range(BlockCopy *c, BlockCopyRange *range, int64_t offset, int64_t bytes, bool is_copy)
{
    BlockCopyRange *earlier;

    *range = (BlockCopyRange){ .copy = c, .offset = offset, .bytes = bytes, .is_copy = is_copy, .link.data = range };
    qemu_co_queue_init(&range->waiters);
    g_queue_push_tail_link(&c->ranges, &range->link);
    c->copying_bytes += is_copy ? bytes : 0;
    while ((earlier = find_range(c, offset, bytes, false, &range->link))) {
        qemu_co_queue_wait(&earlier->waiters, &c->lock);
    }
}

/* Release all but [@offset, @offset + @bytes). Under lock. */
static void shrink_range(BlockCopyRange *range, int64_t offset, int64_t bytes)
{
    range->copy->copying_bytes -= range->is_copy ? range->bytes - bytes : 0;
    range->offset = offset;
    range->bytes = bytes;
    qemu_co_queue_restart_all(&range->waiters);
}

/* Under lock. */
static void drop_range(BlockCopyRange *range)
{
    shrink_range(range, range->offset, 0);
    g_queue_unlink(&range->copy->ranges, &range->link);
}

void coroutine_fn block_copy_co_range_begin(BlockCopy *c, BlockCopyRange *range, int64_t offset, int64_t bytes)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&c->lock);

    take_range(c, range, offset, bytes, false);
}

void block_copy_range_end(BlockCopyRange *range)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&range->copy->lock);

    drop_range(range);
}

/* Release the range of a copy, and count @bytes as progress. */
static void end_copy(BlockCopyRange *range, bool ok, int64_t bytes)
{
    BlockCopy *c = range->copy;

    if (!ok && c->o.bitmap) {
        bdrv_set_dirty_bitmap(c->o.bitmap, range->offset, range->bytes);
    }
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&c->lock);
    c->copied_bytes += ok ? bytes : 0;
    drop_range(range);
}

/*
 * Lock something dirty in a range of whole granules, preferably at or after @hint, and clear its bits. False: nothing
 * is dirty, and no copy is in flight that could fail and make it dirty again.
 */
static bool coroutine_fn claim_dirty(BlockCopy *c, BlockCopyRange *range, int64_t offset, int64_t bytes, int64_t hint)
{
    int64_t start, n, end = offset + bytes, max = ROUND_UP(ZERO_BYTES, c->unit);
    BdrvDirtyBitmap *bitmap = c->o.bitmap;
    BlockCopyRange *other;
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&c->lock);

    for (;;) {
        if (bdrv_dirty_bitmap_next_dirty_area(bitmap, MAX(hint, offset), end, max, &start, &n) ||
            bdrv_dirty_bitmap_next_dirty_area(bitmap, offset, end, max, &start, &n)) {
            take_range(c, range, start, n, true);
            /* An earlier holder may have copied some of it meanwhile. */
            if (bdrv_dirty_bitmap_next_dirty_area(bitmap, start, start + n, n, &start, &n)) {
                shrink_range(range, start, n);
                bdrv_reset_dirty_bitmap(bitmap, start, n);
                return true;
            }
            drop_range(range);
        } else if ((other = find_range(c, offset, bytes, true, NULL))) {
            qemu_co_queue_wait(&other->waiters, &c->lock);
        } else {
            return false;
        }
    }
}

/* Choosing pieces */

/* Round @end up to a whole unit. */
static int64_t round_end(const BlockCopy *c, int64_t end)
{
    int64_t in_unit = (c->o.target_offset + end) % c->unit;

    return in_unit ? end + MIN(c->unit - in_unit, c->o.bytes - end) : end;
}

/* Length in whole units, up to @bytes, that is all zeroes or all data. Data if in doubt. */
static int64_t coroutine_fn query_status(BlockCopy *c, int64_t offset, int64_t bytes, bool *zero)
{
    int64_t n, end;
    int ret = source_block_status(c, offset, bytes, &n);

    if (ret < 0) {
        n = MIN(bytes, c->o.chunk_bytes);
    }
    *zero = ret >= 0 && ret & BDRV_BLOCK_ZERO;
    end = offset + n;
    if (*zero && end < c->o.bytes) {
        end -= (c->o.target_offset + end) % c->unit;
        *zero = end > offset;
    }
    return MIN(round_end(c, MAX(end, offset + 1)) - offset, bytes);
}

/* Cached query_status(). With a bitmap, zeroes are not cached: they may have been overwritten. */
static int64_t coroutine_fn get_status(BlockCopy *c, int64_t offset, int64_t bytes, bool *zero)
{
    if (offset < c->status_start || offset >= c->status_end || (c->status_zero && c->o.bitmap)) {
        c->status_start = offset;
        c->status_end = offset + query_status(c, offset, bytes, &c->status_zero);
    }
    *zero = c->status_zero;
    return MIN(c->status_end - offset, bytes);
}

/* False: nothing is left. */
static bool coroutine_fn choose_piece(BlockCopy *c, Piece *piece)
{
    int64_t offset = c->next, bytes = c->o.bytes - offset, n;

    if (c->o.bitmap) {
        if (!claim_dirty(c, &piece->range, 0, c->o.bytes, c->next)) {
            return false;
        }
        offset = piece->range.offset;
        bytes = piece->range.bytes;
    } else if (bytes == 0) {
        return false;
    }
    n = get_status(c, offset, bytes, &piece->zero);
    piece->as_zeroes = piece->zero && makes_zeroes(c);
    n = round_end(c, offset + MIN(n, piece->as_zeroes ? ZERO_BYTES : c->o.chunk_bytes)) - offset;
    c->next = offset + n;
    c->unpaid_bytes += piece->as_zeroes ? 0 : n;

    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&c->lock);
    if (!c->o.bitmap) {
        take_range(c, &piece->range, offset, n, true);
    } else if (n < bytes) {
        bdrv_set_dirty_bitmap(c->o.bitmap, offset + n, bytes - n);
        shrink_range(&piece->range, offset, n);
    }
    return true;
}

/* Bytes that are dirty or being copied. */
static int64_t count_remaining(BlockCopy *c)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&c->lock);

    return bdrv_get_dirty_count(c->o.bitmap) + c->copying_bytes;
}

static bool is_enough(BlockCopy *c)
{
    if (c->o.ops && c->o.ops->is_enough && !c->enough) {
        c->enough = c->o.ops->is_enough(c->o.opaque, count_remaining(c));
    }
    return c->enough;
}

/* Whether an error has ended the copy. */
static bool check_failed(BlockCopy *c, Error *err)
{
    if (err && !c->err) {
        c->err = g_steal_pointer(&err);
    }
    error_free(err);
    return c->err;
}

/* Begin a request of the source and of the target, when neither is drained. */
static void coroutine_fn begin_both(BlockCopy *c)
{
    blk_co_begin(c->o.source);
    while (!blk_try_begin(c->o.target)) {
        blk_end(c->o.source);
        blk_co_begin(c->o.target);
        blk_end(c->o.target);
        blk_co_begin(c->o.source);
    }
}

static void end_piece(BlockCopy *c)
{
    if (c->o.filter) {
        bdrv_dec_in_flight(c->o.filter);
    } else if (c->o.writers_wait) {
        blk_end(c->o.target);
        blk_end(c->o.source);
    }
}

/* Choose a piece, which end_piece() ends. False: nothing is left. */
static bool coroutine_fn begin_piece(BlockCopy *c, Piece *piece)
{
    if (c->o.filter) {
        bdrv_co_inc_in_flight(c->o.filter);
    } else if (c->o.writers_wait) {
        begin_both(c);
    }
    bool found = choose_piece(c, piece);
    if (!found) {
        end_piece(c);
    }
    return found;
}

/* Choose a piece, after waiting for the speed limit and for the end of a pause. False: nothing is left to do. */
static bool coroutine_fn next_piece(BlockCopy *c, Piece *piece)
{
    Error *err = NULL;
    bool found;

    if (!job_co_mutex_lock(c->job, &c->turn, &err)) {
        check_failed(c, err);
        return false;
    }
    if (!c->err) {
        job_throttle(c->job, c->unpaid_bytes);
        c->unpaid_bytes = 0;
    }
    if (!c->err && c->retry) {
        c->retry = false;
        job_sleep_ns(c->job, RETRY_NS);
    }
    job_pause_point(c->job, &err);
    found = !check_failed(c, err) && !is_enough(c) && begin_piece(c, piece);
    qemu_co_mutex_unlock(&c->turn);
    return found;
}

/* Reading and writing */

/*
 * Length of the initial run of @buf that is all zeroes or all data, in units aligned to @unit in the target.
 */
static int64_t find_run(const uint8_t *buf, int64_t offset, int64_t bytes, int64_t unit, bool *zero)
{
    int64_t run = 0;

    *zero = false;
    while (run < bytes) {
        int64_t n = MIN(unit - (offset + run) % unit, bytes - run);
        bool unit_zero = buffer_is_zero(buf + run, n);

        if (run && unit_zero != *zero) {
            break;
        }
        *zero = unit_zero;
        run += n;
    }
    return run;
}

int coroutine_fn block_copy_co_write(BlockCopy *c, int64_t offset, int64_t bytes, void *buf)
{
    int64_t unit = MAX(c->o.sparse_bytes, target_bs(c)->bl.request_alignment);
    bool detect = buf && c->o.sparse_bytes && makes_zeroes(c);
    int ret = 0;

    offset += c->o.target_offset;
    for (int64_t n; ret == 0 && bytes > 0; offset += n, bytes -= n) {
        bool zero = !buf;

        n = detect ? find_run(buf, offset, bytes, unit, &zero) : bytes;
        if (!zero) {
            ret = target_write(c, offset, n, buf);
        } else if (!c->o.target_is_zero) {
            ret = target_write_zeroes(c, offset, n);
        }
        buf = buf ? (uint8_t *)buf + n : NULL;
    }
    return ret;
}

static int coroutine_fn write_chunk(BlockCopy *c, int64_t offset, int64_t bytes, void *buf)
{
    return c->o.ops && c->o.ops->write ? c->o.ops->write(c->o.opaque, offset, bytes, buf)
                                       : block_copy_co_write(c, offset, bytes, buf);
}

/* End the copy, or arrange a retry. */
static void handle_error(BlockCopy *c, bool is_read, int64_t offset, int ret)
{
    BlockdevOnError policy = is_read ? c->o.on_source_error : c->o.on_target_error;

    if (c->err) {
        return;
    }
    if (!job_may_go_on(c->job, &c->err)) {
        /* The request failed because of that. */
        return;
    }
    if (c->job && job_error_action(c->job, policy, is_read, ret) != BLOCK_ERROR_ACTION_REPORT) {
        c->retry = true;
        return;
    }
    error_setg_errno(&c->err, -ret, "error while %s at byte %" PRId64, is_read ? "reading" : "writing",
                     c->o.target_offset + offset);
}

/* @zero: skip the read. @buf NULL: use a write-zeroes request. */
static bool coroutine_fn copy_chunk(BlockCopy *c, int64_t offset, int64_t bytes, bool zero, void *buf)
{
    int ret = 0;

    if (!zero) {
        ret = source_read(c, offset, bytes, buf);
    } else if (buf) {
        memset(buf, 0, bytes);
    }
    if (ret < 0 &&
        !(c->o.ops && c->o.ops->recover && c->o.ops->recover(c->o.opaque, offset, bytes, buf, ret))) {
        handle_error(c, true, offset, ret);
        return false;
    }
    ret = write_chunk(c, offset, bytes, buf);
    if (ret < 0) {
        handle_error(c, false, offset, ret);
    }
    return ret == 0;
}

/* Workers */

static void update_progress(BlockCopy *c)
{
    g_mutex_lock(&c->lock);
    int64_t copied = c->copied_bytes;
    c->copied_bytes = 0;
    g_mutex_unlock(&c->lock);

    job_progress_update(c->job, copied);
    if (c->o.bitmap) {
        job_progress_set_remaining(c->job, count_remaining(c));
    } else if (c->job && c->job->progress_current > c->job->progress_total) {
        /* There was more data than block status said. */
        job_progress_set_remaining(c->job, 0);
    }
}

static void coroutine_fn copy_worker(void *opaque)
{
    BlockCopy *c = opaque;
    void *buf = qemu_blockalign(target_bs(c) ?: source_bs(c), c->o.chunk_bytes);
    Piece piece;

    job_worker_begin(c->job);
    while (next_piece(c, &piece)) {
        const BlockCopyRange *range = &piece.range;
        bool ok = true;

        for (int64_t n, done = 0; ok && done < range->bytes; done += n) {
            n = piece.as_zeroes ? range->bytes : MIN(range->bytes - done, c->o.chunk_bytes);
            ok = copy_chunk(c, range->offset + done, n, piece.zero, piece.as_zeroes ? NULL : buf);
        }
        end_copy(&piece.range, ok, piece.as_zeroes && !c->o.bitmap ? 0 : range->bytes);
        end_piece(c);
        update_progress(c);
    }
    job_worker_end(c->job);
    qemu_vfree(buf);
    c->running--;
    qemu_co_queue_restart_all(&c->finished);
}

bool coroutine_fn block_copy_co_run(BlockCopy *c, Job *job, Error **errp)
{
    c->job = job;
    c->enough = false;
    c->next = c->status_start = c->status_end = 0;
    update_progress(c);
    /* More workers would have nothing to do. */
    c->running = MIN(MAX(DIV_ROUND_UP(c->o.bytes, c->o.chunk_bytes), 1), c->o.workers);
    for (unsigned n = c->running; n > 0; n--) {
        qemu_coroutine_enter(qemu_coroutine_create(copy_worker, c));
    }
    job_worker_end(job);
    while (c->running) {
        qemu_co_queue_wait(&c->finished, NULL);
    }
    job_worker_begin(job);
    update_progress(c);
    c->job = NULL;
    if (c->err) {
        error_propagate(errp, g_steal_pointer(&c->err));
        return false;
    }
    return true;
}

bool coroutine_fn block_copy_co_estimate(BlockCopy *c, Job *job, int64_t *bytes, Error **errp)
{
    assert(!c->o.bitmap);
    *bytes = c->o.bytes;
    for (int64_t n, offset = 0; makes_zeroes(c) && offset < c->o.bytes; offset += n) {
        bool zero;

        if (!job_pause_point(job, errp)) {
            return false;
        }
        n = query_status(c, offset, c->o.bytes - offset, &zero);
        *bytes -= zero ? n : 0;
    }
    return true;
}

bool coroutine_fn block_copy_co_wait(BlockCopy *c, Job *job, Error **errp)
{
    Error *err = NULL;

    c->job = job;
    while (!c->err && job_pause_point(job, &err)) {
        job_sleep_ns(job, INT64_MAX / 2);
    }
    /* A cancel during a pause has set c->err, too. */
    check_failed(c, err);
    c->job = NULL;
    error_propagate(errp, g_steal_pointer(&c->err));
    return false;
}

void block_copy_stop(BlockCopy *c, Error *err)
{
    GLOBAL_STATE_CODE();
    check_failed(c, err);
    if (c->job) {
        job_wake(c->job);
    }
}

bool block_copy_range_is_done(BlockCopy *c, int64_t offset, int64_t bytes)
{
    int64_t start = ROUND_DOWN(offset, c->unit), end = round_end(c, offset + bytes), dirty, n;
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&c->lock);

    return !bdrv_dirty_bitmap_next_dirty_area(c->o.bitmap, start, end, INT64_MAX, &dirty, &n) &&
           !find_range(c, start, end - start, true, NULL);
}

int coroutine_fn block_copy_co_range(BlockCopy *c, int64_t offset, int64_t bytes)
{
    int64_t start = ROUND_DOWN(offset, c->unit), end = round_end(c, offset + bytes);
    void *buf = NULL;
    int ret = 0;

    for (BlockCopyRange range; ret == 0 && claim_dirty(c, &range, start, end - start, start); ) {
        int64_t size = MIN(end - start, c->o.chunk_bytes);

        buf = buf ?: qemu_blockalign(target_bs(c) ?: source_bs(c), size);
        for (int64_t n, done = 0; ret == 0 && done < range.bytes; done += n) {
            n = MIN(range.bytes - done, size);
            ret = source_read(c, range.offset + done, n, buf);
            ret = ret < 0 ? ret : write_chunk(c, range.offset + done, n, buf);
        }
        end_copy(&range, ret == 0, range.bytes);
    }
    qemu_vfree(buf);
    return ret;
}
