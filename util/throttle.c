/*
 * ThrottleState: limits on bytes and requests a second, kept by leaky buckets
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "util/aio.h"
#include "util/throttle.h"

/* A bucket without a burst rate holds what may pass in a part of a second; one with a longer burst, of that rate. */
#define PARTS_OF_SECOND 10

/* 36 years, far from where a clock overflows. */
#define MAX_WAIT_NS (INT64_C(1) << 60)

static const char *const names[BUCKETS_COUNT] = {
    [THROTTLE_BPS_TOTAL] = "bps-total",
    [THROTTLE_BPS_READ] = "bps-read",
    [THROTTLE_BPS_WRITE] = "bps-write",
    [THROTTLE_OPS_TOTAL] = "iops-total",
    [THROTTLE_OPS_READ] = "iops-read",
    [THROTTLE_OPS_WRITE] = "iops-write",
};

/* The buckets that a request fills. */
static const BucketType filled[THROTTLE_MAX][4] = {
    [THROTTLE_READ] = { THROTTLE_BPS_TOTAL, THROTTLE_BPS_READ, THROTTLE_OPS_TOTAL, THROTTLE_OPS_READ },
    [THROTTLE_WRITE] = { THROTTLE_BPS_TOTAL, THROTTLE_BPS_WRITE, THROTTLE_OPS_TOTAL, THROTTLE_OPS_WRITE },
};

void throttle_config_init(ThrottleConfig *cfg)
{
    *cfg = (ThrottleConfig){ .op_size = 0 };
    for (int i = 0; i < BUCKETS_COUNT; i++) {
        cfg->buckets[i].burst_length = 1;
    }
}

/* A total beside limits of reads and writes would make one of them useless. */
static bool check_total(const ThrottleConfig *cfg, BucketType total, Error **errp)
{
    const ThrottleBucketConfig *t = &cfg->buckets[total];

    for (BucketType part = total + 1; part <= total + 2; part++) {
        const ThrottleBucketConfig *p = &cfg->buckets[part];

        if (t->avg && p->avg) {
            error_setg(errp, "%s and %s cannot be used at the same time", names[total], names[part]);
            return false;
        }
        if (t->max && p->max) {
            error_setg(errp, "%s-max and %s-max cannot be used at the same time", names[total], names[part]);
            return false;
        }
    }
    return true;
}

static bool check_range(const char *name, const char *suffix, uint64_t value, uint64_t min, uint64_t max, Error **errp)
{
    if (value < min || value > max) {
        error_setg(errp, "%s%s must be in the range [%" PRIu64 ", %" PRIu64 "]", name, suffix, min, max);
        return false;
    }
    return true;
}

static bool check_bucket(const ThrottleBucketConfig *b, const char *name, Error **errp)
{
    if (!check_range(name, "", b->avg, 0, THROTTLE_VALUE_MAX, errp) ||
        !check_range(name, "-max", b->max, 0, THROTTLE_VALUE_MAX, errp) ||
        !check_range(name, "-max-length", b->burst_length, 1, UINT_MAX, errp)) {
        return false;
    }
    if (b->burst_length > 1 && !b->max) {
        error_setg(errp, "%s-max-length needs %s-max", name, name);
        return false;
    }
    if (b->max && !b->avg) {
        error_setg(errp, "%s-max needs %s", name, name);
        return false;
    }
    if (b->max && b->max < b->avg) {
        error_setg(errp, "%s-max cannot be lower than %s", name, name);
        return false;
    }
    if (b->max && b->burst_length > THROTTLE_VALUE_MAX / b->max) {
        error_setg(errp, "%s-max-length is too high for this %s-max", name, name);
        return false;
    }
    return true;
}

bool throttle_is_valid(const ThrottleConfig *cfg, Error **errp)
{
    for (int i = 0; i < BUCKETS_COUNT; i++) {
        if (!check_bucket(&cfg->buckets[i], names[i], errp)) {
            return false;
        }
    }
    if (!check_range("iops-size", "", cfg->op_size, 0, THROTTLE_VALUE_MAX, errp)) {
        return false;
    }
    if (cfg->op_size && !cfg->buckets[THROTTLE_OPS_TOTAL].avg && !cfg->buckets[THROTTLE_OPS_READ].avg &&
        !cfg->buckets[THROTTLE_OPS_WRITE].avg) {
        error_setg(errp, "iops-size needs iops-total, iops-read or iops-write");
        return false;
    }
    return check_total(cfg, THROTTLE_BPS_TOTAL, errp) && check_total(cfg, THROTTLE_OPS_TOTAL, errp);
}

void throttle_config(ThrottleState *ts, const ThrottleConfig *cfg, int64_t now_ns)
{
    *ts = (ThrottleState){ .cfg = *cfg, .previous_leak_ns = now_ns };
}

static void leak(ThrottleState *ts, int64_t now_ns)
{
    double seconds = (double)(now_ns - ts->previous_leak_ns) / NANOSECONDS_PER_SECOND;

    ts->previous_leak_ns = now_ns;
    for (int i = 0; i < BUCKETS_COUNT; i++) {
        LeakyBucket *b = &ts->buckets[i];

        b->level = MAX(b->level - ts->cfg.buckets[i].avg * seconds, 0);
        b->burst_level = MAX(b->burst_level - ts->cfg.buckets[i].max * seconds, 0);
    }
}

/* Seconds until the bucket is no longer overfull. */
static double seconds_to_wait(const ThrottleBucketConfig *cfg, const LeakyBucket *b)
{
    double room = cfg->max ? (double)cfg->max * cfg->burst_length : (double)cfg->avg / PARTS_OF_SECOND;
    double seconds = 0;

    if (cfg->avg) {
        seconds = (b->level - room) / cfg->avg;
    }
    if (cfg->burst_length > 1) {
        room = (double)cfg->max / PARTS_OF_SECOND;
        seconds = MAX(seconds, (b->burst_level - room) / cfg->max);
    }
    return seconds;
}

int64_t throttle_compute_wait(ThrottleState *ts, ThrottleDirection direction, int64_t now_ns)
{
    double seconds = 0;

    leak(ts, now_ns);
    for (size_t i = 0; i < G_N_ELEMENTS(filled[direction]); i++) {
        BucketType type = filled[direction][i];

        seconds = MAX(seconds, seconds_to_wait(&ts->cfg.buckets[type], &ts->buckets[type]));
    }
    /* Round up, so that waiting that long is enough. */
    return (int64_t)MIN(seconds * NANOSECONDS_PER_SECOND + (seconds > 0), MAX_WAIT_NS);
}

void throttle_account(ThrottleState *ts, ThrottleDirection direction, int64_t bytes)
{
    double ops = ts->cfg.op_size ? MAX((double)bytes / ts->cfg.op_size, 1) : 1;

    for (size_t i = 0; i < G_N_ELEMENTS(filled[direction]); i++) {
        BucketType type = filled[direction][i];
        double amount = type < THROTTLE_OPS_TOTAL ? (double)bytes : ops;

        ts->buckets[type].level += amount;
        ts->buckets[type].burst_level += amount;
    }
}
