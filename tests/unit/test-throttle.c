/*
 * Leaky buckets, with simulated time
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "util/aio.h"
#include "util/throttle.h"

typedef struct Limit {
    BucketType bucket;
    ThrottleBucketConfig cfg;
} Limit;

/* A user that always has another request of @bytes. */
typedef struct User {
    ThrottleState ts;
    int64_t now_ns;
    int64_t bytes;
} User;

static void user_init(User *u, int64_t bytes, const Limit *limits, size_t n)
{
    ThrottleConfig cfg;

    throttle_config_init(&cfg);
    for (size_t i = 0; i < n; i++) {
        cfg.buckets[limits[i].bucket] = limits[i].cfg;
    }
    g_assert_true(throttle_is_valid(&cfg, &error_abort));
    *u = (User){ .now_ns = 12345, .bytes = bytes };
    throttle_config(&u->ts, &cfg, u->now_ns);
}
#define USER_INIT(u, bytes, ...) \
    user_init(u, bytes, (Limit[]){ __VA_ARGS__ }, sizeof((Limit[]){ __VA_ARGS__ }) / sizeof(Limit))

static void request(User *u, ThrottleDirection direction)
{
    u->now_ns += throttle_compute_wait(&u->ts, direction, u->now_ns);
    g_assert_cmpint(throttle_compute_wait(&u->ts, direction, u->now_ns), ==, 0);
    throttle_account(&u->ts, direction, u->bytes);
}

/* Microseconds until the last of @n requests starts. */
static int64_t requests(User *u, ThrottleDirection direction, int n)
{
    int64_t start = u->now_ns;

    for (int i = 0; i < n; i++) {
        request(u, direction);
    }
    return (u->now_ns - start) / 1000;
}

/* Requests that start within @seconds. */
static int within(User *u, ThrottleDirection direction, int seconds)
{
    int64_t end = u->now_ns + seconds * NANOSECONDS_PER_SECOND;
    int n = 0;

    for (; throttle_compute_wait(&u->ts, direction, u->now_ns) <= end - u->now_ns; n++) {
        request(u, direction);
    }
    u->now_ns = end;
    return n;
}

static void test_no_limit(void)
{
    ThrottleConfig cfg;
    User u = { .bytes = INT64_MAX };

    throttle_config_init(&cfg);
    throttle_config(&u.ts, &cfg, u.now_ns);
    g_assert_cmpint(requests(&u, THROTTLE_READ, 1000), ==, 0);
    g_assert_cmpint(requests(&u, THROTTLE_WRITE, 1000), ==, 0);
}

/* The bucket holds a tenth of a second's worth. */
static void test_average(void)
{
    User u;

    USER_INIT(&u, 1000, { THROTTLE_BPS_TOTAL, { 1000, 0, 1 } });
    g_assert_cmpint(requests(&u, THROTTLE_READ, 1), ==, 0);
    g_assert_cmpint(requests(&u, THROTTLE_WRITE, 1), ==, 900000);
    g_assert_cmpint(requests(&u, THROTTLE_READ, 10), ==, 10000000);

    USER_INIT(&u, 1 << 30, { THROTTLE_OPS_TOTAL, { 100, 0, 1 } });
    g_assert_cmpint(requests(&u, THROTTLE_READ, 11), ==, 0);
    g_assert_cmpint(requests(&u, THROTTLE_READ, 100), ==, 1000000);
    /* It fills up again. */
    u.now_ns += NANOSECONDS_PER_SECOND;
    g_assert_cmpint(requests(&u, THROTTLE_READ, 11), ==, 0);
    g_assert_cmpint(requests(&u, THROTTLE_READ, 1), ==, 10000);
}

static void test_directions(void)
{
    User u;

    USER_INIT(&u, 100, { THROTTLE_BPS_READ, { 100, 0, 1 } }, { THROTTLE_OPS_WRITE, { 10, 0, 1 } });
    g_assert_cmpint(requests(&u, THROTTLE_READ, 2), ==, 900000);
    /* Writes have not waited so far. */
    g_assert_cmpint(requests(&u, THROTTLE_WRITE, 2), ==, 0);
    g_assert_cmpint(requests(&u, THROTTLE_WRITE, 10), ==, 1000000);

    /* The strictest limit counts. */
    USER_INIT(&u, 100, { THROTTLE_BPS_TOTAL, { 1000, 0, 1 } }, { THROTTLE_OPS_READ, { 2, 0, 1 } });
    g_assert_cmpint(requests(&u, THROTTLE_READ, 11), ==, 4900000);
    g_assert_cmpint(requests(&u, THROTTLE_WRITE, 11), ==, 1000000);
}

static void test_burst(void)
{
    User u;

    USER_INIT(&u, 1, { THROTTLE_OPS_TOTAL, { 10, 50, 1 } });
    g_assert_cmpint(requests(&u, THROTTLE_READ, 51), ==, 0);
    g_assert_cmpint(requests(&u, THROTTLE_READ, 10), ==, 1000000);

    /* Up to 2 seconds at 50 per second, then 10. */
    USER_INIT(&u, 1, { THROTTLE_OPS_TOTAL, { 10, 50, 2 } });
    g_assert_cmpint(requests(&u, THROTTLE_READ, 6), ==, 0);
    g_assert_cmpint(requests(&u, THROTTLE_READ, 50), ==, 1000000);
    int n = 56 + within(&u, THROTTLE_READ, 9);
    g_assert_cmpint(n, >=, 200);
    g_assert_cmpint(n, <=, 201);
    g_assert_cmpint(within(&u, THROTTLE_READ, 10), ==, 100);
}

/* A request as large as several times iops-size counts as that many. */
static void test_op_size(void)
{
    User u;

    USER_INIT(&u, 16384, { THROTTLE_OPS_TOTAL, { 100, 0, 1 } });
    u.ts.cfg.op_size = 4096;
    g_assert_cmpint(requests(&u, THROTTLE_READ, 3), ==, 0);
    g_assert_cmpint(requests(&u, THROTTLE_READ, 1), ==, 20000);
    u.bytes = 1;
    g_assert_cmpint(requests(&u, THROTTLE_READ, 2), ==, 50000);
}

/* Even very long waits fit into the clock. */
static void test_ages(void)
{
    User u;

    USER_INIT(&u, INT64_MAX, { THROTTLE_BPS_TOTAL, { 1, 0, 1 } });
    throttle_account(&u.ts, THROTTLE_READ, INT64_MAX);
    g_assert_cmpint(throttle_compute_wait(&u.ts, THROTTLE_READ, u.now_ns), ==, INT64_C(1) << 60);
    /* New limits start with empty buckets. */
    ThrottleConfig cfg = u.ts.cfg;
    cfg.buckets[THROTTLE_BPS_TOTAL].avg = 2;
    throttle_config(&u.ts, &cfg, u.now_ns);
    g_assert_cmpint(throttle_compute_wait(&u.ts, THROTTLE_READ, u.now_ns), ==, 0);
}

static void test_is_valid(void)
{
    static const struct {
        const char *error;
        uint64_t op_size;
        Limit limits[2];
    } cases[] = {
        { NULL, 0, { { THROTTLE_BPS_READ, { 1, 2, 3 } }, { THROTTLE_BPS_WRITE, { 1, 0, 1 } } } },
        { NULL, 512, { { THROTTLE_BPS_TOTAL, { 1, 0, 1 } }, { THROTTLE_OPS_WRITE, { 1, 0, 1 } } } },
        { NULL, 0, { { THROTTLE_BPS_TOTAL, { THROTTLE_VALUE_MAX, THROTTLE_VALUE_MAX, 1 } } } },
        { "bps-total and bps-write cannot be", 0,
          { { THROTTLE_BPS_TOTAL, { 1, 0, 1 } }, { THROTTLE_BPS_WRITE, { 1, 0, 1 } } } },
        { "iops-total and iops-read cannot be", 0,
          { { THROTTLE_OPS_TOTAL, { 1, 0, 1 } }, { THROTTLE_OPS_READ, { 1, 0, 1 } } } },
        { "bps-total must be", 0, { { THROTTLE_BPS_TOTAL, { THROTTLE_VALUE_MAX + 1, 0, 1 } } } },
        { "bps-read must be", 0, { { THROTTLE_BPS_READ, { -1, 0, 1 } } } },
        { "iops-read-max must be", 0, { { THROTTLE_OPS_READ, { 1, THROTTLE_VALUE_MAX + 1, 1 } } } },
        { "iops-write-max-length must be in the range [1,", 0, { { THROTTLE_OPS_WRITE, { 1, 1, 0 } } } },
        { "iops-write-max-length must be", 0, { { THROTTLE_OPS_WRITE, { 1, 1, UINT64_C(1) << 32 } } } },
        { "bps-read-max-length needs bps-read-max", 0, { { THROTTLE_BPS_READ, { 1, 0, 2 } } } },
        { "bps-read-max needs bps-read", 0, { { THROTTLE_BPS_READ, { 0, 1, 1 } } } },
        { "iops-total-max cannot be lower", 0, { { THROTTLE_OPS_TOTAL, { 2, 1, 1 } } } },
        { "bps-total-max-length is too high", 0, { { THROTTLE_BPS_TOTAL, { 1, THROTTLE_VALUE_MAX / 2, 3 } } } },
        { "iops-size needs", 512, { { THROTTLE_BPS_TOTAL, { 1, 0, 1 } } } },
        { "iops-size must be", UINT64_MAX, { { THROTTLE_OPS_TOTAL, { 1, 0, 1 } } } },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(Error) err = NULL;
        ThrottleConfig cfg;

        throttle_config_init(&cfg);
        for (size_t j = 0; j < 2 && (cases[i].limits[j].cfg.avg || cases[i].limits[j].cfg.max); j++) {
            cfg.buckets[cases[i].limits[j].bucket] = cases[i].limits[j].cfg;
        }
        cfg.op_size = cases[i].op_size;
        g_assert_cmpint(throttle_is_valid(&cfg, &err), ==, !cases[i].error);
        g_assert_true(!cases[i].error || g_str_has_prefix(error_get_pretty(err), cases[i].error));
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/throttle/no-limit", test_no_limit);
    g_test_add_func("/throttle/average", test_average);
    g_test_add_func("/throttle/directions", test_directions);
    g_test_add_func("/throttle/burst", test_burst);
    g_test_add_func("/throttle/op-size", test_op_size);
    g_test_add_func("/throttle/ages", test_ages);
    g_test_add_func("/throttle/is-valid", test_is_valid);
    return g_test_run();
}
