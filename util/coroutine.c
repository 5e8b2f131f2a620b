/*
 * Coroutines on their own stacks: made with makecontext(), switched with sigsetjmp(), which makes no
 * system call
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
/* The checked longjmp() takes a change of stack for corruption. */
#undef _FORTIFY_SOURCE

#include "util/osdep.h"
#include "config-host.h"

#include <pthread.h>
#include <setjmp.h>
#include <sys/mman.h>
#include <ucontext.h>

#ifdef CONFIG_VALGRIND
#include <valgrind/valgrind.h>
#endif
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/common_interface_defs.h>
#endif
#ifdef __SANITIZE_THREAD__
#include <sanitizer/tsan_interface.h>
#endif

#include "util/aio.h"
#include "util/coroutine.h"

#define STACK_BYTES (256 * 1024)
#define POOL_MAX 64

struct Coroutine {
    CoroutineEntry *entry;
    void *opaque;
    Coroutine *caller;      /* the coroutine that entered it; NULL while not running */
    AioContext *ctx;        /* set at the first entry */
    void *stack;            /* the guard page first */
    sigjmp_buf env;
    bool ended;
    bool cancelled;
    bool abandoned;
    CoroutineCancelFunc *cancel;    /* ends what it waits for; NULL: not that kind of wait */
    void *cancel_opaque;
    Coroutine *next;        /* in the pool */
#ifdef CONFIG_VALGRIND
    unsigned valgrind_stack_id;
#endif
#ifdef __SANITIZE_THREAD__
    void *tsan_fiber;
#endif
};

/* The stack that the thread came with is a coroutine, too, that was never created. */
static __thread Coroutine leader;
static __thread Coroutine *current;

static __thread Coroutine *pool;
static __thread unsigned pool_size;

static Coroutine *get_current(void)
{
    if (!current) {
        current = &leader;
    }
    return current;
}

static void start_switch(void **fake_stack, Coroutine *to)
{
#ifdef __SANITIZE_ADDRESS__
    static __thread const void *leader_bottom;
    static __thread size_t leader_size;

    /* Learn the thread's own stack on the first switch away from it. */
    if (!leader_bottom) {
        pthread_attr_t attr;
        void *bottom;

        pthread_getattr_np(pthread_self(), &attr);
        pthread_attr_getstack(&attr, &bottom, &leader_size);
        pthread_attr_destroy(&attr);
        leader_bottom = bottom;
    }
    __sanitizer_start_switch_fiber(fake_stack, to->stack ? to->stack : leader_bottom,
                                   to->stack ? STACK_BYTES : leader_size);
#endif
#ifdef __SANITIZE_THREAD__
    if (!to->tsan_fiber) {
        to->tsan_fiber = to->stack ? __tsan_create_fiber(0) : NULL;
    }
    if (to == &leader && !leader.tsan_fiber) {
        abort();
    }
    __tsan_switch_to_fiber(to->tsan_fiber, 0);
#endif
}

static void finish_switch(void *fake_stack)
{
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_finish_switch_fiber(fake_stack, NULL, NULL);
#endif
}

/* Go on in @to, from where it last switched away. */
static void switch_to(Coroutine *from, Coroutine *to)
{
    void *fake_stack = NULL;

#ifdef __SANITIZE_THREAD__
    if (from == &leader && !leader.tsan_fiber) {
        leader.tsan_fiber = __tsan_get_current_fiber();
    }
#endif
    if (!sigsetjmp(from->env, 0)) {
        current = to;
        start_switch(&fake_stack, to);
        siglongjmp(to->env, 1);
    }
    finish_switch(fake_stack);
}

/* Runs on the new stack; serves one entry function after the other while it is pooled. */
static void trampoline(unsigned lo, unsigned hi)
{
    Coroutine *co = (Coroutine *)((uintptr_t)lo | (uintptr_t)hi << 32);
    void *fake_stack = NULL;

    finish_switch(NULL);
    if (!sigsetjmp(co->env, 0)) {
        current = co->caller;
        start_switch(&fake_stack, co->caller);
        siglongjmp(co->caller->env, 1);
    }
    finish_switch(fake_stack);

    while (true) {
        co->entry(co->opaque);
        co->ended = true;
        Coroutine *caller = co->caller;
        co->caller = NULL;
        switch_to(co, caller);
    }
}

static Coroutine *coroutine_new(void)
{
    Coroutine *co = g_new0(Coroutine, 1);
    Coroutine *self = get_current();
    size_t guard = sysconf(_SC_PAGESIZE);
    ucontext_t uc, old_uc;
    void *fake_stack = NULL;

    uint8_t *map = mmap(NULL, STACK_BYTES + guard, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (map == MAP_FAILED || mprotect(map, guard, PROT_NONE) < 0) {
        g_error("could not map a coroutine stack: %s", g_strerror(errno));
    }
    co->stack = map + guard;
#ifdef CONFIG_VALGRIND
    co->valgrind_stack_id = VALGRIND_STACK_REGISTER(co->stack, (uint8_t *)co->stack + STACK_BYTES);
#endif

    getcontext(&uc);
    uc.uc_link = &old_uc;
    uc.uc_stack.ss_sp = co->stack;
    uc.uc_stack.ss_size = STACK_BYTES;
    makecontext(&uc, (void (*)(void))trampoline, 2, (unsigned)(uintptr_t)co,
                (unsigned)((uint64_t)(uintptr_t)co >> 32));
    co->caller = self;
    if (!sigsetjmp(self->env, 0)) {
#ifdef __SANITIZE_THREAD__
        if (self == &leader && !leader.tsan_fiber) {
            leader.tsan_fiber = __tsan_get_current_fiber();
        }
#endif
        start_switch(&fake_stack, co);
        swapcontext(&old_uc, &uc);
    }
    finish_switch(fake_stack);
    co->caller = NULL;
    return co;
}

static void coroutine_free(Coroutine *co)
{
    size_t guard = sysconf(_SC_PAGESIZE);

#ifdef CONFIG_VALGRIND
    VALGRIND_STACK_DEREGISTER(co->valgrind_stack_id);
#endif
#ifdef __SANITIZE_THREAD__
    __tsan_destroy_fiber(co->tsan_fiber);
#endif
    munmap((uint8_t *)co->stack - guard, STACK_BYTES + guard);
    g_free(co);
}

static void pool_clear(void *unused)
{
    while (pool) {
        Coroutine *co = pool;
        pool = co->next;
        coroutine_free(co);
    }
    pool_size = 0;
}

/* Its destructor empties the pool of a thread that ends. */
static GPrivate pool_key = G_PRIVATE_INIT(pool_clear);

__attribute__((destructor)) static void pool_clear_main_thread(void)
{
    pool_clear(NULL);
}

Coroutine *qemu_coroutine_create(CoroutineEntry *entry, void *opaque)
{
    Coroutine *co = pool;

    if (co) {
        pool = co->next;
        pool_size--;
    } else {
        co = coroutine_new();
    }
    co->entry = entry;
    co->opaque = opaque;
    co->ended = false;
    co->cancelled = false;
    co->abandoned = false;
    co->ctx = NULL;
    return co;
}

void qemu_coroutine_enter(Coroutine *co)
{
    Coroutine *self = get_current();

    assert(!co->caller);
    if (!co->ctx) {
        co->ctx = qemu_get_current_aio_context();
    }
    co->caller = self;
    switch_to(self, co);
    if (co->ended) {
        if (pool_size < POOL_MAX) {
            if (!pool) {
                g_private_set(&pool_key, GINT_TO_POINTER(1));
            }
            co->next = pool;
            pool = co;
            pool_size++;
        } else {
            coroutine_free(co);
        }
    }
}

void coroutine_fn qemu_coroutine_yield(void)
{
    Coroutine *self = get_current();
    Coroutine *caller = self->caller;

    assert(caller);
    self->caller = NULL;
    switch_to(self, caller);
}

Coroutine *coroutine_fn qemu_coroutine_self(void)
{
    return get_current();
}

bool qemu_in_coroutine(void)
{
    return current && current != &leader;
}

AioContext *qemu_coroutine_get_aio_context(Coroutine *co)
{
    return co->ctx;
}

bool coroutine_fn qemu_co_cancel_begin(CoroutineCancelFunc *func, void *opaque)
{
    Coroutine *self = get_current();

    assert(!self->cancel);
    if (!self->cancelled) {
        self->cancel = func;
        self->cancel_opaque = opaque;
    }
    return !self->cancelled;
}

void coroutine_fn qemu_co_cancel_end(void)
{
    get_current()->cancel = NULL;
}

bool coroutine_mixed_fn qemu_co_is_cancelled(void)
{
    return get_current()->cancelled;
}

void qemu_co_cancel(Coroutine *co)
{
    if (!co->cancelled) {
        co->cancelled = true;
        if (co->cancel) {
            co->cancel(co->cancel_opaque);
        }
    }
}

void qemu_co_abandon(Coroutine *co)
{
    co->abandoned = true;
    qemu_co_cancel(co);
}

bool qemu_co_is_abandoned(const Coroutine *co)
{
    return co->abandoned;
}
