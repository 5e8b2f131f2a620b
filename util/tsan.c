/*
 * What ThreadSanitizer has to be told about GLib, which is not built with it
 *
 * Part of builds with -Db_sanitize=thread alone, where the linker sends our calls of these functions here
 * (-Wl,--wrap, in meson.build). GLib's locks are made of atomics that ThreadSanitizer does not see, and so are the
 * queues between threads: without this it would take all that they protect for races.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include <sanitizer/tsan_interface.h>

void __real_g_mutex_lock(GMutex *mutex);
void __wrap_g_mutex_lock(GMutex *mutex);
void __real_g_mutex_unlock(GMutex *mutex);
void __wrap_g_mutex_unlock(GMutex *mutex);
void __real_g_mutex_clear(GMutex *mutex);
void __wrap_g_mutex_clear(GMutex *mutex);
void __real_g_once_init_leave(volatile void *location, gsize result);
void __wrap_g_once_init_leave(volatile void *location, gsize result);
GThreadPool *__real_g_thread_pool_new(GFunc func, gpointer user_data, gint max, gboolean exclusive, GError **error);
GThreadPool *__wrap_g_thread_pool_new(GFunc func, gpointer user_data, gint max, gboolean exclusive, GError **error);
gboolean __real_g_thread_pool_push(GThreadPool *pool, gpointer data, GError **error);
gboolean __wrap_g_thread_pool_push(GThreadPool *pool, gpointer data, GError **error);

void __wrap_g_mutex_lock(GMutex *mutex)
{
    __tsan_mutex_pre_lock(mutex, __tsan_mutex_linker_init);
    __real_g_mutex_lock(mutex);
    __tsan_mutex_post_lock(mutex, __tsan_mutex_linker_init, 0);
}

void __wrap_g_mutex_unlock(GMutex *mutex)
{
    __tsan_mutex_pre_unlock(mutex, 0);
    __real_g_mutex_unlock(mutex);
    __tsan_mutex_post_unlock(mutex, 0);
}

void __wrap_g_mutex_clear(GMutex *mutex)
{
    __tsan_mutex_destroy(mutex, __tsan_mutex_linker_init);
    __real_g_mutex_clear(mutex);
}

/* Later callers only look at *@location, in a macro. */
void __wrap_g_once_init_leave(volatile void *location, gsize result)
{
    __tsan_release((void *)location);
    __real_g_once_init_leave(location, result);
}

static GFunc pool_func;

static void pool_run(gpointer data, gpointer user_data)
{
    __tsan_acquire(data);
    pool_func(data, user_data);
}

/* All pools here run the same function. */
GThreadPool *__wrap_g_thread_pool_new(GFunc func, gpointer user_data, gint max, gboolean exclusive, GError **error)
{
    /* Only before there are workers, which read it. */
    if (!pool_func) {
        pool_func = func;
    }
    assert(pool_func == func);
    return __real_g_thread_pool_new(pool_run, user_data, max, exclusive, error);
}

gboolean __wrap_g_thread_pool_push(GThreadPool *pool, gpointer data, GError **error)
{
    __tsan_release(data);
    return __real_g_thread_pool_push(pool, data, error);
}
