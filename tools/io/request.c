/*
 * qemu-io read, readv, aio_read, write, writev, aio_write: requests with data
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include <getopt.h>

#include "tools/io/io.h"
#include "util/aio.h"

/* Byte that writes fill their buffer with by default, and byte in the buffer of a read before it is filled. */
#define DEFAULT_WRITE_PATTERN 0xcd
#define UNREAD_PATTERN 0xab
#define MISALIGN_BYTES 16

typedef struct Request {
    QemuIO *io;
    const IOCommand *cmd;
    bool write, async, vector;

    /* options */
    bool csv;                   /* -C */
    bool quiet;                 /* -q */
    bool dump;                  /* -v */
    bool fua;                   /* -f */
    bool zero;                  /* -z */
    bool unmap;                 /* -u */
    bool no_fallback;           /* -n */
    int pattern;                /* -P; -1: not given */
    const char *pattern_file;   /* -s of a write */
    int64_t verify_offset;      /* -s of a read; -1: not given */
    int64_t verify_bytes;       /* -l; -1: not given */

    int64_t offset;
    int64_t bytes;
    QEMUIOVector qiov;
    void *allocation;
    uint8_t *buf;               /* the areas of @qiov are parts of it */
} Request;

static void request_free(Request *r)
{
    if (r->qiov.iov) {
        qemu_iovec_destroy(&r->qiov);
    }
    qemu_vfree(r->allocation);
    g_free(r);
}

static bool request_take_option(Request *r, int c)
{
    switch (c) {
    case 'C':
        r->csv = true;
        return true;
    case 'q':
        r->quiet = true;
        return true;
    case 'v':
        r->dump = true;
        return true;
    case 'f':
        r->fua = true;
        return true;
    case 'z':
        r->zero = true;
        return true;
    case 'u':
        r->unmap = true;
        return true;
    case 'n':
        r->no_fallback = true;
        return true;
    case 'p':
        return true;            /* obsolete, accepted for compatibility */
    case 'P':
        r->pattern = io_parse_pattern(optarg);
        return r->pattern >= 0;
    case 'l':
        r->verify_bytes = io_parse_number(optarg);
        return r->verify_bytes >= 0;
    case 's':
        if (r->write) {
            r->pattern_file = optarg;
            return true;
        }
        r->verify_offset = io_parse_number(optarg);
        return r->verify_offset >= 0;
    default:
        io_usage(r->cmd);
        return false;
    }
}

static bool request_check_options(Request *r)
{
    if (r->unmap && !r->zero) {
        printf("-u requires -z to be specified\n");
        return false;
    }
    if (r->no_fallback && !r->zero) {
        printf("-n requires -z to be specified\n");
        return false;
    }
    if (r->write && r->zero + (r->pattern >= 0) + !!r->pattern_file > 1) {
        printf("Only one of -z, -P, and -s can be specified at the same time\n");
        return false;
    }
    if (!r->write && r->pattern < 0 && (r->verify_offset >= 0 || r->verify_bytes >= 0)) {
        io_usage(r->cmd);
        return false;
    }
    return true;
}

/* Parse the offset and the lengths; false with an error printed. */
static bool request_take_range(Request *r, int n, char **args)
{
    if (n < 2 || (!r->vector && n != 2)) {
        io_usage(r->cmd);
        return false;
    }
    if (r->zero && n > 2) {
        printf("-z supports only a single length parameter\n");
        return false;
    }
    r->offset = io_parse_number(args[0]);
    if (r->offset < 0) {
        return false;
    }
    for (int i = 1; i < n; i++) {
        int64_t len = io_parse_number(args[i]);

        if (len < 0) {
            return false;
        }
        if (!r->zero && len > BDRV_REQUEST_MAX_BYTES - r->bytes) {
            printf("length cannot exceed %" PRId64 ", given %s\n", BDRV_REQUEST_MAX_BYTES, args[i]);
            return false;
        }
        r->bytes += len;
    }
    return true;
}

/* Check the range of the read data that must equal the pattern. */
static bool request_check_verification(Request *r)
{
    r->verify_offset = MAX(r->verify_offset, 0);
    if (r->verify_bytes < 0) {
        r->verify_bytes = r->bytes - r->verify_offset;
    }
    if (r->verify_offset > r->bytes || r->verify_bytes < 0 || r->verify_bytes > r->bytes - r->verify_offset) {
        printf("pattern verification range exceeds end of read data\n");
        return false;
    }
    return true;
}

/* Fill the buffer with the contents of the file, repeated. */
static bool request_fill_from_file(Request *r)
{
    g_autofree char *data = NULL;
    gsize len;

    if (!g_file_get_contents(r->pattern_file, &data, &len, NULL)) {
        fprintf(stderr, "%s: could not be read\n", r->pattern_file);
        return false;
    }
    if (!len) {
        fprintf(stderr, "%s: file is empty\n", r->pattern_file);
        return false;
    }
    for (int64_t at = 0; at < r->bytes; at += len) {
        memcpy(r->buf + at, data, MIN(len, (gsize)(r->bytes - at)));
    }
    return true;
}

static bool request_prepare_buffer(Request *r, char **lengths, int n)
{
    int misalign = r->io->misalign ? MISALIGN_BYTES : 0;
    int64_t at = 0;

    r->allocation = qemu_blockalign(blk_bs(r->io->blk), r->bytes + misalign);
    r->buf = (uint8_t *)r->allocation + misalign;
    qemu_iovec_init(&r->qiov, n);
    for (int i = 0; i < n; i++) {
        int64_t len = io_parse_number(lengths[i]);

        qemu_iovec_add(&r->qiov, r->buf + at, len);
        at += len;
    }
    if (r->pattern_file) {
        return request_fill_from_file(r);
    }
    memset(r->buf, r->write ? (r->pattern >= 0 ? r->pattern : DEFAULT_WRITE_PATTERN) : UNREAD_PATTERN,
           r->bytes);
    return true;
}

static int coroutine_fn request_submit(Request *r)
{
    BlockBackend *blk = r->io->blk;
    BdrvRequestFlags flags = r->fua || r->io->writethrough ? BDRV_REQ_FUA : 0;

    if (r->zero) {
        flags |= (r->unmap ? BDRV_REQ_MAY_UNMAP : 0) | (r->no_fallback ? BDRV_REQ_NO_FALLBACK : 0);
        return blk_co_pwrite_zeroes(blk, r->offset, r->bytes, flags);
    }
    return r->write ? blk_co_pwritev(blk, r->offset, r->bytes, &r->qiov, flags)
                    : blk_co_preadv(blk, r->offset, r->bytes, &r->qiov, 0);
}

static bool request_verify(const Request *r)
{
    const uint8_t *buf;

    if (r->write || r->pattern < 0) {
        return true;
    }
    buf = r->buf + r->verify_offset;
    for (int64_t i = 0; i < r->verify_bytes; i++) {
        if (buf[i] != r->pattern) {
            printf("Pattern verification failed at offset %" PRId64 ", %" PRId64 " bytes\n",
                   r->offset + r->verify_offset, r->verify_bytes);
            return false;
        }
    }
    return true;
}

static int coroutine_fn request_perform(Request *r)
{
    int64_t start_ns = qemu_clock_get_ns();
    int ret = request_submit(r);
    int64_t ns = qemu_clock_get_ns() - start_ns;

    if (ret < 0) {
        printf("%s failed: %s\n", r->cmd->name, g_strerror(-ret));
        return ret;
    }
    ret = request_verify(r) ? 0 : -EINVAL;
    if (r->dump) {
        io_dump(r->buf, r->offset, r->bytes);
    }
    if (!r->quiet) {
        io_report(r->write ? "wrote" : "read", ns, r->offset, r->bytes, r->bytes, r->csv);
    }
    return ret;
}

static void coroutine_fn request_perform_async(void *opaque)
{
    Request *r = opaque;
    QemuIO *io = r->io;

    if (request_perform(r) < 0) {
        io->failed = true;
    }
    request_free(r);
    if (--io->in_flight == 0) {
        qemu_co_queue_restart_all(&io->idle);
    }
}

void coroutine_fn io_drain(QemuIO *io)
{
    while (io->in_flight) {
        qemu_co_queue_wait(&io->idle, NULL);
    }
}

static bool request_parse(Request *r, const char *options, int argc, char **argv)
{
    int c;

    optind = 0;
    while ((c = getopt(argc, argv, options)) != -1) {
        if (!request_take_option(r, c)) {
            return false;
        }
    }
    if (!request_check_options(r) || !request_take_range(r, argc - optind, argv + optind) ||
        (r->pattern >= 0 && !r->write && !request_check_verification(r))) {
        return false;
    }
    /* Do not allocate a buffer for a request that must fail. */
    if (r->offset > blk_getlength(r->io->blk) || r->bytes > blk_getlength(r->io->blk) - r->offset) {
        printf("%s failed: %s\n", r->cmd->name, g_strerror(EIO));
        return false;
    }
    return r->zero || request_prepare_buffer(r, argv + optind + 1, argc - optind - 1);
}

static int coroutine_fn request_run(const Request *kind, const char *options, int argc, char **argv)
{
    Request *r = g_memdup2(kind, sizeof(*kind));
    int ret;

    r->pattern = -1;
    r->verify_offset = -1;
    r->verify_bytes = -1;
    if (!request_parse(r, options, argc, argv)) {
        request_free(r);
        return -EINVAL;
    }
    if (r->async) {
        r->io->in_flight++;
        qemu_coroutine_enter(qemu_coroutine_create(request_perform_async, r));
        return 0;
    }
    ret = request_perform(r);
    request_free(r);
    return ret;
}

static int coroutine_fn read_run(QemuIO *io, const IOCommand *cmd, int argc, char **argv)
{
    return request_run(&(Request){ .io = io, .cmd = cmd }, "Cl:pP:qs:v", argc, argv);
}

static int coroutine_fn readv_run(QemuIO *io, const IOCommand *cmd, int argc, char **argv)
{
    return request_run(&(Request){ .io = io, .cmd = cmd, .vector = true }, "CP:qv", argc, argv);
}

static int coroutine_fn aio_read_run(QemuIO *io, const IOCommand *cmd, int argc, char **argv)
{
    return request_run(&(Request){ .io = io, .cmd = cmd, .vector = true, .async = true }, "CP:qv", argc, argv);
}

static int coroutine_fn write_run(QemuIO *io, const IOCommand *cmd, int argc, char **argv)
{
    return request_run(&(Request){ .io = io, .cmd = cmd, .write = true }, "CfnpP:qs:uz", argc, argv);
}

static int coroutine_fn writev_run(QemuIO *io, const IOCommand *cmd, int argc, char **argv)
{
    return request_run(&(Request){ .io = io, .cmd = cmd, .write = true, .vector = true }, "CfP:q", argc, argv);
}

static int coroutine_fn aio_write_run(QemuIO *io, const IOCommand *cmd, int argc, char **argv)
{
    return request_run(&(Request){ .io = io, .cmd = cmd, .write = true, .vector = true, .async = true },
                       "CfP:quz", argc, argv);
}

static int coroutine_fn aio_flush_run(QemuIO *io, const IOCommand *cmd, int argc, char **argv)
{
    io_drain(io);
    return 0;
}

#define HELP_REPORT \
    " -C, -- report statistics in a machine parsable format\n" \
    " -q, -- quiet mode, do not show I/O statistics\n"
#define HELP_READ \
    " -P, -- check that every byte read equals this one\n" \
    " -v, -- dump the data\n"
#define HELP_WRITE \
    " -P, -- write this byte (default: 0xcd)\n" \
    " -f, -- wait until the data is on stable storage\n"
#define HELP_ZERO \
    " -z, -- write zeroes, as cheaply as possible\n" \
    " -u, -- with -z, punch a hole if possible\n"
#define HELP_AIO \
    "\nThe command returns once the request is submitted; aio_flush waits for all requests. If one fails, " \
    "the exit status of the program is 1.\n"

const IOCommand io_read = {
    .name = "read",
    .letter = "r",
    .min_args = 2,
    .max_args = -1,
    .args = "[-Cqv] [-P pattern [-s off] [-l len]] off len",
    .summary = "reads a number of bytes at a specified offset",
    .help =
        "Example: 'read -v 512 1k' dumps 1 kilobyte from byte 512 on.\n\n"
        HELP_REPORT HELP_READ
        " -s, -- with -P, check from this byte of the data on\n"
        " -l, -- with -P, check this many bytes",
    .run = read_run,
};

const IOCommand io_readv = {
    .name = "readv",
    .min_args = 2,
    .max_args = -1,
    .args = "[-Cqv] [-P pattern] off len [len..]",
    .summary = "reads a number of bytes at a specified offset",
    .help =
        "Reads into several buffers with one request: 'readv -v 512 1k 1k' dumps 2 kilobytes.\n\n"
        HELP_REPORT HELP_READ,
    .run = readv_run,
};

const IOCommand io_aio_read = {
    .name = "aio_read",
    .min_args = 2,
    .max_args = -1,
    .args = "[-Cqv] [-P pattern] off len [len..]",
    .summary = "asynchronously reads a number of bytes",
    .help = HELP_REPORT HELP_READ HELP_AIO,
    .run = aio_read_run,
};

const IOCommand io_write = {
    .name = "write",
    .letter = "w",
    .min_args = 2,
    .max_args = -1,
    .perm = BLK_PERM_WRITE,
    .args = "[-Cfnquz] [-P pattern | -s source_file] off len",
    .summary = "writes a number of bytes at a specified offset",
    .help =
        "Example: 'write -P 0x11 512 1k' fills 1 kilobyte from byte 512 on.\n\n"
        HELP_REPORT HELP_WRITE
        " -s, -- write the contents of this file, repeated\n"
        HELP_ZERO
        " -n, -- with -z, fail rather than write zeroes explicitly",
    .run = write_run,
};

const IOCommand io_writev = {
    .name = "writev",
    .min_args = 2,
    .max_args = -1,
    .perm = BLK_PERM_WRITE,
    .args = "[-Cfq] [-P pattern] off len [len..]",
    .summary = "writes a number of bytes at a specified offset",
    .help = "Writes from several buffers with one request.\n\n" HELP_REPORT HELP_WRITE,
    .run = writev_run,
};

const IOCommand io_aio_write = {
    .name = "aio_write",
    .min_args = 2,
    .max_args = -1,
    .perm = BLK_PERM_WRITE,
    .args = "[-Cfquz] [-P pattern] off len [len..]",
    .summary = "asynchronously writes a number of bytes",
    .help = HELP_REPORT HELP_WRITE HELP_ZERO HELP_AIO,
    .run = aio_write_run,
};

const IOCommand io_aio_flush = {
    .name = "aio_flush",
    .args = "",
    .summary = "completes all outstanding aio requests",
    .run = aio_flush_run,
};
