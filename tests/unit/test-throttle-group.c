/*
 * Throttle groups: turns, changed limits, draining, and requests on several threads
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include <json-c/json.h>

#include "block/block-backend.h"
#include "block/block_int.h"
#include "block/throttle-group.h"
#include "crypto/object.h"
#include "qapi/json.h"
#include "qapi/keyval.h"
#include "util/aio.h"
#include "util/iothread.h"

#define BLOCK 512

/* Requests of one node, and the log of their completion. */
typedef struct Requests {
    BlockBackend *blk;
    char name;
    GString *log;
    int done;
} Requests;

static void make_group(const char *id, const char *limits)
{
    g_autofree char *text = g_strdup_printf("throttle-group,id=%s,%s", id, limits);

    g_assert_true(user_creatable_parse(text, &error_abort));
}

static void set_limits(const char *id, const char *json)
{
    g_autoptr(json_object) value = qapi_parse_json(json, strlen(json), &error_abort);

    g_assert_true(user_creatable_set(id, "limits", value, &error_abort));
}

static BlockBackend *coroutine_fn open_throttled(const char *group)
{
    g_autofree char *text = g_strdup_printf("driver=throttle,throttle-group=%s,file.driver=null-co", group);
    g_autoptr(json_object) options = keyval_parse(text, NULL, NULL, &error_abort);

    return blk_co_new_open("test", NULL, options, 0, BLK_PERM_CONSISTENT_READ | BLK_PERM_WRITE, BLK_PERM_ALL,
                           &error_abort);
}

static void coroutine_fn read_one(void *opaque)
{
    Requests *r = opaque;
    uint8_t buf[BLOCK];

    int ret = blk_co_pread(r->blk, 0, BLOCK, buf);

    g_assert_cmpint(ret, ==, qemu_co_is_abandoned(qemu_coroutine_self()) ? -ECANCELED : 0);
    g_string_append_c(r->log, ret == 0 ? r->name : 'x');
    r->done++;
}

static void make_requests(Requests *r, int n)
{
    for (int i = 0; i < n; i++) {
        qemu_coroutine_enter(qemu_coroutine_create(read_one, r));
    }
}

static void coroutine_fn wait_for(const Requests *r, int n)
{
    while (r->done < n) {
        co_sleep_ns(SCALE_MS);
    }
}

/* Members take turns, even if one has more requests and was first. */
static void coroutine_fn turns_entry(void *opaque)
{
    g_autoptr(GString) log = g_string_new(NULL);

    make_group("g", "limits.bps-total=1");
    Requests a = { open_throttled("g"), 'a', log, 0 };
    Requests b = { open_throttled("g"), 'b', log, 0 };
    Requests c = { open_throttled("g"), 'c', log, 0 };

    make_requests(&a, 7);
    make_requests(&b, 2);
    make_requests(&c, 1);
    g_assert_cmpstr(log->str, ==, "a");
    set_limits("g", "{'bps-total': 0, 'iops-total': 1000}");
    wait_for(&a, 7);
    g_assert_cmpstr(log->str, ==, "aabcabaaaa");
    blk_co_unref(a.blk);
    blk_co_unref(b.blk);
    blk_co_unref(c.blk);
    g_assert_true(user_creatable_del("g", &error_abort));
}

/* New limits release requests that would wait for ages. */
static void coroutine_fn set_entry(void *opaque)
{
    g_autoptr(GString) log = g_string_new(NULL);
    g_autoptr(Error) err = NULL;

    make_group("g", "x-bps-read=1");
    Requests a = { open_throttled("g"), 'a', log, 0 };
    Requests b = { open_throttled("g"), 'b', log, 0 };

    make_requests(&a, 3);
    make_requests(&b, 3);
    g_assert_cmpstr(log->str, ==, "a");
    g_assert_false(user_creatable_del("g", &err));
    g_assert_nonnull(strstr(error_get_pretty(err), "used by node '#block"));
    /* The buckets are empty again: one request starts and fills them. */
    set_limits("g", "{'bps-read': 2, 'iops-read': 1000}");
    wait_for(&a, 2);
    g_assert_cmpstr(log->str, ==, "aa");
    set_limits("g", "{'bps-read': 0}");
    wait_for(&a, 3);
    wait_for(&b, 3);
    blk_co_unref(a.blk);
    blk_co_unref(b.blk);
    g_assert_true(user_creatable_del("g", &error_abort));
}

/* Draining one member releases its requests, but not those of others. */
static void coroutine_fn drain_entry(void *opaque)
{
    g_autoptr(GString) log = g_string_new(NULL);

    make_group("g", "limits.bps-total=1");
    Requests a = { open_throttled("g"), 'a', log, 0 };
    Requests b = { open_throttled("g"), 'b', log, 0 };

    for (int round = 0; round < 2; round++) {
        /* First the drained member has the turn, then the other. */
        make_requests(round ? &b : &a, 2);
        make_requests(round ? &a : &b, 2);
        bdrv_co_drained_begin(blk_bs(a.blk)->file->bs);
        g_assert_cmpint(a.done, ==, 2 * round + 2);
        bdrv_co_drained_end(blk_bs(a.blk)->file->bs);
        g_assert_cmpint(b.done, ==, 0);
    }
    bdrv_co_drained_begin(blk_bs(b.blk));
    bdrv_co_drained_end(blk_bs(b.blk));
    g_assert_cmpint(b.done, ==, 4);
    blk_co_unref(a.blk);
    blk_co_unref(b.blk);
    g_assert_true(user_creatable_del("g", &error_abort));
}

/* Requests of a client that leaves, with the turn and in the queue: they do not wait, and do not count. */
static void coroutine_fn abandon_entry(void *opaque)
{
    g_autoptr(GString) log = g_string_new(NULL);
    Coroutine *gone[6];

    make_group("g", "limits.bps-total=1");
    Requests a = { open_throttled("g"), 'a', log, 0 };
    Requests b = { open_throttled("g"), 'b', log, 0 };

    make_requests(&a, 1);
    g_assert_cmpint(a.done, ==, 1);
    for (size_t i = 0; i < G_N_ELEMENTS(gone); i++) {
        gone[i] = qemu_coroutine_create(read_one, i % 2 ? &b : &a);
        qemu_coroutine_enter(gone[i]);
        if (i < 2) {
            make_requests(i % 2 ? &b : &a, 1);
        }
    }
    for (size_t i = 0; i < G_N_ELEMENTS(gone); i++) {
        qemu_co_abandon(gone[i]);
    }
    g_assert_cmpint(a.done + b.done, ==, 1);
    wait_for(&a, 4);
    wait_for(&b, 3);
    g_assert_cmpstr(log->str, ==, "axxxxxx");
    /* The bucket holds the first request, and no other one. */
    set_limits("g", "{'bps-total': 5120, 'bps-total-max': 5120}");
    wait_for(&a, 5);
    wait_for(&b, 4);
    blk_co_unref(a.blk);
    blk_co_unref(b.blk);
    g_assert_true(user_creatable_del("g", &error_abort));
}

/* One of several readers without a delay, each on its thread. */
typedef struct Reader {
    BlockBackend *blk;
    gint *stop;
    gint *running;
    gint reads;
} Reader;

static void coroutine_fn reader_run(void *opaque)
{
    Reader *r = opaque;
    uint8_t buf[BLOCK];

    while (!g_atomic_int_get(r->stop)) {
        g_assert_cmpint(blk_co_pread(r->blk, 0, BLOCK, buf), ==, 0);
        g_atomic_int_inc(&r->reads);
    }
    g_atomic_int_add(r->running, -1);
}

/* Everything at once: requests on three threads, new limits, draining. */
static void coroutine_fn threads_entry(void *opaque)
{
    IOThread *threads[3];
    Reader readers[6];
    gint stop = 0, running = G_N_ELEMENTS(readers);

    make_group("g", "limits.iops-total=20000");
    for (size_t i = 0; i < G_N_ELEMENTS(threads); i++) {
        threads[i] = iothread_new("test", &error_abort);
    }
    for (size_t i = 0; i < G_N_ELEMENTS(readers); i++) {
        readers[i] = (Reader){ i < 3 ? open_throttled("g") : blk_ref(readers[i - 3].blk), &stop, &running, 0 };
        aio_co_start(iothread_get_aio_context(threads[i % 3]), reader_run, &readers[i]);
    }
    for (int round = 0; round < 30; round++) {
        co_sleep_ns(SCALE_MS);
        set_limits("g", round % 2 ? "{'iops-total': 0, 'bps-read': 1}" : "{'iops-total': 20000, 'bps-read': 0}");
        for (int i = 0; i < 3; i++) {
            bdrv_co_drained_begin(blk_bs(readers[i].blk));
            bdrv_co_drained_end(blk_bs(readers[i].blk));
        }
    }
    g_atomic_int_set(&stop, 1);
    throttle_groups_lift_limits();
    while (g_atomic_int_get(&running)) {
        co_sleep_ns(SCALE_MS);
    }
    for (size_t i = 0; i < G_N_ELEMENTS(readers); i++) {
        g_assert_cmpint(readers[i].reads, >, 0);
        blk_co_unref(readers[i].blk);
    }
    for (size_t i = 0; i < G_N_ELEMENTS(threads); i++) {
        iothread_unref(threads[i]);
    }
    g_assert_true(user_creatable_del("g", &error_abort));
}

static void run(gconstpointer entry)
{
    aio_context_run((CoroutineEntry *)entry, NULL);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    throttle_group_register();
    g_test_add_data_func("/throttle-group/turns", turns_entry, run);
    g_test_add_data_func("/throttle-group/set", set_entry, run);
    g_test_add_data_func("/throttle-group/drain", drain_entry, run);
    g_test_add_data_func("/throttle-group/abandon", abandon_entry, run);
    g_test_add_data_func("/throttle-group/threads", threads_entry, run);
    int ret = g_test_run();
    user_creatable_cleanup();
    return ret;
}
