/*
 * ThrottleState: limits on bytes and requests per second, implemented by leaky buckets
 *
 * There are buckets for bytes and for requests: of reads, of writes, and of both together. A request fills its buckets,
 * and they leak at the allowed rate. A request may start while none of its buckets is overfull: one that is larger than
 * a bucket starts as well, and the next ones wait for it.
 *
 *     ThrottleConfig cfg;
 *
 *     throttle_config_init(&cfg);
 *     cfg.buckets[THROTTLE_BPS_TOTAL].avg = 10 * MiB;
 *     if (!throttle_is_valid(&cfg, errp)) {
 *         return false;
 *     }
 *     throttle_config(&ts, &cfg, qemu_clock_get_ns());
 *     ...
 *     if (throttle_compute_wait(&ts, THROTTLE_READ, qemu_clock_get_ns()) == 0) {
 *         throttle_account(&ts, THROTTLE_READ, bytes);
 *         // read
 *     }
 *
 * This is only arithmetic: the caller supplies the time, waits, and locks.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef UTIL_THROTTLE_H
#define UTIL_THROTTLE_H

#include <stdbool.h>
#include <stdint.h>

#include "util/error.h"

/* Maximum of all limits. */
#define THROTTLE_VALUE_MAX INT64_C(1000000000000000)

typedef enum ThrottleDirection {
    THROTTLE_READ,
    THROTTLE_WRITE,
    THROTTLE_MAX,
} ThrottleDirection;

/* Bytes (BPS) and requests (OPS). */
typedef enum BucketType {
    THROTTLE_BPS_TOTAL,
    THROTTLE_BPS_READ,
    THROTTLE_BPS_WRITE,
    THROTTLE_OPS_TOTAL,
    THROTTLE_OPS_READ,
    THROTTLE_OPS_WRITE,
    BUCKETS_COUNT,
} BucketType;

/*
 * Limits of one bucket, in bytes or requests per second. An idle bucket accepts @max * @burst_length at once or, if the
 * burst is longer than a second, at the rate @max; without @max, a tenth of a second's worth.
 */
typedef struct ThrottleBucketConfig {
    uint64_t avg;               /* average; 0: no limit */
    uint64_t max;               /* in bursts; 0: none */
    uint64_t burst_length;      /* seconds for which a burst may last; at least 1 */
} ThrottleBucketConfig;

typedef struct ThrottleConfig {
    ThrottleBucketConfig buckets[BUCKETS_COUNT];
    uint64_t op_size;           /* bytes: larger requests count as several; 0: as one */
} ThrottleConfig;

typedef struct LeakyBucket {
    double level;
    double burst_level;         /* keeps bursts of more than a second to their rate */
} LeakyBucket;

typedef struct ThrottleState {
    ThrottleConfig cfg;
    LeakyBucket buckets[BUCKETS_COUNT];
    int64_t previous_leak_ns;
} ThrottleState;

/* No limits. */
void throttle_config_init(ThrottleConfig *cfg);

/* Whether the limits are consistent; false with an error that names one as QAPI does ("bps-read-max"). */
bool throttle_is_valid(const ThrottleConfig *cfg, Error **errp);

/* Start, or continue, with valid limits and empty buckets. */
void throttle_config(ThrottleState *ts, const ThrottleConfig *cfg, int64_t now_ns);

/* Nanoseconds until a request may start, if no other starts before; 0: now. @now_ns never decreases. */
int64_t throttle_compute_wait(ThrottleState *ts, ThrottleDirection direction, int64_t now_ns);

/* Account for a request of @bytes that starts, with or without having waited. */
void throttle_account(ThrottleState *ts, ThrottleDirection direction, int64_t bytes);

#endif
