/*
 * The first include of every C file: the standard headers and small macros that all of them use.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef UTIL_OSDEP_H
#define UTIL_OSDEP_H

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#include <glib.h>

#define KiB (INT64_C(1) << 10)
#define MiB (INT64_C(1) << 20)
#define GiB (INT64_C(1) << 30)
#define TiB (INT64_C(1) << 40)

/* Round @n to a multiple of @d; @d need not be a power of two, @n must not be negative. */
#define ROUND_DOWN(n, d) ((n) - (n) % (d))
#define ROUND_UP(n, d) ROUND_DOWN((n) + (d) - 1, (d))
#define QEMU_IS_ALIGNED(n, d) (((n) % (d)) == 0)
#define DIV_ROUND_UP(n, d) (((n) + (d) - 1) / (d))

#define container_of(ptr, type, member) \
    ((type *)((char *)(ptr) - offsetof(type, member)))

/* A plain variable that another thread may change meanwhile: all of it at once, in no order with anything else. */
#define qatomic_read(ptr) __atomic_load_n(ptr, __ATOMIC_RELAXED)
#define qatomic_set(ptr, value) __atomic_store_n(ptr, value, __ATOMIC_RELAXED)
/* Replace @old by @new if it is the value; returns the value before. */
#define qatomic_cmpxchg(ptr, old, new)                                                                              \
    ({                                                                                                              \
        __typeof__(*(ptr)) old_ = (old);                                                                            \
                                                                                                                    \
        __atomic_compare_exchange_n(ptr, &old_, new, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);                    \
        old_;                                                                                                       \
    })

/* Retry a system call that a signal interrupted. */
#define RETRY_ON_EINTR(expr)                    \
    ({                                          \
        __typeof__(expr) r_;                    \
        do {                                    \
            r_ = (expr);                        \
        } while (r_ == -1 && errno == EINTR);   \
        r_;                                     \
    })

/* Close a descriptor at scope end: g_auto_fd int fd = open(...); -1 closes nothing. */
static inline void g_auto_fd_cleanup(int *fd)
{
    if (*fd >= 0) {
        int saved = errno;
        close(*fd);
        errno = saved;
    }
}
#define g_auto_fd __attribute__((cleanup(g_auto_fd_cleanup)))

/* Move a value out of a scope-cleaned variable. */
static inline int g_steal_auto_fd(int *fd)
{
    int ret = *fd;
    *fd = -1;
    return ret;
}

#endif
