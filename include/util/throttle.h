/*
 * ThrottleState: limits on bytes and requests a second, kept by leaky buckets
 *
 * There is a bucket each for bytes and for requests, of reads, of writes and of both together. A request fills those
 * that it concerns, and they leak at the rate that is allowed. A request may start while none of them is overfull: one
 * that is larger than a bucket starts, too, and the next ones wait for it.
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
 * This is arithmetic alone: the caller says what time it is, waits, and locks.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef UTIL_THROTTLE_H
#define UTIL_THROTTLE_H

#include <stdbool.h>
#include <stdint.h>

#include "util/error.h"

/* No limit is above this. */
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
 * Limits of one bucket, in bytes or requests a second. At rest it takes @max * @burst_length at once, and where that
 * is longer than a second, at the rate @max; without @max, what is allowed in a tenth of a second.
 */
typedef struct ThrottleBucketConfig {
    uint64_t avg;               /* in the long run; 0: no limit */
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

/* Whether the limits fit together; false with an error that names one as QAPI does ("bps-read-max"). */
bool throttle_is_valid(const ThrottleConfig *cfg, Error **errp);

/* Begin, or go on, with valid limits and empty buckets. */
void throttle_config(ThrottleState *ts, const ThrottleConfig *cfg, int64_t now_ns);

/* Nanoseconds until a request may start, if none starts before; 0: now. @now_ns never decreases. */
int64_t throttle_compute_wait(ThrottleState *ts, ThrottleDirection direction, int64_t now_ns);

/* A request of @bytes starts, which may or may not have waited. */
void throttle_account(ThrottleState *ts, ThrottleDirection direction, int64_t bytes);

#endif
