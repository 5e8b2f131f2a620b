/*
 * I/O threads: coroutines run there, wait there, and hand results back
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "util/iothread.h"

#define THREADS 4
#define TASKS 50

typedef struct Task {
    AioContext *ctx;
    bool wrong_loop;
    int *left;
} Task;

static void task_done(void *opaque)
{
    Task *task = opaque;

    g_assert_true(qemu_get_current_aio_context() == qemu_get_aio_context());
    --*task->left;
}

static void coroutine_fn task_run(void *opaque)
{
    Task *task = opaque;

    task->wrong_loop = qemu_get_current_aio_context() != task->ctx;
    co_sleep_ns(SCALE_MS);
    task->wrong_loop |= qemu_get_current_aio_context() != task->ctx;
    aio_bh_schedule_oneshot(qemu_get_aio_context(), task_done, task);
}

static void test_tasks(void)
{
    IOThread *threads[THREADS];
    Task tasks[TASKS];
    int left = TASKS;

    for (int i = 0; i < THREADS; i++) {
        threads[i] = iothread_new("test", &error_abort);
    }
    for (int i = 0; i < TASKS; i++) {
        tasks[i] = (Task){ .ctx = iothread_get_aio_context(threads[i % THREADS]), .left = &left };
        aio_co_start(tasks[i].ctx, task_run, &tasks[i]);
    }
    while (left > 0) {
        aio_poll(qemu_get_aio_context(), true);
    }
    for (int i = 0; i < TASKS; i++) {
        g_assert_false(tasks[i].wrong_loop);
    }
    for (int i = 0; i < THREADS; i++) {
        iothread_unref(threads[i]);
    }
}

static void count(void *opaque)
{
    ++*(int *)opaque;
}

/* Work scheduled before the last reference is dropped has run when the thread ends. */
static void test_last_unref(void)
{
    for (int i = 0; i < 200; i++) {
        IOThread *iothread = iothread_new("test", &error_abort);
        int n = 0;

        g_assert_cmpint(iothread_get_thread_id(iothread), !=, getpid());
        g_assert_true(iothread_is_shared(iothread_ref(iothread)));
        iothread_unref(iothread);
        g_assert_false(iothread_is_shared(iothread));
        for (int j = 0; j < 10; j++) {
            aio_bh_schedule_oneshot(iothread_get_aio_context(iothread), count, &n);
        }
        iothread_unref(iothread);
        g_assert_cmpint(n, ==, 10);
    }
}

typedef struct Sleeper {
    GMutex lock;
    CoSleep sleep;
    bool sleeping;      /* under lock */
    int woken;          /* under lock */
} Sleeper;

static void coroutine_fn sleeper_run(void *opaque)
{
    Sleeper *s = opaque;
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&s->lock);

    s->sleeping = true;
    co_sleep_ns_wakeable(&s->sleep, 3600 * NANOSECONDS_PER_SECOND, &s->lock);
    s->sleeping = false;
    s->woken++;
}

/* Another thread ends a sleep as soon as it sees, under the lock, that there is one. */
static void test_wake(void)
{
    IOThread *iothread = iothread_new("test", &error_abort);
    Sleeper s = { .woken = 0 };

    g_mutex_init(&s.lock);
    for (int i = 0; i < 100; i++) {
        aio_co_start(iothread_get_aio_context(iothread), sleeper_run, &s);
        for (bool done = false; !done; g_thread_yield()) {
            g_mutex_lock(&s.lock);
            if (s.sleeping) {
                qemu_co_sleep_wake(&s.sleep);
            }
            done = s.woken > i;
            g_mutex_unlock(&s.lock);
        }
    }
    iothread_unref(iothread);
    g_assert_cmpint(s.woken, ==, 100);
    g_mutex_clear(&s.lock);
}

#define CONTENDERS 16
#define TURNS 200

typedef struct Contender {
    struct Contention *all;
    CoSleep sleep;
    bool patient;           /* its waits are not ended */
} Contender;

typedef struct Contention {
    CoMutex mutex;
    int inside, locked;     /* under mutex */
    gint given_up, left;    /* atomic */
    Contender contenders[CONTENDERS];
} Contention;

static void coroutine_fn contend(void *opaque)
{
    Contender *c = opaque;
    Contention *all = c->all;

    for (int i = 0; i < TURNS; i++) {
        if (c->patient) {
            qemu_co_mutex_lock(&all->mutex);
        } else if (!qemu_co_mutex_lock_wakeable(&all->mutex, &c->sleep)) {
            g_atomic_int_inc(&all->given_up);
            continue;
        }
        g_assert_cmpint(all->inside++, ==, 0);
        all->locked++;
        if (i % 16 == 0) {
            co_sleep_ns(1);
        }
        all->inside--;
        qemu_co_mutex_unlock(&all->mutex);
    }
    g_atomic_int_dec_and_test(&all->left);
}

/* Coroutines of several threads share a mutex while another thread ends their waits: none gets stuck. */
static void test_mutex(void)
{
    IOThread *threads[THREADS];
    Contention all = { .left = CONTENDERS };

    qemu_co_mutex_init(&all.mutex);
    for (int i = 0; i < THREADS; i++) {
        threads[i] = iothread_new("test", &error_abort);
    }
    for (int i = 0; i < CONTENDERS; i++) {
        all.contenders[i] = (Contender){ .all = &all, .patient = i % 4 == 0 };
        aio_co_start(iothread_get_aio_context(threads[i * THREADS / CONTENDERS]), contend, &all.contenders[i]);
    }
    for (int i = 0; g_atomic_int_get(&all.left) > 0; i++) {
        qemu_co_sleep_wake(&all.contenders[i % CONTENDERS].sleep);
        g_thread_yield();
    }
    for (int i = 0; i < THREADS; i++) {
        iothread_unref(threads[i]);
    }
    g_assert_cmpint(all.locked + all.given_up, ==, CONTENDERS * TURNS);
    g_test_message("%d locked, %d given up", all.locked, all.given_up);
    g_assert_cmpint(all.locked, >=, CONTENDERS / 4 * TURNS);
    qemu_co_mutex_cleanup(&all.mutex);
}

/* A library's handle: calls must not overlap, and only its home loop may make them. */
typedef struct Handle {
    AioContext *home;
    int calls;
    bool busy;
    bool wrong_thread;
} Handle;

typedef struct Call {
    Handle *handle;
    int in;
    int out;
} Call;

static void coroutine_fn handle_call(void *opaque)
{
    Call *call = opaque;
    Handle *handle = call->handle;

    handle->wrong_thread |= qemu_get_current_aio_context() != handle->home || handle->busy;
    handle->busy = true;
    handle->calls++;
    handle->busy = false;
    co_sleep_ns(1000);
    call->out = call->in + 1;
}

typedef struct Caller {
    Handle *handle;
    AioContext *ctx;
    bool wrong;
    gint *left;
} Caller;

static void coroutine_fn make_calls(void *opaque)
{
    Caller *caller = opaque;

    for (int i = 0; i < 50; i++) {
        Call call = { .handle = caller->handle, .in = i };

        aio_co_run_in(caller->handle->home, handle_call, &call);
        caller->wrong |= call.out != i + 1 || qemu_get_current_aio_context() != caller->ctx;
    }
    g_atomic_int_dec_and_test(caller->left);
}

/* Coroutines of all threads, including its own, call into one loop. */
static void test_run_in(void)
{
    IOThread *threads[THREADS];
    Caller callers[3 * THREADS];
    Handle handle = { .calls = 0 };
    gint left = G_N_ELEMENTS(callers);

    for (int i = 0; i < THREADS; i++) {
        threads[i] = iothread_new("test", &error_abort);
    }
    handle.home = iothread_get_aio_context(threads[0]);
    for (size_t i = 0; i < G_N_ELEMENTS(callers); i++) {
        callers[i] = (Caller){
            .handle = &handle, .ctx = iothread_get_aio_context(threads[i % THREADS]), .left = &left,
        };
        aio_co_start(callers[i].ctx, make_calls, &callers[i]);
    }
    while (g_atomic_int_get(&left) > 0) {
        g_thread_yield();
    }
    for (int i = 0; i < THREADS; i++) {
        iothread_unref(threads[i]);
    }
    g_assert_cmpint(handle.calls, ==, 50 * G_N_ELEMENTS(callers));
    g_assert_false(handle.wrong_thread);
    for (size_t i = 0; i < G_N_ELEMENTS(callers); i++) {
        g_assert_false(callers[i].wrong);
    }
}

/* Sleeps "forever" in another loop, where it is cancelled. */
typedef struct Visitor {
    AioContext *ctx;
    bool abandon;
    bool slept;         /* to the end */
    bool abandoned;     /* the visit was */
    bool done;
    gint begun;
} Visitor;

static void coroutine_fn sleep_there(void *opaque)
{
    Visitor *v = opaque;

    g_atomic_int_set(&v->begun, 1);
    v->slept = co_sleep_ns_cancellable(1000 * NANOSECONDS_PER_SECOND);
    v->abandoned = qemu_co_is_abandoned(qemu_coroutine_self());
}

static void coroutine_fn visit(void *opaque)
{
    Visitor *v = opaque;

    aio_co_run_in(v->ctx, sleep_there, v);
    v->done = true;
}

/* Cancelled before the visit, at its beginning, and in the middle. */
static void coroutine_fn cancel_visit_entry(void *opaque)
{
    IOThread *thread = iothread_new("test", &error_abort);

    for (int i = 0; i < 6; i++) {
        Visitor v = { .ctx = iothread_get_aio_context(thread), .abandon = i % 2, .slept = true };
        Coroutine *co = qemu_coroutine_create(visit, &v);
        void (*cancel)(Coroutine *) = v.abandon ? qemu_co_abandon : qemu_co_cancel;

        if (i / 2 == 0) {
            cancel(co);
        }
        qemu_coroutine_enter(co);
        if (i / 2 == 2) {
            while (!g_atomic_int_get(&v.begun)) {
                co_sleep_ns(SCALE_MS);
            }
        }
        if (i / 2 > 0) {
            cancel(co);
        }
        while (!v.done) {
            co_sleep_ns(SCALE_MS);
        }
        g_assert_false(v.slept);
        g_assert_cmpint(v.abandoned, ==, v.abandon);
    }
    iothread_unref(thread);
}

static void test_cancel_visit(void)
{
    aio_context_run(cancel_visit_entry, NULL);
}

/* A library's request, completed by a thread of the library. */
typedef struct Completion {
    Coroutine *co;
    GThread *thread;
    int ret;
} Completion;

static gpointer complete(gpointer opaque)
{
    Completion *c = opaque;

    c->ret = 42;
    aio_co_wake(c->co);
    return NULL;
}

static void coroutine_fn wait_for_completions(void *opaque)
{
    AioContext *ctx = qemu_get_current_aio_context();

    for (int i = 0; i < 100; i++) {
        Completion c = { .co = qemu_coroutine_self() };

        /* May be complete before we yield. */
        c.thread = g_thread_new("library", complete, &c);
        qemu_coroutine_yield();
        g_assert_cmpint(c.ret, ==, 42);
        g_assert_true(qemu_get_current_aio_context() == ctx);
        g_thread_join(c.thread);
    }
    g_atomic_int_inc((gint *)opaque);
}

static void test_foreign(void)
{
    IOThread *iothread = iothread_new("test", &error_abort);
    gint done = 0;

    for (int i = 0; i < 2; i++) {
        aio_co_start(iothread_get_aio_context(iothread), wait_for_completions, &done);
    }
    while (g_atomic_int_get(&done) < 2) {
        g_thread_yield();
    }
    iothread_unref(iothread);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    aio_context_set_current(qemu_get_aio_context());
    g_test_add_func("/iothread/tasks", test_tasks);
    g_test_add_func("/iothread/last-unref", test_last_unref);
    g_test_add_func("/iothread/wake", test_wake);
    g_test_add_func("/iothread/mutex", test_mutex);
    g_test_add_func("/iothread/run-in", test_run_in);
    g_test_add_func("/iothread/run-in/cancel", test_cancel_visit);
    g_test_add_func("/iothread/foreign", test_foreign);
    return g_test_run();
}
