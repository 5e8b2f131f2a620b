/*
 * Copying image data: what convert and dd have in common, on top of the block layer's engine (block/copy.h): sources
 * that consist of several images, targets that are streams or are written in order, sectors that cannot be read
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

/* Where nobody says otherwise. */
#define IMG_COPY_COROUTINES 8
#define IMG_COPY_SPARSE_BYTES (4 * KiB)

/* A piece of a source. */
typedef struct ImgSegment {
    BlockBackend *blk;
    int64_t offset;             /* bytes */
    int64_t bytes;
} ImgSegment;

typedef struct ImgCopy {
    /* set by the caller; the rest starts as zeroes */
    const ImgSegment *segments; /* what is copied, one after the other, to the start of the target */
    unsigned n_segments;
    BlockBackend *target;       /* NULL: @stream_fd instead */
    int stream_fd;              /* a pipe or the like, which takes every byte in order */
    bool target_is_zero;        /* zeroes need not be written */
    int64_t sparse_bytes;       /* so many zeroes in a row become a hole where the target can have one; 0: none */
    unsigned coroutines;        /* requests in flight: 1 to IMG_COPY_MAX_COROUTINES */
    bool out_of_order;          /* writes need not wait for those before them */
    bool writethrough;          /* each write is to be on stable storage when it completes */
    bool salvage;               /* unreadable sectors become zeroes, with a warning */
    bool quiet;                 /* no warnings */
    int64_t bytes_per_second;   /* 0: no limit */

    /* while it runs */
    int64_t written;            /* in order up to here */
    bool failed;                /* something: nobody gets his turn any more */
    CoQueue turn;               /* those who wait for @written to reach them */
} ImgCopy;

/* Bytes of all segments. */
int64_t img_copy_length(const ImgCopy *copy);

/* A ToolJobFunc: copies what the ImgCopy @opaque says, and flushes the target. */
bool coroutine_fn img_copy_run(Job *job, void *opaque, Error **errp);

#endif
