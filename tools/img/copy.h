/*
 * Copying image data, for convert and dd: adds to the block layer's engine (block/copy.h) sources of several images,
 * targets that are streams or are written in order, and sectors that cannot be read
 *
 *     ImgSegment all = { .blk = source, .bytes = blk_getlength(source) };
 *     ImgCopy copy = {
 *         .segments = &all, .n_segments = 1, .target = target, .sparse_bytes = 4 * KiB, .coroutines = 8,
 *     };
 *     tool_run_job(JOB_TYPE_BACKUP, img_copy_run, &copy, progress, errp);
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef TOOLS_IMG_COPY_H
#define TOOLS_IMG_COPY_H

#include "block/copy.h"

#define IMG_COPY_MAX_COROUTINES 16

/* Defaults. */
#define IMG_COPY_COROUTINES 8
#define IMG_COPY_SPARSE_BYTES (4 * KiB)

/* A part of a source. */
typedef struct ImgSegment {
    BlockBackend *blk;
    int64_t offset;             /* bytes */
    int64_t bytes;
} ImgSegment;

typedef struct ImgCopy {
    /* set by the caller; the rest starts as zeroes */
    const ImgSegment *segments; /* copied one after the other, to the start of the target */
    unsigned n_segments;
    BlockBackend *target;       /* NULL: @stream_fd instead */
    int stream_fd;              /* a pipe or the like, written in order */
    bool target_is_zero;        /* zeroes need not be written */
    int64_t sparse_bytes;       /* minimum run of zeroes that becomes a hole, if the target supports that; 0: none */
    unsigned coroutines;        /* requests in flight: 1 to IMG_COPY_MAX_COROUTINES */
    bool out_of_order;          /* writes need not wait for earlier ones */
    bool writethrough;          /* flush each write before it completes */
    bool salvage;               /* unreadable sectors become zeroes, with a warning */
    bool quiet;                 /* no warnings */
    int64_t bytes_per_second;   /* 0: no limit */

    /* state while it runs */
    int64_t written;            /* end of the data written in order */
    bool failed;                /* a request failed: no others start */
    CoQueue turn;               /* coroutines that wait until @written reaches their data */
} ImgCopy;

/* Length of all segments together. */
int64_t img_copy_length(const ImgCopy *copy);

/* A ToolJobFunc: run the ImgCopy @opaque, and flush the target. */
bool coroutine_fn img_copy_run(Job *job, void *opaque, Error **errp);

#endif
