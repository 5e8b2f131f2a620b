/*
 * Two volumes in memory and a copy from one to the other, for the tests of BlockCopy
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef COPY_SETUP_H
#define COPY_SETUP_H

#include <json-c/json.h>

#include "block/copy.h"
#include "memory-driver.h"
#include "qapi/json.h"
#include "qapi/keyval.h"

#define SIZE (4 * MiB)
#define GRANULE 65536

/* Two volumes, and a copy from one to the other. */
typedef struct Setup {
    BlockBackend *source;
    BlockBackend *target;
    uint8_t *source_data;
    uint8_t *target_data;
    MemoryState *source_state;
    MemoryState *target_state;
    BdrvDirtyBitmap *bitmap;
    BlockCopy *copy;
    Job *job;
} Setup;

static BlockBackend *coroutine_fn open_blk(int64_t bytes)
{
    g_autofree char *text = g_strdup_printf("driver=null-co,size=%" PRId64, bytes);
    g_autoptr(json_object) options = keyval_parse(text, NULL, NULL, &error_abort);

    return blk_co_new_open("test", NULL, options, 0, BLK_PERM_ALL, BLK_PERM_ALL, &error_abort);
}

/* Random blocks and zero blocks. */
static void fill(uint8_t *data, int64_t bytes)
{
    for (int64_t n, offset = 0; offset < bytes; offset += n) {
        n = g_test_rand_int_range(1, 64) * 2048;
        n = MIN(n, bytes - offset);
        memset(data + offset, g_test_rand_bit() ? g_test_rand_int_range(1, 256) : 0, n);
    }
}

static void coroutine_fn setup_init(Setup *s, int64_t bytes)
{
    *s = (Setup){ .source = open_blk(bytes), .target = open_blk(bytes) };
    s->source_state = blk_bs(s->source)->opaque;
    s->target_state = blk_bs(s->target)->opaque;
    s->source_data = s->source_state->data;
    s->target_data = s->target_state->data;
    fill(s->source_data, bytes);
    memset(s->target_data, 0x55, bytes);
}

/* A job that runs a copy once. */
typedef struct CopyJob {
    Job common;
    BlockCopy *copy;
} CopyJob;

static bool coroutine_fn copy_job_run(Job *job, Error **errp)
{
    return block_copy_co_run(container_of(job, CopyJob, common)->copy, job, errp);
}

/* Sets the volumes in @options. */
static void setup_copy(Setup *s, BlockCopyOptions options)
{
    static const JobDriver driver = {
        .instance_size = sizeof(CopyJob), .type = JOB_TYPE_MIRROR, .run = copy_job_run,
    };
    CopyJob *cj = job_create(NULL, &driver, JOB_INTERNAL | JOB_MANUAL_DISMISS, &error_abort);

    options.source = s->source;
    options.target = options.ops && options.ops->write ? NULL : s->target;
    options.bitmap = s->bitmap;
    cj->copy = s->copy = block_copy_new(&options);
    s->job = job_ref(&cj->common);
}

/* The same with a bitmap, all of it dirty. */
static void setup_bitmap_copy(Setup *s, int64_t granularity, BlockCopyOptions options)
{
    s->bitmap = bdrv_create_dirty_bitmap(blk_bs(s->source), granularity, NULL, &error_abort);
    bdrv_set_dirty_bitmap(s->bitmap, 0, INT64_MAX);
    options.bytes = blk_getlength(s->source);
    setup_copy(s, options);
}

static void coroutine_fn setup_cleanup(Setup *s)
{
    if (s->job->status == JOB_STATUS_CONCLUDED) {
        job_dismiss(s->job, &error_abort);
    } else {
        job_discard(s->job);
    }
    job_unref(s->job);
    block_copy_free(s->copy);
    bdrv_release_dirty_bitmap(s->bitmap);
    blk_co_unref(s->source);
    blk_co_unref(s->target);
    memory_sparse = false;
    memory_alignment = 1;
    memory_latency_ns = 0;
    memory_read_failures = memory_write_failures = 0;
}

static void assert_copied(const Setup *s)
{
    g_assert_cmpmem(s->target_data, s->target_state->length, s->source_data, s->source_state->length);
}

static void coroutine_fn wait_for(Job *job, JobStatus status)
{
    while (job->status != status) {
        co_sleep_ns(SCALE_MS / 10);
    }
}

#endif
