/*
 * ThrottleGroup: nodes that together keep to limits on bytes and requests a second
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include <json-c/json.h>

#include "block/block_int.h"
#include "block/throttle-group.h"
#include "crypto/object.h"
#include "qapi/json.h"
#include "qapi/qapi.h"
#include "util/aio.h"

/* Whose turn it is in one direction. */
typedef struct Turn {
    Coroutine *co;                      /* the request; NULL: none waits */
    const ThrottleGroupMember *member;  /* whose it is */
    CoSleep sleep;                      /* in which it may be */
} Turn;

typedef struct ThrottleGroup {
    char *id;
    GMutex lock;            /* for all below, but limits and members change on the main thread alone */
    ThrottleState ts;
    GPtrArray *members;     /* of ThrottleGroupMember */
    Turn turns[THROTTLE_MAX];
} ThrottleGroup;

struct ThrottleGroupMember {
    ThrottleGroup *group;
    BlockDriverState *bs;
    GQueue waiting[THROTTLE_MAX];   /* of Waiter; under the group's lock */
};

/* A request that waits for the turn. */
typedef struct Waiter {
    CoSleep sleep;          /* claimed by whoever ends the wait */
    GList link;
    bool queued;
} Waiter;

/* Each bucket has three limits, named as in ThrottleLimits. */
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
        *to = value;        /* a negative value becomes larger than any valid one */
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

/* Sleeping requests check the limits again. */
static void change_limits(ThrottleGroup *tg, const ThrottleConfig *cfg)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&tg->lock);

    throttle_config(&tg->ts, cfg, qemu_clock_get_ns());
    for (int i = 0; i < THROTTLE_MAX; i++) {
        qemu_co_sleep_wake(&tg->turns[i].sleep);
    }
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
    g_mutex_init(&tg->lock);
    tg->members = g_ptr_array_new();
    throttle_config(&tg->ts, &cfg, qemu_clock_get_ns());
    return tg;
}

static void throttle_group_free(void *obj)
{
    ThrottleGroup *tg = obj;

    assert(tg->members->len == 0);
    g_ptr_array_unref(tg->members);
    g_mutex_clear(&tg->lock);
    g_free(tg->id);
    g_free(tg);
}

static char *throttle_group_used_by(void *obj)
{
    ThrottleGroup *tg = obj;
    const ThrottleGroupMember *member = tg->members->len ? g_ptr_array_index(tg->members, 0) : NULL;

    return member ? g_strdup_printf("node '%s'", member->bs->node_name) : NULL;
}

static bool throttle_group_set(void *obj, const ObjectOptions *options, Error **errp)
{
    ThrottleGroup *tg = obj;
    ThrottleConfig cfg = tg->ts.cfg;

    take_limits(&cfg, options->u.throttle_group.limits);
    if (!check(tg->id, &cfg, errp)) {
        return false;
    }
    change_limits(tg, &cfg);
    return true;
}

static void throttle_group_get(void *obj, ObjectOptions *options)
{
    ThrottleGroup *tg = obj;
    g_autoptr(ThrottleLimits) limits = make_limits(&tg->ts.cfg);
    g_autoptr(ThrottleGroupProperties) props = props_from_limits(limits);

    /* Swap the structs. */
    ThrottleGroupProperties old = options->u.throttle_group;
    options->u.throttle_group = *props;
    *props = old;
}

static const char *const writable[] = { "limits", NULL };

static const UserCreatableType throttle_group_type = {
    .type = OBJECT_TYPE_THROTTLE_GROUP,
    .create = throttle_group_create,
    .free = throttle_group_free,
    .used_by = throttle_group_used_by,
    .writable = writable,
    .set = throttle_group_set,
    .get = throttle_group_get,
};

void throttle_group_register(void)
{
    user_creatable_register(&throttle_group_type);
}

void throttle_groups_lift_limits(void)
{
    ThrottleConfig none;

    throttle_config_init(&none);
    for (const ObjectOptions *o = user_creatable_next(NULL); o; o = user_creatable_next(o)) {
        if (o->qom_type == OBJECT_TYPE_THROTTLE_GROUP) {
            change_limits(user_creatable_lookup(o->id, o->qom_type, &error_abort), &none);
        }
    }
}

/* Members and their requests */

ThrottleGroupMember *throttle_group_join(const char *id, BlockDriverState *bs, Error **errp)
{
    ThrottleGroup *tg = user_creatable_lookup(id, OBJECT_TYPE_THROTTLE_GROUP, errp);

    if (!tg) {
        return NULL;
    }
    ThrottleGroupMember *member = g_new0(ThrottleGroupMember, 1);
    member->group = tg;
    member->bs = bs;
    g_mutex_lock(&tg->lock);
    g_ptr_array_add(tg->members, member);
    g_mutex_unlock(&tg->lock);
    return member;
}

void throttle_group_leave(ThrottleGroupMember *member)
{
    ThrottleGroup *tg = member->group;

    g_mutex_lock(&tg->lock);
    for (int i = 0; i < THROTTLE_MAX; i++) {
        assert(g_queue_is_empty(&member->waiting[i]));
    }
    g_ptr_array_remove(tg->members, member);
    g_mutex_unlock(&tg->lock);
    g_free(member);
}

/* The first waiting request, for the caller to schedule; NULL: none. */
static Coroutine *pop_waiter(ThrottleGroupMember *member, ThrottleDirection direction)
{
    Coroutine *co = NULL;
    GList *link;

    /* Skip those that were just cancelled. */
    while (!co && (link = g_queue_pop_head_link(&member->waiting[direction]))) {
        Waiter *waiter = link->data;

        waiter->queued = false;
        co = qemu_co_sleep_claim(&waiter->sleep);
    }
    return co;
}

/* Pass the turn to the next member with a waiting request. */
static void pass_turn(ThrottleGroup *tg, ThrottleDirection direction)
{
    Turn *turn = &tg->turns[direction];
    guint n = tg->members->len, last = 0;

    g_ptr_array_find(tg->members, turn->member, &last);
    turn->co = NULL;
    for (guint i = 1; !turn->co && i <= n; i++) {
        ThrottleGroupMember *member = g_ptr_array_index(tg->members, (last + i) % n);

        turn->co = pop_waiter(member, direction);
        turn->member = member;
    }
    if (turn->co) {
        aio_co_schedule(turn->co);
    }
}

/* Whether a request may not be kept waiting: the member is drained, or nobody waits for the request any more. */
static bool must_not_wait(const ThrottleGroupMember *member)
{
    return bdrv_must_not_delay(member->bs) || qemu_co_is_cancelled();
}

/* Wait for our turn, or until we must not wait. */
static void coroutine_fn wait_for_turn(ThrottleGroupMember *member, ThrottleDirection direction)
{
    Waiter waiter = { .sleep.co = qemu_coroutine_self(), .link.data = &waiter, .queued = true };

    if (!qemu_co_cancel_begin_sleep(&waiter.sleep)) {
        return;
    }
    g_queue_push_tail_link(&member->waiting[direction], &waiter.link);
    g_mutex_unlock(&member->group->lock);
    qemu_coroutine_yield();
    qemu_co_cancel_end();
    g_mutex_lock(&member->group->lock);
    if (waiter.queued) {
        g_queue_unlink(&member->waiting[direction], &waiter.link);
    }
}

/* Keep the turn for @wait_ns, unless the limits change or we must not wait. */
static void coroutine_fn sleep_in_turn(ThrottleGroup *tg, Turn *turn, int64_t wait_ns)
{
    if (qemu_co_cancel_begin_sleep(&turn->sleep)) {
        co_sleep_ns_wakeable(&turn->sleep, wait_ns, &tg->lock);
        qemu_co_cancel_end();
    }
}

void coroutine_fn throttle_group_co_wait(ThrottleGroupMember *member, int64_t bytes, ThrottleDirection direction)
{
    ThrottleGroup *tg = member->group;
    Turn *turn = &tg->turns[direction];
    Coroutine *self = qemu_coroutine_self();
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&tg->lock);

    if (turn->co && !must_not_wait(member)) {
        wait_for_turn(member, direction);
    }
    while ((!turn->co || turn->co == self) && !must_not_wait(member)) {
        int64_t wait_ns = throttle_compute_wait(&tg->ts, direction, qemu_clock_get_ns());

        if (wait_ns == 0) {
            break;
        }
        turn->co = self;
        turn->member = member;
        sleep_in_turn(tg, turn, wait_ns);
    }
    if (!qemu_co_is_abandoned(self)) {
        throttle_account(&tg->ts, direction, bytes);
    }
    if (turn->co == self) {
        pass_turn(tg, direction);
    }
}

void throttle_group_drain(ThrottleGroupMember *member)
{
    ThrottleGroup *tg = member->group;
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&tg->lock);

    for (int i = 0; i < THROTTLE_MAX; i++) {
        Coroutine *co;

        while ((co = pop_waiter(member, i))) {
            aio_co_schedule(co);
        }
        qemu_co_sleep_wake(&tg->turns[i].sleep);
    }
}
