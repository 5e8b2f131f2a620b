/*
 * qemu-io commands without data: flush, discard, truncate, length, map, alloc, info, sleep, quit
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include <getopt.h>
#include <json-c/json.h>

#include "qapi/json.h"
#include "tools/common/output.h"
#include "tools/io/io.h"
#include "util/aio.h"


static int command_failed(const IOCommand *cmd, int ret)
{
    printf("%s failed: %s\n", cmd->name, g_strerror(-ret));
    return ret;
}

static int coroutine_fn flush_run(QemuIO *io, const IOCommand *cmd, int argc, char **argv)
{
    int ret = blk_co_flush(io->blk);

    return ret < 0 ? command_failed(cmd, ret) : 0;
}

static int coroutine_fn discard_run(QemuIO *io, const IOCommand *cmd, int argc, char **argv)
{
    bool csv = false, quiet = false;
    int64_t offset, bytes, start_ns, ns;
    int c, ret;

    optind = 0;
    while ((c = getopt(argc, argv, "Cq")) != -1) {
        if (c == '?') {
            return io_usage(cmd);
        }
        csv |= c == 'C';
        quiet |= c == 'q';
    }
    if (argc - optind != 2) {
        return io_usage(cmd);
    }
    offset = io_parse_number(argv[optind]);
    bytes = offset < 0 ? -1 : io_parse_number(argv[optind + 1]);
    if (bytes < 0) {
        return -EINVAL;
    }
    start_ns = qemu_clock_get_ns();
    ret = blk_co_pdiscard(io->blk, offset, bytes);
    ns = qemu_clock_get_ns() - start_ns;
    if (ret < 0) {
        return command_failed(cmd, ret);
    }
    if (!quiet) {
        io_report("discard", ns, offset, bytes, bytes, csv);
    }
    return 0;
}

static int coroutine_fn truncate_run(QemuIO *io, const IOCommand *cmd, int argc, char **argv)
{
    g_autoptr(Error) err = NULL;
    int prealloc = PREALLOC_MODE_OFF;
    int64_t offset;
    int c;

    optind = 0;
    while ((c = getopt(argc, argv, "m:")) != -1) {
        if (c == '?') {
            return io_usage(cmd);
        }
        prealloc = tool_parse_enum(&qapi_type_PreallocMode, "preallocation mode", optarg, &err);
        if (prealloc < 0) {
            error_report_err(g_steal_pointer(&err));
            return -EINVAL;
        }
    }
    if (argc - optind != 1) {
        return io_usage(cmd);
    }
    offset = io_parse_number(argv[optind]);
    if (offset < 0) {
        return -EINVAL;
    }
    if (!blk_co_truncate(io->blk, offset, false, prealloc, NULL, &err)) {
        error_report_err(g_steal_pointer(&err));
        return -EIO;
    }
    return 0;
}

static int coroutine_fn length_run(QemuIO *io, const IOCommand *cmd, int argc, char **argv)
{
    g_autofree char *length = io_size_str(blk_getlength(io->blk));

    printf("%s\n", length);
    return 0;
}

/* Number of bytes from @offset on that have the same allocation status, set in *@allocated; or -errno. */
static int64_t coroutine_fn same_status(QemuIO *io, int64_t offset, int64_t bytes, bool *allocated)
{
    int64_t same = 0;

    while (same < bytes) {
        int64_t n;
        int ret = bdrv_co_block_status(blk_bs(io->blk), offset + same, bytes - same, &n, NULL, NULL);

        if (ret < 0) {
            return ret;
        }
        if (same && *allocated != !!(ret & BDRV_BLOCK_ALLOCATED)) {
            break;
        }
        *allocated = ret & BDRV_BLOCK_ALLOCATED;
        same += n;
    }
    return same;
}

static int coroutine_fn map_run(QemuIO *io, const IOCommand *cmd, int argc, char **argv)
{
    int64_t length = blk_getlength(io->blk);

    for (int64_t n, offset = 0; offset < length; offset += n) {
        bool allocated = false;

        n = same_status(io, offset, length - offset, &allocated);
        if (n < 0) {
            printf("Failed to get allocation status: %s\n", g_strerror(-n));
            return n;
        }
        g_autofree char *size = io_size_str(n);
        g_autofree char *at = io_size_str(offset);

        printf("%s (0x%" PRIx64 ") bytes %s allocated at offset %s (0x%" PRIx64 ")\n", size, n,
               allocated ? "   " : "not", at, offset);
    }
    return 0;
}

static int coroutine_fn alloc_run(QemuIO *io, const IOCommand *cmd, int argc, char **argv)
{
    int64_t offset = io_parse_number(argv[1]);
    int64_t count = offset < 0 ? -1 : argc > 2 ? io_parse_number(argv[2]) : BDRV_SECTOR_SIZE;
    int64_t sum = 0;

    if (count < 0) {
        return -EINVAL;
    }
    count = MIN(count, MAX(blk_getlength(io->blk) - offset, 0));
    for (int64_t n, done = 0; done < count; done += n) {
        bool allocated = false;

        n = same_status(io, offset + done, count - done, &allocated);
        if (n < 0) {
            return command_failed(cmd, n);
        }
        sum += allocated ? n : 0;
    }
    g_autofree char *at = io_size_str(offset);

    printf("%" PRId64 "/%" PRId64 " bytes allocated at offset %s\n", sum, count, at);
    return 0;
}

static int coroutine_fn info_run(QemuIO *io, const IOCommand *cmd, int argc, char **argv)
{
    BlockDriverState *bs = blk_bs(io->blk);

    printf("format name: %s\n", bdrv_get_format_name(bs));
    printf("cluster size: 0 bytes\n");
    printf("vm state offset: 0 bytes\n");
    g_autoptr(ImageInfoSpecific) info = bdrv_get_specific_info(bs);

    if (info) {
        g_autoptr(json_object) json = qapi_to_json(&qapi_type_ImageInfoSpecific, info);

        printf("Format specific information:\n");
        tool_print_human(json_object_object_get(json, "data"), 4);
    }
    return 0;
}

static int coroutine_fn sleep_run(QemuIO *io, const IOCommand *cmd, int argc, char **argv)
{
    char *end;
    long ms = strtol(argv[1], &end, 0);

    if (end == argv[1] || *end || ms < 0 || ms > INT_MAX) {
        printf("%s is not a valid number\n", argv[1]);
        return -EINVAL;
    }
    co_sleep_ns(ms * SCALE_MS);
    return 0;
}

static int coroutine_fn quit_run(QemuIO *io, const IOCommand *cmd, int argc, char **argv)
{
    io->quit = true;
    return 0;
}

const IOCommand io_flush = {
    .name = "flush",
    .letter = "f",
    .args = "",
    .summary = "flush all in-core file state to disk",
    .run = flush_run,
};

const IOCommand io_discard = {
    .name = "discard",
    .letter = "d",
    .min_args = 2,
    .max_args = -1,
    .perm = BLK_PERM_WRITE,
    .args = "[-Cq] off len",
    .summary = "discards a number of bytes at a specified offset",
    .help =
        "Does nothing if the image was opened with -d ignore.\n\n"
        " -C, -- report statistics in a machine parsable format\n"
        " -q, -- quiet mode, do not show I/O statistics",
    .run = discard_run,
};

const IOCommand io_truncate = {
    .name = "truncate",
    .letter = "t",
    .min_args = 1,
    .max_args = 3,
    .perm = BLK_PERM_WRITE | BLK_PERM_RESIZE,
    .args = "[-m prealloc_mode] off",
    .summary = "truncates the current file at the given offset",
    .run = truncate_run,
};

const IOCommand io_length = {
    .name = "length",
    .letter = "l",
    .args = "",
    .summary = "gets the length of the current file",
    .run = length_run,
};

const IOCommand io_map = {
    .name = "map",
    .args = "",
    .summary = "prints the allocated areas of a file",
    .run = map_run,
};

const IOCommand io_alloc = {
    .name = "alloc",
    .letter = "a",
    .min_args = 1,
    .max_args = 2,
    .args = "offset [count]",
    .summary = "checks if offset is allocated in the file",
    .run = alloc_run,
};

const IOCommand io_info = {
    .name = "info",
    .letter = "i",
    .args = "",
    .summary = "prints information about the current file",
    .run = info_run,
};

const IOCommand io_sleep = {
    .name = "sleep",
    .min_args = 1,
    .max_args = 1,
    .without_image = true,
    .args = "milliseconds",
    .summary = "waits for the given value in milliseconds",
    .run = sleep_run,
};

const IOCommand io_quit = {
    .name = "quit",
    .letter = "q",
    .without_image = true,
    .args = "",
    .summary = "exit the program",
    .run = quit_run,
};
