/*
 * QMP events: sent to every client in a session, some of them with a rate limit
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include <json-c/json.h>

#include "monitor/monitor-int.h"
#include "qapi/qmp.h"

/*
 * Events of which at most one per period is sent, for each value of the member @key of their data. A later event
 * replaces the pending one, which is sent at the end of the period. The periods are QEMU's.
 */
typedef struct EventLimit {
    const char *event;
    const char *key;
    int64_t period_ns;
} EventLimit;

static const EventLimit limits[] = {
    { "BLOCK_IO_ERROR", "qom-path", 1000 * SCALE_MS },
};

/* A period, which begins with an event. */
typedef struct EventState {
    char *name;                     /* event and value of the key */
    const EventLimit *limit;
    AioTimer *timer;
    struct json_object *pending;    /* the last event since then; NULL: none */
} EventState;

static GHashTable *states;          /* name -> EventState */

static void event_state_free(gpointer data)
{
    EventState *state = data;

    aio_timer_free(state->timer);
    json_object_put(state->pending);
    g_free(state->name);
    g_free(state);
}

static void event_send_to(Monitor *mon, void *msg)
{
    if (mon->session && mon->session->negotiated) {
        qmp_session_send(mon->session, msg);
    }
}

static struct json_object *event_new_message(const char *name, struct json_object *data)
{
    struct json_object *msg = json_object_new_object(), *timestamp = json_object_new_object();
    gint64 now = g_get_real_time();

    json_object_object_add(timestamp, "seconds", json_object_new_int64(now / G_USEC_PER_SEC));
    json_object_object_add(timestamp, "microseconds", json_object_new_int64(now % G_USEC_PER_SEC));
    json_object_object_add(msg, "timestamp", timestamp);
    json_object_object_add(msg, "event", json_object_new_string(name));
    if (data) {
        json_object_object_add(msg, "data", json_object_get(data));
    }
    return msg;
}

static void event_period_over(void *opaque)
{
    EventState *state = opaque;

    if (state->pending) {
        g_autoptr(json_object) msg = g_steal_pointer(&state->pending);

        aio_timer_mod_ns(state->timer, qemu_clock_get_ns() + state->limit->period_ns);
        monitor_foreach(event_send_to, msg);
    } else {
        g_hash_table_remove(states, state->name);
    }
}

/* Whether @msg may be sent now. If not, it waits for the end of the period. */
static bool event_check_limit(const EventLimit *limit, struct json_object *data, struct json_object *msg)
{
    struct json_object *key = NULL;

    json_object_object_get_ex(data, limit->key, &key);
    g_autofree char *name = g_strdup_printf("%s %s", limit->event, json_object_get_string(key) ?: "");
    EventState *state = g_hash_table_lookup(states, name);
    if (state) {
        json_object_put(state->pending);
        state->pending = json_object_get(msg);
        return false;
    }
    state = g_new0(EventState, 1);
    state->limit = limit;
    state->timer = aio_timer_new(qemu_get_current_aio_context(), event_period_over, state);
    state->name = g_steal_pointer(&name);
    g_hash_table_insert(states, state->name, state);
    aio_timer_mod_ns(state->timer, qemu_clock_get_ns() + limit->period_ns);
    return true;
}

static void event_send(const char *name, struct json_object *data)
{
    g_autoptr(json_object) msg = event_new_message(name, data);

    for (size_t i = 0; i < G_N_ELEMENTS(limits); i++) {
        if (g_str_equal(limits[i].event, name) && !event_check_limit(&limits[i], data, msg)) {
            return;
        }
    }
    monitor_foreach(event_send_to, msg);
}

void qmp_events_init(void)
{
    states = g_hash_table_new_full(g_str_hash, g_str_equal, NULL, event_state_free);
    qapi_set_event_hook(event_send);
}

void qmp_events_cleanup(void)
{
    qapi_set_event_hook(NULL);
    g_clear_pointer(&states, g_hash_table_unref);
}
