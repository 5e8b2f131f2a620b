/*
 * What the files of the mirror share
 *
 *     mirror.c          the job
 *     mirror-check.c    checks before it starts
 *     mirror-target.c   requests to the target, and ending the job if it does not respond
 *     mirror-top.c      the filter above the source; see mirror-top.h
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef BLOCK_MIRROR_INT_H
#define BLOCK_MIRROR_INT_H

#include "block/copy.h"
#include "block/mirror.h"
#include "util/aio.h"

typedef struct MirrorJob {
    Job common;
    BlockBackend *source;
    BlockBackend *target;
    BlockDriverState *target_bs;
    BlockDriverState *filter;
    BlockDriverState *to_replace;
    BdrvDirtyBitmap *bitmap;
    BlockCopy *copy;
    BlockdevOnError on_target_error;
    bool copies_all;            /* initially, copy everything */
    bool target_is_zero;
    bool inserted;              /* the filter is above the source */
    bool should_complete;
    bool given_up;              /* no further request to the target */
    bool pivots;                /* completes by switching to the target */
    bool pivoted;               /* the target has replaced a node */
    bool aborted;
    Error *err;                 /* a write of the filter to the target has failed */

    /* Catching up: see mirror_is_enough(). */
    int64_t copied_bytes;       /* by the engine, so far */
    int64_t lowest;             /* the least that remained in this run, bytes */
    int64_t copied_at_lowest;
    int64_t final_bytes;

    /* The final section: the filter is drained, and what is left is copied. */
    int64_t final_ns;
    AioTimer *final_timer;
    bool in_final;              /* waiting for it to begin, or in it */
    bool in_section;            /* the filter is drained */
    bool final_expired;

    /* Ending the job if the target does not respond. */
    AioTimer *end_timer;
    unsigned in_flight;         /* requests of the job to the target */
    uint64_t succeeded;         /* writes of the job */
    uint64_t failed;            /* requests, and final sections that took too long */
    uint64_t succeeded_before;  /* when the timer last looked */
    uint64_t failed_before;

    bool probing;               /* mirror_probe_idle() waits for an answer */
    int probe_ret;              /* the last answer */
    int64_t next_probe_ns;
} MirrorJob;

/* mirror.c */

/* Time is up for the final section, or the job is cancelled: let the writers continue. */
void mirror_expire_section(void *opaque);

/* mirror-check.c */

/* The node that the target will replace: @source, or one below it with the same data. NULL with @errp. */
BlockDriverState *mirror_find_replaced(BlockDriverState *source, const char *name, Error **errp);

/* Fail if the nodes are the same, or if one is above the other. */
bool mirror_check_nodes(BlockDriverState *source, BlockDriverState *target, Error **errp);

/* mirror-target.c */

/* BlockCopyOps.write */
int coroutine_fn mirror_copy_write(void *opaque, int64_t offset, int64_t bytes, void *buf);
/* Flush the target; if users are about to switch to it, also probe it. 0 or -errno. */
int coroutine_fn mirror_flush(MirrorJob *s);
/* The filter could not write to the target. What the guest wrote is in the source, and marked. */
void coroutine_fn mirror_write_failed(void *opaque, int64_t offset, int ret);
/* Probe the target from time to time, without waiting; an error is handled like that of a write. */
void mirror_probe_idle(MirrorJob *s);

/* Fail the job unless a request to the target succeeds every few seconds. */
void mirror_watch_target(MirrorJob *s);
/* Cancel the requests to the target, and make no further ones, until the job has released it. */
void mirror_give_up(MirrorJob *s);
/* Make no further requests, and cancel those that do not end soon, until end_timer is deleted. */
void mirror_end_requests_soon(MirrorJob *s);
/* Callback of end_timer. */
void mirror_end_tick(void *opaque);

#endif
