/*
 * qemu-img bench: measure how fast an image is read or written
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include "tools/common/image.h"
#include "tools/common/output.h"
#include "tools/img/commands.h"
#include "util/aio.h"

/* More than any measurement needs, without exhausting the memory. */
#define MAX_BUFFERS_BYTES (1 * GiB)

enum {
    KEY_FLUSH_INTERVAL = TOOL_KEY_OWN,
    KEY_NO_DRAIN,
    KEY_PATTERN,
};

typedef struct Bench {
    /* options */
    BlockBackend *blk;
    int64_t count;              /* requests */
    int64_t depth;              /* of them in flight */
    uint64_t bytes;             /* of one */
    uint64_t step;
    uint64_t offset;
    int64_t flush_interval;     /* requests between flushes; 0: none */
    int64_t pattern;
    bool write;
    bool no_drain;              /* requests continue during a flush */
    const char *aio;

    bool writethrough;

    /* state */
    int64_t issued;
    int64_t completed;
    int64_t in_flight;
    int64_t position;
    bool flushing;              /* no request starts until it is done */
    CoQueue waiting;            /* for the flush, and for requests in flight */
    int64_t running;
    CoQueue finished;
    int ret;
} Bench;

static int64_t next_offset(Bench *b)
{
    int64_t offset = b->position, length = blk_getlength(b->blk);

    b->position += b->step;
    if (length && b->position >= length) {
        b->position %= length;
    }
    return offset;
}

/* Flush after every @flush_interval requests; without --no-drain, while no requests are in flight. */
static int coroutine_fn bench_flush(Bench *b)
{
    int ret;

    if (b->no_drain) {
        return blk_co_flush(b->blk);
    }
    b->flushing = true;
    while (b->in_flight) {
        qemu_co_queue_wait(&b->waiting, NULL);
    }
    ret = blk_co_flush(b->blk);
    b->flushing = false;
    qemu_co_queue_restart_all(&b->waiting);
    return ret;
}

static int coroutine_fn bench_one_request(Bench *b, void *buf)
{
    int64_t offset = next_offset(b);
    int ret;

    b->issued++;
    b->in_flight++;
    ret = b->write ? blk_co_pwrite(b->blk, offset, b->bytes, buf, b->writethrough ? BDRV_REQ_FUA : 0)
                   : blk_co_pread(b->blk, offset, b->bytes, buf);
    b->in_flight--;
    if (b->flushing && !b->in_flight) {
        qemu_co_queue_restart_all(&b->waiting);
    }
    return ret;
}

static void coroutine_fn bench_worker(void *opaque)
{
    Bench *b = opaque;
    void *buf = qemu_blockalign(blk_bs(b->blk), b->bytes);
    int ret = 0;

    memset(buf, b->pattern, b->bytes);
    for (;;) {
        while (b->flushing) {
            qemu_co_queue_wait(&b->waiting, NULL);
        }
        if (b->ret < 0 || b->issued == b->count) {
            break;
        }
        ret = bench_one_request(b, buf);
        if (ret == 0 && b->flush_interval && ++b->completed % b->flush_interval == 0) {
            ret = bench_flush(b);
        }
        if (ret < 0) {
            b->ret = ret;
        }
    }
    qemu_vfree(buf);
    b->running--;
    qemu_co_queue_restart_all(&b->finished);
}

static bool coroutine_fn bench_run_all(Bench *b, Error **errp)
{
    int64_t start_ns;

    b->step = b->step ?: b->bytes;
    b->position = b->offset;
    b->running = MIN(b->depth, b->count);
    qemu_co_queue_init(&b->waiting);
    qemu_co_queue_init(&b->finished);

    printf("Sending %" PRId64 " %s requests, %" PRIu64 " bytes each, %" PRId64 " in parallel (starting at "
           "offset %" PRIu64 ", step size %" PRIu64 ")\n", b->count, b->write ? "write" : "read", b->bytes,
           b->depth, b->offset, b->step);
    if (b->flush_interval) {
        printf("Sending flush every %" PRId64 " requests\n", b->flush_interval);
    }
    start_ns = qemu_clock_get_ns();
    for (int64_t n = b->running; n > 0; n--) {
        qemu_coroutine_enter(qemu_coroutine_create(bench_worker, b));
    }
    while (b->running) {
        qemu_co_queue_wait(&b->finished, NULL);
    }
    if (b->ret < 0) {
        error_setg(errp, "Failed request: %s", g_strerror(-b->ret));
        return false;
    }
    printf("Run completed in %3.3f seconds.\n",
           (double)(qemu_clock_get_ns() - start_ns) / NANOSECONDS_PER_SECOND);
    return true;
}

static bool set_option(Bench *b, int key, const char *value, Error **errp)
{
    switch (key) {
    case 'c':
        return tool_parse_number("request count", value, 0, INT_MAX, &b->count, errp);
    case 'd':
        return tool_parse_number("queue depth", value, 1, 65536, &b->depth, errp);
    case 'o':
        return tool_parse_size("offset", value, 0, BDRV_MAX_LENGTH, &b->offset, errp);
    case 's':
        return tool_parse_size("buffer size", value, 1, INT_MAX, &b->bytes, errp);
    case 'S':
        return tool_parse_size("step_size", value, 0, INT_MAX, &b->step, errp);
    case KEY_PATTERN:
        return tool_parse_number("pattern byte", value, 0, 255, &b->pattern, errp);
    case KEY_FLUSH_INTERVAL:
        return tool_parse_number("flush interval", value, 0, INT_MAX, &b->flush_interval, errp);
    case KEY_NO_DRAIN:
        b->no_drain = true;
        return true;
    case 'w':
        b->write = true;
        return true;
    case 'i':
        b->aio = value;
        return true;
    case 'n':
        b->aio = "native";
        return true;
    default:
        g_assert_not_reached();
    }
}

static bool check_options(const Bench *b, Error **errp)
{
    if (!b->write && b->flush_interval) {
        error_setg(errp, "--flush-interval is only available in write tests");
        return false;
    }
    if (b->flush_interval && b->flush_interval < b->depth) {
        error_setg(errp, "Flush interval can't be smaller than depth");
        return false;
    }
    if ((int64_t)b->bytes > MAX_BUFFERS_BYTES / MAX(MIN(b->depth, b->count), 1)) {
        error_setg(errp, "Invalid buffer size specified. Requests in flight can have %" PRId64 " bytes in total.",
                   MAX_BUFFERS_BYTES);
        return false;
    }
    return true;
}

static int coroutine_fn img_bench_run(const ToolCommand *cmd, int argc, char **argv)
{
    g_auto(ToolArgs) args = { .cmd = cmd, .argc = argc, .argv = argv };
    Bench b = { .count = 75000, .depth = 64, .bytes = 4096 };
    Error *err = NULL;
    bool ok = true;
    int c;

    while (ok && (c = tool_args_next(&args)) != TOOL_ARGS_END) {
        ok = set_option(&b, c, args.value, &err);
    }
    if (args.stop) {
        return args.status;
    }
    if (ok && check_options(&b, &err) &&
        (!args.cache || tool_parse_cache_mode(args.cache, NULL, &b.writethrough, &err))) {
        ToolImage image = {
            .name = args.positional[0],
            .image_opts = args.image_opts,
            .header = args.header,
            .key_secret = args.key_secret,
            .format = args.format,
            .cache = args.cache,
            .aio = b.aio,
            .force_share = args.force_share,
            .perm = BLK_PERM_CONSISTENT_READ | (b.write ? BLK_PERM_WRITE : 0),
            .shared_perm = BLK_PERM_ALL & ~(uint64_t)BLK_PERM_RESIZE,
        };

        b.blk = tool_image_open(&image, &err);
    }
    ok = b.blk && bench_run_all(&b, &err);
    blk_co_unref(b.blk);
    if (!ok) {
        error_report_err(err);
    }
    return !ok;
}

static const ToolOption img_bench_options[] = {
    TOOL_OPTION_FORMAT,
    TOOL_OPTION_IMAGE_OPTS,
    TOOL_OPTION_HEADER,
    TOOL_OPTIONS_KEY_FILE,
    TOOL_OPTION_OBJECT,
    TOOL_OPTION_CACHE,
    { 'c', "count", "COUNT", "number of requests (default: 75000)", 'c' },
    { 'd', "depth", "DEPTH", "requests in flight (default: 64)", 'd' },
    { 'o', "offset", "OFFSET", "where the first request begins (default: 0)", 'o' },
    { 's', "buffer-size", "SIZE", "bytes of one request (default: 4096)", 's' },
    { 'S', "step-size", "SIZE", "distance from one request to the next (default: its size)", 'S' },
    { 'w', "write", NULL, "write instead of reading; the data in the image is lost", 'w' },
    { 0, "pattern", "BYTE", "value of the bytes written (default: 0)", KEY_PATTERN },
    { 0, "flush-interval", "COUNT", "flush after this many writes", KEY_FLUSH_INTERVAL },
    { 0, "no-drain", NULL, "do not wait for requests in flight before a flush", KEY_NO_DRAIN },
    { 'i', "aio", "AIO", "threads, native or io_uring", 'i' },
    { 'n', "native", NULL, "the same as -i native", 'n' },
    TOOL_OPTION_FORCE_SHARE,
    TOOL_OPTION_QUIET,
    { 0 }
};

const ToolCommand img_bench = {
    .name = "bench",
    .args = "FILE",
    .min_args = 1,
    .max_args = 1,
    .summary = "measure how fast an image is read or written",
    .examples =
        "  qemu-img bench -f raw -t none -c 10000 -s 64k disk.img",
    .options = img_bench_options,
    .run = img_bench_run,
};
