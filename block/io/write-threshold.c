/*
 * The write threshold: telling once that a node is written to beyond an offset, so that thin storage can be extended in
 * time
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "block/io/io_int.h"
#include "qapi/qapi-events.h"
#include "util/aio.h"

void bdrv_set_write_threshold(BlockDriverState *bs, uint64_t offset)
{
    qatomic_set(&bs->write_threshold, MIN(offset, INT64_MAX));
}

int64_t bdrv_get_write_threshold(const BlockDriverState *bs)
{
    return qatomic_read(&bs->write_threshold);
}

typedef struct ThresholdEvent {
    char *node_name;
    uint64_t exceeded;
    uint64_t threshold;
} ThresholdEvent;

static void threshold_send_event(void *opaque)
{
    ThresholdEvent *e = opaque;

    qapi_event_send_block_write_threshold(&(BlockWriteThresholdArg){
        .node_name = e->node_name, .amount_exceeded = e->exceeded, .write_threshold = e->threshold,
    });
    g_free(e->node_name);
    g_free(e);
}

void bdrv_write_threshold_check(BlockDriverState *bs, int64_t end)
{
    int64_t threshold = qatomic_read(&bs->write_threshold);

    /* Whoever disarms it sends the event, on the main thread. */
    if (threshold && end > threshold && qatomic_cmpxchg(&bs->write_threshold, threshold, 0) == threshold) {
        ThresholdEvent *e = g_new(ThresholdEvent, 1);

        *e = (ThresholdEvent){
            .node_name = g_strdup(bs->node_name), .exceeded = end - threshold, .threshold = threshold,
        };
        aio_bh_schedule_oneshot(qemu_get_aio_context(), threshold_send_event, e);
    }
}
