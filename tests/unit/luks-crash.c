/*
 * The states in which a power cut can leave an operation on a Volume
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include "luks-crash.h"

#define SECTOR 512
#define MAX_EXHAUSTIVE 10
#define SAMPLES 22

/* One sector of one write. Two writes of the same sector between two flushes are two units. */
typedef struct Unit {
    uint64_t offset;
    const uint8_t *data;
} Unit;

static void apply(Volume *v, const GArray *units, const bool *landed)
{
    for (guint i = 0; i < units->len; i++) {
        const Unit *u = &g_array_index(units, Unit, i);

        if (landed[i]) {
            memcpy(v->data + u->offset, u->data, SECTOR);
        }
    }
}

/* Build a state from @base, the durable contents, and check it. */
static void try_state(Volume *state, const uint8_t *base, const GArray *units, const bool *landed,
                      CrashCheck *check, void *opaque)
{
    memcpy(state->data, base, state->bytes);
    apply(state, units, landed);
    check(state, opaque);
}

static void all_subsets(Volume *state, const uint8_t *base, const GArray *units, CrashCheck *check,
                        void *opaque)
{
    bool landed[MAX_EXHAUSTIVE];

    for (unsigned mask = 0; mask < 1u << units->len; mask++) {
        for (guint i = 0; i < units->len; i++) {
            landed[i] = mask >> i & 1;
        }
        try_state(state, base, units, landed, check, opaque);
    }
}

/* Try none, all, all but one, the first or last part, and random ones. */
static void some_subsets(Volume *state, const uint8_t *base, const GArray *units, CrashCheck *check,
                         void *opaque)
{
    g_autofree bool *landed = g_new(bool, units->len);
    guint n = units->len;

    for (int sample = 0; sample < SAMPLES; sample++) {
        guint cut = g_test_rand_int_range(0, n);

        for (guint i = 0; i < n; i++) {
            switch (sample) {
            case 0:
                landed[i] = false;
                break;
            case 1:
                landed[i] = true;
                break;
            default:
                landed[i] = sample % 4 == 0 ? i != cut
                          : sample % 4 == 1 ? i < cut
                          : sample % 4 == 2 ? i >= cut
                          : g_test_rand_bit();
            }
        }
        try_state(state, base, units, landed, check, opaque);
    }
}

void crash_enumerate(const Volume *v, const uint8_t *before, CrashCheck *check, void *opaque)
{
    g_autoptr(Volume) state = volume_new(v->bytes);
    g_autofree uint8_t *base = g_memdup2(before, v->bytes);
    g_autoptr(GArray) units = g_array_new(FALSE, FALSE, sizeof(Unit));
    unsigned flushes = 0;

    for (guint i = 0; i < v->log->len; i++) {
        const VolumeOp *op = &g_array_index(v->log, VolumeOp, i);

        for (size_t at = 0; at < op->bytes; at += SECTOR) {
            Unit u = { .offset = op->offset + at, .data = op->data + at };

            g_array_append_val(units, u);
        }
        if (op->data) {
            continue;
        }
        if (units->len <= MAX_EXHAUSTIVE) {
            all_subsets(state, base, units, check, opaque);
        } else {
            some_subsets(state, base, units, check, opaque);
        }
        for (guint k = 0; k < units->len; k++) {
            const Unit *u = &g_array_index(units, Unit, k);

            memcpy(base + u->offset, u->data, SECTOR);
        }
        g_array_set_size(units, 0);
        flushes++;
    }
    g_assert_cmpuint(units->len, ==, 0);
    g_assert_cmpuint(flushes, >, 0);
    g_assert_cmpmem(base, v->bytes, v->data, v->bytes);
}
