/*
 * Copying image data: coroutines that each take a chunk, read it, and write it
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include "block/block_int.h"
#include "tools/img/copy.h"
#include "tools/img/stream.h"

/* Bytes that one coroutine reads at once. */
#define BUFFER_BYTES (2 * MiB)
/* Bytes that are made zero at once: progress is seen in between. */
#define ZERO_BYTES (256 * MiB)

typedef struct Chunk {
    const ImgSegment *segment;
    int64_t source;             /* offset in the segment's image */
    int64_t target;             /* offset in the target */
    int64_t bytes;
    bool zero;
} Chunk;

static void fail(ImgCopy *c, Error *err)
{
    if (c->err) {
        error_free(err);
        return;
    }
    c->err = err;
    qemu_co_queue_restart_all(&c->turn);
}

static void fail_io(ImgCopy *c, const char *what, int64_t offset, int ret)
{
    Error *err = NULL;

    error_setg_errno(&err, -ret, "error while %s at byte %" PRId64, what, offset);
    fail(c, err);
}

/* Whether zeroes can be left out, or made without writing them. */
static bool makes_holes(const ImgCopy *c)
{
    return c->sparse_bytes && c->target &&
           (c->target_is_zero || blk_bs(c->target)->drv->bdrv_co_pwrite_zeroes);
}

/* Where the byte @position of the copy comes from; bytes are those left in the segment. */
static Chunk locate(const ImgCopy *c, int64_t position)
{
    const ImgSegment *s = c->segments;
    int64_t start = 0;

    while (position >= start + s->bytes) {
        start += s->bytes;
        s++;
    }
    return (Chunk){
        .segment = s, .source = s->offset + (position - start), .target = position,
        .bytes = start + s->bytes - position,
    };
}

/* Find out what the bytes from @chunk on are, and up to where. False where that failed. */
static bool coroutine_fn update_status(ImgCopy *c, const Chunk *chunk)
{
    BlockDriverState *bs = blk_bs(chunk->segment->blk);
    int64_t left = bdrv_getlength(bs) - chunk->source;
    int64_t n;
    int ret;

    if (left <= 0) {
        c->status_zero = true;
        c->status_end = chunk->target + chunk->bytes;
        return true;
    }
    ret = bdrv_co_block_status(bs, chunk->source, MIN(left, chunk->bytes), &n, NULL, NULL);
    if (ret < 0 && c->salvage) {
        ret = BDRV_BLOCK_DATA;
        n = MIN(MIN(left, chunk->bytes), BUFFER_BYTES);
    }
    if (ret < 0) {
        fail_io(c, "reading block status", chunk->target, ret);
        return false;
    }
    c->status_zero = ret & BDRV_BLOCK_ZERO;
    c->status_end = chunk->target + n;
    return true;
}

/* Take the next piece of work; false where there is none left, or something failed. */
static bool coroutine_fn take_chunk(ImgCopy *c, Chunk *chunk)
{
    QEMU_CO_LOCK_GUARD(&c->lock);
    Error *err = NULL;

    if (!c->err && !job_pause_point(c->job, &err)) {
        fail(c, err);
    }
    if (c->err || c->next == c->total) {
        return false;
    }
    *chunk = locate(c, c->next);
    if (c->next >= c->status_end && !update_status(c, chunk)) {
        return false;
    }
    chunk->zero = c->status_zero;
    chunk->bytes = MIN(chunk->bytes, c->status_end - c->next);
    chunk->bytes = MIN(chunk->bytes, chunk->zero && makes_holes(c) ? ZERO_BYTES : BUFFER_BYTES);
    c->next += chunk->bytes;
    if (!chunk->zero) {
        job_throttle(c->job, chunk->bytes);
    }
    return true;
}

/* Sector by sector, zeroes for those that cannot be read. */
static void coroutine_fn salvage_chunk(ImgCopy *c, const Chunk *chunk, int64_t bytes, uint8_t *buf)
{
    for (int64_t n, done = 0; done < bytes; done += n) {
        int ret;

        n = MIN(BDRV_SECTOR_SIZE, bytes - done);
        ret = blk_co_pread(chunk->segment->blk, chunk->source + done, n, buf + done);
        if (ret < 0) {
            if (!c->quiet) {
                warn_report("error while reading at byte %" PRId64 ": %s", chunk->target + done,
                            g_strerror(-ret));
            }
            memset(buf + done, 0, n);
        }
    }
}

static bool coroutine_fn read_chunk(ImgCopy *c, const Chunk *chunk, uint8_t *buf)
{
    int64_t there = chunk->zero ? 0 : blk_getlength(chunk->segment->blk) - chunk->source;
    int64_t bytes = CLAMP(there, 0, chunk->bytes);
    int ret = bytes ? blk_co_pread(chunk->segment->blk, chunk->source, bytes, buf) : 0;

    if (ret < 0 && !c->salvage) {
        fail_io(c, "reading", chunk->target, ret);
        return false;
    }
    if (ret < 0) {
        salvage_chunk(c, chunk, bytes, buf);
    }
    memset(buf + bytes, 0, chunk->bytes - bytes);
    return true;
}

/*
 * How many bytes from the start of @buf are alike, zeroes or not, in units of @unit that start at multiples of
 * it in the target.
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

static int coroutine_fn write_zeroes(ImgCopy *c, int64_t offset, int64_t bytes)
{
    BdrvRequestFlags fua = c->writethrough ? BDRV_REQ_FUA : 0;

    if (c->target_is_zero) {
        return 0;
    }
    return blk_co_pwrite_zeroes(c->target, offset, bytes, BDRV_REQ_MAY_UNMAP | fua);
}

static int coroutine_fn write_data(ImgCopy *c, int64_t offset, int64_t bytes, uint8_t *buf)
{
    BdrvRequestFlags fua = c->writethrough ? BDRV_REQ_FUA : 0;
    int64_t unit = MAX(c->sparse_bytes, blk_bs(c->target)->bl.request_alignment);
    int ret = 0;

    if (!makes_holes(c)) {
        return blk_co_pwrite(c->target, offset, bytes, buf, BDRV_REQ_OWN_BUFFER | fua);
    }
    for (int64_t n; ret == 0 && bytes > 0; offset += n, bytes -= n, buf += n) {
        bool zero;

        n = find_run(buf, offset, bytes, unit, &zero);
        ret = zero ? write_zeroes(c, offset, n)
                   : blk_co_pwrite(c->target, offset, n, buf, BDRV_REQ_OWN_BUFFER | fua);
    }
    return ret;
}

static int coroutine_fn write_chunk(ImgCopy *c, const Chunk *chunk, uint8_t *buf)
{
    if (!c->target) {
        return img_stream_co_write(c->stream_fd, buf, chunk->bytes);
    }
    if (chunk->zero && makes_holes(c)) {
        return write_zeroes(c, chunk->target, chunk->bytes);
    }
    return write_data(c, chunk->target, chunk->bytes, buf);
}

static bool coroutine_fn copy_chunk(ImgCopy *c, const Chunk *chunk, uint8_t *buf)
{
    int ret;

    if (!(chunk->zero && makes_holes(c)) && !read_chunk(c, chunk, buf)) {
        return false;
    }
    if (!c->out_of_order) {
        while (!c->err && c->written != chunk->target) {
            qemu_co_queue_wait(&c->turn, NULL);
        }
        if (c->err) {
            return false;
        }
    }
    ret = write_chunk(c, chunk, buf);
    if (ret < 0) {
        fail_io(c, "writing", chunk->target, ret);
        return false;
    }
    c->written += chunk->bytes;
    if (!c->out_of_order) {
        qemu_co_queue_restart_all(&c->turn);
    }
    job_progress_update(c->job, chunk->bytes);
    return true;
}

static void coroutine_fn copy_worker(void *opaque)
{
    ImgCopy *c = opaque;
    uint8_t *buf = qemu_blockalign(blk_bs(c->target ?: c->segments[0].blk), BUFFER_BYTES);
    Chunk chunk;

    while (take_chunk(c, &chunk) && copy_chunk(c, &chunk, buf)) {
        /* go on */
    }
    qemu_vfree(buf);
    c->running--;
    qemu_co_queue_restart_all(&c->finished);
}

int64_t img_copy_length(const ImgCopy *c)
{
    int64_t length = 0;

    for (unsigned i = 0; i < c->n_segments; i++) {
        length += c->segments[i].bytes;
    }
    return length;
}

bool coroutine_fn img_copy_run(Job *job, void *opaque, Error **errp)
{
    ImgCopy *c = opaque;
    int ret;

    c->job = job;
    c->total = img_copy_length(c);
    if (c->bytes_per_second) {
        job_set_speed(job, c->bytes_per_second, &error_abort);
    }
    job_progress_set_remaining(job, c->total);
    qemu_co_mutex_init(&c->lock);
    qemu_co_queue_init(&c->turn);
    qemu_co_queue_init(&c->finished);

    /* More would find nothing to do. */
    c->running = CLAMP(DIV_ROUND_UP(c->total, BUFFER_BYTES), 1, c->coroutines);
    for (unsigned n = c->running; n > 0; n--) {
        qemu_coroutine_enter(qemu_coroutine_create(copy_worker, c));
    }
    while (c->running) {
        qemu_co_queue_wait(&c->finished, NULL);
    }
    qemu_co_mutex_cleanup(&c->lock);

    if (!c->err && c->target) {
        ret = blk_co_flush(c->target);
        if (ret < 0) {
            error_setg_errno(&c->err, -ret, "error while flushing the target");
        }
    }
    if (c->err) {
        error_propagate(errp, g_steal_pointer(&c->err));
        return false;
    }
    return true;
}
