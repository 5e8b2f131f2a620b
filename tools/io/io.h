/*
 * Shared declarations of qemu-io
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef TOOLS_IO_IO_H
#define TOOLS_IO_IO_H

#include "block/block-backend.h"
#include "tools/common/image.h"

typedef struct QemuIO {
    BlockBackend *blk;          /* NULL: no image is open */
    ToolImage image;            /* how it was opened, for reopen; its strings are owned */
    uint64_t perm;              /* of @blk */
    bool writethrough;          /* flush every write before it completes */
    bool misalign;              /* misalign buffers for direct I/O */
    unsigned in_flight;         /* requests of aio_read and aio_write that are not complete */
    CoQueue idle;               /* coroutines that wait for @in_flight to become 0 */
    bool failed;                /* a request of aio_read or aio_write, or closing the image, failed */
    bool quit;
} QemuIO;

typedef struct IOCommand IOCommand;
struct IOCommand {
    const char *name;
    const char *letter;         /* another name; NULL: none */
    int min_args, max_args;     /* max_args -1: no limit */
    bool without_image;         /* works without an open image */
    uint64_t perm;              /* permission needed besides reading */
    const char *args;
    const char *summary;
    const char *help;           /* more lines, or NULL */
    /* Returns 0, or -errno after reporting the error. argv[0] is the name. */
    int coroutine_fn (*run)(QemuIO *io, const IOCommand *cmd, int argc, char **argv);
};

extern const IOCommand io_aio_flush, io_aio_read, io_aio_write, io_alloc, io_close, io_discard, io_flush;
extern const IOCommand io_help, io_info, io_length, io_map, io_open, io_quit, io_read, io_readv, io_reopen;
extern const IOCommand io_sleep, io_truncate, io_write, io_writev;

/* Commands (command.c): run @line, which is modified; 0 or -errno. */
int coroutine_fn io_run_line(QemuIO *io, char *line);
/* Print the usage of @cmd; returns -EINVAL. */
int io_usage(const IOCommand *cmd);

/* Images (open.c): false with an error reported. Strings of @image are copied. */
bool coroutine_fn io_open_image(QemuIO *io, const ToolImage *image);
void coroutine_fn io_close_image(QemuIO *io);
/*
 * Handle an option that the program and its commands share: -i, -k, -n, -t, -d, -r, -U; false with an error
 * reported.
 */
bool io_take_open_option(ToolImage *image, int option, const char *value);

/* Requests (request.c): wait until all are complete. */
void coroutine_fn io_drain(QemuIO *io);

/* Numbers and reports (report.c): parse a size such as 64k, up to INT64_MAX; -1 with an error printed. */
int64_t io_parse_number(const char *str);
/* Parse a byte from 0 to 255; -1 with an error printed. */
int io_parse_pattern(const char *str);
/* "64 KiB"; caller frees. */
char *io_size_str(double bytes);
/* Report that @done of @asked bytes were processed in @ns nanoseconds; @csv: as comma-separated values. */
void io_report(const char *what, int64_t ns, int64_t offset, int64_t asked, int64_t done, bool csv);
void io_dump(const uint8_t *buf, int64_t offset, int64_t bytes);

#endif
