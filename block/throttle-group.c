/*
 * ThrottleGroup: limits on bytes and requests a second, for nodes that share them
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include <json.h>

#include "block/throttle-group.h"
#include "crypto/object.h"
#include "qapi/json.h"
#include "qapi/qapi.h"
#include "util/aio.h"
#include "util/throttle.h"

typedef struct ThrottleGroup {
    char *id;
    ThrottleState ts;
} ThrottleGroup;

/* Limits. Each bucket has three, of the same name as in ThrottleLimits. */
#define FOR_EACH_BUCKET(X)          \
    X(THROTTLE_BPS_TOTAL, bps_total)    \
    X(THROTTLE_BPS_READ, bps_read)      \
    X(THROTTLE_BPS_WRITE, bps_write)    \
    X(THROTTLE_OPS_TOTAL, iops_total)   \
    X(THROTTLE_OPS_READ, iops_read)     \
    X(THROTTLE_OPS_WRITE, iops_write)

static void take(uint64_t *to, bool has, int64_t value)
{
    if (has) {
        *to = value;        /* a negative one becomes larger than any that is valid */
    }
}

/* Those of @limits that are given. */
static void take_limits(ThrottleConfig *cfg, const ThrottleLimits *limits)
{
#define TAKE_BUCKET(i, name)                                                            \
    take(&cfg->buckets[i].avg, limits->has_##name, limits->name);                       \
    take(&cfg->buckets[i].max, limits->has_##name##_max, limits->name##_max);           \
    take(&cfg->buckets[i].burst_length, limits->has_##name##_max_length, limits->name##_max_length);

    FOR_EACH_BUCKET(TAKE_BUCKET)
    take(&cfg->op_size, limits->has_iops_size, limits->iops_size);
}

static ThrottleLimits *make_limits(const ThrottleConfig *cfg)
{
    ThrottleLimits *limits = g_new0(ThrottleLimits, 1);

#define GIVE_BUCKET(i, name)                                                            \
    limits->has_##name = limits->has_##name##_max = limits->has_##name##_max_length = true;     \
    limits->name = cfg->buckets[i].avg;                                                 \
    limits->name##_max = cfg->buckets[i].max;                                           \
    limits->name##_max_length = cfg->buckets[i].burst_length;

    FOR_EACH_BUCKET(GIVE_BUCKET)
    limits->has_iops_size = true;
    limits->iops_size = cfg->op_size;
    return limits;
}

/* The properties x-NAME as limits. */
static ThrottleLimits *limits_from_single(const ThrottleGroupProperties *props)
{
    g_autoptr(json_object) all = QAPI_TO_JSON(ThrottleGroupProperties, props);
    g_autoptr(json_object) limits = json_object_new_object();

    json_object_object_foreach(all, key, value) {
        if (g_str_has_prefix(key, "x-")) {
            json_object_object_add(limits, key + strlen("x-"), json_object_get(value));
        }
    }
    return QAPI_FROM_JSON(ThrottleLimits, limits, QAPI_INPUT_JSON, &error_abort);
}

/* All properties, from limits that are complete. */
static ThrottleGroupProperties *props_from_limits(const ThrottleLimits *limits)
{
    g_autoptr(json_object) all = QAPI_TO_JSON(ThrottleLimits, limits);
    g_autoptr(json_object) props = json_object_new_object();

    json_object_object_add(props, "limits", json_object_get(all));
    json_object_object_foreach(all, key, value) {
        g_autofree char *name = g_strconcat("x-", key, NULL);
        json_object_object_add(props, name, json_object_get(value));
    }
    return QAPI_FROM_JSON(ThrottleGroupProperties, props, QAPI_INPUT_JSON, &error_abort);
}

static bool check(const char *id, const ThrottleConfig *cfg, Error **errp)
{
    ERRP_GUARD();

    if (!throttle_is_valid(cfg, errp)) {
        error_prepend(errp, "Throttle group '%s': ", id);
        return false;
    }
    return true;
}

/* The object */

static void *throttle_group_create(const ObjectOptions *options, Error **errp)
{
    const ThrottleGroupProperties *props = &options->u.throttle_group;
    g_autoptr(ThrottleLimits) single = limits_from_single(props);
    ThrottleConfig cfg;

    throttle_config_init(&cfg);
    take_limits(&cfg, single);
    if (props->limits) {
        take_limits(&cfg, props->limits);
    }
    if (!check(options->id, &cfg, errp)) {
        return NULL;
    }
    ThrottleGroup *tg = g_new0(ThrottleGroup, 1);
    tg->id = g_strdup(options->id);
    throttle_config(&tg->ts, &cfg, qemu_clock_get_ns());
    return tg;
}

static void throttle_group_free(void *obj)
{
    ThrottleGroup *tg = obj;

    g_free(tg->id);
    g_free(tg);
}

static bool throttle_group_set(void *obj, const ObjectOptions *options, Error **errp)
{
    ThrottleGroup *tg = obj;
    ThrottleConfig cfg = tg->ts.cfg;

    take_limits(&cfg, options->u.throttle_group.limits);
    if (!check(tg->id, &cfg, errp)) {
        return false;
    }
    throttle_config(&tg->ts, &cfg, qemu_clock_get_ns());
    return true;
}

static void throttle_group_get(void *obj, ObjectOptions *options)
{
    ThrottleGroup *tg = obj;
    g_autoptr(ThrottleLimits) limits = make_limits(&tg->ts.cfg);
    g_autoptr(ThrottleGroupProperties) props = props_from_limits(limits);

    /* The structs change places, with all that is in them. */
    ThrottleGroupProperties old = options->u.throttle_group;
    options->u.throttle_group = *props;
    *props = old;
}

static const char *const writable[] = { "limits", NULL };

static const UserCreatableType throttle_group_type = {
    .type = OBJECT_TYPE_THROTTLE_GROUP,
    .create = throttle_group_create,
    .free = throttle_group_free,
    .writable = writable,
    .set = throttle_group_set,
    .get = throttle_group_get,
};

void throttle_group_register(void)
{
    user_creatable_register(&throttle_group_type);
}
