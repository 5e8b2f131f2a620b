/*
 * Copying image data: segments one after the other, writes in order, sectors that cannot be read
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include "tools/img/copy.h"
#include "tools/img/stream.h"

/* A segment that is being copied. */
typedef struct Part {
    ImgCopy *copy;
    const ImgSegment *segment;
    int64_t start;              /* its offset in the target */
    BlockCopy *engine;
} Part;

static void copy_set_failed(ImgCopy *c)
{
    c->failed = true;
    qemu_co_queue_restart_all(&c->turn);
}

/* BlockCopyOps.write: to the stream, or in order to the target. */
static int coroutine_fn write_in_turn(void *opaque, int64_t offset, int64_t bytes, void *buf)
{
    const Part *part = opaque;
    ImgCopy *c = part->copy;
    int ret;

    while (!c->failed && c->written != part->start + offset) {
        qemu_co_queue_wait(&c->turn, NULL);
    }
    if (c->failed) {
        return -ECANCELED;      /* the first error has been reported */
    }
    ret = c->target ? block_copy_co_write(part->engine, offset, bytes, buf)
                    : img_stream_co_write(c->stream_fd, buf, bytes);
    if (ret < 0) {
        copy_set_failed(c);
        return ret;
    }
    c->written += bytes;
    qemu_co_queue_restart_all(&c->turn);
    return 0;
}

/* BlockCopyOps.recover: read sector by sector, with zeroes for those that cannot be read. */
static bool coroutine_fn copy_salvage(void *opaque, int64_t offset, int64_t bytes, void *buf, int error)
{
    const Part *part = opaque;
    ImgCopy *c = part->copy;

    if (!c->salvage) {
        copy_set_failed(c);
        return false;
    }
    for (int64_t n, done = 0; done < bytes; done += n) {
        uint8_t *sector = (uint8_t *)buf + done;
        int ret;

        n = MIN(BDRV_SECTOR_SIZE, bytes - done);
        ret = blk_co_pread(part->segment->blk, part->segment->offset + offset + done, n, sector);
        if (ret < 0) {
            if (!c->quiet) {
                warn_report("error while reading at byte %" PRId64 ": %s", part->start + offset + done,
                            g_strerror(-ret));
            }
            memset(sector, 0, n);
        }
    }
    return true;
}

static BlockCopy *new_engine(const ImgCopy *c, Part *part)
{
    static const BlockCopyOps in_order = { .write = write_in_turn, .recover = copy_salvage };
    static const BlockCopyOps out_of_order = { .recover = copy_salvage };
    BdrvRequestFlags fua = c->writethrough ? BDRV_REQ_FUA : 0;

    return block_copy_new(&(BlockCopyOptions){
        .source = part->segment->blk,
        .source_offset = part->segment->offset,
        .target = c->target,
        .target_offset = part->start,
        .bytes = part->segment->bytes,
        .workers = c->coroutines,
        .write_zeroes = c->sparse_bytes,
        .sparse_bytes = c->sparse_bytes,
        .target_is_zero = c->target_is_zero,
        .write_flags = fua,
        .zero_flags = BDRV_REQ_MAY_UNMAP | fua,
        .ops = c->out_of_order ? &out_of_order : &in_order,
        .opaque = part,
    });
}

int64_t img_copy_length(const ImgCopy *c)
{
    int64_t length = 0;

    for (unsigned i = 0; i < c->n_segments; i++) {
        length += c->segments[i].bytes;
    }
    return length;
}

/* Set the total of the job's progress. */
static bool coroutine_fn copy_estimate(Job *job, const Part *parts, unsigned n, Error **errp)
{
    int64_t bytes, total = 0;

    for (unsigned i = 0; i < n; i++) {
        if (!block_copy_co_estimate(parts[i].engine, job, &bytes, errp)) {
            return false;
        }
        total += bytes;
    }
    job_progress_set_remaining(job, total);
    return true;
}

static bool coroutine_fn copy_run_parts(Job *job, const Part *parts, unsigned n, Error **errp)
{
    for (unsigned i = 0; i < n; i++) {
        if (!block_copy_co_run(parts[i].engine, job, errp)) {
            return false;
        }
    }
    return true;
}

bool coroutine_fn img_copy_run(Job *job, void *opaque, Error **errp)
{
    ImgCopy *c = opaque;
    g_autofree Part *parts = g_new0(Part, c->n_segments);
    int64_t start = 0;
    bool ok;
    int ret;

    if (c->bytes_per_second) {
        job_set_speed(job, c->bytes_per_second, &error_abort);
    }
    qemu_co_queue_init(&c->turn);
    for (unsigned i = 0; i < c->n_segments; i++) {
        parts[i] = (Part){ .copy = c, .segment = &c->segments[i], .start = start };
        parts[i].engine = new_engine(c, &parts[i]);
        start += c->segments[i].bytes;
    }
    ok = copy_estimate(job, parts, c->n_segments, errp) && copy_run_parts(job, parts, c->n_segments, errp);
    for (unsigned i = 0; i < c->n_segments; i++) {
        block_copy_free(parts[i].engine);
    }
    ret = ok && c->target ? blk_co_flush(c->target) : 0;
    if (ret < 0) {
        error_setg_errno(errp, -ret, "error while flushing the target");
    }
    return ok && ret == 0;
}
